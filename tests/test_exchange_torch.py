"""Networks that went to PyTorch, or came from there, compute the same."""

import re

import numpy as np
import pytest
from cases import CASES
from closeness import assert_equal_to_a_millionth
from errors import raises_exactly

import layerkit.layers as nn
from layerkit import SequentialRegressor, initializers
from layerkit.interchange import from_pytorch, to_pytorch

torch = pytest.importorskip("torch")
tnn = torch.nn

OF_SEQUENCES = (nn.Conv1D, nn.MaxPool1D, nn.AvgPool1D, nn.GlobalAvgPool1D, nn.GlobalMaxPool1D)


def has_channels_first(network):
    """Whether PyTorch's version takes the channels as axis 1."""
    leaves = [layer for _, layer in network.walk() if not layer.children()]
    images = len(network.input_shape) == 3
    return images or (len(network.input_shape) == 2 and isinstance(leaves[0], OF_SEQUENCES))


def run(module, x, channels_first):
    """Output of a module for an input of ours, in our layout."""
    x = torch.from_numpy(np.moveaxis(x, -1, 1).copy() if channels_first else x)
    with torch.no_grad():
        y = module(x).numpy()
    return np.moveaxis(y, 1, -1) if y.ndim == 4 or (channels_first and y.ndim == 3) else y


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_layer_there_and_back(case):
    network = case.build()
    x, first = case.sample(4), has_channels_first(network)
    module = to_pytorch(network)
    np.testing.assert_allclose(run(module, x, first), network.infer(x), rtol=1e-9, atol=1e-12)
    back = from_pytorch(module, case.input_shape)
    if back.dtype == np.float64:
        np.testing.assert_allclose(back.infer(x), network.infer(x), rtol=1e-9, atol=1e-12)
    else:  # modules without parameters do not say their dtype
        assert_equal_to_a_millionth(back.infer(x), network.infer(x))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_follows_a_layer_finds_its_numbers_in_place(case):
    """Flattened, they say whether the writer knew the shape and order of what it had written."""
    layer = case.build()
    behind = nn.Dense(1, use_bias=False, initializer=initializers.orthogonal)
    network = nn.Sequential([layer, nn.Flatten(), behind][:: 1 if layer.output_shape[1:] else 2])
    network = network.build(case.input_shape, rebuild=True, random_state=0, dtype=np.float64)
    x, first = case.sample(4), has_channels_first(layer)
    found = run(to_pytorch(network), x, first)
    np.testing.assert_allclose(found, network.infer(x), rtol=1e-9, atol=1e-12)


def modules():
    """Networks as PyTorch's users write them."""
    image = [tnn.Conv2d(3, 8, 3, padding=1), tnn.BatchNorm2d(8), tnn.ReLU(), tnn.MaxPool2d(2)]
    yield "table", tnn.Sequential(tnn.Linear(5, 8), tnn.Tanh(), tnn.Linear(8, 2)), (5,)
    yield (
        "normalised table",
        tnn.Sequential(tnn.BatchNorm1d(5), tnn.Linear(5, 8), tnn.LayerNorm(8), tnn.SiLU()),
        (5,),
    )
    yield (
        "image",
        tnn.Sequential(*image, tnn.Conv2d(8, 4, 3), tnn.Flatten(), tnn.Linear(64, 3)),
        (12, 12, 3),
    )
    yield (
        "nested, global pooling",
        tnn.Sequential(
            tnn.Sequential(*image), tnn.AdaptiveAvgPool2d(1), tnn.Flatten(), tnn.Linear(8, 3)
        ),
        (12, 12, 3),
    )
    yield (
        "flattened image with dropout on the way",
        tnn.Sequential(*image, tnn.Flatten(), tnn.Dropout(0.5), tnn.Linear(288, 3)),
        (12, 12, 3),
    )


