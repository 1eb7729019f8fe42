"""JAX's side: a jitted step of Adam, as its users write it, without a library on top."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import fit_rows
from benchmarks.sides import data

Repeat = Callable[[], object]

jax.config.update("jax_enable_x64", True)  # tables in float64 are computed in float64


def adam_step(loss: Callable[..., Any], rate: float = 1e-3) -> Callable[..., Any]:
    """Jit a step down a loss of parameters and more; the old state's memory becomes the new's."""

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, *batch: Any) -> Any:
        params, m, v, t = state
        value, grads = jax.value_and_grad(loss)(params, *batch)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        now = rate * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        moved = jax.tree.map(lambda p, m, v: p - now * m / (jnp.sqrt(v) + 1e-8), params, m, v)
        return (moved, m, v, t + 1), value

    return step


def start(params: Any) -> Any:
    """Return the state before the first step."""
    m, v = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    return params, m, v, jnp.ones((), jax.tree.leaves(params)[0].dtype)


def weights(rng: np.random.Generator, *shape: int, dtype: Any = np.float32) -> Any:
    """Return the weights of He, for a Dense or a convolution."""
    scale = np.sqrt(2 / np.prod(shape[:-1]))
    return jnp.asarray((rng.standard_normal(shape) * scale).astype(dtype))


def layers(rng: np.random.Generator, sizes: tuple[int, ...], dtype: Any = np.float32) -> Any:
    """Return the weights and biases of a perceptron."""
    return [(weights(rng, *s, dtype=dtype), jnp.zeros(s[1], dtype)) for s in pairwise(sizes)]


def perceptron(params: Any, x: Any, activation: Callable[[Any], Any] = jax.nn.relu) -> Any:
    """Apply it."""
    for W, b in params[:-1]:
        x = activation(x @ W + b)
    return x @ params[-1][0] + params[-1][1]


def cross_entropy(z: Any, t: Any) -> Any:
    """Mean over rows, of logits and labels."""
    return -jnp.take_along_axis(jax.nn.log_softmax(z), t[:, None], 1).mean()


def table(kind: str, name: str, options: dict[str, Any]) -> Repeat:
    """Fit a perceptron to a table for so many epochs."""
    X, y = fit_rows.table(name)
    n_out = int(y.max()) + 1 if kind == "classification" else (y.shape[1] if y.ndim == 2 else 1)
    target = y if kind == "classification" else y.reshape(len(y), -1)
    sizes = (X.shape[1], *options["hidden_layer_sizes"], n_out)
    activation = {"relu": jax.nn.relu, "tanh": jnp.tanh, "logistic": jax.nn.sigmoid}[
        options.get("activation", "relu")
    ]

    def loss(params: Any, x: Any, t: Any) -> Any:
        z = perceptron(params, x, activation)
        return ((z - t) ** 2).mean() / 2 if kind == "regression" else cross_entropy(z, t)

    step = adam_step(loss)

    def repeat() -> None:
        rng = np.random.default_rng(0)
        state = start(layers(rng, sizes, X.dtype))
        for _ in range(options["max_iter"]):
            order = rng.permutation(len(X))
            for begin in range(0, len(X), 200):
                rows = order[begin : begin + 200]
                state, _ = step(state, X[rows], target[rows])
        jax.block_until_ready(state)

    return repeat


def training(
    network: Callable[..., Any],
    params: Any,
    X: np.ndarray,
    y: np.ndarray,
    by_heart: bool = False,
) -> Repeat:
    """One step of training with Adam; its loss is waited for, as whoever shows it does."""
    rate, before = data.settings(by_heart)
    step = adam_step(lambda params, x, t, key: cross_entropy(network(params, x, key), t), rate)
    state, batch, key = start(params), (jnp.asarray(X), jnp.asarray(y)), jax.random.key(0)
    jax.block_until_ready(batch)

    def repeat() -> None:
        nonlocal state
        state, value = step(state, *batch, key)
        jax.block_until_ready(value)

    for _ in range(before):
        repeat()
    return repeat


def mlp_step(sizes: tuple[int, ...], batch: int, by_heart: bool = False) -> Repeat:
    """Train a perceptron."""
    params = layers(np.random.default_rng(0), sizes)
    rows = data.rows(batch, sizes[0], sizes[-1])
    return training(lambda params, x, _: perceptron(params, x), params, *rows, by_heart)


def conv(x: Any, W: Any, stride: int = 1, padding: str = "VALID") -> Any:
    """Convolve images whose channels come last."""
    order = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, W, (stride, stride), padding, dimension_numbers=order)


def max_pool(x: Any) -> Any:
    """Return the largest of two by two."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def cnn_step(batch: int) -> Repeat:
    """Train the small convolutional network."""
    rng = np.random.default_rng(0)
    first, second = ((weights(rng, 3, 3, *c), jnp.zeros(c[1], "f4")) for c in ((1, 32), (32, 64)))

    def network(params: Any, x: Any, key: Any) -> Any:
        for W, b in params[:2]:
            x = jax.nn.relu(conv(x, W) + b)
        W, b = params[2]
        x = jax.nn.relu(max_pool(x).reshape(len(x), -1) @ W + b)
        kept = jax.random.bernoulli(key, jnp.float32(0.5), x.shape)
        return perceptron(params[3:], jnp.where(kept, x / 0.5, 0))

    params = [first, second, *layers(rng, (9216, 128, 10))]
    return training(network, params, *data.images(batch, 28, 1))


