"""Layers that read a row step by step and carry a state: SimpleRNN, GRU, LSTM.

Backpropagation through time. The state h_t goes into the output of its step and into the next step,
so its gradient is the sum of both, found from the last step to the first::

    z_t = x_t W + h_{t-1} U + b        h_t = f(z_t)
    dL/dh_t = G_t + D_{t+1} Uᵀ         D_t = dL/dz_t = dL/dh_t f'(z_t)

What does not wait for the step before is one product over all steps of all rows::

    x W (forward)      dL/dx = D Wᵀ      dL/dW = Σ_t x_tᵀ D_t      dL/dU = Σ_t h_{t-1}ᵀ D_t

What does is the loop over the steps, in `layerkit.kernels`. Their order is that of a `Timeline`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from layerkit import initializers
from layerkit.kernels import (
    add_row,
    gru,
    gru_grad,
    lstm,
    lstm_grad,
    matmul,
    simple_rnn,
    simple_rnn_grad,
    sum_rows,
)
from layerkit.layer import Layer
from layerkit.layers.timeline import Timeline
from layerkit.parameters import is_flag, is_size
from layerkit.sequences import Sequences, numbers
from layerkit.shapes import Shape

State = list[np.ndarray]


class Steps(NamedTuple):
    """What forward leaves: the order of the steps, x in it, states, gates and such, the rows."""

    line: Timeline
    x: np.ndarray
    states: State
    kept: tuple
    rows: Sequences | None


class Recurrent(Layer):
    """Parameters, order of steps, state and weight gradients of the recurrent layers.

    A subclass writes `steps_forward`, which fills the states of all steps, and `steps_backward`,
    which returns D, the gradient of x W + b of all steps, and that of h U. ``state`` is what the
    next forward goes on from if ``stateful``: the last h (and c) of each row, None for zeros.
    """

    habits: ClassVar[Mapping[str, str]] = {
        **Layer.habits,
        "activation": "SimpleRNN has activation; an LSTM's and a GRU's are those of the formula",
        "bidirectional": "write Bidirectional(LSTM(8))",
        "go_backwards": "write Bidirectional(LSTM(8)), which reads both ways",
        "hidden_size": "write units",
        "num_layers": "write a layer for each: LSTM(8, return_sequences=True), GRU(8)",
        **dict.fromkeys(
            ("mask_zero", "mask"),
            "rows that differ in length are a list of arrays, one for each row",
        ),
    }
    too_many = "PyTorch's LSTM(4, 8) is LSTM(8): build counts the inputs"
    takes_sequences = True
    weight_init = staticmethod(initializers.glorot_uniform)
    gates = 1
    n_states = 1

    units: int
    return_sequences: bool
    state: State | None = None
    _unpickled = (*Layer._unpickled, "state")

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_size(self.units), "units", "a positive integer")
        for name in ("return_sequences", "stateful"):
            self.check(is_flag(getattr(self, name)), name, "True or False")
        within = "False within Bidirectional: what comes later ends with the row"
        self.check(self.may_be_stateful or not self.stateful, "stateful", within)
        hint = (
            "; a recurrent layer before it needs return_sequences=True, and steps of one number "
            "each need an axis for it, x[..., np.newaxis]"
        ) * (len(input_shape) == 1)
        self.check_input(len(input_shape) == 2, "sequences (n_samples, time, n_features)", hint)
        columns = self.gates * self.units
        self.add_param("W", (input_shape[1], columns), self._per_gate(initializers.glorot_uniform))
        self.add_param("U", (self.units, columns), self._per_gate(initializers.orthogonal))
        self.add_param("b", (columns,), self.initial_bias, decay=False)
        return (input_shape[0], self.units) if self.return_sequences else (self.units,)

    def _per_gate(self, initializer):  # type: ignore[no-untyped-def]
        """Draw the matrix of every gate by itself."""

        def draw(shape: Shape, rng: np.random.Generator) -> np.ndarray:
            gate = (shape[0], shape[1] // self.gates)
            return np.concatenate([initializer(gate, rng) for _ in range(self.gates)], axis=1)

        return draw

    def initial_bias(self, shape: Shape, rng: np.random.Generator) -> np.ndarray:
        """Return the first values of ``b``."""
        return np.zeros(shape)

    def steps_forward(self, z: np.ndarray, states: State, line: Timeline) -> tuple:
        """Fill the states of all steps, given z = x W + b; return what backward needs."""
        raise NotImplementedError

    def steps_backward(self, grad: np.ndarray, states: State, line: Timeline, kept: tuple) -> tuple:
        """Return dL/dz and dL/d(h U) of all steps, given the gradient of each step's output."""
        raise NotImplementedError

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        rows = x if isinstance(x, Sequences) else Sequences.from_array(x)
        line, before = Timeline(rows), self._state_before(len(rows))
        steps = line.ordered(rows.steps)
        z = matmul(steps, self.params["W"])
        add_row(z, self.params["b"])
        states = [line.states(self.units, z.dtype, first) for first in before]
        kept = self.steps_forward(z, states, line)
        if self.stateful:
            self.state = [line.last(state) for state in states]
        self.cache = Steps(line, steps, states, kept, x if isinstance(x, Sequences) else None)
        if not self.return_sequences:
            return line.last(states[0])
        return self._in_rows(states[0][len(rows) :])

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        line, steps, states, kept, _ = self.cache
        grad = self.grad_by_step(grad_output)
        of_z, of_product = self.steps_backward(grad, states, line, kept)
        matmul(steps.T, of_z, out=self.grads["W"])
        matmul(line.before(states[0]).T, of_product, out=self.grads["U"])
        sum_rows(of_z, out=self.grads["b"])
        return self._in_rows(matmul(of_z, self.params["W"].T)) if self.needs_input_grad else None

    def grad_by_step(self, grad_output: np.ndarray) -> np.ndarray:
        """Return G of all steps, in their order, after zeros for the states before step 0."""
        line = self.cache.line
        if not self.return_sequences:
            return line.at_last(grad_output)
        grad = line.states(self.units, grad_output.dtype)
        grad[line.n_rows :] = line.ordered(numbers(grad_output).reshape(-1, self.units))
        return grad

    def _in_rows(self, ordered: np.ndarray) -> np.ndarray:
        """Put the steps back where they stood."""
        line, *_, rows = self.cache
        steps = line.unordered(ordered)
        if rows is not None:
            return rows.with_steps(steps)
        time = line.time or self.input_shape[0] or 0
        return steps.reshape(line.n_rows, time, steps.shape[1])

    def _state_before(self, n_rows: int) -> Sequence[np.ndarray | None]:
        """Return the states to go on from, None for zeros."""
        if self.state is None or not self.stateful:
            return [None] * self.n_states
        expected = [(n_rows, self.units)] * self.n_states
        shapes = [np.shape(state) for state in self.state]
        if shapes != expected:
            raise ValueError(
                f"in {self.where}: the state it goes on from is of {shapes[0][0]} rows, "
                f"{' and '.join(map(str, shapes))}, got {n_rows} rows, for which it would be "
                f"{' and '.join(map(str, expected))}; reset_state() begins with new rows"
            )
        return [np.asarray(state) for state in self.state]

    def reset_state(self) -> None:
        self.state = None

    def multiply_adds(self) -> int:
        """Both products of every step; of one step where their number is open."""
        n_in, columns = self.params["W"].shape if self.is_built else self.declared_params["W"].shape
        return (self.input_shape[0] or 1) * (n_in + self.units) * columns


