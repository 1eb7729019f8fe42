"""Pooling and enlarging in PyTorch as layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn as tnn

import layerkit.layers as nn
from layerkit.interchange.layouts import POOLS, Trail, ceil_changes_nothing, one
from layerkit.interchange.torch import modules
from layerkit.interchange.torch.reader import demand, kind_of, reads

_LAYERS: dict[Any, Any] = {kind: layer for layer, kind in modules.POOLS.items()}


@reads(tnn.MaxPool1d, tnn.MaxPool2d, tnn.AvgPool1d, tnn.AvgPool2d)
def _pool(module: Any, trail: Trail) -> Trail:
    demand(not getattr(module, "return_indices", False), "return_indices=False")
    trail, padding = trail.with_channels_first(), one(module.padding)
    kind = _LAYERS[kind_of(module)]
    n = len(trail.shape) - 1
    if module.ceil_mode:
        sizes = (module.kernel_size, module.stride, module.padding)
        each = zip(
            trail.shape, *(np.broadcast_to(size, n).tolist() for size in sizes), strict=False
        )
        fits = all(ceil_changes_nothing(size, k, s, (p, p)) for size, k, s, p in each)
        demand(fits, "ceil_mode=False, or where it adds no window")
    if kind in (nn.AvgPool1D, nn.AvgPool2D):
        demand(getattr(module, "divisor_override", None) is None, "divisor_override=None")
        if module.count_include_pad and np.any(padding):  # zeros are cells like others
            each_side = np.broadcast_to(padding, n).tolist()
            trail, padding = trail.zero_padded([(p, p) for p in each_side]), "valid"
    else:
        demand(np.all(np.equal(module.dilation, 1)), "dilation=1")
    return trail.then(kind(one(module.kernel_size), one(module.stride), padding=padding))


@reads(modules.MaxPool, modules.AvgPool)
def _padded_pool(module: Any, trail: Trail) -> Trail:
    """Read a pooling of ours that PyTorch has no module for."""
    trail, n = trail.with_channels_first(), len(module.pads) // 2
    sides = list(zip(module.pads[::2], module.pads[1::2], strict=True))[::-1]
    is_even = all(start == end for start, end in sides)
    padding = one(tuple(start for start, _ in sides)) if is_even else "same"
    kind = POOLS["MaxPool" if isinstance(module, modules.MaxPool) else "AveragePool"][n]
    windows = (one(tuple(module.windows[name])) for name in ("kernel_size", "stride"))
    return trail.then(kind(*windows, padding=padding))


_AVERAGES = (tnn.AdaptiveAvgPool1d, tnn.AdaptiveAvgPool2d)


@reads(*_AVERAGES, tnn.AdaptiveMaxPool1d, tnn.AdaptiveMaxPool2d)
def _adaptive_pool(module: Any, trail: Trail) -> Trail:
    is_average = isinstance(module, _AVERAGES)
    demand(is_average or not module.return_indices, "return_indices=False")
    pool = "AveragePool" if is_average else "MaxPool"
    if np.all(np.equal(module.output_size, 1)):
        return trail.global_pool(POOLS[f"Global{pool}"])
    trail = trail.with_channels_first()
    places = trail.shape[:-1]
    wanted = module.output_size
    each = wanted if isinstance(wanted, tuple) else (wanted,) * len(places)
    sizes = [n if size is None else size for n, size in zip(places, each, strict=True)]
    even = all(n % size == 0 for n, size in zip(places, sizes, strict=True))
    demand(even, f"an output_size that divides {places}, in windows of one size")
    windows = one(tuple(n // size for n, size in zip(places, sizes, strict=True)))
    return trail.then(POOLS[pool][len(places)](windows))


@reads(tnn.Upsample, tnn.UpsamplingNearest2d, tnn.UpsamplingBilinear2d)
def _upsample(module: Any, trail: Trail) -> Trail:
    demand(module.mode in ("nearest", "bilinear"), "mode='nearest' or mode='bilinear'")
    demand(not module.align_corners, "align_corners=False")
    trail = trail.with_channels_first()
    demand(len(trail.shape) == 3, "images")
    grown = module.scale_factor
    if grown is None:
        grown = np.broadcast_to(module.size, 2) / np.array(trail.shape[:-1])
    height, width = np.broadcast_to(grown, 2).tolist()
    whole = height == int(height) > 0 and width == int(width) > 0
    demand(whole, "whole numbers as scale_factor, or a size that is a multiple")
    return trail.then(nn.UpSample2D((int(height), int(width)), interpolation=module.mode))
