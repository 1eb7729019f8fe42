"""Modules of PyTorch become networks: same predictions, same gradients, or a clear error."""

import numpy as np
import pytest
from closeness import assert_equal_to_a_millionth
from errors import raises_exactly

import layerkit.layers as nn
from layerkit.interchange import from_pytorch, to_pytorch

torch = pytest.importorskip("torch")
tnn = torch.nn
Columns = pytest.importorskip("layerkit.interchange.torch.modules").Columns


def predict(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def seeded(make):
    torch.manual_seed(0)
    module = make()
    for child in module.modules():
        if isinstance(child, tnn.modules.batchnorm._BatchNorm):
            tnn.init.normal_(child.running_mean)
            tnn.init.uniform_(child.running_var, 0.5, 2)
            tnn.init.uniform_(child.weight, 0.5, 2)
            tnn.init.normal_(child.bias)
    return module


def small_cnn():
    return tnn.Sequential(
        tnn.Conv2d(2, 4, 3, padding=1, bias=False),
        tnn.BatchNorm2d(4, momentum=0.2, eps=1e-3),
        tnn.ReLU(),
        tnn.MaxPool2d(2),
        tnn.Conv2d(4, 6, (3, 2), stride=2, dilation=1, groups=2),
        tnn.SiLU(),
        tnn.Flatten(),
        tnn.Dropout(0.3),
        tnn.ReLU(),
        tnn.Linear(24, 5),
        tnn.LayerNorm(5),
        tnn.Softmax(dim=-1),
    )


MODULES = {
    "mlp": (lambda: tnn.Sequential(tnn.Linear(4, 8), tnn.Tanh(), tnn.Linear(8, 2)), (4,)),
    "normed mlp": (
        lambda: tnn.Sequential(
            tnn.BatchNorm1d(4),
            tnn.Linear(4, 6, bias=False),
            tnn.Sequential(tnn.RMSNorm(6, eps=1e-4), tnn.GELU("tanh"), tnn.AlphaDropout(0.2)),
            tnn.Linear(6, 3),
            tnn.LogSoftmax(1),
        ),
        (4,),
    ),
    "cnn": (small_cnn, (10, 9, 2)),
    "global": (
        lambda: tnn.Sequential(
            tnn.Conv2d(1, 4, 3),
            tnn.PReLU(4),
            tnn.AvgPool2d(2, padding=1, count_include_pad=False),
            tnn.AvgPool2d((3, 2), stride=2, padding=1),
            tnn.GroupNorm(2, 4),
            tnn.Dropout2d(0.1),
            tnn.AdaptiveAvgPool2d(1),
            tnn.Flatten(),
            tnn.Linear(4, 3),
        ),
        (8, 8, 1),
    ),
    "one slope": (lambda: tnn.Sequential(tnn.Conv2d(1, 3, 2), tnn.PReLU()), (4, 4, 1)),
    "decoder": (
        lambda: tnn.Sequential(
            tnn.Linear(3, 24),
            tnn.Unflatten(1, (6, 2, 2)),
            tnn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1),
            tnn.ELU(0.7),
            tnn.Upsample(scale_factor=2, mode="nearest"),
            tnn.ZeroPad2d((1, 0, 2, 1)),
            tnn.Conv2d(4, 1, 1),
            tnn.Sigmoid(),
        ),
        (3,),
    ),
    "signals": (
        lambda: tnn.Sequential(
            tnn.Conv1d(2, 4, 3, padding=1),
            tnn.BatchNorm1d(4),
            tnn.LeakyReLU(0.1),
            tnn.MaxPool1d(2),
            tnn.GLU(1),
            tnn.Conv1d(2, 3, 2),
            tnn.Flatten(),
            tnn.Linear(9, 2),
        ),
        (8, 2),
    ),
    "causal signals": (
        lambda: tnn.Sequential(
            tnn.ConstantPad1d((2, 0), 0.0),
            tnn.Conv1d(2, 4, 3),
            tnn.Tanh(),
            tnn.ZeroPad1d((0, 1)),
            tnn.AvgPool1d(3, stride=1, padding=1),
            tnn.Conv1d(4, 3, 3, padding=1, stride=2),
            tnn.AvgPool1d(2, padding=1, count_include_pad=False),
            tnn.Flatten(),
            tnn.Linear(9, 2),
        ),
        (8, 2),
    ),
    "padded sequences": (
        lambda: tnn.Sequential(tnn.Linear(3, 4), tnn.ZeroPad1d((1, 2)), tnn.Linear(7, 2)),
        (5, 3),
    ),
    "sequences": (
        lambda: tnn.Sequential(
            tnn.Linear(3, 4), tnn.LayerNorm(4), tnn.Mish(), tnn.Flatten(), tnn.Linear(20, 2)
        ),
        (5, 3),
    ),
    "a convolution over the features": (
        lambda: tnn.Sequential(tnn.Linear(3, 4), tnn.Conv1d(5, 2, 2), tnn.Linear(3, 2)),
        (5, 3),
    ),
    "flattened images": (
        lambda: tnn.Sequential(tnn.Flatten(), tnn.Linear(24, 4), tnn.Hardswish()),
        (4, 3, 2),
    ),
    "one pixel": (lambda: tnn.Sequential(tnn.Flatten(), tnn.Linear(5, 2)), (1, 1, 5)),
    "columns to images": (
        lambda: Columns(
            [
                (range(4), tnn.Sequential(tnn.Unflatten(1, (1, 2, 2)), tnn.Conv2d(1, 3, 1))),
                ([4], tnn.Tanh()),
            ]
        ),
        (5,),
    ),
    "softplus": (lambda: tnn.Sequential(tnn.Linear(4, 5), tnn.Softplus(threshold=30)), (4,)),
    "softmax over channels": (
        lambda: tnn.Sequential(tnn.Conv2d(2, 3, 1), tnn.Softmax(1), tnn.Flatten()),
        (2, 3, 2),
    ),
}


