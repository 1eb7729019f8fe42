"""From layers to PyTorch modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import nn as tnn

import layerkit.layers as nn
from layerkit.interchange.layouts import (
    rows_to_channels_first,
    to_channels_first,
    to_channels_last,
)
from layerkit.interchange.torch_layers import modules
from layerkit.layer import Layer
from layerkit.shapes import Shape


class Chain(NamedTuple):
    """Modules so far, the shape of a sample in our layout, and whether channels come first there.

    ``image`` is set after a flattening of channels-first images until a Dense takes it up.
    """

    modules: tuple[tnn.Module, ...]
    shape: Shape
    channels_first: bool
    image: Shape | None = None

    def then(self, module: tnn.Module, shape: Shape | None = None) -> Self:
        """Go on through a module."""
        shape = self.shape if shape is None else shape
        first = self.channels_first and len(shape) > 1
        return self._replace(modules=(*self.modules, module), shape=shape, channels_first=first)

    def with_channels_first(self) -> Self:
        """Bring the channels to the front, if there are places at all."""
        if self.channels_first or len(self.shape) < 2:
            return self
        turn = modules.Permute(to_channels_first(self.shape)[1:])
        return self.then(turn)._replace(channels_first=True)

    def with_channels_last(self) -> Self:
        """Bring the channels to the end."""
        if not self.channels_first:
            return self
        turn = modules.Permute(to_channels_last(self.shape)[1:])
        return self.then(turn)._replace(channels_first=False)

    def in_order(self, channels_first: bool) -> Self:
        """Bring the channels to the front or to the end."""
        return self.with_channels_first() if channels_first else self.with_channels_last()

    def axis(self, axis: int) -> int:
        """The module's axis for one of ours (the batch is 0)."""
        axis %= len(self.shape) + 1
        return to_channels_last(self.shape)[axis] if self.channels_first else axis

    def module(self) -> tnn.Module:
        """Return the modules as one."""
        return self.modules[0] if len(self.modules) == 1 else tnn.Sequential(*self.modules)


Writer = Callable[[Any, Chain], Chain]
WRITERS: dict[type[Layer], Writer] = {}


def writes(*kinds: type[Layer]) -> Callable[[Writer], Writer]:
    """Enter the decorated function ``(layer, chain) -> chain`` into the table."""

    def enter(writer: Writer) -> Writer:
        WRITERS.update(dict.fromkeys(kinds, writer))
        return writer

    return enter


def write_network(network: Layer) -> tnn.Module:
    """Return a module that computes what the network computes; images have channels first."""
    shape = network.input_shape
    first = len(shape) == 3 or (len(shape) == 2 and _wants_channels_first(network))
    chain = write(network, Chain((), shape, first))
    if chain.image is not None:
        chain = _reordered(chain)
    chain = chain.in_order(len(chain.shape) == 3 or (len(chain.shape) == 2 and first))
    module = tnn.Sequential(*chain.modules)
    return module.to(torch.float64 if network.dtype == np.float64 else torch.float32).eval()


def _wants_channels_first(network: Layer) -> bool:
    for _, layer in network.walk():
        if isinstance(layer, _ON_PLACES):
            return True
        if isinstance(layer, nn.Dense | nn.LayerNorm | nn.RMSNorm | nn.Maxout):
            return False
    return False


_ON_PLACES = (nn.Conv1D, nn.MaxPool1D, nn.AvgPool1D, nn.GlobalAvgPool1D, nn.GlobalMaxPool1D)


def write(layer: Layer, chain: Chain) -> Chain:
    """Go on through a layer and those inside it."""
    writer = WRITERS.get(type(layer))  # the exact class: a subclass may compute something else
    if writer is None:
        raise TypeError(f"in {layer.where}: {type(layer).__name__} has no PyTorch module")
    n = len(chain.modules)
    if chain.image is not None and not isinstance(layer, (*_ANYWHERE, nn.Dense, nn.Sequential)):
        chain = _reordered(chain)
    chain = writer(layer, chain)
    if not layer.trainable:
        for module in chain.modules[n:]:
            module.requires_grad_(False)
    return chain


def _reordered(chain: Chain) -> Chain:
    """Bring flattened values into our order, for a layer that cares and is no Dense."""
    image = chain.image
    assert image is not None
    channels_first = (image[-1], *image[:-1])
    chain = chain._replace(image=None).then(modules.Reshape(channels_first), image)
    turned = chain.then(modules.Permute(to_channels_last(image)[1:]))
    return turned.then(tnn.Flatten(), (int(np.prod(image)),))


def _set(module: Any, **arrays: Any) -> Any:
    """Write arrays into a module's parameters and buffers."""
    with torch.no_grad():
        for name, value in arrays.items():
            if value is not None:
                tensor = torch.tensor(np.ascontiguousarray(value))
                getattr(module, name).data = tensor
    return module


MODULES: dict[type[Layer], Callable[[Any], tnn.Module]] = {
    nn.Identity: lambda layer: tnn.Identity(),
    nn.ReLU: lambda layer: tnn.ReLU(),
    nn.LeakyReLU: lambda layer: tnn.LeakyReLU(layer.negative_slope),
    nn.ELU: lambda layer: tnn.ELU(layer.alpha),
    nn.SELU: lambda layer: tnn.SELU(),
    nn.GELU: lambda layer: tnn.GELU("tanh" if layer.approximate else "none"),
    nn.SiLU: lambda layer: tnn.SiLU(),
    nn.Mish: lambda layer: tnn.Mish(),
    nn.Sigmoid: lambda layer: tnn.Sigmoid(),
    nn.HardSigmoid: lambda layer: tnn.Hardsigmoid(),
    nn.HardSwish: lambda layer: tnn.Hardswish(),
    nn.Tanh: lambda layer: tnn.Tanh(),
    nn.HardTanh: lambda layer: tnn.Hardtanh(),
    nn.Softplus: lambda layer: tnn.Softplus(),
    nn.Softsign: lambda layer: tnn.Softsign(),
    nn.Dropout: lambda layer: tnn.Dropout(layer.rate),
    nn.AlphaDropout: lambda layer: tnn.AlphaDropout(layer.rate),
    nn.GaussianNoise: lambda layer: modules.GaussianNoise(layer.stddev),
}
_ANYWHERE = tuple(MODULES)


