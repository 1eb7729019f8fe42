"""Convolutions, pooling and normalization as PyTorch modules."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn as tnn

import layerkit.layers as nn
from layerkit.interchange.layouts import kernel_to_channels_first
from layerkit.interchange.torch_layers import modules
from layerkit.interchange.torch_layers.writing import Chain, _set, writes
from layerkit.layer import Layer


@writes(nn.Conv1D, nn.Conv2D, nn.DepthwiseConv2D)
def _convolution(layer: Any, chain: Chain) -> Chain:
    chain = chain.with_channels_first()
    return _slide(layer, chain, layer.params["W"], layer.params.get("b"))


def _slide(layer: Any, chain: Chain, W: np.ndarray, b: np.ndarray | None) -> Chain:
    stride, padding, dilation, groups = layer.geometry
    n = W.ndim - 2
    chain, both = _pad(chain, padding, n, 0.0)
    kind = tnn.Conv1d if n == 1 else tnn.Conv2d
    module = kind(
        W.shape[-2] * groups,
        W.shape[-1],
        W.shape[:-2],
        stride[-n:],
        both,
        dilation[-n:],
        groups,
        bias=b is not None,
    )
    shape = (*layer.output_shape[:-1], W.shape[-1])
    return chain.then(_set(module, weight=kernel_to_channels_first(W), bias=b), shape)


def _pad(chain: Chain, padding: Any, n: int, value: float) -> tuple[Chain, tuple[int, ...]]:
    """Pad by a module where the sides differ; return what is left for the next module to pad."""
    sides = padding[-n:]
    if all(start == end for start, end in sides):
        return chain, tuple(start for start, _ in sides)
    pads: Any = tuple(m for side in reversed(sides) for m in side)
    if n == 1:
        return chain.then(tnn.ConstantPad1d(pads, value)), (0,)
    pad = tnn.ZeroPad2d(pads) if value == 0 else tnn.ConstantPad2d(pads, value)
    return chain.then(pad), (0, 0)


@writes(nn.SeparableConv2D)
def _separable(layer: Any, chain: Chain) -> Chain:
    chain = _slide(layer, chain.with_channels_first(), layer.params["W_depth"], None)
    W, b = layer.params["W_point"], layer.params.get("b")
    point = tnn.Conv2d(*W.shape[2:], 1, bias=b is not None)
    _set(point, weight=kernel_to_channels_first(W), bias=b)
    return chain.then(point, layer.output_shape)


@writes(nn.ConvTranspose2D)
def _transposed(layer: Any, chain: Chain) -> Chain:
    W, b = layer.params["W"], layer.params.get("b")
    stride, padding, dilation, _ = layer.geometry
    least = [min(side) for side in padding]  # the odd one at the end is a row fewer there
    whole = [
        (n - 1) * s + d * (k - 1) + 1
        for n, s, d, k in zip(layer.input_shape, stride, dilation, W.shape, strict=False)
    ]
    cells = zip(layer.output_shape, whole, least, padding, strict=False)
    more = [out - full + 2 * low for out, full, low, _ in cells]
    module = tnn.ConvTranspose2d(
        W.shape[2],
        W.shape[3],
        W.shape[:2],
        stride,
        least,
        [max(m, 0) for m in more],
        dilation=dilation,
        bias=b is not None,
    )
    kernel = kernel_to_channels_first(W).swapaxes(0, 1)
    chain = chain.with_channels_first().then(
        _set(module, weight=kernel, bias=b), layer.output_shape
    )
    if min(more) < 0:  # cut off the odd row and column
        chain = chain.then(tnn.ZeroPad2d((0, min(more[1], 0), 0, min(more[0], 0))))
    return chain


@writes(nn.MaxPool1D, nn.MaxPool2D)
def _max_pool(layer: Any, chain: Chain) -> Chain:
    size, stride, padding = layer.geometry
    n = layer.n_axes
    chain, both = _pad(chain.with_channels_first(), padding, n, -np.inf)
    kind = tnn.MaxPool1d if n == 1 else tnn.MaxPool2d
    if any(2 * p > k for p, k in zip(both, size[-n:], strict=True)):  # more than PyTorch pads
        pads = tuple(p for p in reversed(both) for _ in (0, 1))
        pad = tnn.ConstantPad1d if n == 1 else tnn.ConstantPad2d
        chain, both = chain.then(pad(pads, -np.inf)), (0,) * n
    return chain.then(kind(size[-n:], stride[-n:], both), layer.output_shape)


@writes(nn.AvgPool1D, nn.AvgPool2D)
def _average_pool(layer: Any, chain: Chain) -> Chain:
    size, stride, padding = layer.geometry
    n = layer.n_axes
    chain, sides = chain.with_channels_first(), padding[-n:]
    windows = {"kernel_size": size[-n:], "stride": stride[-n:]}
    if all(
        start == end and 2 * start <= k for (start, end), k in zip(sides, size[-n:], strict=True)
    ):
        both = tuple(start for start, _ in sides)
        kind = tnn.AvgPool1d if n == 1 else tnn.AvgPool2d
        module: tnn.Module = kind(**windows, padding=both, count_include_pad=False)
    else:
        module = modules.AvgPool([m for side in reversed(sides) for m in side], **windows)
    return chain.then(module, layer.output_shape)


_GLOBAL: dict[type[Layer], Any] = {
    nn.GlobalAvgPool1D: tnn.AdaptiveAvgPool1d,
    nn.GlobalAvgPool2D: tnn.AdaptiveAvgPool2d,
    nn.GlobalMaxPool1D: tnn.AdaptiveMaxPool1d,
    nn.GlobalMaxPool2D: tnn.AdaptiveMaxPool2d,
}


@writes(*_GLOBAL)
def _global_pool(layer: Layer, chain: Chain) -> Chain:
    ones = (*[1] * (len(chain.shape) - 1), chain.shape[-1])
    pooled = chain.with_channels_first().then(_GLOBAL[type(layer)](1), ones)
    return pooled.then(tnn.Flatten(), layer.output_shape)


@writes(nn.BatchNorm)
def _batch_norm(layer: Any, chain: Chain) -> Chain:
    kind = tnn.BatchNorm2d if len(chain.shape) == 3 else tnn.BatchNorm1d
    module = kind(layer.channels, layer.eps, layer.momentum)
    _set(module, weight=layer.params["gamma"], bias=layer.params["beta"], **layer.buffers)
    return chain.with_channels_first().then(module)


@writes(nn.GroupNorm)
def _group_norm(layer: Any, chain: Chain) -> Chain:
    module = tnn.GroupNorm(layer.groups, layer.channels, layer.eps)
    _set(module, weight=layer.params["gamma"], bias=layer.params["beta"])
    return chain.with_channels_first().then(module)


@writes(nn.LayerNorm)
def _layer_norm(layer: Any, chain: Chain) -> Chain:
    module = tnn.LayerNorm(layer.channels, layer.eps)
    _set(module, weight=layer.params["gamma"], bias=layer.params["beta"])
    return chain.with_channels_last().then(module)


@writes(nn.RMSNorm)
def _rms_norm(layer: Any, chain: Chain) -> Chain:
    module = _set(tnn.RMSNorm(layer.channels, layer.eps), weight=layer.params["gamma"])
    return chain.with_channels_last().then(module)