def run_both(name, dtype):
    make, shape = MODULES[name]
    module = seeded(make).to(dtype)
    network = from_pytorch(module, shape)
    x = np.random.default_rng(1).standard_normal((3, *shape)).astype(network.dtype)
    first = len(shape) == 3 or "signals" in name
    return module, network, x, np.moveaxis(x, -1, 1) if first else x


@pytest.mark.parametrize("name", MODULES)
def test_a_module_from_pytorch_and_back(name):
    module, network, x, torch_x = run_both(name, torch.float32)
    expected = predict(module.eval(), torch_x)
    y = network.infer(x)
    assert y.dtype == np.float32
    y = np.moveaxis(y, -1, 1) if y.ndim == 4 else y
    assert_equal_to_a_millionth(y, expected)
    again = predict(to_pytorch(network), torch_x)
    assert_equal_to_a_millionth(again, expected)


def torch_gradients(module, x, grad):
    x = torch.tensor(np.ascontiguousarray(x), requires_grad=True)
    y = module(x)
    y.backward(torch.tensor(np.ascontiguousarray(grad)))
    return y.detach().numpy(), x.grad.numpy(), [p.grad for p in module.parameters()]


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", MODULES)
def test_gradients_of_a_module_from_pytorch(name, training):
    module, network, x, torch_x = run_both(name, torch.float64)
    for child in module.modules():
        if "Dropout" in type(child).__name__:
            child.p = 0.0
    for _, layer in network.walk():
        if hasattr(layer, "rate"):
            layer.rate = 0.0
    module.train(training)
    y = network.forward(x, training=training)
    grad = np.random.default_rng(2).standard_normal(y.shape)
    expected, x_grad, grads = torch_gradients(
        module, torch_x, np.moveaxis(grad, -1, 1) if y.ndim == 4 else grad
    )
    y = np.moveaxis(y, -1, 1) if y.ndim == 4 else y
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-9)
    grad_input = network.backward(grad)
    grad_input = np.moveaxis(grad_input, -1, 1) if x_grad.shape != grad_input.shape else grad_input
    if x.shape != torch_x.shape:
        grad_input = np.moveaxis(network.backward(grad), -1, 1)
    np.testing.assert_allclose(grad_input, x_grad, rtol=1e-9, atol=1e-9)
    # every parameter's gradient, in whichever order it is stored: sums and norms are the same
    ours = [g for _, layer in network.walk() for g in layer.grads.values()]
    found = [g.numpy() for g in grads]
    if name != "one slope":  # one slope there, one for each channel here
        assert len(ours) == len(found)
        for a, b in zip(ours, found, strict=True):
            np.testing.assert_allclose(np.sort(a, None), np.sort(b, None), rtol=1e-8, atol=1e-9)


def test_running_statistics_move_as_in_pytorch():
    module, network, x, torch_x = run_both("cnn", torch.float64)
    module.train()(torch.from_numpy(np.ascontiguousarray(torch_x)))
    network.forward(x, training=True)
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(
            network["batch_norm_1"].buffers[name], getattr(module[1], name).numpy(), rtol=1e-9
        )


