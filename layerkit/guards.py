"""The guards around ``forward``, ``backward`` and ``infer``: so layers hold only mathematics.

`Layer` puts one around each of the three that a class defines, when the class is defined.

- Before ``forward`` and ``infer`` the input becomes an array of the network's dtype and must have
  the shape that the layer was built for. A new forward forgets what the last one left.
- Before ``backward`` there must have been a forward, and the gradient must fit what it returned.
- Afterwards the result must have the shape that ``setup`` declared (backward: that of the input),
  the gradients of a frozen layer are zero, and observers are shown what came and what went out.
- A guard stands aside where a subclass calls the method through ``super()``, as a part of its own.

So a traceback has one frame of this file between a call and the layer's own line.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit.shapes import Shape, batch_shape

Observer = Callable[[Any, str, np.ndarray, np.ndarray], None]


def guard_methods(kind: Any) -> None:
    """Put the guards around what a class of layers defines itself; it owns these methods now."""
    own = vars(kind)
    if "forward" in own:
        kind.forward, kind._forward_owner = _guard_forward(own["forward"], kind), kind
    if "backward" in own:
        kind.backward, kind._backward_owner = _guard_backward(own["backward"], kind), kind
    if "infer" in own:
        kind.infer = _guard_infer(own["infer"])


def _guard_forward(forward: Callable, owner: type) -> Callable:
    @functools.wraps(forward)
    def guarded(self: Any, x: ArrayLike, training: bool = False) -> np.ndarray:
        if self._forward_owner is not owner:
            return forward(self, x, training)
        x = _accept(self, x)
        self._forward_shape = None  # what `clear_cache` does to each layer, without a call
        self.__dict__.pop("cache", None)
        y = forward(self, x, training)
        shape = y.shape
        if shape[1:] != self.output_shape or shape[0] != x.shape[0]:
            raise ValueError(
                f"in {self.where}: setup declared the output {batch_shape(self.output_shape)}, "
                f"but forward turned {x.shape} into {y.shape}"
            )
        self._forward_shape = shape
        if self._observer is not None:
            self._observer(self, "forward", x, y)
        return y

    return guarded


def _guard_backward(backward: Callable, owner: type) -> Callable:
    @functools.wraps(backward)
    def guarded(self: Any, grad_output: ArrayLike) -> np.ndarray:
        if self._backward_owner is not owner:
            return backward(self, grad_output)
        grad_output = accept_gradient(self, grad_output, self._forward_shape)
        grad_input = backward(self, grad_output)
        shape = (len(grad_output), *self.input_shape)
        returned = None if grad_input is None else grad_input.shape
        if returned != shape and (returned is not None or self.needs_input_grad):
            raise ValueError(
                f"in {self.where}: backward must return the gradient of the input, "
                f"{shape}, but returned {returned}"
            )
        if not self._trainable and self.is_built:
            for grad in self.grads.values():
                grad.fill(0)
        if self._observer is not None:
            self._observer(self, "backward", grad_output, grad_input)
        return grad_input

    return guarded


def _guard_infer(infer: Callable) -> Callable:
    @functools.wraps(infer)
    def guarded(self: Any, x: ArrayLike) -> np.ndarray:
        layer = self if self.is_built else self._twin()  # finds its shapes on a copy of itself
        return infer(layer, _accept(layer, x))

    return guarded


def _accept(layer: Any, x: ArrayLike) -> np.ndarray:
    """Return the input as an array that fits, or raise."""
    if type(x) is np.ndarray and x.dtype == layer.dtype and x.shape[1:] == layer.input_shape:
        return x
    array = layer.convert_input(x)
    if array.ndim == 0:
        raise ValueError(f"in {layer.where}: expects a batch of samples, got a single number")
    if not layer.is_built:
        layer._declare_unbuilt(array.shape[1:])
    elif array.shape[1:] != layer.input_shape:
        raise ValueError(
            f"in {layer.where}: expects {batch_shape(layer.input_shape)}, got {array.shape}"
        )
    return array


def accept_gradient(layer: Any, grad_output: ArrayLike, shape: Shape | None) -> np.ndarray:
    """Return the gradient as an array of the shape of the last forward's result, or raise."""
    if shape is None:
        raise RuntimeError(f"in {layer.where}: backward needs a forward before it")
    if type(grad_output) is not np.ndarray or grad_output.dtype != layer.dtype:
        grad_output = np.asarray(grad_output, dtype=layer.dtype)
        if grad_output.dtype not in (np.float32, np.float64):  # in a layer that is not built
            grad_output = grad_output.astype(np.float64)
    if grad_output.shape != shape:
        raise ValueError(
            f"in {layer.where}: backward expects the gradient of its output, "
            f"{shape}, got {grad_output.shape}"
        )
    return grad_output


@contextmanager
def observed(layers: Sequence[Any], observer: Observer) -> Iterator[None]:
    """Within a ``with`` block, let an observer see what passes through each of the layers."""
    before = [(layer, layer._observer) for layer in layers]
    try:
        for layer, other in before:
            layer._observer = observer if other is None else _both(other, observer)
        yield
    finally:
        for layer, other in before:
            layer._observer = other


def _both(first: Observer, second: Observer) -> Observer:
    def observer(*passed: Any) -> None:
        first(*passed)
        second(*passed)

    return observer
