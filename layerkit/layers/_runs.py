"""Neighbours in a chain that one kernel computes as a whole.

They are runs of Dense layers and activations, and convolutions with a rectifier behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from layerkit.kernels import (
    IDENTITY,
    RELU,
    SIGMOID,
    TANH,
    conv2d,
    perceptron,
    perceptron_grad,
)
from layerkit.layer import Layer
from layerkit.layers.activations import Identity, Sigmoid, Tanh
from layerkit.layers.convolution import Conv2D
from layerkit.layers.dense import Dense
from layerkit.layers.rectifiers import ReLU

_CODES: dict[type[Layer], int] = {Identity: IDENTITY, ReLU: RELU, Sigmoid: SIGMOID, Tanh: TANH}
Step = tuple[Dense, Layer | None]
"""A Dense layer, and the activation right behind it, if any."""
_MANY_ROWS = 4096  # at inference; then holding all hidden outputs costs more than a call saves


class Run:
    """Neighbours in a chain, Dense layers and activations, computed by one call of a kernel.

    A run does what its layers would do one by one, to the last bit, and leaves them the same
    caches. It lets them do it themselves where somebody observes one, has frozen one or changed a
    cache, and where the kernel does not take the case.
    """

    def __init__(self, steps: list[Step], starts: dict[str, int], root: Layer) -> None:
        self.steps = steps
        self.layers = [layer for step in steps for layer in step if layer is not None]
        self.flat_params, self.flat_grads = root.flat_params, root.flat_grads
        self.table = np.array([_row(*step, starts) for step in steps], np.int64)
        self.units = int(self.table[-1, 1])
        self.hidden_units = int(self.table[:-1, 1].sum())
        self.record: tuple[np.ndarray, ...] = ()
        self.caches: list[np.ndarray] = []

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        """Compute the output, leaving what `backward` needs."""
        self._forget()
        record = self._compute(x) if x.shape[0] > 1 else ()
        if not record:
            for layer in self.layers:
                x = layer.forward(x, training)
            return x
        self._leave_caches(*record)
        return record[-1]

    def infer(self, x: np.ndarray) -> np.ndarray:
        """Compute the output, leaving no trace."""
        record = self._compute(x) if x.shape[0] <= _MANY_ROWS else ()
        if record:
            return record[-1]
        for layer in self.layers:
            x = layer.infer(x)
        return x

    def backward(self, grad_output: np.ndarray) -> Any:
        """Overwrite the gradients of all layers; return that of the input."""
        if not self._is_recorded():
            for layer in reversed(self.layers):
                grad_output = layer.backward(grad_output)
            return grad_output
        x, hidden, y = self.record
        grad_input = np.empty(x.shape if self.layers[0].needs_input_grad else (0, 0), x.dtype)
        perceptron_grad(
            grad_output, x, self.flat_params, self.table, hidden, y, self.flat_grads, grad_input
        )
        return grad_input if grad_input.size else None

    def _forget(self) -> None:
        """Drop what the last forward left here and in the layers."""
        self.record, self.caches = (), []
        for layer in self.layers:
            layer._cache = None

    def _compute(self, x: Any) -> tuple[np.ndarray, ...]:
        """Return x, the hidden outputs one after the other, and the output; () if not for us."""
        if type(x) is not np.ndarray or not x.flags.carray or not _are_left_alone(self.layers):
            return ()
        n_rows = len(x)
        hidden = np.empty(n_rows * self.hidden_units, x.dtype)
        y = np.empty((n_rows, self.units), x.dtype)
        done = perceptron(x, self.flat_params, self.table, hidden, y)
        return (x, hidden, y) if done else ()

    def _leave_caches(self, x: np.ndarray, hidden: np.ndarray, y: np.ndarray) -> None:
        """Give the layers the caches and shapes that their own forwards would have left."""
        self.record, n_rows, start = (x, hidden, y), len(x), 0
        caches = self.caches = []
        for dense, activation in self.steps:
            shape = n_rows, dense.units
            dense._cache, dense._forward_shape = x, shape
            caches.append(x)
            stop = start + n_rows * dense.units
            x = hidden[start:stop].reshape(shape) if start < hidden.size else y
            start = stop
            if activation is not None:
                activation._cache, activation._forward_shape = x, shape
                caches.append(x)

    def _is_recorded(self) -> bool:
        """Whether `_leave_caches` was the last to touch the layers."""
        for layer, cache in zip(self.layers, self.caches, strict=False):
            if layer._cache is not cache:
                return False
        return bool(self.record) and _are_left_alone(self.layers)


class RectifiedConvolution:
    """A Conv2D and the ReLU right behind it, whose forward is one pass over the output.

    The layers end up with the caches that their own forwards would have left, to the last bit, so
    backwards they do what they always do.
    """

    def __init__(self, convolution: Conv2D, rectifier: ReLU) -> None:
        self.layers: list[Layer] = [convolution, rectifier]
        self.convolution = convolution

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        """Compute the output, leaving the caches."""
        if not _are_left_alone(self.layers):
            for layer in self.layers:
                x = layer.forward(x, training)
            return x
        y = self._compute(x)
        for layer, cache in zip(self.layers, (x, y), strict=True):
            layer._cache, layer._forward_shape = cache, y.shape
        return y

    def infer(self, x: np.ndarray) -> np.ndarray:
        """Compute the output, leaving no trace."""
        if not _are_left_alone(self.layers):
            for layer in self.layers:
                x = layer.infer(x)
            return x
        return self._compute(x)

    def _compute(self, x: np.ndarray) -> np.ndarray:
        conv = self.convolution
        W, b = conv.params["W"], conv.params.get("b")
        return conv2d(x, W, b, *conv.geometry, conv.algorithm, rectify=True)

    def _forget(self) -> None:
        """Drop what the last forward left in the layers."""
        for layer in self.layers:
            layer._cache = None


def parts(root: Layer, chain: list[Layer]) -> list[Any]:
    """Cut the chain of a root into what is computed as a whole, and single layers."""
    starts = {slot.path: slot.slice.start for slot in root.layout}
    found: list[Any] = []
    steps: list[Step] = []
    done: Layer | None = None  # with the layer before

    def end_run() -> None:
        if len(steps) > 1 or (steps and steps[0][1]):
            found.append(Run(steps.copy(), starts, root))
        else:
            found.extend(dense for dense, _ in steps)
        steps.clear()

    for layer, follower in zip(chain, [*chain[1:], None], strict=False):  # it may be empty
        if layer is done:
            continue
        done = None
        if type(layer) is Dense and len(layer.input_shape) == 1:
            done = follower if type(follower) in _CODES else None
            steps.append((layer, done))
            continue
        end_run()
        if type(layer) is Conv2D and type(follower) is ReLU:
            done = follower
            found.append(RectifiedConvolution(layer, follower))
        else:
            found.append(layer)
    end_run()
    return found


def backwards(parts: list[Any]) -> Iterator[Any]:
    """Yield parts in the order of backward, single layers where backward is theirs.

    So each gradient on the way can go as soon as the layer before it has its own.
    """
    for part in reversed(parts):
        if type(part) is RectifiedConvolution:
            yield from reversed(part.layers)
        else:
            yield part


def _are_left_alone(layers: list[Layer]) -> bool:
    """Whether nobody observes one of the layers or has frozen it."""
    return not [layer for layer in layers if layer._observer is not None or not layer._trainable]


def _row(dense: Dense, activation: Layer | None, starts: dict[str, int]) -> tuple[int, ...]:
    """Describe a step to the kernel: `layerkit.kernels._numpy.dense.COLUMNS`."""
    W, b = starts[f"{dense.path}.W"], starts.get(f"{dense.path}.b", -1)
    code = IDENTITY if activation is None else _CODES[type(activation)]
    return *dense.params["W"].shape, W, b, code
