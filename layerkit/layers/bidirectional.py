"""Reading every row from both ends."""

from __future__ import annotations

import numpy as np

from layerkit.layer import Layer
from layerkit.layers.containers import check_layers
from layerkit.layers.recurrent import Recurrent
from layerkit.sequences import Sequences, numbers
from layerkit.shapes import Shape


class Bidirectional(Layer):
    r"""A recurrent layer and a second one that reads every row from its end; both side by side.

    .. math:: y = [f(x), \; R\, b(R x)]

    R turns the steps of each row around, within its own length.

    Parameters
    ----------
    layer : SimpleRNN, GRU or LSTM
        f; b is a layer of the same kind with parameters of its own.

    Raises
    ------
    ValueError
        If ``layer`` is not a recurrent layer.

    Notes
    -----
    Input ``(n_samples, time, n_features)`` or rows of unequal length; output
    ``(n_samples, 2 units)``, each half from the last step that its layer reads, or, with
    ``return_sequences``, ``(n_samples, time, 2 units)``. Backward: each layer gets its half of the
    gradient, and what they return is added:

    .. math:: \frac{\partial L}{\partial x} = f'^\top G_f + R \, b'^\top R \, G_b

    References
    ----------
    Schuster and Paliwal, "Bidirectional recurrent neural networks", IEEE Transactions on Signal
    Processing 45, 1997.

    Examples
    --------
    >>> from layerkit import GRU, Bidirectional
    >>> Bidirectional(GRU(4)).build((None, 3)).forward([[[1.0, 2, 3], [4, 5, 6]]]).shape
    (1, 8)
    """

    takes_sequences = True

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._reverse = _like(layer)

    def children(self) -> list[tuple[str, Layer]]:
        check_layers(self, layer=self.layer)
        if self.layer.stateful:  # no self.check, which asks for the children
            raise ValueError(
                "in Bidirectional: layer must be one with stateful=False: what comes later ends "
                f"with the row, got {self.layer!r}"
            )
        if repr(self._reverse) != repr(self.layer):  # a hyper-parameter was set since
            if self.is_built:
                self._reverse.set_params(**self.layer.get_params(deep=False))
            else:
                self._reverse = _like(self.layer)
        return [("layer", self.layer), ("reverse", self._reverse)]

    def setup(self, input_shape: Shape) -> Shape:
        self.check(isinstance(self.layer, Recurrent), "layer", "a SimpleRNN, GRU or LSTM")
        for name, layer in self.children():
            layer.take_place(name, self.follower_init)
            layer.may_be_stateful = False  # it keeps this in mind when it is edited by itself
            shape = layer.declare(input_shape)
        return (*shape[:-1], 2 * shape[-1])

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        (_, layer), (_, reverse) = self.children()
        return self._joined(layer.forward(x, training), reverse.forward(_turned(x), training))

    def infer(self, x: np.ndarray) -> np.ndarray:
        (_, layer), (_, reverse) = self.children()
        return self._joined(layer.infer(x), reverse.infer(_turned(x)))

    def _joined(self, forwards: np.ndarray, backwards: np.ndarray) -> np.ndarray:
        backwards = _turned(backwards) if self.layer.return_sequences else backwards  # type: ignore[attr-defined]
        joined = np.concatenate([numbers(forwards), numbers(backwards)], axis=-1)
        return forwards.with_steps(joined) if isinstance(forwards, Sequences) else joined  # type: ignore[return-value]

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        halves = np.split(numbers(grad_output), 2, axis=-1)
        if isinstance(grad_output, Sequences):
            halves = [grad_output.with_steps(half) for half in halves]
        first, second = halves
        second = _turned(second) if self.layer.return_sequences else second  # type: ignore[attr-defined]
        of_first, of_second = self.layer.backward(first), self._reverse.backward(second)
        return of_first + _turned(of_second) if self.needs_input_grad else None


def _turned(x: np.ndarray) -> np.ndarray:
    """Turn the steps of each row around, within its own length."""
    if not isinstance(x, Sequences):
        return np.ascontiguousarray(x[:, ::-1])
    ends = np.repeat(x.offsets[:-1] + x.offsets[1:] - 1, x.lengths)
    return x.with_steps(x.steps[ends - np.arange(len(ends))])  # type: ignore[return-value]


def _like(layer: Layer) -> Layer:
    """Return an unbuilt layer with the same hyper-parameters."""
    return type(layer)(**layer.get_params(deep=False)) if isinstance(layer, Layer) else layer
