"""Run a layer forward and backward, and compare what came out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from layerkit import Layer

MODES = (False, True)


class Pass(NamedTuple):
    """What one forward and backward gave."""

    output: np.ndarray
    grad_input: np.ndarray
    grads: np.ndarray


def run(network: Layer, x: np.ndarray, training: bool) -> Pass:
    """One forward and backward under a fixed stream of noise."""
    network.reseed(0)
    return run_without_reseeding(network, x, training)


def run_without_reseeding(network: Layer, x: np.ndarray, training: bool) -> Pass:
    network.flat_grads.fill(np.nan)  # what backward forgets to write must not look right
    output = network.forward(x, training=training)
    grad_input = network.backward(grad_like(output))
    return Pass(output, grad_input, network.flat_grads.copy())


def grad_like(output: np.ndarray, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(output.shape).astype(output.dtype)


def assert_same(actual: Pass, expected: Pass) -> None:
    for name, a, b in zip(Pass._fields, actual, expected, strict=True):
        assert_array_equal(a, b, err_msg=name)


def assert_close(actual: Pass, expected: Pass, rtol: float = 1e-9) -> None:
    for name, a, b in zip(Pass._fields, actual, expected, strict=True):
        assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=name)


# ---------------------------------------------------------------- buffers


def buffers_of(layer: Layer) -> list[tuple[str, np.ndarray]]:
    return [
        (f"{path}.{name}", buffer)
        for path, inner in layer.walk()
        for name, buffer in inner.buffers.items()
    ]


def snapshot_of_buffers(layer: Layer) -> list[np.ndarray]:
    return [buffer.copy() for _, buffer in buffers_of(layer)]


def restore_buffers(layer: Layer, values: list[np.ndarray]) -> None:
    for (_, buffer), value in zip(buffers_of(layer), values, strict=True):
        buffer[...] = value


def assert_buffers(layer: Layer, values: list[np.ndarray]) -> None:
    for (name, buffer), value in zip(buffers_of(layer), values, strict=True):
        assert_array_equal(buffer, value, err_msg=name)
