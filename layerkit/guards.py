"""The guards around ``forward``, ``backward`` and ``infer``: so layers hold only mathematics.

`Layer` puts one around each of the three that a class defines, when the class is defined.

- Before ``forward`` and ``infer`` the input becomes an array of the network's dtype and must have
  the shape that the layer was built for. A new forward forgets what the last one left.
- Before ``backward`` there must have been a forward, and the gradient must fit what it returned.
- Afterwards the result must have the shape that ``setup`` declared (backward: that of the input),
  the gradients of a frozen layer are zero, and observers are shown what came and what went out.
- Rows of unequal length (`Sequences`, or a list of arrays) come as they are to a layer that
  ``takes_sequences``; one that is ``stepwise`` gets their steps as the rows of a table; for any
  other they become an array, if they are equally long.
- A guard stands aside where a subclass calls the method through ``super()``, as a part of its own.

So a traceback has one frame of this file between a call and the layer's own line.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from layerkit.sequences import Sequences, as_sequences, numbers, same_lengths
from layerkit.shapes import Shape, batch_shape, channels_first, fits

Observer = Callable[[Any, str, np.ndarray, np.ndarray], None]


# How the methods of a layer are called.
_LINES = {
    "setup": "self, input_shape",
    "forward": "self, x, training=False",
    "backward": "self, grad_output",
    "infer": "self, x",
}


class Passed(NamedTuple):
    """Row offsets of a forward on `Sequences`, and the shape of what it returned."""

    offsets: np.ndarray
    output: Sequences | Shape


def guard_methods(kind: Any) -> None:
    """Wrap the methods that a class of layers defines itself, and mark it as their owner."""
    own = vars(kind)
    for name, line in _LINES.items():
        if inspect.isfunction(own.get(name)):
            _check_signature(kind, name, line)
    if "forward" in own:
        kind.forward, kind._forward_owner = _guard_forward(own["forward"], kind), kind
    if "backward" in own:
        kind.backward, kind._backward_owner = _guard_backward(own["backward"], kind), kind
    if "infer" in own:
        kind.infer = _guard_infer(own["infer"])


def _check_signature(kind: type, name: str, line: str) -> None:
    """Refuse a method that cannot be called as it will be."""
    signature = inspect.signature(getattr(kind, name))
    try:
        signature.bind(*line.split(", "))
    except TypeError:
        raise TypeError(
            f"{kind.__name__}.{name} takes {signature}: it is called with all of ({line}), write "
            f"def {name}({line}):"
        ) from None


def _guard_forward(forward: Callable, owner: type) -> Callable:
    @functools.wraps(forward)
    def guarded(self: Any, x: Any, training: bool = False) -> np.ndarray:
        if self._forward_owner is not owner:
            return forward(self, x, training)
        x = _accept(self, x)
        self._forward_shape = None  # as `clear_cache` does, without a call
        self.__dict__.pop("cache", None)
        if type(x) is Sequences:
            return _forward_sequences(self, forward, x, training)
        y = forward(self, x, training)
        try:
            shape = y.shape
        except AttributeError:
            raise _no_array(self, "forward", y) from None
        declared = self._output_shape
        if shape[0] != x.shape[0] or (shape[1:] != declared and not fits(shape[1:], declared)):
            raise _wrong_output(self, x, y)
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
        passed = self._forward_shape
        if type(passed) is Passed:
            grad_output, grad_input = _backward_sequences(self, backward, grad_output, passed)
        else:
            grad_output = accept_gradient(self, grad_output, passed)
            grad_input = backward(self, grad_output)
            shape = (len(grad_output), *self._input_shape)
            try:
                returned = None if grad_input is None else grad_input.shape
            except AttributeError:
                raise _no_array(self, "backward", grad_input) from None
            if returned != shape and not (
                fits(returned, shape) if returned else not self.needs_input_grad
            ):
                raise _wrong_gradient(self, shape, returned)
        if not self._trainable and self.is_built:
            for grad in self.grads.values():
                grad.fill(0)
        if self._observer is not None:
            self._observer(self, "backward", numbers(grad_output), numbers(grad_input))
        return grad_input

    return guarded


def _guard_infer(infer: Callable) -> Callable:
    @functools.wraps(infer)
    def guarded(self: Any, x: ArrayLike) -> np.ndarray:
        layer = self if self.is_built else self._twin()  # finds its shapes on a copy of itself
        x = _accept(layer, x)
        if type(x) is Sequences and not layer.takes_sequences:
            return x.with_steps(infer(layer, x.steps))
        return infer(layer, x)

    return guarded


def _accept(layer: Any, x: Any) -> Any:
    """Return the input as an array that fits, or raise."""
    if type(x) is np.ndarray and x.dtype == layer._dtype:
        shape, expected = x.shape[1:], layer._input_shape
        if shape == expected or (expected and fits(shape, expected)):
            return x
    x = as_sequences(x)
    if isinstance(x, Sequences):
        return _accept_sequences(layer, x)
    array = layer.convert_input(x)
    if array.ndim == 0:
        raise ValueError(f"in {layer.where}: expects a batch of samples, got a single number")
    if not layer.is_built:
        layer._declare_unbuilt(array.shape[1:])
    elif not fits(array.shape[1:], layer.input_shape):
        raise ValueError(
            f"in {layer.where}: expects {batch_shape(layer.input_shape)}, got {array.shape}"
            + channels_first(array.shape[1:], layer.input_shape)
        )
    return array


def accept_gradient(layer: Any, grad_output: ArrayLike, shape: Shape | None) -> np.ndarray:
    """Return the gradient as an array of the shape of the last forward's result, or raise."""
    if shape is None:
        raise RuntimeError(f"in {layer.where}: backward needs a forward before it")
    if type(grad_output) is not np.ndarray or grad_output.dtype != layer._dtype:
        grad_output = np.asarray(grad_output, dtype=layer.dtype)
        if grad_output.dtype not in (np.float32, np.float64):  # in a layer that is not built
            grad_output = grad_output.astype(np.float64)
    if grad_output.shape != shape:
        raise ValueError(
            f"in {layer.where}: backward expects the gradient of its output, "
            f"{shape}, got {grad_output.shape}"
        )
    return grad_output