class SimpleRNN(Recurrent):
    r"""The plain recurrent layer: the state is an affine map of input and state, and a function.

    .. math:: h_t = f(x_t W + h_{t-1} U + b), \qquad h_0 = 0

    Parameters
    ----------
    units : int
        Size of the state, at least 1.
    activation : {"tanh", "relu"}, default="tanh"
        The function f.
    return_sequences : bool, default=False
        Whether to return the state of every step or that of the last one of each row.
    stateful : bool, default=False
        Whether row i of a batch goes on from where row i of the batch before ended: windows of long
        series, one after the other, each passed by gradients within itself (truncated
        backpropagation). `reset_state` begins new series, `train` does so at every epoch; ``infer``
        keeps no state and begins from zeros.

    Raises
    ------
    ValueError
        If a parameter is out of range or the input is no batch of sequences; if the number of rows
        changes while a state is kept.

    Notes
    -----
    Input ``(n_samples, time, n_features)`` or rows of unequal length; output ``(n_samples, units)``
    or, with ``return_sequences``, ``(n_samples, time, units)``. Learned ``W``
    ``(n_features, units)``, ``U`` ``(units, units)`` (orthogonal at first) and ``b`` ``(units,)``.

    Backward, from the last step to the first, G the gradient of the output:

    .. math:: D_t = (G_t + D_{t+1} U^\top) f'(z_t), \quad
              \frac{\partial L}{\partial x_t} = D_t W^\top, \quad
              \frac{\partial L}{\partial W} = \sum_t x_t^\top D_t, \quad
              \frac{\partial L}{\partial U} = \sum_t h_{t-1}^\top D_t, \quad
              \frac{\partial L}{\partial b} = \sum_t D_t

    A gradient passes f' and U once for every step, so it vanishes or explodes over many.

    References
    ----------
    Elman, "Finding structure in time", Cognitive Science 14, 1990.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import SimpleRNN
    >>> layer = SimpleRNN(1, activation="relu").build((None, 1), dtype=np.float64)
    >>> layer.flat_params[...] = [1.0, 0.5, 0.0]
    >>> layer.forward([[[4.0], [2.0]]]).tolist()
    [[4.0]]
    >>> layer.backward([[1.0]]).tolist()
    [[[0.5], [1.0]]]
    """

    def __init__(
        self,
        units: int,
        *,
        activation: str = "tanh",
        return_sequences: bool = False,
        stateful: bool = False,
    ) -> None:
        self.units = units
        self.activation = activation
        self.return_sequences = return_sequences
        self.stateful = stateful

    def setup(self, input_shape: Shape) -> Shape:
        ok = isinstance(self.activation, str) and self.activation in ("tanh", "relu")
        self.check(ok, "activation", '"tanh" or "relu"')
        return super().setup(input_shape)

    def steps_forward(self, z: np.ndarray, states: State, line: Timeline) -> tuple:
        simple_rnn(z, self.params["U"], states[0], line.sizes, self.activation == "relu")
        return ()

    def steps_backward(self, grad: np.ndarray, states: State, line: Timeline, kept: tuple) -> tuple:
        U, relu = self.params["U"], self.activation == "relu"
        D = simple_rnn_grad(grad, states[0], U, line.sizes, relu)
        return D, D


