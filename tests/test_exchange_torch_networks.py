"""Networks as PyTorch's users write them, exported by PyTorch, come in and compute the same."""

import io
import warnings

import numpy as np
import pytest
from errors import raises_exactly

import layerkit.layers as nn
from layerkit.interchange import from_onnx, from_pytorch

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
tnn = torch.nn


class Excite(tnn.Module):
    def __init__(self, c):
        super().__init__()
        self.first, self.second = tnn.Linear(c, 2), tnn.Linear(2, c)

    def forward(self, x):
        gate = torch.sigmoid(self.second(torch.relu(self.first(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class ExciteByConvolutions(tnn.Module):
    def __init__(self, c):
        super().__init__()
        gate = [tnn.Conv2d(c, 2, 1), tnn.SiLU(), tnn.Conv2d(2, c, 1), tnn.Hardsigmoid()]
        self.gate = tnn.Sequential(tnn.AdaptiveAvgPool2d(1), *gate)

    def forward(self, x):
        return self.gate(x) * x


class Attend(tnn.Module):
    def __init__(self):
        super().__init__()
        self.conv = tnn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x):
        both = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.conv(both))


class Inverted(tnn.Module):
    def __init__(self, c):
        super().__init__()
        self.body = tnn.Sequential(
            *(tnn.Conv2d(c, 2 * c, 1), tnn.BatchNorm2d(2 * c), tnn.ReLU6()),
            *(tnn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c), tnn.ReLU6()),
            tnn.Conv2d(2 * c, c, 1),
        )

    def forward(self, x):
        return x + self.body(x)


class NormOfChannels(tnn.Module):
    def __init__(self, c):
        super().__init__()
        self.weight, self.bias = tnn.Parameter(torch.rand(c)), tnn.Parameter(torch.rand(c))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        var = (x - mean).pow(2).mean(1, keepdim=True)
        x_hat = (x - mean) / torch.sqrt(var + 1e-6)
        return self.weight[:, None, None] * x_hat + self.bias[:, None, None]


class MeanOverTime(tnn.Module):
    def forward(self, x):
        return x.mean(1)


class View(tnn.Module):
    def forward(self, x):
        return x.view(x.size(0), -1)


def conv(*more):
    return tnn.Sequential(tnn.Conv2d(3, 4, 3), *more)


def dense(*more):
    return tnn.Sequential(tnn.Linear(4, 6), *more)


IMAGE, TABLE = (3, 8, 8), (4,)
C, D = nn.Conv2D, nn.Dense
NETWORKS = {
    "squeeze and excite": (lambda: conv(Excite(4)), IMAGE, [C, nn.Gate]),
    "excite by convolutions": (lambda: conv(ExciteByConvolutions(4)), IMAGE, [C, nn.Gate]),
    "attend to places": (lambda: conv(Attend()), IMAGE, [C, nn.Gate]),
    "inverted block": (lambda: conv(Inverted(4)), IMAGE, [C, nn.Residual]),
    "norm of channels": (lambda: conv(NormOfChannels(4)), IMAGE, [C, nn.LayerNorm]),
    "norm of images": (lambda: conv(tnn.LayerNorm([4, 6, 6])), IMAGE, None),
    "instances": (lambda: conv(tnn.InstanceNorm2d(4, affine=True)), IMAGE, [C, nn.InstanceNorm]),
    "groups": (lambda: conv(tnn.GroupNorm(2, 4)), IMAGE, [C, nn.GroupNorm]),
    "gated channels": (lambda: conv(tnn.GLU(1)), IMAGE, [C, nn.GLU]),
    "gated columns": (lambda: dense(tnn.GLU()), TABLE, [D, nn.GLU]),
    "bilinear": (
        lambda: conv(tnn.Upsample(scale_factor=2, mode="bilinear")),
        IMAGE,
        [C, nn.UpSample2D],
    ),
    "pixel shuffle": (lambda: conv(tnn.PixelShuffle(2)), IMAGE, None),
    "even pooling": (lambda: conv(tnn.AdaptiveAvgPool2d(3)), IMAGE, [C, nn.AvgPool2D]),
    "rounded up": (
        lambda: conv(tnn.MaxPool2d(2, ceil_mode=True), View(), tnn.Linear(36, 2)),
        IMAGE,
        [C, nn.MaxPool2D, nn.Flatten, D],
    ),
    "more at the end": (
        lambda: tnn.Sequential(
            tnn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), tnn.ReLU()
        ),
        IMAGE,
        [nn.ConvTranspose2D, nn.ReLU],
    ),
    "from short to long": (
        lambda: tnn.Sequential(
            tnn.Conv1d(3, 3, 1), tnn.ConvTranspose1d(3, 4, 4, stride=2, padding=1)
        ),
        (3, 8),
        [nn.Conv1D, nn.Reshape, nn.ConvTranspose2D, nn.Reshape],
    ),
    "mean over time": (
        lambda: dense(tnn.LayerNorm(6), MeanOverTime(), tnn.Linear(6, 2)),
        (7, 4),
        [D, nn.LayerNorm, nn.GlobalAvgPool1D, D],
    ),
    "bounds": (
        lambda: dense(tnn.ReLU6(), tnn.Linear(6, 4), tnn.Hardtanh(-2, 3), tnn.CELU(0.7)),
        TABLE,
        [D, nn.HardTanh, D, nn.HardTanh, nn.BatchNorm, nn.ELU, nn.BatchNorm],
    ),
}


