"""Layers that read a row step by step and carry a state: SimpleRNN, GRU, LSTM, both ways.

Backpropagation through time. The state h_t goes into the output of its step and into the next step,
so its gradient is the sum of both, found from the last step to the first::

    z_t = x_t W + h_{t-1} U + b        h_t = f(z_t)
    dL/dh_t = G_t + D_{t+1} Uᵀ         D_t = dL/dz_t = dL/dh_t f'(z_t)

What does not wait for the step before is one product over all steps of all rows::

    x W (forward)      dL/dx = D Wᵀ      dL/dW = Σ_t x_tᵀ D_t      dL/dU = Σ_t h_{t-1}ᵀ D_t

Rows of unequal length lie sorted, the longest first, and step after step: at step t only the first
``sizes[t]`` rows are left, so that the batch shrinks and no step is one that a row does not have.
"""

from __future__ import annotations

import numpy as np

from layerkit import initializers
from layerkit.kernels import sigmoid
from layerkit.layer import Layer
from layerkit.layers.containers import check_layers
from layerkit.parameters import is_size
from layerkit.sequences import Sequences, numbers
from layerkit.shapes import Shape


class Timeline:
    """The order in which the steps of some rows are read, and how many rows each step has."""

    def __init__(self, rows: Sequences) -> None:
        lengths, n_steps = rows.lengths, len(rows.steps)
        rank = np.empty(len(rows), int)
        rank[np.argsort(-lengths, kind="stable")] = np.arange(len(rows))
        time = np.arange(n_steps) - np.repeat(rows.offsets[:-1], lengths)
        ranks = np.repeat(rank, lengths)
        self.order = np.lexsort((ranks, time))
        self.sizes = np.bincount(time).tolist()
        starts = np.concatenate([[0], np.cumsum(self.sizes, dtype=int)])
        self.starts = starts.tolist()
        self.last = starts[lengths - 1] + rank  # where the last step of each row stands
        self.n_rows = len(rows)
        before = starts[np.maximum(time - 1, 0)] + ranks
        self.before = before[self.order][self.sizes[0] if self.sizes else 0 :]

    def step(self, t: int) -> slice:
        """Where step t stands."""
        return slice(self.starts[t], self.starts[t + 1])

    def states_before(self, t: int) -> slice:
        """Where the states that step t goes on from stand: those of the rows that are left."""
        return slice(self.starts[t - 1], self.starts[t - 1] + self.sizes[t])