def small_cnn_step(size: int, channels: int, filters: tuple[int, int], batch: int) -> Repeat:
    """Train two convolutions, each with pooling, and a dense layer."""
    rng, params, cells = np.random.default_rng(0), [], size
    for c in pairwise((channels, *filters)):
        params.append((weights(rng, 3, 3, *c), jnp.zeros(c[1], "f4")))
        cells = (cells - 2) // 2
    params += layers(rng, (cells * cells * filters[-1], 10))

    def network(params: Any, x: Any, _: Any) -> Any:
        for W, b in params[:2]:
            x = max_pool(jax.nn.relu(conv(x, W) + b))
        return perceptron(params[2:], x.reshape(len(x), -1))

    return training(network, params, *data.images(batch, size, channels))


def resnet_step(batch: int) -> Repeat:
    """Train the residual network, without BatchNorm's running statistics."""
    rng = np.random.default_rng(0)

    def unit(c_in: int, c_out: int) -> Any:
        return weights(rng, 3, 3, c_in, c_out), jnp.ones(c_out, "f4"), jnp.zeros(c_out, "f4")

    def block(c_in: int, c_out: int) -> Any:
        shortcut = [weights(rng, 1, 1, c_in, c_out)] if c_in != c_out else []
        return unit(c_in, c_out), unit(c_out, c_out), shortcut

    def convolve(x: Any, unit: Any, stride: int = 1) -> Any:
        W, gamma, beta = unit
        x = conv(x, W, stride, "SAME")
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return (x - mean) * (gamma * lax.rsqrt(var + 1e-5)) + beta

    def network(params: Any, x: Any, _: Any) -> Any:
        stem, blocks, head = params
        x = jax.nn.relu(convolve(x, stem))
        for first, second, shortcut in blocks:
            stride = 2 if shortcut else 1
            inner = convolve(jax.nn.relu(convolve(x, first, stride)), second)
            x = jax.nn.relu(inner + (conv(x, shortcut[0], stride) if shortcut else x))
        return perceptron(head, x.mean((1, 2)))

    blocks = [block(*c) for c in ((32, 32), (32, 64), (64, 128), (128, 128))]
    params = unit(3, 32), blocks, layers(rng, (128, 10))
    return training(network, params, *data.images(batch, 32, 3))