# ---------------------------------------------------------------- rows of unequal length


def _accept_sequences(layer: Any, x: Sequences) -> Any:
    """Return rows that fit, as the layer takes them, or raise."""
    if not layer.is_built:
        layer._declare_unbuilt(x.shape[1:])
    if not (layer.takes_sequences or layer.stepwise):
        if x.time is None:
            raise ValueError(
                f"in {layer.where}: takes rows of one length only, got rows of {x.extent}"
            )
        return _accept(layer, x.to_array())
    if len(layer.input_shape) < 1 or x.steps.shape[1:] != layer.input_shape[1:]:
        raise ValueError(f"in {layer.where}: expects {batch_shape(layer.input_shape)}, got {x}")
    steps = layer.convert_input(x.steps)
    return x if steps is x.steps else x.with_steps(steps)


def _forward_sequences(layer: Any, forward: Callable, x: Sequences, training: bool) -> Any:
    if layer.takes_sequences:
        y = forward(layer, x, training)
    else:
        y = x.with_steps(forward(layer, x.steps, training))
    shape = (len(y), *y.steps.shape[1:]) if isinstance(y, Sequences) else y.shape
    declared = layer.output_shape[1:] if isinstance(y, Sequences) else layer.output_shape
    if shape != (len(x), *declared):
        raise _wrong_output(layer, x, y)
    # Only the shape of the output is kept.
    output = y.with_steps(_no_memory(y.steps)) if isinstance(y, Sequences) else y.shape
    layer._forward_shape = Passed(x.offsets, output)
    if layer._observer is not None:
        layer._observer(layer, "forward", x.steps, numbers(y))
    return y


def _no_memory(like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.zeros((), like.dtype), like.shape)


def _backward_sequences(
    layer: Any, backward: Callable, grad_output: Any, passed: Passed
) -> tuple[Any, Any]:
    """Return the gradient of the output as it was accepted, and that of the input."""
    if isinstance(passed.output, Sequences):
        grad_output = _accept_step_gradients(layer, grad_output, passed.output)
    else:
        grad_output = accept_gradient(layer, grad_output, passed.output)
    if layer.takes_sequences:
        grad_input = backward(layer, grad_output)
    else:
        grad_input = backward(layer, grad_output.steps)
        grad_input = None if grad_input is None else grad_output.with_steps(grad_input)
    if grad_input is None and not layer.needs_input_grad:
        return grad_output, None
    if isinstance(grad_input, np.ndarray) and grad_input.ndim > 1:  # of equally long rows
        grad_input = Sequences.from_array(grad_input)
    shape = (int(passed.offsets[-1]), *layer.input_shape[1:])
    are_rows = isinstance(grad_input, Sequences)
    returned = getattr(grad_input.steps if are_rows else grad_input, "shape", None)
    if not are_rows or returned != shape:
        raise _wrong_gradient(layer, shape, returned)
    if not np.array_equal(grad_input.offsets, passed.offsets):
        lengths = np.diff(passed.offsets), grad_input.lengths
        row = next(i for i, (a, b) in enumerate(zip(*lengths, strict=False)) if a != b)
        named = (f"{shape} with {steps[row]} steps in row {row}" for steps in lengths)
        raise _wrong_gradient(layer, *named)
    return grad_output, grad_input


def _accept_step_gradients(layer: Any, grad_output: Any, output: Sequences) -> Sequences:
    """Return the gradient of every step of the last forward's result, or raise."""
    grad = as_sequences(grad_output)
    if not isinstance(grad, Sequences):
        array = np.asarray(grad)
        if array.ndim > 1 and array.shape[1] == output.time:
            grad = Sequences.from_array(array)
    same = isinstance(grad, Sequences) and same_lengths(grad, output)
    if not same or grad.steps.shape != output.steps.shape:
        got = grad if isinstance(grad, Sequences) else np.shape(grad)
        raise ValueError(
            f"in {layer.where}: backward expects the gradient of its output, {output}, got {got}"
        )
    return grad if grad.dtype == output.dtype else grad.astype(output.dtype)


# ---------------------------------------------------------------- what is refused


def _no_array(layer: Any, method: str, returned: Any) -> TypeError:
    return TypeError(f"in {layer.where}: {method} must return an array, got {returned!r:.100}")


def _wrong_output(layer: Any, x: Any, y: Any) -> ValueError:
    return ValueError(
        f"in {layer.where}: setup declared the output {batch_shape(layer.output_shape)}, "
        f"but forward turned {x.shape} into {y.shape}"
    )


def _wrong_gradient(layer: Any, expected: Any, returned: Any) -> ValueError:
    return ValueError(
        f"in {layer.where}: backward must return the gradient of the input, "
        f"{expected}, but returned {returned}"
    )


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
