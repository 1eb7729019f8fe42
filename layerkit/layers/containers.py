"""Layers made of layers: each chains, adds or joins what its children compute."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit.layer import Initializer, Layer, Shape


class Sequential(Layer):
    r"""Layers in a chain: forward in order, backward in reverse.

    .. math:: y = f_n(\dots f_2(f_1(x)))

    Parameters
    ----------
    layers : sequence of Layer or of (name, Layer)
        Layers without a name get one from their class: ``dense_1``, ``relu_1``, ``dense_2``, …

    Notes
    -----
    Backward is the chain rule, one layer at a time, from the last to the first:

    .. math:: G_{k-1} = \Big(\frac{\partial f_k}{\partial x_{k-1}}\Big)^{\!\top} G_k

    ``net[0]``, ``net[-1]`` and ``net["dense_1"]`` are layers; ``net[:3]`` is a Sequential that
    shares them. Hyper-parameters inside are reached as ``layers__dense_1__units``.

    Raises
    ------
    TypeError
        If an entry is not a layer (a class in place of an instance, say).
    ValueError
        If two layers have the same name, or the same instance stands twice.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Dense, ReLU, Sequential
    >>> net = Sequential([Dense(16), ReLU(), ("scores", Dense(3))]).build(4, random_state=0)
    >>> net.names, net.n_params
    (['dense_1', 'relu_1', 'scores'], 131)
    >>> y = net.forward(np.ones((5, 4)), training=True)
    >>> net.backward(np.ones_like(y)).shape, net[:2].infer(np.ones((5, 4))).shape
    ((5, 4), (5, 16))
    """

    def __init__(self, layers: Sequence[Layer | tuple[str, Layer]]) -> None:
        self.layers = layers

    def setup(self, input_shape: Shape) -> Shape:
        chain, names = self.chain, self.names
        for i, (layer, name) in enumerate(zip(chain, names, strict=True)):
            layer.name = name
            after = (later.weight_init for later in chain[i + 1 :])
            layer.follower_init = next(filter(None, after), self.follower_init)
            input_shape = layer.declare(input_shape)
        return input_shape

    def name_features(self, names: Sequence[str]) -> None:
        for layer in self.chain[:1]:
            layer.name_features(names)

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        return self.chain[0].convert_input(x) if self.layers else super().convert_input(x)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        for layer in self.chain:
            x = layer.forward(x, training)
        return x

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        for layer in reversed(self.chain):
            grad_output = layer.backward(grad_output)
        return grad_output

    def infer(self, x: np.ndarray) -> np.ndarray:
        for layer in self.chain:
            x = layer.infer(x)
        return x

    @property
    def chain(self) -> list[Layer]:
        """The layers without their names."""
        return [entry if isinstance(entry, Layer) else _layer_of(entry) for entry in self.layers]

    @property
    def names(self) -> list[str]:
        """The layers' names, in order."""
        return [name for name, _ in _named(self.layers)]

    def children(self) -> list[tuple[str, Layer]]:
        return [
            (f"layers.{i}" if isinstance(entry, Layer) else f"layers.{entry[0]}", layer)
            for i, (entry, layer) in enumerate(zip(self.layers, self.chain, strict=True))
        ]

    @property
    def weight_init(self) -> Initializer | None:  # type: ignore[override]
        return next(filter(None, (layer.weight_init for layer in self.chain)), None)

    @property
    def needs_input_grad(self) -> bool:
        return self._needs_input_grad

    @needs_input_grad.setter
    def needs_input_grad(self, flag: bool) -> None:
        self._needs_input_grad = flag
        for layer in self.chain[:1]:
            layer.needs_input_grad = flag

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.chain)

    def __getitem__(self, key: int | str | slice) -> Layer:
        if isinstance(key, slice):
            return self._part(key)
        if isinstance(key, str):
            if key not in self.names:
                raise KeyError(f"no layer {key!r}; there are {', '.join(self.names)}")
            key = self.names.index(key)
        return self.chain[key]

    def _part(self, key: slice) -> Sequential:
        """Return a chain of some of the layers, sharing their arrays."""
        part = Sequential(_named(self.layers)[key])
        if self.is_built and len(part):
            part._own_params, part.dtype = {}, self.dtype
            part.input_shape = part[0].input_shape
            part.output_shape = part[-1].output_shape
        return part

    def _nested(self) -> Iterator[tuple[str, Any]]:
        for name, layer in _named(self.layers):
            yield f"layers__{name}", layer

    def _set_nested(self, name: str, value: Any) -> None:
        position = self.names.index(name.removeprefix("layers__"))
        entry = self.layers[position]
        changed = list(self.layers)
        changed[position] = value if isinstance(entry, Layer) else (entry[0], value)
        self.layers = changed