class LSTM(Recurrent):
    r"""Long short-term memory: a cell to which gates add and from which they take.

    .. math::
        i, f, o = \sigma(\cdot), \; g = \tanh(\cdot) \text{ of the parts of } x_t W + h_{t-1} U + b,
        \qquad c_t = f c_{t-1} + i g, \qquad h_t = o \tanh c_t

    Parameters
    ----------
    units : int
        Size of the state, at least 1.
    return_sequences : bool, default=False
        Whether to return the state of every step or that of the last one of each row.
    stateful : bool, default=False
        Whether row i of a batch goes on from where row i of the batch before ended: windows of long
        series, one after the other, each passed by gradients within itself (truncated
        backpropagation). `reset_state` begins new series, `train` does so at every epoch; ``infer``
        keeps no state and begins from zeros.

    Raises
    ------
    ValueError
        If a parameter is out of range or the input is no batch of sequences; if the number of rows
        changes while a state is kept.

    Notes
    -----
    Input ``(n_samples, time, n_features)`` or rows of unequal length; output ``(n_samples, units)``
    or, with ``return_sequences``, ``(n_samples, time, units)``. Learned ``W``
    ``(n_features, 4 units)``, ``U`` ``(units, 4 units)`` and ``b`` ``(4 units,)`` of the gates
    i f g o; the forget gate's part of ``b`` starts at 1, so that the cell remembers at first.

    Backward, with H and C the gradients of state and cell, from the last step to the first:

    .. math::
        H_t = G_t + D_{t+1} U^\top, \qquad
        C_t = H_t \, o (1 - \tanh^2 c_t) + C_{t+1} f_{t+1}

        D_t = [C_t g \, i(1-i), \; C_t c_{t-1} f(1-f), \; C_t i (1-g^2), \; H_t \tanh c_t \, o(1-o)]

    and :math:`D W^\top`, :math:`\sum_t x_t^\top D_t`, :math:`\sum_t h_{t-1}^\top D_t` and
    :math:`\sum_t D_t` for x, W, U and b. Along the cell a gradient is only multiplied by f.

    References
    ----------
    Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997; Gers,
    Schmidhuber and Cummins, "Learning to forget", Neural Computation 12, 2000.

    Examples
    --------
    >>> from layerkit import LSTM
    >>> layer = LSTM(2).build((None, 3), random_state=0)
    >>> layer.forward([[[1.0, 2, 3]], [[1, 2, 3], [4, 5, 6]]]).shape
    (2, 2)
    >>> layer.params["b"].tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """

    gates = 4
    n_states = 2

    def __init__(
        self, units: int, *, return_sequences: bool = False, stateful: bool = False
    ) -> None:
        self.units = units
        self.return_sequences = return_sequences
        self.stateful = stateful

    def initial_bias(self, shape: Shape, rng: np.random.Generator) -> np.ndarray:
        return np.repeat([0.0, 1.0, 0.0, 0.0], self.units)

    def steps_forward(self, z: np.ndarray, states: State, line: Timeline) -> tuple:
        h, c = states
        return z, lstm(z, self.params["U"], h, c, line.sizes)

    def steps_backward(self, grad: np.ndarray, states: State, line: Timeline, kept: tuple) -> tuple:
        gates, tanh_c = kept
        c_before = line.before(states[1])
        D = lstm_grad(grad, gates, tanh_c, c_before, self.params["U"], line.sizes)
        return D, D


