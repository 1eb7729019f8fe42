"""Plans: a network of the same shape with fewer layers, since one kernel does the work of several.

Joined are runs of Dense layers and activations, and convolutions with a ReLU behind them, in every
`Sequential`, also inside other containers. All other layers are in the plan themselves. A ReLU and
the max pooling behind it change places in backward, where pooled maps are the smaller ones.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit import kernels
from layerkit.guards import accept_gradient
from layerkit.kernels import ALONE
from layerkit.layer import Layer
from layerkit.layers import (
    Columns,
    Concat,
    Conv2D,
    Dense,
    Gate,
    Identity,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
)

Step = tuple[Dense, Layer | None]
"""A Dense layer, and the activation right behind it, if any."""
Record = tuple[np.ndarray, ...]
"""What a run's forward leaves for its backward; empty if the layers did it."""

_CODES: dict[type[Layer], int] = {
    Identity: kernels.IDENTITY,
    ReLU: kernels.RELU,
    Sigmoid: kernels.SIGMOID,
    Tanh: kernels.TANH,
}
_CONTENTS: dict[type[Layer], tuple[str, ...]] = {
    Sequential: ("layers",),
    Residual: ("body", "shortcut"),
    Gate: ("gate", "body"),
    Concat: ("branches",),
    Columns: ("routes",),
}  # where containers hold their layers; a subclass may have a forward of its own
_MANY_ROWS = 4096  # at inference; then holding all hidden outputs costs more than a call saves


def threads_for(network: Layer, n_rows: float = inf) -> AbstractContextManager[None]:
    """Within a ``with`` block, leave BLAS one thread where more would be in the way.

    That is where layers of the network use all themselves, and where all products are small.

    Parameters
    ----------
    network : Layer
        Which is going to compute. It is built.
    n_rows : int, default=inf
        How many at a time.

    Returns
    -------
    context : context manager
        To be entered once.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Conv2D
    >>> from layerkit.fused import threads_for
    >>> network = Conv2D(2, kernel_size=3).build((5, 5, 1))
    >>> with threads_for(network):
    ...     network.infer(np.ones((1, 5, 5, 1))).shape
    (1, 3, 3, 2)
    """
    layers = [layer for _, layer in network.walk()]
    threaded = any(layer.threaded for layer in layers)
    small = n_rows < inf and n_rows * _widest(layers) < ALONE
    return kernels.one_blas_thread() if threaded or small else nullcontext()


def _widest(layers: list[Layer]) -> int:
    """Multiply-adds for a sample of the layer that has most."""
    return max(layer.multiply_adds() for layer in layers if not layer.children())


def plan(network: Layer) -> Plan:
    """Plan how to compute a network, to the last bit, in fewer calls.

    The plan overwrites the network's gradients, as the network's own backward does, but leaves no
    caches in the layers that it joins. It steps aside, so that the network computes by itself,
    where somebody observes one of these or has frozen it, and once the network was built anew: then
    make another. A layer that is frozen or observed when the plan is made is not joined with
    others.

    Parameters
    ----------
    network : Layer
        Built. Runs of Dense layers are joined only if it is the root of a tree.

    Returns
    -------
    plan : Plan
        Of this network as it is now.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Dense, ReLU, Sequential
    >>> from layerkit.fused import plan
    >>> net = Sequential([Dense(16), ReLU(), Dense(3)]).build(4, random_state=0)
    >>> fast, x = plan(net), np.ones((5, 4), np.float32)
    >>> bool((fast.forward(x, training=True) == net.forward(x, training=True)).all())
    True
    >>> fast.backward(np.ones((5, 3))).shape
    (5, 4)
    """
    return Plan(network)