def test_rows_after_flatten_are_reordered_not_the_images():
    network = from_pytorch(seeded(small_cnn), (10, 9, 2))
    assert not any(isinstance(layer, nn.Permute) for layer in network)
    assert not any("Permute" in type(m).__name__ for m in to_pytorch(network).modules())


def test_copies_not_views():
    module = tnn.Sequential(tnn.Linear(2, 2))
    network = from_pytorch(module)
    network.flat_params[...] = 0
    assert module[0].weight.abs().sum() > 0
    back = to_pytorch(network)
    network.flat_params[...] = 1
    assert back[0].weight.abs().sum() == 0


@pytest.mark.parametrize(
    "module, dtype",
    [
        (tnn.Conv2d(2, 3, 1).double(), np.float64),
        (tnn.BatchNorm2d(2, affine=False).double(), np.float64),
        (tnn.BatchNorm2d(2, affine=False), np.float32),
        (tnn.Conv2d(2, 3, 1).half(), np.float32),
        (tnn.Conv2d(2, 3, 1).bfloat16(), np.float32),
        (tnn.BatchNorm2d(2).bfloat16(), np.float32),
        (tnn.ReLU().double(), np.float32),
    ],
    ids=["float64", "buffers", "float32", "float16", "bfloat16", "bfloat16 buffers", "none"],
)
def test_the_dtype_of_parameters_and_buffers(module, dtype):
    network = from_pytorch(module, (4, 4, 2))
    assert network.dtype == dtype
    x = np.random.default_rng(0).standard_normal((3, 4, 4, 2)).astype(dtype)
    expected = predict(module.float().eval(), np.moveaxis(x, -1, 1).astype(np.float32))
    assert_equal_to_a_millionth(np.moveaxis(network.infer(x), -1, 1), expected)


ACT, TWICE = tnn.ReLU(), tnn.Linear(5, 5)
PAIR = tnn.Sequential(TWICE, ACT)


@pytest.mark.parametrize(
    "module, n_layers",
    [
        (tnn.Sequential(tnn.Linear(5, 5), ACT, tnn.Linear(5, 5), ACT, tnn.Linear(5, 2)), 5),
        (tnn.Sequential(TWICE, tnn.Tanh(), TWICE), 3),
        (tnn.Sequential(TWICE, tnn.Sequential(ACT, tnn.Sequential(TWICE, ACT))), 4),
        (tnn.Sequential(PAIR, tnn.Tanh(), PAIR), 5),
    ],
    ids=["an activation", "a Linear", "nested", "a Sequential"],
)
def test_a_shared_module_is_read_at_every_place(module, n_layers):
    network = from_pytorch(module)
    assert len(network) == n_layers
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    assert_equal_to_a_millionth(network.infer(x), predict(module, x))