class Recurrent(Layer):
    """Parameters, order of steps and weight gradients of the recurrent layers.

    A subclass writes `steps_forward`, which fills the states of all steps, and `steps_backward`,
    which returns D, the gradient of x W + b of all steps, and that of h U.
    """

    takes_sequences = True
    weight_init = staticmethod(initializers.glorot_uniform)
    gates = 1

    units: int
    return_sequences: bool

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_size(self.units), "units", "a positive integer")
        ok = isinstance(self.return_sequences, bool | np.bool_)
        self.check(ok, "return_sequences", "True or False")
        self.check_input(len(input_shape) == 2, "sequences (n_samples, time, n_features)")
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

    def steps_forward(self, z: np.ndarray, h: np.ndarray, line: Timeline) -> tuple:
        """Fill h with the states of all steps, given z = x W + b; return what backward needs."""
        raise NotImplementedError

    def steps_backward(self, grad: np.ndarray, h: np.ndarray, line: Timeline, kept: tuple) -> tuple:
        """Return dL/dz and dL/d(h U) of all steps, given the gradient of each step's output."""
        raise NotImplementedError

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        rows = x if isinstance(x, Sequences) else Sequences.from_array(x)
        line = Timeline(rows)
        steps = rows.steps.take(line.order, axis=0)
        z = steps @ self.params["W"] + self.params["b"]
        h = np.empty((len(z), self.units), z.dtype)
        kept = self.steps_forward(z, h, line)
        self.cache = rows, line, steps, h, kept, isinstance(x, Sequences)
        if not self.return_sequences:
            return h.take(line.last, axis=0)
        return self._unordered(h, line, rows, isinstance(x, Sequences))

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        rows, line, steps, h, kept, ragged = self.cache
        if self.return_sequences:
            given = numbers(grad_output).reshape(h.shape)
            grad = given.take(line.order, axis=0)
        else:
            grad = np.zeros_like(h)
            grad[line.last] = grad_output
        of_z, of_product = self.steps_backward(grad, h, line, kept)
        first = line.sizes[0] if line.sizes else 0
        self.grads["W"][...] = steps.T @ of_z
        self.grads["U"][...] = h.take(line.before, axis=0).T @ of_product[first:]
        self.grads["b"][...] = of_z.sum(axis=0)
        return self._unordered(of_z @ self.params["W"].T, line, rows, ragged)

    def _unordered(
        self, ordered: np.ndarray, line: Timeline, rows: Sequences, ragged: bool
    ) -> np.ndarray:
        """Put the steps back where they stood."""
        steps = np.empty_like(ordered)
        steps[line.order] = ordered
        if ragged:
            return rows.with_steps(steps)  # type: ignore[return-value]
        time = self.input_shape[0] or (len(steps) // max(len(rows), 1))
        return steps.reshape(len(rows), time, ordered.shape[1])

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
        f.
    return_sequences : bool, default=False
        Whether to return the state of every step or that of the last one of each row.

    Raises
    ------
    ValueError
        If a parameter is out of range or the input is no batch of sequences.

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
        self, units: int, activation: str = "tanh", return_sequences: bool = False
    ) -> None:
        self.units = units
        self.activation = activation
        self.return_sequences = return_sequences

    def setup(self, input_shape: Shape) -> Shape:
        ok = isinstance(self.activation, str) and self.activation in ("tanh", "relu")
        self.check(ok, "activation", '"tanh" or "relu"')
        return super().setup(input_shape)

    def steps_forward(self, z: np.ndarray, h: np.ndarray, line: Timeline) -> tuple:
        U = self.params["U"]
        for t in range(len(line.sizes)):
            z_t = z[line.step(t)]
            if t:
                z_t += h[line.states_before(t)] @ U
            h[line.step(t)] = np.tanh(z_t) if self.activation == "tanh" else np.maximum(z_t, 0)
        return ()

    def steps_backward(self, grad: np.ndarray, h: np.ndarray, line: Timeline, kept: tuple) -> tuple:
        slope = 1 - h * h if self.activation == "tanh" else h > 0
        for t in reversed(range(len(line.sizes))):
            D = grad[line.step(t)]
            D *= slope[line.step(t)]
            if t:
                grad[line.states_before(t)] += D @ self.params["U"].T
        return grad, grad


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

    Raises
    ------
    ValueError
        If a parameter is out of range or the input is no batch of sequences.

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

    def __init__(self, units: int, return_sequences: bool = False) -> None:
        self.units = units
        self.return_sequences = return_sequences

    def initial_bias(self, shape: Shape, rng: np.random.Generator) -> np.ndarray:
        return np.repeat([0.0, 1.0, 0.0, 0.0], self.units)

    def steps_forward(self, z: np.ndarray, h: np.ndarray, line: Timeline) -> tuple:
        u, U = self.units, self.params["U"]
        c, tanh_c = np.empty_like(h), np.empty_like(h)
        for t in range(len(line.sizes)):
            z_t, now = z[line.step(t)], line.step(t)
            if t:
                z_t += h[line.states_before(t)] @ U
            z_t[:, : 2 * u], z_t[:, 3 * u :] = sigmoid(z_t[:, : 2 * u]), sigmoid(z_t[:, 3 * u :])
            z_t[:, 2 * u : 3 * u] = np.tanh(z_t[:, 2 * u : 3 * u])
            i, f, g, o = np.split(z_t, 4, axis=1)
            c[now] = i * g
            if t:
                c[now] += f * c[line.states_before(t)]
            tanh_c[now] = np.tanh(c[now])
            h[now] = o * tanh_c[now]
        return z, c, tanh_c

    def steps_backward(self, grad: np.ndarray, h: np.ndarray, line: Timeline, kept: tuple) -> tuple:
        z, c, tanh_c = kept
        D, of_c = np.empty_like(z), np.zeros_like(c)
        for t in reversed(range(len(line.sizes))):
            now, H = line.step(t), grad[line.step(t)]
            i, f, g, o = np.split(z[now], 4, axis=1)
            C = of_c[now]
            C += H * o * (1 - tanh_c[now] ** 2)
            past = c[line.states_before(t)] if t else 0
            parts = (
                C * g * i * (1 - i),
                C * past * f * (1 - f),
                C * i * (1 - g * g),
                H * tanh_c[now] * o * (1 - o),
            )
            np.concatenate(parts, axis=1, out=D[now])
            if t:
                of_c[line.states_before(t)] += C * f
                grad[line.states_before(t)] += D[now] @ self.params["U"].T
        return D, D


