"""Dense, the containers and whole networks against PyTorch, in float64.

The functions in PyTorch take our parameters in our layout, by path; images are channels-last on
both sides and turned for PyTorch's own operations only.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from layerkit import (
    BatchNorm,
    Columns,
    Concat,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Tanh,
    losses,
    optimizers,
)

torch = pytest.importorskip("torch")
F = torch.nn.functional

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


def parameters(network):
    """Return our parameters as tensors, by path."""
    flat = network.flat_params
    return {
        slot.path: torch.tensor(flat[slot.slice].reshape(slot.shape), requires_grad=True)
        for slot in network.layout
    }


def linear(p, path, x):
    return x @ p[f"{path}.W"] + p[f"{path}.b"]


def conv2d(p, path, x, padding=0):
    """Turn images and kernel to PyTorch's order, channels first, and back."""
    kernel = p[f"{path}.W"].permute(3, 2, 0, 1)
    y = F.conv2d(x.permute(0, 3, 1, 2), kernel, p.get(f"{path}.b"), padding=padding)
    return y.permute(0, 2, 3, 1)


def max_pool2d(x):
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def assert_pass_equals(network, x, function):
    """Compare output and all gradients with those of a function of (parameters, tensor)."""
    p, tensor = parameters(network), torch.tensor(x, requires_grad=True)
    expected = function(p, tensor)
    output = network.forward(x, training=True)
    assert_allclose(output, expected.detach(), **TOLERANCE)
    grad_output = np.random.default_rng(1).standard_normal(output.shape)
    expected.backward(torch.tensor(grad_output))
    assert_allclose(network.backward(grad_output), tensor.grad, **TOLERANCE)
    assert_gradients_equal(network, p)


def assert_gradients_equal(network, p):
    for slot in network.layout:
        ours = network.flat_grads[slot.slice].reshape(slot.shape)
        assert_allclose(ours, p[slot.path].grad, err_msg=slot.path, **TOLERANCE)


def build(network, input_shape):
    """Build with biases and scales off zero and one."""
    network.build(input_shape, random_state=0, dtype=np.float64)
    network.flat_params[...] += 0.1 * np.random.default_rng(5).standard_normal(network.n_params)
    return network


@pytest.mark.parametrize("input_shape", [(4,), (3, 4), (2, 3, 4)])
def test_dense(input_shape, rng):
    layer = build(Dense(5), input_shape)
    x = rng.standard_normal((6, *input_shape))
    assert_pass_equals(layer, x, lambda p, x: F.linear(x, p["W"].T, p["b"]))


def test_sequential(rng):
    network = build(Sequential([Dense(5), Tanh(), ("out", Dense(2))]), 4)

    def function(p, x):
        return linear(p, "layers.out", torch.tanh(linear(p, "layers.0", x)))

    assert_pass_equals(network, rng.standard_normal((6, 4)), function)


def test_residual(rng):
    network = build(Residual(Sequential([Dense(3), Tanh(), Dense(4)])), 4)

    def function(p, x):
        return x + linear(p, "body.layers.2", torch.tanh(linear(p, "body.layers.0", x)))

    assert_pass_equals(network, rng.standard_normal((6, 4)), function)


def test_residual_with_shortcut_on_images(rng):
    network = build(
        Residual(Sequential([Conv2D(4, 3, padding="same"), ReLU()]), shortcut=Conv2D(4, 1)),
        (5, 4, 2),
    )

    def function(p, x):
        return torch.relu(conv2d(p, "body.layers.0", x, padding=1)) + conv2d(p, "shortcut", x)

    assert_pass_equals(network, rng.standard_normal((3, 5, 4, 2)), function)


def test_concat_of_channels(rng):
    network = build(Concat([Conv2D(2, 1), Conv2D(3, 3, padding="same"), Tanh()]), (4, 3, 2))

    def function(p, x):
        one, three = conv2d(p, "branches.0", x), conv2d(p, "branches.1", x, padding=1)
        return torch.cat([one, three, torch.tanh(x)], dim=3)

    assert_pass_equals(network, rng.standard_normal((3, 4, 3, 2)), function)


def test_columns_with_an_embedding(rng):
    network = build(
        Sequential([Columns([([0, 2], Dense(3)), (1, Embedding(5, 2))]), Tanh(), Dense(2)]), 3
    )

    def function(p, x):
        numbers = linear(p, "layers.0.routes.0", x[:, [0, 2]])
        vectors = F.embedding(x[:, 1].long(), p["layers.0.routes.1.W"])
        return linear(p, "layers.2", torch.tanh(torch.cat([numbers, vectors], dim=1)))

    x = rng.standard_normal((8, 3))
    x[:, 1] = rng.integers(5, size=8)
    assert_pass_equals(network, x, function)