class Plan:
    """What `plan` returns: a network's passes in fewer calls.

    Attributes
    ----------
    network : Layer
        As it was given.
    """

    def __init__(self, network: Layer) -> None:
        self.network = network
        self._starts = {slot.path: slot.slice.start for slot in getattr(network, "layout", ())}
        self._joined: list[tuple[Layer, Any]] = []  # layers, and their parameters
        self._containers: list[tuple[Layer, Layer]] = []
        twin = self._planned(network)
        run = twin.chain[0] if isinstance(twin, Sequential) and len(twin) == 1 else None
        self._twin = UnguardedRun(network, run) if isinstance(run, DenseRun) else twin
        self._last: Layer | UnguardedRun | None = None  # who computed the last forward

    def __reduce__(self) -> tuple[Any, ...]:
        return plan, (self.network,)  # a copy is a plan for the copy of the network

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """Do what ``network.forward`` does, leaving what `backward` needs in the plan."""
        computing = self._computing()
        if self._last is not None:  # should this forward fail, no backward may follow
            self.clear_cache()  # all at once: free memory in one piece has room for what is to come
        y = computing.forward(x, training)
        self._last = computing
        return y

    def backward(self, grad_output: np.ndarray) -> Any:
        """Do what ``network.backward`` does, after the last `forward` of the plan."""
        if self._last is None:
            raise RuntimeError(f"in {self.network.where}: backward needs a forward before it")
        for layer, twin in self._containers:
            if twin.needs_input_grad is not layer.needs_input_grad:
                twin.needs_input_grad = layer.needs_input_grad
        grad_input = self._last.backward(grad_output)
        for layer, _ in self._joined:
            if not layer.trainable:  # since the forward
                for grad in layer.grads.values():
                    grad.fill(0)
        return grad_input

    def infer(self, x: np.ndarray) -> np.ndarray:
        """Do what ``network.infer`` does: leave no trace, be safe in many threads."""
        return self._computing().infer(x)

    def clear_cache(self) -> None:
        """Forget what the last `forward` left (it can be large)."""
        if self._last is not None:
            self._last.clear_cache()
            self._last = None

    def _computing(self) -> Layer | UnguardedRun:
        """The twin, or the network itself where that was changed or is to be seen."""
        for layer, params in self._joined:
            if (
                layer.params is not params
                or layer.active_observer is not None
                or not layer.trainable
            ):
                return self.network
        if any(layer.active_observer is not None for layer, _ in self._containers):
            return self.network
        return self._twin

    # ---------------------------------------------------------------- making the twin

    def _planned(self, layer: Layer) -> Layer:
        """Return a twin of a container in which something is joined, any other layer itself."""
        names = _CONTENTS.get(type(layer), ()) if layer.active_observer is None else ()
        so_far = len(self._joined)
        if isinstance(layer, Sequential) and names:
            planned = {"layers": self._join(layer.chain)}
        else:
            planned = {name: self._planned_within(getattr(layer, name)) for name in names}
        if len(self._joined) == so_far:
            return layer
        twin = copy.copy(layer)
        for name, value in planned.items():
            vars(twin)[name] = value  # not an edit of what is built
        self._containers.append((layer, twin))
        return twin

    def _planned_within(self, value: Any) -> Any:
        if isinstance(value, Layer):
            return self._planned(value)
        if isinstance(value, list | tuple):
            return tuple(map(self._planned_within, value))
        return value

    def _join(self, chain: list[Layer]) -> list[Layer]:
        """Replace neighbours that one kernel computes."""
        joined: list[Layer] = []
        while chain:
            steps = self._steps(chain)
            run = [layer for step in steps for layer in step if layer is not None]
            if len(run) > 1:
                joined.append(DenseRun(steps, self._starts, self.network))
            elif _is(chain, Conv2D) and _is(chain[1:], ReLU):
                run = chain[: 3 if _is(chain[2:], MaxPool2D) else 2]
                joined += [RectifiedConvolution(chain[0]), *run[2:], Rectified(run[-1])]
            else:
                joined.append(self._planned(chain[0]))
                run = []
            self._joined += [(layer, layer.params) for layer in run]
            chain = chain[len(run) or 1 :]
        return joined

    def _steps(self, chain: list[Layer]) -> list[Step]:
        """The Dense layers that a chain begins with, each with its activation."""
        steps: list[Step] = []
        while _is(chain, Dense) and f"{chain[0].path}.W" in self._starts:
            dense: Any
            dense, *chain = chain
            if len(dense.input_shape) != 1:
                break
            activation = chain.pop(0) if _is(chain, *_CODES) else None
            steps.append((dense, activation))
        return steps


def _is(layers: Sequence[Layer], *kinds: type[Layer]) -> bool:
    """Whether the first layer, if any, is of one of these classes and may be joined with others."""
    return any(
        type(layer) in kinds
        and layer.is_built
        and layer.trainable
        and layer.active_observer is None
        for layer in layers[:1]
    )


class Joined(Layer):
    """What takes the place of some layers in a plan; caches are its own."""

    is_built = True  # as those layers are

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.path, self.dtype = layers[0].path, layers[0].dtype
        self.input_shape, self.output_shape = layers[0].input_shape, layers[-1].output_shape

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        return self.layers[0].convert_input(x)

    @property
    def needs_input_grad(self) -> bool:
        return self.layers[0].needs_input_grad

    @needs_input_grad.setter
    def needs_input_grad(self, flag: bool) -> None:
        self.layers[0].needs_input_grad = flag


