"""JAX's side: a jitted step of Adam, as its users write it, without a library on top."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import fit_rows

Repeat = Callable[[], object]

jax.config.update("jax_enable_x64", True)  # tables in float64 are computed in float64


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
        for W, b in params[:-1]:
            x = activation(x @ W + b)
        z = x @ params[-1][0] + params[-1][1]
        if kind == "regression":
            return ((z - t) ** 2).mean() / 2
        return -jnp.take_along_axis(jax.nn.log_softmax(z), t[:, None], 1).mean()

    @jax.jit
    def step(params: Any, m: Any, v: Any, t: Any, x: Any, target: Any) -> Any:
        grads = jax.grad(loss)(params, x, target)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        moved = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, m, v)
        return moved, m, v, t + 1

    def repeat() -> None:
        rng = np.random.default_rng(0)
        params = [
            (jnp.asarray((rng.standard_normal(s) * np.sqrt(2 / s[0])).astype(X.dtype)),
             jnp.zeros(s[1], X.dtype))
            for s in pairwise(sizes)
        ]  # fmt: skip
        zeros = jax.tree.map(jnp.zeros_like, params)
        state = params, zeros, zeros, jnp.asarray(1.0, X.dtype)
        for _ in range(options["max_iter"]):
            order = rng.permutation(len(X))
            for start in range(0, len(X), 200):
                rows = order[start : start + 200]
                state = step(*state, X[rows], target[rows])
        jax.block_until_ready(state)

    return repeat