class GRU(Recurrent):
    r"""Gated recurrent unit: a gate mixes the state and a candidate, another resets the state.

    .. math::
        r, z = \sigma(\cdot) \text{ of their parts of } x_t W + h_{t-1} U + b, \qquad
        n = \tanh\big(x_t W_n + b_n + r (h_{t-1} U_n + b_h)\big), \qquad
        h_t = (1 - z) n + z h_{t-1}

    Parameters
    ----------
    units : int
        Size of the state, at least 1.
    return_sequences : bool, default=False
        Whether to return the state of every step or that of the last one of each row.

    Raises
    ------
    ValueError
        If a parameter is out of range or the input is no batch of sequences.

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

    def __init__(self, units: int, return_sequences: bool = False) -> None:
        self.units = units
        self.return_sequences = return_sequences

    def setup(self, input_shape: Shape) -> Shape:
        output_shape = super().setup(input_shape)
        self.add_param("b_hidden", (self.units,), initializers.zeros, decay=False)
        return output_shape

    def steps_forward(self, z: np.ndarray, h: np.ndarray, line: Timeline) -> tuple:
        u, U = self.units, self.params["U"]
        candidate = np.empty_like(h)  # h U_n + b_h
        candidate[...] = self.params["b_hidden"]
        for t in range(len(line.sizes)):
            now, a = line.step(t), z[line.step(t)]
            if t:
                product = h[line.states_before(t)] @ U
                a[:, : 2 * u] += product[:, : 2 * u]
                candidate[now] += product[:, 2 * u :]
            a[:, : 2 * u] = sigmoid(a[:, : 2 * u])
            r, gate, n = np.split(a, 3, axis=1)
            n[...] = np.tanh(n + r * candidate[now])
            h[now] = (1 - gate) * n
            if t:
                h[now] += gate * h[line.states_before(t)]
        return z, candidate

    def steps_backward(self, grad: np.ndarray, h: np.ndarray, line: Timeline, kept: tuple) -> tuple:
        z, candidate = kept
        D, E = np.empty_like(z), np.empty_like(z)
        for t in reversed(range(len(line.sizes))):
            now, H = line.step(t), grad[line.step(t)]
            r, gate, n = np.split(z[now], 3, axis=1)
            past = h[line.states_before(t)] if t else 0
            N = H * (1 - gate) * (1 - n * n)
            of_r, of_gate = N * candidate[now] * r * (1 - r), H * (past - n) * gate * (1 - gate)
            np.concatenate((of_r, of_gate, N), axis=1, out=D[now])
            np.concatenate((of_r, of_gate, r * N), axis=1, out=E[now])
            if t:
                grad[line.states_before(t)] += gate * H + E[now] @ self.params["U"].T
        self.grads["b_hidden"][...] = E[:, 2 * self.units :].sum(axis=0)
        return D, E


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
        check_layers(layer=self.layer)
        if repr(self._reverse) != repr(self.layer):  # a hyper-parameter was set since
            self._reverse = _like(self.layer)
        return [("layer", self.layer), ("reverse", self._reverse)]

    def setup(self, input_shape: Shape) -> Shape:
        self.check(isinstance(self.layer, Recurrent), "layer", "a SimpleRNN, GRU or LSTM")
        for name, layer in self.children():
            layer.name, layer.follower_init = name, self.follower_init
            shape = layer.declare(input_shape)
        return (*shape[:-1], 2 * shape[-1])

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return self._joined(
            self.layer.forward(x, training), self._reverse.forward(_turned(x), training)
        )

    def infer(self, x: np.ndarray) -> np.ndarray:
        return self._joined(self.layer.infer(x), self._reverse.infer(_turned(x)))

    def _joined(self, forwards: np.ndarray, backwards: np.ndarray) -> np.ndarray:
        backwards = _turned(backwards) if self.layer.return_sequences else backwards  # type: ignore[attr-defined]
        joined = np.concatenate([numbers(forwards), numbers(backwards)], axis=-1)
        return forwards.with_steps(joined) if isinstance(forwards, Sequences) else joined  # type: ignore[return-value]

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        halves = np.split(numbers(grad_output), 2, axis=-1)
        if isinstance(grad_output, Sequences):
            halves = [grad_output.with_steps(half) for half in halves]
        first, second = halves
        second = _turned(second) if self.layer.return_sequences else second  # type: ignore[attr-defined]
        return self.layer.backward(first) + _turned(self._reverse.backward(second))


class LastStep(Layer):
    r"""The last step of every row.

    .. math:: y = x_T

    Raises
    ------
    ValueError
        If the input is no batch of sequences.

    Notes
    -----
    Input ``(n_samples, time, channels)`` or rows of unequal length, output
    ``(n_samples, channels)``. Backward, with G the gradient of the output:

    .. math:: \frac{\partial L}{\partial x_t} = G \text{ at } t = T, \text{ else } 0

    References
    ----------
    Elman, "Finding structure in time", Cognitive Science 14, 1990.

    Examples
    --------
    >>> from layerkit import LastStep
    >>> LastStep().forward([[[1.0], [2.0]], [[3.0], [4.0]]]).tolist()
    [[2.0], [4.0]]
    """

    takes_sequences = True

    def setup(self, input_shape: Shape) -> Shape:
        self.check_input(len(input_shape) == 2, "sequences (n_samples, time, channels)")
        return input_shape[1:]

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x
        return x.steps[x.offsets[1:] - 1] if isinstance(x, Sequences) else x[:, -1].copy()

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        x = self.cache
        grad_input = np.zeros(numbers(x).shape, grad_output.dtype)
        if not isinstance(x, Sequences):
            grad_input[:, -1] = grad_output
            return grad_input
        grad_input[x.offsets[1:] - 1] = grad_output
        return x.with_steps(grad_input)  # type: ignore[return-value]


def _turned(x: np.ndarray) -> np.ndarray:
    """Turn the steps of each row around, within its own length."""
    if not isinstance(x, Sequences):
        return np.ascontiguousarray(x[:, ::-1])
    ends = np.repeat(x.offsets[:-1] + x.offsets[1:] - 1, x.lengths)
    return x.with_steps(x.steps[ends - np.arange(len(ends))])  # type: ignore[return-value]


def _like(layer: Layer) -> Layer:
    """Return an unbuilt layer with the same hyper-parameters."""
    return type(layer)(**layer.get_params(deep=False)) if isinstance(layer, Layer) else layer
