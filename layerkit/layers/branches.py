"""Layers side by side: a residual block, branches, columns of a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from layerkit.layer import Layer
from layerkit.layers.containers import check_layers, check_list
from layerkit.parameters import is_size
from layerkit.sequences import Sequences, numbers
from layerkit.shapes import Shape


class Parallel(Layer):
    """Base of the containers whose layers all read the same input."""

    def name_features(self, names: Sequence[str]) -> None:
        for _, layer in self.children():
            layer.name_features(names)

    def adapt(self, x: np.ndarray) -> None:
        for _, layer in self.children():
            layer.adapt(x)


class Residual(Parallel):
    r"""A block and a way around it, added.

    .. math:: y = f(x) + s(x)

    Parameters
    ----------
    body : Layer
        f, often a Sequential.
    shortcut : Layer, optional
        s; by default the identity. Use a Dense or 1x1 convolution if the shapes differ.

    Raises
    ------
    ValueError
        If body and shortcut have different output shapes.

    Notes
    -----
    Input ``(n_samples, ...)``, output of the same shape or, with a shortcut, of that of both.

    Backward: the gradient goes both ways and is added. Through the identity it reaches x
    undiminished, however deep f is:

    .. math:: \frac{\partial L}{\partial x} =
              \Big(\frac{\partial f}{\partial x}\Big)^{\!\top} G +
              \Big(\frac{\partial s}{\partial x}\Big)^{\!\top} G

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016.

    Examples
    --------
    >>> from layerkit import Dense, Residual, Sequential, Tanh
    >>> block = Residual(Sequential([Dense(8), Tanh(), Dense(4)])).build(4, random_state=0)
    >>> block.forward([[1.0, 2.0, 3.0, 4.0]]).shape
    (1, 4)
    """

    takes_sequences = True

    def __init__(self, body: Layer, shortcut: Layer | None = None) -> None:
        self.body = body
        self.shortcut = shortcut

    def children(self) -> list[tuple[str, Layer]]:
        layers = {"body": self.body}
        if self.shortcut is not None:
            layers["shortcut"] = self.shortcut
        check_layers(self, **layers)
        return list(layers.items())

    def setup(self, input_shape: Shape) -> Shape:
        for name, layer in self.children():
            layer.take_place(name, self.follower_init)
        body = self.body.declare(input_shape)
        around = input_shape if self.shortcut is None else self.shortcut.declare(input_shape)
        if body != around:
            raise ValueError(
                f"in {self.where}: body gives {body} a sample and the shortcut {around}, but they "
                "are added: give a shortcut that fits, such as Dense(units) or Conv2D(filters, 1)"
            )
        return body

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        x = self.body.convert_input(x)
        is_added = self.shortcut is None and self.is_built
        return self.cast(x) if is_added else x

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return self.body.forward(x, training) + (
            x if self.shortcut is None else self.shortcut.forward(x, training)
        )

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return self.body.backward(grad_output) + (
            grad_output if self.shortcut is None else self.shortcut.backward(grad_output)
        )

    def infer(self, x: np.ndarray) -> np.ndarray:
        return self.body.infer(x) + (x if self.shortcut is None else self.shortcut.infer(x))


class Concat(Parallel):
    r"""Branches side by side on the same input, joined along one axis.

    .. math:: y = [f_1(x), f_2(x), \dots]

    Parameters
    ----------
    branches : sequence of Layer
        f₁, f₂, …; at least one.
    axis : int, default=-1
        Axis along which to join, where 0 is the batch axis (which is refused).

    Raises
    ------
    ValueError
        If there are no branches, or their outputs differ in more than the joined axis.

    Notes
    -----
    Input ``(n_samples, ...)``, the same for every branch; the outputs are concatenated along
    ``axis``.

    Backward: each branch gets its own slice of the gradient; the results are added.

    .. math:: \frac{\partial L}{\partial x} =
              \sum_k \Big(\frac{\partial f_k}{\partial x}\Big)^{\!\top} G_k

    References
    ----------
    Szegedy et al., "Going deeper with convolutions", CVPR 2015.

    Examples
    --------
    >>> from layerkit import Concat, Dense, Identity
    >>> Concat([Identity(), Dense(5)]).build(3).forward([[1.0, 2.0, 3.0]]).shape
    (1, 8)
    """

    too_many = "put the branches in a list: Concat([Dense(8), Identity()])"

    def __init__(self, branches: Sequence[Layer], *, axis: int = -1) -> None:
        self.branches = branches
        self.axis = axis

    def children(self) -> list[tuple[str, Layer]]:
        check_list("branches", self.branches)
        check_layers(self, **{f"branches[{i}]": layer for i, layer in enumerate(self.branches)})
        return [(f"branches.{i}", layer) for i, layer in enumerate(self.branches)]

    def setup(self, input_shape: Shape) -> Shape:
        self.check(len(self.branches) > 0, "branches", "at least one layer")
        shapes = []
        for i, layer in enumerate(self.branches):
            layer.take_place(f"branch_{i + 1}", self.follower_init)
            shapes.append(layer.declare(input_shape))
        rank = len(shapes[0]) + 1
        self.check(
            is_size(self.axis, least=1 - rank) and self.axis < rank and self.axis != 0,
            "axis",
            f"between {1 - rank} and {rank - 1} and not the batch axis 0"
            if rank > 1
            else "another axis than the batch axis, but the branches give no other",
        )
        axis = self.axis % rank - 1
        rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
        if len(rests) > 1 or len({len(shape) for shape in shapes}) > 1:
            raise ValueError(
                f"in {self.where}: branches give {', '.join(map(str, shapes))} a sample; they may "
                f"differ in axis {self.axis} only"
            )
        self._cuts = np.cumsum([shape[axis] for shape in shapes])
        return (*shapes[0][:axis], int(self._cuts[-1]), *shapes[0][axis + 1 :])

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        return x if _are_numbers(x) else self.branches[0].convert_input(x)

    @property
    def takes_sequences(self) -> bool:  # type: ignore[override]
        """Whether features are joined, step by step."""
        return self.axis == -1

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return _joined([f.forward(x, training) for f in self.branches], self.axis)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        pieces = np.split(numbers(grad_output), self._cuts[:-1], axis=self.axis)
        if isinstance(grad_output, Sequences):
            pieces = [grad_output.with_steps(piece) for piece in pieces]
        return reduce(add, [f.backward(g) for f, g in zip(self.branches, pieces, strict=True)])

    def infer(self, x: np.ndarray) -> np.ndarray:
        return _joined([f.infer(x) for f in self.branches], self.axis)

    def _nested(self) -> Iterator[tuple[str, Any]]:
        for i, layer in enumerate(self.branches):
            yield f"branches__{i}", layer


def _joined(parts: list[Any], axis: int) -> Any:
    joined = np.concatenate([numbers(part) for part in parts], axis=axis)
    return parts[0].with_steps(joined) if isinstance(parts[0], Sequences) else joined


class Columns(Layer):
    r"""Route columns of a table to sub-networks of their own and join the results.

    .. math:: y = [f_1(x_{C_1}), f_2(x_{C_2}), \dots]

    Parameters
    ----------
    routes : sequence of (columns, Layer)
        ``columns`` is a position, several positions (negative ones count from the end), a slice or
        a boolean mask; or one or several names, if an estimator is fitted on a table with named
        columns. Routes may overlap; a column that belongs to no route is not used.

    Raises
    ------
    ValueError
        If a column does not exist or is named twice in one route.

    Notes
    -----
    Input ``(n_samples, n_features)``; the output of every sub-network is flattened before it is
    joined, so ``Embedding`` can be used as it is.

    Backward: each route's gradient is added to the columns it reads; unused columns get zero.

    .. math:: \frac{\partial L}{\partial x_{C_k}} \mathrel{+}=
              \Big(\frac{\partial f_k}{\partial x_{C_k}}\Big)^{\!\top} G_k

    References
    ----------
    Guo and Berkhahn, "Entity embeddings of categorical variables", arXiv:1604.06737.

    Examples
    --------
    >>> from layerkit import Columns, Dense, Embedding
    >>> table = Columns([([0, 1], Dense(4)), (2, Embedding(10, 3))]).build(3, random_state=0)
    >>> table.forward([[0.5, -1.0, 7], [0.1, 2.0, 0]]).shape
    (2, 7)
    """

    _feature_names: Sequence[str] = ()
    _needs_input_grad = True

    def __init__(self, routes: Sequence[tuple[Any, Layer]]) -> None:
        self.routes = routes

    @property
    def feature_names(self) -> Sequence[str]:
        """The names given to `name_features`; empty if there are none."""
        return self._feature_names

    def name_features(self, names: Sequence[str]) -> None:
        self._feature_names = list(names)

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        return x if _are_numbers(x) else super().convert_input(x)

    def children(self) -> list[tuple[str, Layer]]:
        check_list("routes", self.routes, "(columns, layer)")
        for i, route in enumerate(self.routes):
            if not (isinstance(route, tuple | list) and len(route) == 2):
                raise TypeError(f"routes[{i}] must be (columns, layer), got {route!r}")
            check_layers(self, **{f"routes[{i}]": route[1]})
        return [(f"routes.{i}", layer) for i, (_, layer) in enumerate(self.routes)]

    def setup(self, input_shape: Shape) -> Shape:
        self.check(len(self.routes) > 0, "routes", "at least one (columns, layer)")
        self.check_input(len(input_shape) == 1, "a table (n_samples, n_features)")
        self._positions, widths = [], []
        for i, (columns, layer) in enumerate(self.routes):
            positions = self._resolve(columns, input_shape[0])
            layer.take_place(f"route_{i + 1}", self.follower_init)
            if self._feature_names:
                layer.name_features([self._feature_names[p] for p in positions])
            self._positions.append(positions)
            widths.append(math.prod(layer.declare((len(positions),))))
        self._cuts = np.cumsum(widths)
        return (int(self._cuts[-1]),)

    @property
    def positions(self) -> list[np.ndarray]:
        """Positions of the columns of each route, known once the layer has its shapes."""
        return self._positions

    def _resolve(self, columns: Any, n_features: int) -> np.ndarray:
        every = np.arange(n_features)
        try:
            positions = np.atleast_1d(every[self._without_names(columns)])
        except IndexError:
            positions = every[:0]
        if positions.shape != np.unique(positions).shape or len(positions) == 0:
            raise ValueError(
                f"in {self.where}: columns must name at least one of the {n_features} columns, "
                f"each once, by position, slice or mask, got {columns!r}"
            )
        return positions

    def _without_names(self, columns: Any) -> Any:
        """Replace names of columns by positions."""
        wanted = [columns] if isinstance(columns, str) else columns
        wanted = wanted.tolist() if hasattr(wanted, "tolist") else wanted  # an Index, a Series
        wanted = list(wanted) if isinstance(wanted, tuple) else wanted
        if callable(wanted):
            raise ValueError(
                f"in {self.where}: columns={columns!r} selects from a DataFrame, which no layer "
                "sees: call it with yours and give the names that it returns"
            )
        if isinstance(wanted, slice) and any(isinstance(c, str) for c in _ends(wanted)):
            start, stop = (c if c is None else self._without_names([c])[0] for c in _ends(wanted))
            return slice(start, None if stop is None else stop + 1, wanted.step)  # as in pandas
        if not isinstance(wanted, list) or not any(isinstance(c, str) for c in wanted):
            return wanted
        if unknown := [c for c in wanted if c not in self._feature_names]:
            known = ", ".join(self._feature_names) or "without names (fit an estimator on a table)"
            raise ValueError(f"in {self.where}: no column {unknown[0]!r}, the input's are {known}")
        return [list(self._feature_names).index(c) for c in wanted]

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return self._join(x, lambda layer, part: layer.forward(part, training))

    def infer(self, x: np.ndarray) -> np.ndarray:
        return self._join(x, lambda layer, part: layer.infer(part))

    def adapt(self, x: np.ndarray) -> None:
        for columns, (_, layer) in zip(self._positions, self.routes, strict=True):
            layer.adapt(x[:, columns])

    def _join(self, x: np.ndarray, run: Callable[[Layer, np.ndarray], np.ndarray]) -> np.ndarray:
        routes = zip(self._positions, self.routes, strict=True)
        parts = [run(layer, x[:, columns]) for columns, (_, layer) in routes]
        flat = [part.reshape(len(part), math.prod(part.shape[1:])) for part in parts]
        return np.concatenate(flat, axis=1)

    @property
    def needs_input_grad(self) -> bool:
        return self._needs_input_grad

    @needs_input_grad.setter
    def needs_input_grad(self, flag: bool) -> None:
        self._needs_input_grad = flag
        for _, layer in self.routes:
            layer.needs_input_grad = flag

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        grad_input = None
        if self.needs_input_grad:
            grad_input = np.zeros((len(grad_output), *self.input_shape), self.dtype)
        pieces = np.split(grad_output, self._cuts[:-1], axis=1)
        for columns, (_, layer), piece in zip(self._positions, self.routes, pieces, strict=True):
            grad = layer.backward(piece.reshape(len(piece), *layer.output_shape))
            if grad_input is not None:
                grad_input[:, columns] += grad
        return grad_input

    def _nested(self) -> Iterator[tuple[str, Any]]:
        for i, (_, layer) in enumerate(self.routes):
            yield f"routes__{i}", layer


def _ends(labels: slice) -> tuple[Any, Any]:
    return labels.start, labels.stop


def _are_numbers(x: Any) -> TypeGuard[np.ndarray]:
    """Whether every branch may convert x itself, as float32 cannot hold integers above 2^24."""
    return isinstance(x, np.ndarray) and x.dtype.kind in "iuf"