def exported(module, shape, opset):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), torch.randn(1, *shape), file, dynamo=False, opset_version=opset
        )
    return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_pytorch_exported(name, opset):
    if (name, opset) == ("bounds", 11):
        pytest.skip("CELU has no such export")
    torch.manual_seed(0)
    make, shape, kinds = NETWORKS[name]
    module = make()
    network = from_onnx(exported(module, shape, opset))
    x = torch.randn(3, *shape)
    with torch.no_grad():
        expected = module(x).numpy()
    first = len(shape) == 3 or name == "from short to long"
    y = network.infer(np.moveaxis(x.numpy(), 1, -1) if first else x.numpy())
    y = np.moveaxis(y, -1, 1) if first and y.ndim > 2 else y
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)
    if kinds is not None:
        assert [type(layer) for layer in network] == kinds


# ---------------------------------------------------------------- the modules themselves


class Named(tnn.Sequential):
    """A subclass that overrides nothing."""


class MyLinear(tnn.Linear):
    pass


class Doubled(tnn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


FROM_MODULES = {
    "bilinear": (lambda: conv(tnn.Upsample(scale_factor=(2, 3), mode="bilinear")), IMAGE),
    "to a size": (lambda: conv(tnn.Upsample(size=(12, 18))), IMAGE),
    "instances": (lambda: conv(tnn.InstanceNorm2d(4, affine=True), tnn.ReLU6()), IMAGE),
    "instances of sequences": (
        lambda: tnn.Sequential(tnn.Conv1d(3, 4, 2), tnn.InstanceNorm1d(4)),
        (3, 8),
    ),
    "even pooling": (lambda: conv(tnn.AdaptiveMaxPool2d((3, None))), IMAGE),
    "even pooling of sequences": (
        lambda: tnn.Sequential(tnn.Conv1d(3, 4, 3), tnn.AdaptiveAvgPool1d(3)),
        (3, 8),
    ),
    "rounded up": (lambda: conv(tnn.AvgPool2d(2, ceil_mode=True)), IMAGE),
    "norm of images": (lambda: conv(tnn.LayerNorm([4, 6, 6])), IMAGE),
    "norm of places": (lambda: conv(tnn.RMSNorm([6, 6], eps=1e-3)), IMAGE),
    "subclasses": (lambda: Named(tnn.Conv2d(3, 4, 3), tnn.Flatten(), MyLinear(144, 2)), IMAGE),
    "weight norm": (
        lambda: dense(torch.nn.utils.parametrizations.weight_norm(tnn.Linear(6, 3))),
        TABLE,
    ),
    "samples of three axes": (lambda: dense(tnn.ReLU(), tnn.LayerNorm(6)), (2, 3, 4)),
}


@pytest.mark.parametrize("name", FROM_MODULES)
def test_a_module_that_pytorch_has(name):
    torch.manual_seed(0)
    make, shape = FROM_MODULES[name]
    module = make().eval()
    first = name != "samples of three axes" and len(shape) > 1
    ours = (*shape[1:], shape[0]) if first else shape
    network = from_pytorch(module, ours)
    x = torch.randn(3, *shape)
    with torch.no_grad():
        expected = module(x).numpy()
    y = network.infer(np.moveaxis(x.numpy(), 1, -1) if first else x.numpy())
    y = np.moveaxis(y, -1, 1) if first and y.ndim > 2 else y
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "module, message",
    [
        (Doubled(tnn.ReLU()), "module Doubled(): Doubled has no layer"),
        (
            tnn.ReflectionPad2d(1),
            "module ReflectionPad2d((1, 1, 1, 1)): ReflectionPad2d has no layer",
        ),
        (
            tnn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
            "module Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), "
            "padding_mode=circular): only with padding_mode='zeros'",
        ),
        (
            tnn.AdaptiveAvgPool2d(5),
            "module AdaptiveAvgPool2d(output_size=5): only with an output_size that "
            "divides (8, 8), in windows of one size",
        ),
        (
            tnn.UpsamplingBilinear2d(scale_factor=2),
            "module UpsamplingBilinear2d(scale_factor=2.0, mode='bilinear'): only with "
            "align_corners=False",
        ),
        (
            tnn.Upsample(size=(9, 16)),
            "module Upsample(size=(9, 16), mode='nearest'): only with whole numbers as "
            "scale_factor, or a size that is a multiple",
        ),
        (
            tnn.InstanceNorm2d(3, track_running_stats=True),
            "module InstanceNorm2d(3, eps=1e-05, momentum=0.1, affine=False, bias=False, "
            "track_running_stats=True): only with track_running_stats=False",
        ),
        (
            tnn.Flatten(0),
            "module Flatten(start_dim=0, end_dim=-1): only with all axes but the batch",
        ),
        (
            tnn.MaxPool2d(3, ceil_mode=True),
            "module MaxPool2d(kernel_size=3, stride=3, padding=0, dilation=1, "
            "ceil_mode=True): only with ceil_mode=False, or where it adds no window",
        ),
    ],
    ids=str,
)
def test_what_is_refused_says_why(module, message):
    with raises_exactly((TypeError, ValueError), message):
        from_pytorch(module, (8, 8, 3))