class DenseRun(Joined):
    """Dense layers and activations, computed by one call of a kernel.

    They do it themselves, one by one, where the kernel does not take the case.
    """

    def __init__(self, steps: Sequence[Step], starts: dict[str, int], root: Layer) -> None:
        super().__init__([layer for step in steps for layer in step if layer is not None])
        self.flat_vectors = root.flat_params, root.flat_grads
        self.table = np.array([_row(*step, starts) for step in steps], np.int64)
        self.units = int(self.table[-1, 1])
        self.hidden_units = int(self.table[:-1, 1].sum())

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = record = self.compute(x, least=2)
        if record:
            return record[-1]
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, grad_output: np.ndarray) -> Any:
        if self.cache:
            return self.differentiate(self.cache, grad_output)
        for layer in reversed(self.layers):
            grad_output = layer.backward(grad_output)
        return grad_output

    def infer(self, x: np.ndarray) -> np.ndarray:
        record = self.compute(x, most=_MANY_ROWS)
        if record:
            return record[-1]
        for layer in self.layers:
            x = layer.infer(x)
        return x

    def compute(self, x: Any, least: int = 0, most: float = inf) -> Record:
        """Return x, the hidden outputs one after the other, and the output; () if not for us."""
        if type(x) is not np.ndarray or x.dtype != self.dtype or x.shape[1:] != self.input_shape:
            return ()
        if not x.flags.carray or not least <= len(x) <= most:
            return ()
        n_rows = len(x)
        hidden = np.empty(n_rows * self.hidden_units, x.dtype)
        y = np.empty((n_rows, self.units), x.dtype)
        done = kernels.perceptron(x, self.flat_vectors[0], self.table, hidden, y)
        return (x, hidden, y) if done else ()

    def differentiate(self, record: Record, grad_output: np.ndarray) -> np.ndarray | None:
        """Overwrite the gradients and return that of x, or None if nobody asks for it."""
        x, hidden, y = record
        flat_params, flat_grads = self.flat_vectors
        asked = self.needs_input_grad
        grad_input = np.empty(x.shape if asked else (0, 0), x.dtype)
        kernels.perceptron_grad(
            grad_output, x, flat_params, self.table, hidden, y, flat_grads, grad_input
        )
        return grad_input if asked else None


class UnguardedRun:
    """A network that is nothing but a run, computed without the guards of a layer.

    What the kernel does not take goes to the network itself, and so does what is to be refused.
    """

    def __init__(self, network: Layer, run: DenseRun) -> None:
        self.network, self.run = network, run
        self.record: Record = ()

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        self.record = self.run.compute(x, least=2)
        return self.record[-1] if self.record else self.network.forward(x, training)

    def backward(self, grad_output: np.ndarray) -> Any:
        if not self.record:
            return self.network.backward(grad_output)
        y, grad = self.record[-1], grad_output
        if type(grad) is not np.ndarray or grad.dtype != y.dtype or grad.shape != y.shape:
            grad_output = accept_gradient(self.network, grad, y.shape)
        return self.run.differentiate(self.record, grad_output)

    def infer(self, x: np.ndarray) -> np.ndarray:
        record = self.run.compute(x, most=_MANY_ROWS)
        return record[-1] if record else self.network.infer(x)

    def clear_cache(self) -> None:
        if not self.record:
            self.network.clear_cache()
        self.record = ()


def _row(dense: Dense, activation: Layer | None, starts: dict[str, int]) -> tuple[int, ...]:
    """Describe a step to the kernel, as `layerkit.kernels.perceptron` says."""
    W, b = starts[f"{dense.path}.W"], starts.get(f"{dense.path}.b", -1)
    code = kernels.IDENTITY if activation is None else _CODES[type(activation)]
    return *dense.params["W"].shape, W, b, code


class RectifiedConvolution(Joined):
    """A Conv2D whose forward rectifies in the same pass; its derivative is that of the Conv2D."""

    def __init__(self, convolution: Any) -> None:
        super().__init__([convolution])
        self.convolution: Conv2D = convolution

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x
        return self.infer(x)

    def backward(self, grad_output: np.ndarray) -> Any:
        return self.convolution.differentiate(self.cache, grad_output)

    def infer(self, x: np.ndarray) -> np.ndarray:
        conv = self.convolution
        W, b = conv.params["W"], conv.params.get("b")
        return kernels.conv2d(x, W, b, *conv.geometry, conv.algorithm, rectify=True)


class Rectified(Joined):
    """What is left of a ReLU whose input comes rectified: its derivative.

    It may stand behind the max pooling that follows: the cell to which that gives the gradient of
    an output has the value of the output, and so passes the ReLU where the output is positive.
    """

    def __init__(self, last: Layer) -> None:
        super().__init__([last])
        self.input_shape = self.output_shape

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x
        return x

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return kernels.relu_grad(grad_output, self.cache)

    def infer(self, x: np.ndarray) -> np.ndarray:
        return x
