"""layerkit's side."""

from collections.abc import Callable
from typing import Any

import numpy as np

import layerkit
from benchmarks import fit_rows
from benchmarks.sides import data
from layerkit import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    optimizers,
)
from layerkit.fused import plan
from layerkit.kernels import one_blas_thread
from layerkit.losses import CategoricalCrossEntropy
from layerkit.sequences import Sequences
from layerkit.training import train

Repeat = Callable[[], object]


def perceptron(sizes: tuple[int, ...]) -> Sequential:
    """Dense layers with ReLU between them."""
    layers: list[Layer] = []
    for units in sizes[1:]:
        layers += [Dense(units), ReLU()]
    return Sequential(layers[:-1]).build(sizes[0], random_state=0)


def cnn() -> Sequential:
    """Two convolutions, pooling, a dense layer, dropout."""
    layers = [Conv2D(32, 3), ReLU(), Conv2D(64, 3), ReLU(), MaxPool2D(2), Flatten()]
    layers += [Dense(128), ReLU(), Dropout(0.5), Dense(10)]
    return Sequential(layers).build((28, 28, 1), random_state=0)


def resnet() -> Sequential:
    """Nine 3x3 convolutions with BatchNorm in residual blocks, at three resolutions."""

    def unit(filters: int, stride: int = 1) -> list[Layer]:
        return [Conv2D(filters, 3, stride=stride, padding="same", use_bias=False), BatchNorm()]

    def block(filters: int, stride: int, change: bool) -> list[Layer]:
        body = Sequential([*unit(filters, stride), ReLU(), *unit(filters)])
        shortcut = Conv2D(filters, 1, stride=stride, use_bias=False) if change else None
        return [Residual(body, shortcut), ReLU()]

    layers = [*unit(32), ReLU(), *block(32, 1, False), *block(64, 2, True), *block(128, 2, True)]
    layers += [*block(128, 1, False), GlobalAvgPool2D(), Dense(10)]
    return Sequential(layers).build((32, 32, 3), random_state=0)


def step(network: Sequential, X: np.ndarray, y: np.ndarray) -> Repeat:
    """One step of training with Adam, as `train` does it where it goes batch by batch."""
    loss, adam, layout = CategoricalCrossEntropy(), optimizers.Adam(data.RATE), network.layout
    network.needs_input_grad = False
    fast = plan(network)

    def repeat() -> None:
        loss.forward(fast.forward(X, training=True), y)
        fast.backward(loss.backward())
        adam.step(network.flat_params, network.flat_grads, layout)

    return repeat


class Steps:
    """Steps of training with `train`: an epoch of so many batches, all the same."""

    def __init__(self, network: Sequential, X: np.ndarray, y: np.ndarray, by_heart: bool) -> None:
        rate, before = data.settings(by_heart)
        self.network, self.batch, self.table = network, (X, y), (X, y)
        self.adam = optimizers.Adam(rate)
        self.loop(before + 1)

    def __call__(self) -> None:
        self.loop(1)

    def loop(self, times: int) -> None:
        """Take so many steps."""
        n = len(self.batch[0])
        if len(self.table[0]) < times * n:
            X, y = self.batch
            self.table = np.tile(X, (times, 1)), np.tile(y, times)
        rows = tuple(values[: times * n] for values in self.table)
        loss = CategoricalCrossEntropy()
        train(self.network, loss, self.adam, rows, epochs=1, batch_size=n, shuffle=False)


def mlp_step(sizes: tuple[int, ...], batch: int, by_heart: bool = False) -> Repeat:
    """Train a perceptron."""
    return Steps(perceptron(sizes), *data.rows(batch, sizes[0], sizes[-1]), by_heart)


def with_one_blas_thread(repeat: Repeat) -> Repeat:
    """Do what `train` and the estimators do around convolutions."""

    def call() -> None:
        with one_blas_thread():
            repeat()

    return call


def cnn_step(batch: int) -> Repeat:
    """Train the small convolutional network."""
    return with_one_blas_thread(step(cnn(), *data.images(batch, 28, 1)))


def small_cnn_step(size: int, channels: int, filters: tuple[int, int], batch: int) -> Repeat:
    """Train two convolutions, each with pooling, and a dense layer."""
    layers: list[Layer] = []
    for n in filters:
        layers += [Conv2D(n, 3), ReLU(), MaxPool2D(2)]
    shape = size, size, channels
    network = Sequential([*layers, Flatten(), Dense(10)]).build(shape, random_state=0)
    return with_one_blas_thread(step(network, *data.images(batch, size, channels)))


def resnet_step(batch: int) -> Repeat:
    """Train the residual network."""
    return with_one_blas_thread(step(resnet(), *data.images(batch, 32, 3)))


def mlp_infer(sizes: tuple[int, ...], batch: int) -> Repeat:
    """Run a perceptron."""
    fast, (X, _) = plan(perceptron(sizes)), data.rows(batch, sizes[0], sizes[-1])
    return lambda: fast.infer(X)


def cnn_infer(batch: int) -> Repeat:
    """Run the small convolutional network."""
    fast, (X, _) = plan(cnn()), data.images(batch, 28, 1)
    return with_one_blas_thread(lambda: fast.infer(X))


