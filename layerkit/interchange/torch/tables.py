"""Layers for tables as PyTorch modules and back; PyTorch has none of them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn as tnn

import layerkit.layers as nn
from layerkit.interchange.layouts import Trail
from layerkit.interchange.torch.reader import array, read, reads
from layerkit.interchange.torch.writer import Chain, tensor, write, writes
from layerkit.layer import Layer


class OwnArrays(tnn.Module):
    """A module with the parameters and buffers of a layer, under the same names."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        for name, value in layer.params.items():
            self.register_parameter(name, tnn.Parameter(tensor(value)))
        for name, value in layer.buffers.items():
            self.register_buffer(name, tensor(value))
        self.options = layer.get_params(deep=False)
        self.trained_on = layer.input_shape


class Scale(OwnArrays):
    """One factor for every feature."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.s * x


class SmoothClip(OwnArrays):
    """A clip without corners."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / (1 + (x / self.options["limit"]) ** 2).sqrt()


class NTKDense(OwnArrays):
    """An affine map with its scale in the formula."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.W / math.sqrt(len(self.W)) + self.b


class PeriodicEmbedding(OwnArrays):
    """Each number as itself and a mixture of its cosines."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.unsqueeze(-1)
        c = torch.cos(2 * math.pi * self.omega * x + self.phi)
        return torch.cat([x, torch.einsum("njh,jhe->nje", c, self.W) + self.b], dim=-1)


class PiecewiseLinearEmbedding(OwnArrays):
    """Each number by how far it reaches into its bins."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.unsqueeze(-1)
        t = ((x - self.low) * self.inverse).clamp(0, 1)
        return torch.einsum("njk,jke->nje", t, self.W) + x * self.v + self.b


class BatchEnsemble(OwnArrays):
    """Affine maps that share W."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.unsqueeze(1) if len(self.trained_on) == 1 else x
        return (x * self.r) @ self.W * self.s + self.b


class ParametricActivation(tnn.Module):
    """An activation of some strength."""

    def __init__(self, activation: tnn.Module, layer: Any) -> None:
        super().__init__()
        self.activation, self.rate = activation, layer.rate
        self.a = tnn.Parameter(tensor(layer.params["a"]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.a * (self.activation(x) - x)


MODULES: dict[type[Layer], type[OwnArrays]] = {
    nn.Scale: Scale,
    nn.SmoothClip: SmoothClip,
    nn.NTKDense: NTKDense,
    nn.PeriodicEmbedding: PeriodicEmbedding,
    nn.PiecewiseLinearEmbedding: PiecewiseLinearEmbedding,
    nn.BatchEnsemble: BatchEnsemble,
}
_LAYERS = {module: layer for layer, module in MODULES.items()}


@writes(*MODULES)
def _write(layer: Layer, chain: Chain) -> Chain:
    return chain.with_channels_last().then(MODULES[type(layer)](layer), layer.output_shape)


@reads(*_LAYERS)
def _read(module: Any, trail: Trail) -> Trail:
    layer = _LAYERS[type(module)](**module.options)
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return trail.with_channels_last().then(layer, **{name: array(t) for name, t in tensors})


@writes(nn.ParametricActivation)
def _write_activation(layer: Any, chain: Chain) -> Chain:
    chain = chain.with_channels_last()
    inner = write(layer.activation, Chain(chain.shape, False)).with_channels_last()
    return chain.then(ParametricActivation(inner.module(), layer))


@reads(ParametricActivation)
def _read_activation(module: Any, trail: Trail) -> Trail:
    trail = trail.with_channels_last()
    inner = Trail(trail.shape, False, start=trail.shape, arrays=trail.arrays)
    inner = read(module.activation, inner, "activation").with_channels_last()
    chain = list(inner.layers)
    activation = chain[0] if len(chain) == 1 else nn.Sequential(chain)
    return trail.then(nn.ParametricActivation(activation, rate=module.rate), a=array(module.a))
