"""The modules that are a layer of ours, and small ones for what PyTorch has no module for.

Images come with the channels first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from layerkit import layers
from layerkit.layer import Layer


class Residual(nn.Module):
    """A block and a way around it, added."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)


class Gate(nn.Module):
    """A block and a gate that scales what it gives."""

    def __init__(self, gate: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.gate, self.body = gate, body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) * self.gate(x)


class Concat(nn.Module):
    """Branches on the same input, joined along one axis."""

    def __init__(self, branches: Sequence[nn.Module], dim: int) -> None:
        super().__init__()
        self.branches, self.dim = nn.ModuleList(branches), dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], self.dim)


class Columns(nn.Module):
    """Columns of a table, each to a module of its own, flattened and joined."""

    def __init__(self, routes: Sequence[tuple[Sequence[int], nn.Module]]) -> None:
        super().__init__()
        self.columns = [list(map(int, columns)) for columns, _ in routes]
        self.modules_of = nn.ModuleList([module for _, module in routes])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        routes = zip(self.columns, self.modules_of, strict=True)
        return torch.cat([module(x[:, columns]).flatten(1) for columns, module in routes], 1)


class Permute(nn.Module):
    """Reorder the axes of a sample; the batch axis is 0."""

    def __init__(self, axes: Sequence[int]) -> None:
        super().__init__()
        self.axes = tuple(map(int, axes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, *self.axes)


class Reshape(nn.Module):
    """Give every sample another shape."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(map(int, shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), *self.shape)


class Maxout(nn.Linear):
    """The largest of several affine maps."""

    def __init__(self, in_features: int, units: int, pieces: int) -> None:
        super().__init__(in_features, units * pieces)
        self.pieces = pieces

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = super().forward(x)
        return z.unflatten(-1, (self.pieces, -1)).amax(-2)


class GaussianNoise(nn.Module):
    """Normal noise in training."""

    def __init__(self, stddev: float) -> None:
        super().__init__()
        self.stddev = stddev

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.stddev * torch.randn_like(x) if self.training else x


# What treats every value alike: the module of a layer, and the module's names of hyper-parameters.
ALIKE: dict[type[Layer], tuple[type[nn.Module], dict[str, str]]] = {
    layers.AlphaDropout: (nn.AlphaDropout, {"rate": "p"}),
    layers.Dropout: (nn.Dropout, {"rate": "p"}),
    layers.ELU: (nn.ELU, {"alpha": "alpha"}),
    layers.GaussianNoise: (GaussianNoise, {"stddev": "stddev"}),
    layers.HardSigmoid: (nn.Hardsigmoid, {}),
    layers.HardSwish: (nn.Hardswish, {}),
    layers.HardTanh: (nn.Hardtanh, {"low": "min_val", "high": "max_val"}),
    layers.Identity: (nn.Identity, {}),
    layers.LeakyReLU: (nn.LeakyReLU, {"negative_slope": "negative_slope"}),
    layers.Mish: (nn.Mish, {}),
    layers.ReLU: (nn.ReLU, {}),
    layers.SELU: (nn.SELU, {}),
    layers.Sigmoid: (nn.Sigmoid, {}),
    layers.SiLU: (nn.SiLU, {}),
    layers.Softplus: (nn.Softplus, {}),
    layers.Softsign: (nn.Softsign, {}),
    layers.Tanh: (nn.Tanh, {}),
}


POOLS: dict[type[Layer], type[nn.Module]] = {
    layers.AvgPool1D: nn.AvgPool1d,
    layers.AvgPool2D: nn.AvgPool2d,
    layers.GlobalAvgPool1D: nn.AdaptiveAvgPool1d,
    layers.GlobalAvgPool2D: nn.AdaptiveAvgPool2d,
    layers.GlobalMaxPool1D: nn.AdaptiveMaxPool1d,
    layers.GlobalMaxPool2D: nn.AdaptiveMaxPool2d,
    layers.MaxPool1D: nn.MaxPool1d,
    layers.MaxPool2D: nn.MaxPool2d,
}


class Index(nn.Embedding):
    """An embedding that takes its integers as floats too, as a table has them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.long())


class AvgPool(nn.Module):
    """The mean of the real cells of every window, with different padding on different sides."""

    def __init__(self, pads: Sequence[int], **windows: Any) -> None:
        super().__init__()
        self.pads, self.windows = tuple(pads), windows

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the average of zeros and cells, over the average of zeros and ones."""
        pool = F.avg_pool2d if x.ndim == 4 else F.avg_pool1d
        x, ones = F.pad(x, self.pads), F.pad(torch.ones_like(x[:1]), self.pads)
        return pool(x, **self.windows) / pool(ones, **self.windows)


class MaxPool(nn.Module):
    """The largest real cell of every window, with any padding."""

    def __init__(self, pads: Sequence[int], **windows: Any) -> None:
        super().__init__()
        self.pads, self.windows = tuple(pads), windows

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the maximum, in a frame that is smaller than every cell."""
        pool = F.max_pool2d if x.ndim == 4 else F.max_pool1d
        return pool(F.pad(x, self.pads, value=-torch.inf), **self.windows)


class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution without some rows and columns at the end."""

    def __init__(self, *sizes: Any, cut: Sequence[int], **windows: Any) -> None:
        super().__init__(*sizes, **windows)
        self.cut = tuple(map(int, cut))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        y = super().forward(x)
        return y[:, :, : y.shape[2] - self.cut[0], : y.shape[3] - self.cut[1]]