class GRU(Recurrent):
    r"""Gated recurrent unit: a gate mixes the state and a candidate, another resets the state.

    .. math:: r, z = \sigma(\cdot) \text{ of their parts of } x_t W + h_{t-1} U + b

    .. math:: n = \tanh\big(x_t W_n + b_n + r (h_{t-1} U_n + b_h)\big), \qquad
              h_t = (1 - z) n + z h_{t-1}

    Parameters
    ----------
    units : int
        Size of the state, at least 1.
    return_sequences : bool, default=False
        Whether to return the state of every step or that of the last one of each row.
    stateful : bool, default=False
        Whether row i of a batch goes on from where row i of the batch before ended: windows of long
        series, one after the other, each passed by gradients within itself (truncated
        backpropagation). `reset_state` begins new series, `train` does so at every epoch; ``infer``
        keeps no state and begins from zeros.

    Raises
    ------
    ValueError
        If a parameter is out of range or the input is no batch of sequences; if the number of rows
        changes while a state is kept.

    Notes
    -----
    Input ``(n_samples, time, n_features)`` or rows of unequal length; output ``(n_samples, units)``
    or, with ``return_sequences``, ``(n_samples, time, units)``. Learned ``W``
    ``(n_features, 3 units)``, ``U`` ``(units, 3 units)`` and ``b`` ``(3 units,)`` of the gates
    r z n, and ``b_hidden`` ``(units,)``. The reset acts after the product, as in PyTorch.

    Backward, with H the gradient of the state, from the last step to the first:

    .. math::
        H_t = G_t + z_{t+1} H_{t+1} + E_{t+1} U^\top, \qquad
        N = H_t (1 - z)(1 - n^2)

        D_t = [N (h_{t-1} U_n + b_h) \, r(1-r), \; H_t (h_{t-1} - n) \, z(1-z), \; N], \qquad
        E_t = [D_r, D_z, r N]

    and :math:`D W^\top`, :math:`\sum_t x_t^\top D_t`, :math:`\sum_t h_{t-1}^\top E_t`,
    :math:`\sum_t D_t` and :math:`\sum_t r N` for x, W, U, b and b_hidden.

    References
    ----------
    Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
    translation", EMNLP 2014, arXiv:1406.1078.

    Examples
    --------
    >>> from layerkit import GRU
    >>> layer = GRU(2, return_sequences=True).build((None, 3), random_state=0)
    >>> layer.forward([[[1.0, 2, 3]], [[1, 2, 3], [4, 5, 6]]])
    Sequences of 2 rows, 1 to 2 steps of shape (2,), float32
    """

    gates = 3

    def __init__(
        self, units: int, *, return_sequences: bool = False, stateful: bool = False
    ) -> None:
        self.units = units
        self.return_sequences = return_sequences
        self.stateful = stateful

    def setup(self, input_shape: Shape) -> Shape:
        output_shape = super().setup(input_shape)
        self.add_param("b_hidden", (self.units,), initializers.zeros, decay=False)
        return output_shape

    def steps_forward(self, z: np.ndarray, states: State, line: Timeline) -> tuple:
        return z, gru(z, self.params["U"], self.params["b_hidden"], states[0], line.sizes)

    def steps_backward(self, grad: np.ndarray, states: State, line: Timeline, kept: tuple) -> tuple:
        gates, candidate = kept
        h_before = line.before(states[0])
        D, E = gru_grad(grad, gates, candidate, h_before, self.params["U"], line.sizes)
        sum_rows(E[:, 2 * self.units :], out=self.grads["b_hidden"])
        return D, E