# ---------------------------------------------------------------- a network, trained


class TorchNetwork:
    """`small_network` in PyTorch, from our parameters, with running statistics of its own."""

    def __init__(self, network):
        self.p = parameters(network)
        self.running = {
            path: [torch.tensor(layer.buffers[name]) for name in ("running_mean", "running_var")]
            for path, layer in network.walk()
            if isinstance(layer, BatchNorm)
        }

    def __call__(self, x, training=True):
        x = max_pool2d(torch.relu(self.norm("layers.1", self.conv("layers.0", x), training)))
        body = "layers.block.body.layers"
        x = x + torch.relu(self.norm(f"{body}.1", self.conv(f"{body}.0", x), training))
        wide = [conv2d(self.p, "layers.wide.branches.0", x), self.conv("layers.wide.branches.1", x)]
        x = torch.cat(wide, dim=3).flatten(1)
        return linear(self.p, "layers.scores", x)

    def conv(self, path, x):
        return conv2d(self.p, path, x, padding=1)

    def norm(self, path, x, training):
        scale, shift = self.p[f"{path}.gamma"], self.p[f"{path}.beta"]
        channels_first = x.permute(0, 3, 1, 2)
        y = F.batch_norm(channels_first, *self.running[path], scale, shift, training)
        return y.permute(0, 2, 3, 1)


def small_network():
    block = Sequential([Conv2D(4, 3, padding="same", use_bias=False), BatchNorm(), ReLU()])
    return Sequential(
        [
            Conv2D(4, 3, padding="same"),
            BatchNorm(),
            ReLU(),
            MaxPool2D(),
            ("block", Residual(block)),
            ("wide", Concat([Conv2D(2, 1), Conv2D(3, 3, padding="same")])),
            Flatten(),
            ("scores", Dense(3)),
        ]
    )


OPTIMIZERS = {
    "SGD": (
        lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda groups: torch.optim.SGD(groups, 0.05, momentum=0.9, nesterov=True),
    ),
    "AdamW": (
        lambda: optimizers.AdamW(0.01, weight_decay=0.01),
        lambda groups: torch.optim.AdamW(groups, 0.01),
    ),
}


@pytest.mark.parametrize("ours, pytorchs", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_a_network_is_trained_alike(ours, pytorchs, rng):
    """Losses, gradients, steps and running statistics, and then the inference."""
    network = build(small_network(), (6, 8, 2))
    twin = TorchNetwork(network)
    loss, optimizer = losses.CategoricalCrossEntropy(label_smoothing=0.1), ours()
    decays = {slot.path: 0.01 * slot.decay for slot in network.layout}
    torch_optimizer = pytorchs(
        [{"params": [tensor], "weight_decay": decays[path]} for path, tensor in twin.p.items()]
    )
    for _ in range(5):
        x, y = rng.standard_normal((7, 6, 8, 2)), rng.integers(3, size=7)
        expected = F.cross_entropy(twin(torch.tensor(x)), torch.tensor(y), label_smoothing=0.1)
        torch_optimizer.zero_grad()
        expected.backward()
        value = loss.forward(network.forward(x, training=True), y)
        network.backward(loss.backward())
        assert_allclose(value, expected.item(), **TOLERANCE)
        assert_gradients_equal(network, twin.p)

        torch_optimizer.step()
        optimizer.step(network.flat_params, network.flat_grads, network.layout)
        for slot in network.layout:
            actual = network.flat_params[slot.slice].reshape(slot.shape)
            assert_allclose(actual, twin.p[slot.path].detach(), err_msg=slot.path, **TOLERANCE)

    layers = dict(network.walk())
    for path, (mean, variance) in twin.running.items():
        assert_allclose(layers[path].buffers["running_mean"], mean, **TOLERANCE)
        assert_allclose(layers[path].buffers["running_var"], variance, **TOLERANCE)
    x = rng.standard_normal((4, 6, 8, 2))
    scores = twin(torch.tensor(x), training=False).detach()
    assert_allclose(network.infer(x), scores, **TOLERANCE)
    assert_allclose(loss.inverse_link(network.infer(x)), torch.softmax(scores, dim=1), **TOLERANCE)