class Residual(Layer):
    r"""A block and a way around it, added.

    .. math:: y = f(x) + s(x)

    Parameters
    ----------
    body : Layer
        f, often a Sequential.
    shortcut : Layer, optional
        s; the identity when left out. A Dense or 1x1 convolution where shapes differ.

    Notes
    -----
    Backward: the gradient goes both ways and is added, so it reaches x undiminished through the
    identity however deep f is:

    .. math:: \frac{\partial L}{\partial x} =
              \Big(\frac{\partial f}{\partial x}\Big)^{\!\top} G +
              \Big(\frac{\partial s}{\partial x}\Big)^{\!\top} G

    Raises
    ------
    ValueError
        If body and shortcut give different shapes.

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

    def __init__(self, body: Layer, shortcut: Layer | None = None) -> None:
        self.body = body
        self.shortcut = shortcut

    def children(self) -> list[tuple[str, Layer]]:
        _check_layers(
            body=self.body, **({} if self.shortcut is None else {"shortcut": self.shortcut})
        )
        pairs = [("body", self.body), ("shortcut", self.shortcut)]
        return [(name, layer) for name, layer in pairs if layer is not None]

    def setup(self, input_shape: Shape) -> Shape:
        for name, layer in self.children():
            layer.name, layer.follower_init = name, self.follower_init
        body = self.body.declare(input_shape)
        around = input_shape if self.shortcut is None else self.shortcut.declare(input_shape)
        if body != around:
            raise ValueError(
                f"in {self.where}: body gives {body} a sample and the shortcut {around}, but they "
                "are added: give a shortcut that fits, such as Dense(units) or Conv2D(filters, 1)"
            )
        return body

    def name_features(self, names: Sequence[str]) -> None:
        for _, layer in self.children():
            layer.name_features(names)

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        return self.body.convert_input(x)

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


class Concat(Layer):
    r"""Branches side by side on the same input, joined along one axis.

    .. math:: y = [f_1(x), f_2(x), \dots]

    Parameters
    ----------
    branches : sequence of Layer
    axis : int, default=-1
        Axis to join along, counted with the batch axis as 0 (which is refused).

    Notes
    -----
    Backward: each branch gets its own slice of the gradient; what they return is added.

    .. math:: \frac{\partial L}{\partial x} =
              \sum_k \Big(\frac{\partial f_k}{\partial x}\Big)^{\!\top} G_k

    Raises
    ------
    ValueError
        If there is no branch, or their outputs differ in more than the joined axis.

    References
    ----------
    Szegedy et al., "Going deeper with convolutions", CVPR 2015.

    Examples
    --------
    >>> from layerkit import Concat, Dense, Identity
    >>> Concat([Identity(), Dense(5)]).build(3).forward([[1.0, 2.0, 3.0]]).shape
    (1, 8)
    """

    def __init__(self, branches: Sequence[Layer], axis: int = -1) -> None:
        self.branches = branches
        self.axis = axis

    def children(self) -> list[tuple[str, Layer]]:
        _check_layers(**{f"branches[{i}]": layer for i, layer in enumerate(self.branches)})
        return [(f"branches.{i}", layer) for i, layer in enumerate(self.branches)]

    def setup(self, input_shape: Shape) -> Shape:
        self.check(len(self.branches) > 0, "branches", "at least one layer")
        shapes = []
        for i, layer in enumerate(self.branches):
            layer.name, layer.follower_init = f"branch_{i + 1}", self.follower_init
            shapes.append(layer.declare(input_shape))
        rank = len(shapes[0]) + 1
        self.check(
            isinstance(self.axis, int) and -rank < self.axis < rank and self.axis != 0,
            "axis",
            f"between {1 - rank} and {rank - 1} and not the batch axis 0",
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

    def name_features(self, names: Sequence[str]) -> None:
        for layer in self.branches:
            layer.name_features(names)

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        return self.branches[0].convert_input(x)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return np.concatenate([f.forward(x, training) for f in self.branches], axis=self.axis)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        pieces = np.split(grad_output, self._cuts[:-1], axis=self.axis)
        return sum_of([f.backward(g) for f, g in zip(self.branches, pieces, strict=True)])

    def infer(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([f.infer(x) for f in self.branches], axis=self.axis)

    def _nested(self) -> Iterator[tuple[str, Any]]:
        for i, layer in enumerate(self.branches):
            yield f"branches__{i}", layer

    def _set_nested(self, name: str, value: Any) -> None:
        position = int(name.removeprefix("branches__"))
        changed = list(self.branches)
        changed[position] = value
        self.branches = changed


class Columns(Layer):
    r"""Route columns of a table to sub-networks of their own and join what they give.

    .. math:: y = [f_1(x_{C_1}), f_2(x_{C_2}), \dots]

    Parameters
    ----------
    routes : sequence of (columns, Layer)
        ``columns`` is a position, a list of positions (negative ones count from the end), a slice
        or a boolean mask; or a name or list of names, where an estimator is fitted on a table whose
        columns have names. Ranges may overlap; a column that no route names is not used.

    Notes
    -----
    Input ``(n_samples, n_features)``; whatever a sub-network returns for a sample is flattened
    before it is joined, so ``Embedding`` fits as it is.

    Backward: each route's gradient is added into the columns it read; unused columns get zero.

    .. math:: \frac{\partial L}{\partial x_{C_k}} \mathrel{+}=
              \Big(\frac{\partial f_k}{\partial x_{C_k}}\Big)^{\!\top} G_k

    Raises
    ------
    ValueError
        If a column does not exist or is named twice in one route.

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

    def __init__(self, routes: Sequence[tuple[Any, Layer]]) -> None:
        self.routes = routes

    def name_features(self, names: Sequence[str]) -> None:
        self._feature_names = list(names)

    def children(self) -> list[tuple[str, Layer]]:
        _check_layers(**{f"routes[{i}]": layer for i, (_, layer) in enumerate(self.routes)})
        return [(f"routes.{i}", layer) for i, (_, layer) in enumerate(self.routes)]

    def setup(self, input_shape: Shape) -> Shape:
        self.check(len(self.routes) > 0, "routes", "at least one (columns, layer)")
        self.check_input(len(input_shape) == 1, "a table (n_samples, n_features)")
        self._positions, widths = [], []
        for i, (columns, layer) in enumerate(self.routes):
            positions = self._resolve(columns, input_shape[0])
            layer.name, layer.follower_init = f"route_{i + 1}", self.follower_init
            if self._feature_names:
                layer.name_features([self._feature_names[p] for p in positions])
            self._positions.append(positions)
            widths.append(int(np.prod(layer.declare((len(positions),)))))
        self._cuts = np.cumsum(widths)
        return (int(self._cuts[-1]),)

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
        """Turn names of columns into positions; leave all else as it is."""
        wanted = [columns] if isinstance(columns, str) else columns
        if not isinstance(wanted, list | tuple) or not any(isinstance(c, str) for c in wanted):
            return columns
        if unknown := [c for c in wanted if c not in self._feature_names]:
            known = ", ".join(self._feature_names) or "without names (fit an estimator on a table)"
            raise ValueError(f"in {self.where}: no column {unknown[0]!r}, the input's are {known}")
        return [list(self._feature_names).index(c) for c in wanted]

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return self._join(x, lambda layer, part: layer.forward(part, training))

    def infer(self, x: np.ndarray) -> np.ndarray:
        return self._join(x, lambda layer, part: layer.infer(part))

    def _join(self, x: np.ndarray, run: Callable[[Layer, np.ndarray], np.ndarray]) -> np.ndarray:
        routes = zip(self._positions, self.routes, strict=True)
        parts = [run(layer, x[:, columns]) for columns, (_, layer) in routes]
        return np.concatenate([_flat(part) for part in parts], axis=1)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        grad_input = np.zeros((len(grad_output), *self.input_shape), self.dtype)
        pieces = np.split(grad_output, self._cuts[:-1], axis=1)
        for columns, (_, layer), piece in zip(self._positions, self.routes, pieces, strict=True):
            shape = layer.output_shape
            grad_input[:, columns] += layer.backward(piece.reshape(len(piece), *shape))
        return grad_input

    def _nested(self) -> Iterator[tuple[str, Any]]:
        for i, (_, layer) in enumerate(self.routes):
            yield f"routes__{i}", layer

    def _set_nested(self, name: str, value: Any) -> None:
        position = int(name.removeprefix("routes__"))
        changed = list(self.routes)
        changed[position] = (changed[position][0], value)
        self.routes = changed