@pytest.mark.parametrize(
    "module, message",
    [
        (tnn.Sequential(tnn.LSTMCell(2, 2)), "module.0 LSTMCell(2, 2): LSTMCell has no layer"),
        (
            tnn.Sequential(tnn.LSTM(2, 2)),
            "module.0 LSTM(2, 2): only with batch_first=True and proj_size=0",
        ),
        (
            tnn.Sequential(tnn.Softplus(beta=2)),
            "module.0 Softplus(beta=2, threshold=20.0): only with beta=1",
        ),
        (
            tnn.Sequential(tnn.Softplus(threshold=0.5)),
            "module.0 Softplus(beta=1.0, threshold=0.5): only with threshold of at least 20",
        ),
        (
            tnn.Sequential(tnn.MaxPool2d(4, ceil_mode=True)),
            "module.0 MaxPool2d(kernel_size=4, stride=4, padding=0, dilation=1, "
            "ceil_mode=True): only with ceil_mode=False, or where it adds no window",
        ),
        (
            tnn.Sequential(tnn.MaxPool2d(2, return_indices=True)),
            "module.0 MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, "
            "ceil_mode=False): only with return_indices=False",
        ),
        (
            tnn.AdaptiveMaxPool2d(1, return_indices=True),
            "module AdaptiveMaxPool2d(output_size=1): only with return_indices=False",
        ),
        (
            tnn.Sequential(tnn.AvgPool2d(3, divisor_override=2)),
            "module.0 AvgPool2d(kernel_size=3, stride=3, padding=0): only with "
            "divisor_override=None",
        ),
        (
            tnn.Sequential(tnn.ConstantPad2d(1, -np.inf)),
            "module.0 ConstantPad2d(padding=(1, 1, 1, 1), value=-inf): only with zeros as padding",
        ),
        (
            tnn.ZeroPad2d((0, -1, 0, 0)),
            "module ZeroPad2d((0, -1, 0, 0)): in ZeroPad2D(padding=((0, 0), (0, -1))): "
            "padding must be an integer of at least 0, a pair, or a pair of pairs of "
            "them, got ((0, 0), (0, -1))",
        ),
        (tnn.ZeroPad1d(1), "module ZeroPad1d((1, 1)): only with 1 axes of places"),
        (
            tnn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
            "module Conv2d(2, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), "
            "padding_mode=reflect): only with padding_mode='zeros'",
        ),
        (
            tnn.BatchNorm2d(2, track_running_stats=False),
            "module BatchNorm2d(2, eps=1e-05, momentum=0.1, affine=True, bias=True, "
            "track_running_stats=False): only with track_running_stats=True",
        ),
        (tnn.Softmax(), "module Softmax(dim=None): only with dim"),
        (
            tnn.Linear(1, 2),
            "module Linear(in_features=1, out_features=2, bias=True): W must have shape "
            "(6, 2) for samples of shape (2, 6, 6), got (1, 2)",
        ),
        (
            tnn.Sequential(tnn.BatchNorm2d(3)),
            "module.0 BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, "
            "track_running_stats=True): gamma must have shape (2,) for samples of shape "
            "(6, 6, 2), got (3,)",
        ),
        (
            tnn.PReLU(3),
            "module PReLU(num_parameters=3): negative_slope must have shape (2,) for "
            "samples of shape (6, 6, 2), got (3,)",
        ),
        (3, "module must be a torch.nn.Module, got 3"),
    ],
    ids=str,
)
def test_what_has_no_layer_is_named(module, message):
    with raises_exactly((TypeError, ValueError), message):
        from_pytorch(module, (6, 6, 2))


@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_bare_recurrent_module_gives_all_its_steps(kind, num_layers, both):
    torch.manual_seed(0)
    module = getattr(tnn, kind)(3, 4, num_layers, batch_first=True, bidirectional=both)
    network = from_pytorch(module, (5, 3))
    x = torch.randn(2, 5, 3)
    with torch.no_grad():
        expected = module(x)[0].numpy()
    np.testing.assert_allclose(network.infer(x.numpy()), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "made",
    [
        lambda: tnn.Linear(6, 3),
        lambda: tnn.Sequential(tnn.Linear(6, 4), tnn.ReLU(), tnn.Linear(4, 2)),
        lambda: tnn.Sequential(tnn.Tanh(), tnn.Linear(6, 2), tnn.Flatten()),
    ],
    ids=["Linear", "two", "flattened"],
)
def test_a_linear_of_the_last_of_three_axes_takes_them_as_they_are(made):
    """It fits in no other order: the axes are no channels, height and width."""
    module = seeded(made)
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    network = from_pytorch(module, input_shape=(4, 5, 6))
    assert network.input_shape == (4, 5, 6)
    assert_equal_to_a_millionth(network.infer(x), predict(module, x))


@pytest.mark.parametrize("kind", ["MaxPool1D", "MaxPool2D", "AvgPool1D", "AvgPool2D"])
@pytest.mark.parametrize(
    ("size", "padding", "is_theirs"),
    [
        (2, 0, True),
        (2, 1, True),
        (3, 1, True),
        (4, 2, True),
        (4, "same", True),  # 12 is a multiple: nothing to add
        (3, 2, False),  # PyTorch's pads by half a window at most
        (5, "same", False),  # and on both sides alike
    ],
)
def test_pooling_is_pytorch_s_own_where_that_can_pad_so(kind, size, padding, is_theirs):
    layer = getattr(nn, kind)(size, padding=padding)
    net = nn.Sequential([layer]).build((12,) * layer.n_axes + (2,), dtype=np.float64)
    *_, module = to_pytorch(net).modules()
    assert isinstance(module, getattr(tnn, kind.replace("D", "d"))) == is_theirs
    x = np.random.default_rng(0).standard_normal((2, *net.input_shape))
    y = to_pytorch(net)(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy()
    np.testing.assert_allclose(np.moveaxis(y, 1, -1), net.infer(x), rtol=1e-6)
    back = from_pytorch(to_pytorch(net), net.input_shape)
    np.testing.assert_allclose(back.infer(x), net.infer(x), rtol=1e-6, atol=1e-6)