@pytest.mark.parametrize(
    ("name", "module", "shape"), list(modules()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_module_from_pytorch(name, module, shape):
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    module(torch.randn(16, *shape[-1:], *shape[:-1]))  # running statistics of their own
    x = np.random.default_rng(0).standard_normal((6, *shape)).astype(np.float32)
    network = from_pytorch(module, shape)
    expected = run(module.eval(), x, len(shape) == 3)
    assert_equal_to_a_millionth(network.infer(x), expected)


def test_an_input_shape_may_be_a_number():
    assert from_pytorch(tnn.Linear(5, 2), 5).input_shape == (5,)
    with raises_exactly(
        ValueError, "input_shape must hold positive integers, without the batch axis, got 0"
    ):
        from_pytorch(tnn.Linear(5, 2), 0)


NEEDS_A_LENGTH = {
    "Flatten": lambda: [nn.Flatten(), nn.Dense(2)],
    "Reshape": lambda: [nn.Reshape((24,)), nn.Dense(2)],
    "Conv1D": lambda: [nn.Conv1D(3, 2)],
    "MaxPool1D": lambda: [nn.MaxPool1D(2)],
    "GroupNorm": lambda: [nn.GroupNorm(2)],
    "InstanceNorm": lambda: [nn.InstanceNorm()],
    "Permute": lambda: [nn.Permute((2, 1)), nn.Dense(2)],
    "Softmax": lambda: [nn.Softmax(axis=1)],
    "Concat": lambda: [nn.Concat([nn.Identity(), nn.Dense(4)], axis=1)],
}
OPEN = {
    "GRU": lambda: nn.GRU(4, return_sequences=True),
    "attention": lambda: nn.MultiHeadAttention(2),
}


@pytest.mark.parametrize("first", OPEN)
@pytest.mark.parametrize("behind", NEEDS_A_LENGTH)
def test_a_length_that_is_needed_is_asked_for(behind, first):
    network = nn.Sequential([OPEN[first](), *NEEDS_A_LENGTH[behind]()]).build((6, 4), 0)
    module = to_pytorch(network)
    with pytest.raises(ValueError, match=r"one length.*; tell .* input_shape=\(time, n_features\)"):
        from_pytorch(module)
    x = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)
    back = from_pytorch(module, (6, 4))
    np.testing.assert_allclose(back.infer(x), network.infer(x), rtol=1e-5, atol=1e-6)


def test_what_the_modules_say_needs_no_input_shape():
    assert from_pytorch(tnn.Sequential(tnn.Linear(5, 2))).input_shape == (5,)
    assert from_pytorch(tnn.GRU(5, 2, batch_first=True)).input_shape == (None, 5)
    encoder = tnn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    for module in (encoder, tnn.Sequential(encoder, tnn.Linear(8, 3)),
                   tnn.TransformerEncoder(encoder, 2, enable_nested_tensor=False)):  # fmt: skip
        x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
        network = from_pytorch(module.eval())
        assert network.input_shape == (None, 8)
        expected = module(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(network.infer(x), expected, atol=1e-5)
    with raises_exactly(
        ValueError,
        "input_shape is needed, as the modules do not say it: of one sample, channels "
        "last, such as (28, 28, 1), or (None, 12) for sequences of 12 features",
    ):
        from_pytorch(tnn.Sequential(tnn.Conv2d(1, 2, 3)))


def test_gradients_agree_after_the_exchange():
    network = nn.Sequential(
        [nn.Conv2D(4, 3), nn.BatchNorm(), nn.ReLU(), nn.Flatten(), nn.Dense(2)]
    ).build((6, 6, 1), random_state=0, dtype=np.float64)
    module = to_pytorch(network).train()
    x = np.random.default_rng(0).standard_normal((5, 6, 6, 1))
    network.forward(x, training=True)
    network.backward(np.ones((5, 2)))
    module(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).sum().backward()
    kernel = next(module.parameters()).grad.numpy()
    np.testing.assert_allclose(
        network[0].grads["W"], kernel.transpose(2, 3, 1, 0), rtol=1e-8, atol=1e-10
    )


def test_frozen_layers_stay_frozen():
    network = nn.Sequential([nn.Dense(3), nn.Tanh(), nn.Dense(2)])
    network[0].trainable = False
    module = to_pytorch(network.build(4))
    assert [p.requires_grad for p in module.parameters()] == [False, False, True, True]
    back = from_pytorch(module)
    assert [slot.trainable for slot in back.layout] == [False, False, True, True]


HOLDERS = {
    "Linear": (lambda: tnn.Linear(4, 3), (4,)),
    "Conv2d": (lambda: tnn.Conv2d(2, 3, 2), (5, 5, 2)),
    "BatchNorm1d": (lambda: tnn.BatchNorm1d(4), (4,)),
    "LayerNorm": (lambda: tnn.LayerNorm(4), (4,)),
    "GRU": (lambda: tnn.GRU(4, 3, batch_first=True), (5, 4)),
    "MultiheadAttention": (lambda: tnn.MultiheadAttention(4, 2, batch_first=True), (5, 4)),
    "without a bias": (lambda: tnn.Linear(4, 3, bias=False), (4,)),
}


@pytest.mark.parametrize("which", ["none", "first", "last", "all but the last", "all"])
@pytest.mark.parametrize("name", HOLDERS)
def test_a_layer_is_frozen_where_all_of_its_parameters_are(name, which):
    make, shape = HOLDERS[name]
    module, head = make(), tnn.Linear(3, 2)
    parameters = list(module.parameters())
    chosen = {"none": slice(0), "first": slice(1), "last": slice(-1, None)}
    chosen |= {"all but the last": slice(len(parameters) - 1), "all": slice(None)}
    for parameter in parameters[chosen[which]]:
        parameter.requires_grad_(False)
    modules = [module, head] if name == "Linear" else [module]
    back = from_pytorch(tnn.Sequential(*modules), shape)
    learns = any(parameter.requires_grad for parameter in parameters)
    flags = [layer.trainable for _, layer in back.walk() if layer.params]
    assert flags == [learns, True] if name == "Linear" else flags == [learns]


SAYS_ITS_SHAPE = {
    "Linear": (lambda: [tnn.Linear(4, 3)], (4,)),
    "Linear behind an activation": (lambda: [tnn.Tanh(), tnn.Linear(4, 3)], (4,)),
    "BatchNorm1d": (lambda: [tnn.BatchNorm1d(5), tnn.Linear(5, 3)], (5,)),
    "RNN": (lambda: [tnn.RNN(4, 3, batch_first=True)], (None, 4)),
    "LSTM": (lambda: [tnn.LSTM(4, 3, batch_first=True)], (None, 4)),
    "GRU": (lambda: [tnn.GRU(4, 3, batch_first=True)], (None, 4)),
    "MultiheadAttention": (lambda: [tnn.MultiheadAttention(4, 2, batch_first=True)], (None, 4)),
    "TransformerEncoderLayer": (
        lambda: [tnn.TransformerEncoderLayer(4, 2, 8, batch_first=True)],
        (None, 4),
    ),
    "Conv2d": (lambda: [tnn.Conv2d(2, 3, 2)], None),
    "Conv1d": (lambda: [tnn.Conv1d(2, 3, 2)], None),
    "Flatten": (lambda: [tnn.Flatten(), tnn.Linear(4, 3)], None),
    "MaxPool2d": (lambda: [tnn.MaxPool2d(2), tnn.Flatten(), tnn.Linear(4, 3)], None),
    "an activation alone": (lambda: [tnn.Tanh()], None),
}


NO_SHAPE = (
    "input_shape is needed, as the modules do not say it: of one sample, channels last, such as "
    "(28, 28, 1), or (None, 12) for sequences of 12 features"
)


@pytest.mark.parametrize("name", SAYS_ITS_SHAPE)
def test_the_first_module_that_says_the_shape_of_the_input_is_believed(name):
    make, shape = SAYS_ITS_SHAPE[name]
    for module in (tnn.Sequential(*make()), tnn.Sequential(tnn.Sequential(*make()))):
        if shape is not None:
            assert from_pytorch(module).input_shape == shape
            continue
        with pytest.raises(ValueError, match=f"^{re.escape(NO_SHAPE)}$"):
            from_pytorch(module)


class Doubled(nn.ReLU):
    def function(self, x):
        return 2 * super().function(x)


def test_what_cannot_be_mapped_is_named():
    with raises_exactly(
        TypeError,
        "module.1 Bilinear(in1_features=2, in2_features=2, out_features=2, bias=True): "
        "Bilinear has no layer",
    ):
        from_pytorch(tnn.Sequential(tnn.Linear(5, 2), tnn.Bilinear(2, 2, 2)))
    with raises_exactly(TypeError, "in layers.1 Doubled(): Doubled has no PyTorch module"):
        to_pytorch(nn.Sequential([nn.Dense(2), Doubled()]).build(3))
    with raises_exactly(
        TypeError, "network must be a layer, got 3: a layer is an object, such as Dense(3)"
    ):
        to_pytorch(3)
    model = SequentialRegressor([nn.Dense(2)], max_iter=1).fit([[1.0], [2.0]], [1.0, 2.0])
    with raises_exactly(
        TypeError, "network must be a layer, got SequentialReg...], max_iter=1): give its network_"
    ):
        to_pytorch(model)
    with raises_exactly(
        RuntimeError, "in Dense(units=2): not built yet; call build(input_shape) first"
    ):
        to_pytorch(nn.Dense(2))