def _anywhere(layer: Layer, chain: Chain) -> Chain:
    return chain.then(MODULES[type(layer)](layer))


WRITERS.update(dict.fromkeys(MODULES, _anywhere))


@writes(nn.PReLU)
def _prelu(layer: Layer, chain: Chain) -> Chain:
    slopes = layer.params["negative_slope"]
    return chain.with_channels_first().then(_set(tnn.PReLU(len(slopes)), weight=slopes))


@writes(nn.Softmax, nn.LogSoftmax)
def _softmax(layer: Any, chain: Chain) -> Chain:
    return chain.then(getattr(tnn, type(layer).__name__)(dim=chain.axis(layer.axis)))


@writes(nn.GLU)
def _glu(layer: Layer, chain: Chain) -> Chain:
    return chain.then(tnn.GLU(dim=chain.axis(-1)), layer.output_shape)


@writes(nn.SpatialDropout2D)
def _channel_dropout(layer: Any, chain: Chain) -> Chain:
    kind = tnn.Dropout2d if len(chain.shape) == 3 else tnn.Dropout1d
    return chain.with_channels_first().then(kind(layer.rate))


@writes(nn.Dense)
def _dense(layer: Any, chain: Chain) -> Chain:
    W, b = layer.params["W"], layer.params.get("b")
    if chain.image is not None:
        W, chain = rows_to_channels_first(W, chain.image), chain._replace(image=None)
    linear = _set(tnn.Linear(*W.shape, bias=layer.use_bias), weight=W.T, bias=b)
    return chain.with_channels_last().then(linear, layer.output_shape)


@writes(nn.Maxout)
def _maxout(layer: Any, chain: Chain) -> Chain:
    W, b = layer.params["W"], layer.params["b"]
    module = modules.Maxout(len(W), layer.units, layer.pieces)
    return chain.with_channels_last().then(_set(module, weight=W.T, bias=b), layer.output_shape)


@writes(nn.Embedding)
def _embedding(layer: Any, chain: Chain) -> Chain:
    module = _set(modules.Index(layer.num_embeddings, layer.dim), weight=layer.params["W"])
    return chain.with_channels_last().then(module, layer.output_shape)


@writes(nn.Flatten)
def _flatten(layer: Layer, chain: Chain) -> Chain:
    shape, first = chain.shape, chain.channels_first
    return chain.then(tnn.Flatten(), layer.output_shape)._replace(image=shape if first else None)


@writes(nn.Reshape)
def _reshape(layer: Layer, chain: Chain) -> Chain:
    module = modules.Reshape(layer.output_shape)
    return chain.with_channels_last().then(module, layer.output_shape)


@writes(nn.Permute)
def _permute(layer: Any, chain: Chain) -> Chain:
    return chain.with_channels_last().then(modules.Permute(layer.axes), layer.output_shape)


@writes(nn.ZeroPad2D)
def _zero_pad(layer: Any, chain: Chain) -> Chain:
    (top, bottom), (left, right) = layer._margins
    module = tnn.ZeroPad2d((left, right, top, bottom))
    return chain.with_channels_first().then(module, layer.output_shape)


@writes(nn.UpSample2D)
def _upsample(layer: Any, chain: Chain) -> Chain:
    factors = tuple(map(float, layer._factors))
    return chain.with_channels_first().then(tnn.Upsample(scale_factor=factors), layer.output_shape)


@writes(nn.Sequential)
def _sequential(layer: Any, chain: Chain) -> Chain:
    for child in layer:
        chain = write(child, chain)
    return chain


@writes(nn.Residual)
def _residual(layer: Any, chain: Chain) -> Chain:
    start = Chain((), chain.shape, chain.channels_first)
    body = write(layer.body, start)
    shortcut = start if layer.shortcut is None else write(layer.shortcut, start)
    body, shortcut = _alike([body, shortcut], start.channels_first)
    module = modules.Residual(body.module(), shortcut.module())
    return chain.then(module, layer.output_shape)


@writes(nn.Concat)
def _concat(layer: Any, chain: Chain) -> Chain:
    start = Chain((), chain.shape, chain.channels_first)
    parts = _alike([write(branch, start) for branch in layer.branches], start.channels_first)
    end = Chain((), layer.output_shape, parts[0].channels_first)
    module = modules.Concat([part.module() for part in parts], end.axis(layer.axis))
    return end._replace(modules=(*chain.modules, module))


def _alike(chains: list[Chain], channels_first: bool) -> list[Chain]:
    """Bring the ends of branches into our order or, where there are places, into that asked for."""
    plain = [_reordered(chain) if chain.image is not None else chain for chain in chains]
    return [chain.in_order(channels_first and len(chain.shape) > 1) for chain in plain]


@writes(nn.Columns)
def _columns(layer: Any, chain: Chain) -> Chain:
    routes = []
    for positions, (_, child) in zip(layer._positions, layer.routes, strict=True):
        part = write(child, Chain((), (len(positions),), False))
        routes.append((positions, part.with_channels_last().module()))
    return chain.then(modules.Columns(routes), layer.output_shape)