def resnet_infer(batch: int) -> Repeat:
    """Run the residual network."""
    fast, (X, _) = plan(resnet()), data.images(batch, 32, 3)
    return with_one_blas_thread(lambda: fast.infer(X))


def predict(sizes: tuple[int, ...], batch: int) -> Repeat:
    """Predict with a fitted estimator, all its checks included."""
    X, y = data.rows(1000, sizes[0], sizes[-1])
    model = layerkit.MLPClassifier(sizes[1:-1], max_iter=1)
    data.quietly(model.fit)(X, y)
    return lambda: model.predict(X[:batch])


def fit(sizes: tuple[int, ...], rows: int, batch: int, epochs: int) -> Repeat:
    """Fit an estimator."""
    X, y = data.rows(rows, sizes[0], sizes[-1])
    model = layerkit.MLPClassifier(sizes[1:-1], batch_size=batch, max_iter=epochs, random_state=0)
    return lambda: data.quietly(model.fit)(X, y)


def recurrent(
    kind: str, units: int, steps: int, batch: int, dtype: str, ragged: bool, training: bool
) -> Repeat:
    """Train or run a recurrent layer, and a Dense one on its last step."""
    network = Sequential([getattr(layerkit, kind)(units), Dense(9)])
    rows, y = data.sequences(batch, steps, 32, dtype, ragged)
    X = Sequences(rows) if ragged else np.stack(rows)
    network.build((None, 32), random_state=0, dtype=dtype)
    return step(network, X, y) if training else lambda: network.infer(X)


def conv(
    pass_: str,
    size: int,
    c_in: int,
    c_out: int,
    kernel: int,
    batch: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> Repeat:
    """Run one convolution kernel."""
    from layerkit.kernels import conv2d, conv2d_input_grad, conv2d_kernel_grad

    x, _ = data.images(batch, size, c_in)
    weights = data.like((kernel, kernel, c_in // groups, c_out))
    pad = dilation * (kernel - 1) // 2
    geometry = ((stride, stride), ((pad, pad), (pad, pad)), (dilation, dilation), groups)
    grad, out = np.ones_like(conv2d(x, weights, None, *geometry)), np.empty_like(weights)
    work = {
        "forward": lambda: conv2d(x, weights, None, *geometry),
        "input gradient": lambda: conv2d_input_grad(grad, weights, x.shape, *geometry),
        "kernel gradient": lambda: conv2d_kernel_grad(x, grad, out, *geometry),
    }
    return with_one_blas_thread(work[pass_])


def layer(name: str, shape: tuple[int, ...]) -> Repeat:
    """Run one layer forward and backward in training mode."""
    return both_ways(getattr(layerkit, name)(), shape)


def pool(kind: str, shape: tuple[int, ...], size: int, stride: int) -> Repeat:
    """Run a pooling layer forward and backward, padded where windows overlap."""
    padding = 0 if size == stride else size // 2
    made = getattr(layerkit, f"{kind}Pool2D")(size, stride, padding=padding)
    return with_one_blas_thread(both_ways(made, shape))


def both_ways(made: Layer, shape: tuple[int, ...]) -> Repeat:
    """Run a layer forward and backward in training mode."""
    made.build(shape[1:], random_state=0)
    x = data.like(shape)
    grad = data.like(made.forward(x).shape, seed=1)

    def repeat() -> None:
        made.forward(x, training=True)
        made.backward(grad)

    return repeat


def attention(
    steps: int, batch: int, training: bool, causal: bool = False, ragged: bool = False
) -> Repeat:
    """Run attention to 128 features, in both directions or forward alone."""
    layer = layerkit.MultiHeadAttention(4, causal=causal).build((None, 128), random_state=0)
    return of_sequences(layer, steps, batch, training, ragged)


def transformer(steps: int, batch: int, training: bool, causal: bool) -> Repeat:
    """Run a transformer block, without dropout."""
    block = layerkit.TransformerEncoderBlock(4, 512, rate=0.0, causal=causal)
    return of_sequences(block.build((None, 128), random_state=0), steps, batch, training, False)


def of_sequences(layer: Layer, steps: int, batch: int, training: bool, ragged: bool) -> Repeat:
    """Run a layer on rows of 128 features."""
    x: Any = data.like((batch, steps, 128))
    if ragged:
        rows = zip(x, data.lengths(steps, batch), strict=True)
        x = Sequences([row[:n] for row, n in rows])
    grad = x

    def repeat() -> None:
        layer.forward(x, training=True)
        layer.backward(grad)

    return repeat if training else lambda: layer.infer(x)


def cross_entropy(batch: int, classes: int) -> Repeat:
    """Compute the loss and its gradient."""
    loss, (X, y) = CategoricalCrossEntropy(), data.rows(batch, classes, classes)

    def repeat() -> None:
        loss.forward(X, y)
        loss.backward()

    return repeat


def optimizer(name: str, n: int, dtype: str = "float32") -> Repeat:
    """Take one step."""
    kind, *momentum = name.split()
    rule = getattr(optimizers, kind)(**({"momentum": 0.9} if momentum else {}))
    params, grads = (data.like((n,), seed).astype(dtype) for seed in (0, 1))
    grads *= 0.01
    return lambda: rule.step(params, grads)


def table(kind: str, name: str, options: dict[str, Any]) -> Repeat:
    """Do a row of the table of fits."""
    return fit_rows.work(layerkit, kind, name, options)