def sum_of(arrays: list[np.ndarray]) -> np.ndarray:
    """Add arrays of one shape into a fresh one."""
    total = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    return total


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), int(np.prod(x.shape[1:])))


def _check_layers(**layers: Any) -> None:
    for name, layer in layers.items():
        if not isinstance(layer, Layer):
            raise TypeError(f"{name} must be a layer, got {layer!r}{_hint(layer)}")


def _layer_of(entry: Any) -> Layer:
    """Return the layer of a (name, layer) pair."""
    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str):
        entry = entry[1]
    if not isinstance(entry, Layer):
        raise TypeError(
            f"layers must be layers or (name, layer) pairs, got {entry!r}{_hint(entry)}"
        )
    return entry


def _hint(entry: Any) -> str:
    if isinstance(entry, type) and issubclass(entry, Layer):
        return f": that is the class, write {entry.__name__}(...)"
    return ": put them in Sequential([...])" if isinstance(entry, list) else ""


def _named(layers: Sequence[Any]) -> list[tuple[str, Layer]]:
    """Give every layer a name: its own, or one made from its class and a count."""
    given = [entry[0] for entry in layers if isinstance(entry, tuple)]
    for name in given:
        if given.count(name) > 1 or "__" in name or "." in name or not name or name.isdigit():
            raise ValueError(
                "layer names must be unique, not a number, not empty and without '__' or '.', "
                f"got {name!r} in {given}"
            )
    counts: Counter[str] = Counter()
    named = []
    for entry in layers:
        if not isinstance(entry, Layer):
            named.append((entry[0], _layer_of(entry)))
            continue
        kind = _snake_case(type(entry).__name__)
        counts[kind] += 1
        while f"{kind}_{counts[kind]}" in given:
            counts[kind] += 1
        named.append((f"{kind}_{counts[kind]}", entry))
    return named


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", "_", name).lower()
