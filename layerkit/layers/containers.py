"""The chain of layers, and how the layers in it are named."""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from layerkit.edits import watch_hyper_parameters
from layerkit.initializers import Initializer
from layerkit.layer import Layer
from layerkit.parameters import if_class
from layerkit.shapes import Shape


class Sequential(Layer):
    r"""Layers in a chain: forward in order, backward in reverse.

    .. math:: y = f_n(\dots f_2(f_1(x)))

    Parameters
    ----------
    layers : sequence of Layer or of (name, Layer)
        Layers without a name are named after their class: ``dense_1``, ``dense_2`` and so on.

    Raises
    ------
    TypeError
        If an entry is not a layer, but a class, for instance.
    ValueError
        If two layers have the same name, or one instance occurs twice.

    Notes
    -----
    Input of the first layer, output of the last. Backward is the chain rule, one layer at a time,
    from the last to the first:

    .. math:: G_{k-1} = \Big(\frac{\partial f_k}{\partial x_{k-1}}\Big)^{\!\top} G_k

    ``net[0]``, ``net[-1]`` and ``net["dense_1"]`` are layers; ``net[:3]`` is a Sequential that
    shares them. Their hyper-parameters are reached as ``layers__dense_1__units``.

    Once the network is built, ``net.layers`` cannot be changed, nor can a hyper-parameter on which
    arrays or shapes depend. A new network made of the same layers keeps their weights:
    ``Sequential([*net.layers[:-1], Dense(2)]).build(net.input_shape)``.

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

    too_many = "put the layers in a list: Sequential([Dense(8), ReLU()])"
    takes_sequences = True

    _needs_input_grad = True

    def __init__(self, layers: Sequence[Layer | tuple[str, Layer]]) -> None:
        self.layers = layers

    def setup(self, input_shape: Shape) -> Shape:
        chain, names = self.chain, self.names
        for i, (layer, name) in enumerate(zip(chain, names, strict=True)):
            after = (later.weight_init for later in chain[i + 1 :])
            layer.take_place(name, next(filter(None, after), self.follower_init))
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

    def adapt(self, x: np.ndarray) -> None:
        for layer in self.chain:
            layer.adapt(x)
            x = layer.infer(x)

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
        check_list("layers", self.layers)
        return [
            (f"layers.{entry[0] if isinstance(entry, tuple) else i}", layer)
            for i, (entry, layer) in enumerate(zip(self.layers, self.chain, strict=True))
        ]

    @property
    def weight_init(self) -> Initializer | None:  # type: ignore[override]
        """Initializer for a layer right before the chain."""
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

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError(
            f"in {self.where}: layers are not put in the place of others; make another network of "
            "them, where those that are built keep their weights: "
            "Sequential([*network.layers[:-1], Dense(2)])"
        )

    __setitem__ = __delitem__ = _refuse

    def _part(self, key: slice) -> Sequential:
        """Return a chain of some of the layers, sharing their arrays."""
        part = Sequential(_named(self.layers)[key])
        if self.is_built and len(part):
            part.dtype, part.input_shape = self.dtype, part[0].input_shape
            part.output_shape = part[-1].output_shape
            part._own_params = {}
            watch_hyper_parameters(part)
        return part

    def _nested(self) -> Iterator[tuple[str, Any]]:
        for name, layer in _named(self.layers):
            yield f"layers__{name}", layer


def check_list(name: str, given: Any, of: str = "layers") -> None:
    """Raise unless the parameter ``name`` is a list of ``of``."""
    if isinstance(given, list | tuple):
        return
    if not np.iterable(given) or isinstance(given, str | dict | Iterator):
        raise TypeError(f"{name} must be a list of {of}, got {given!r}{if_class(given)}")


def check_layers(owner: Layer | None = None, /, **layers: Any) -> None:
    """Raise unless all are layers, naming the argument and its class."""
    of = "" if owner is None else f"{type(owner).__name__}: "
    for name, layer in layers.items():
        if not isinstance(layer, Layer):
            raise TypeError(f"{of}{name} must be a layer, got {_shown(layer)}{_hint(layer)}")


def _layer_of(entry: Any) -> Layer:
    """Return the layer of a (name, layer) pair."""
    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str):
        entry = entry[1]
    if not isinstance(entry, Layer):
        raise TypeError(
            f"layers must be layers or (name, layer) pairs, got {_shown(entry)}{_hint(entry)}"
        )
    return entry


def _shown(entry: Any) -> str:
    return repr(entry) if isinstance(entry, type) else reprlib.repr(entry)


def _hint(entry: Any) -> str:
    if isinstance(entry, str):
        return ": a layer is an object, such as ReLU()"
    if isinstance(entry, int):
        return f": a layer is an object, such as Dense({entry})"
    if hasattr(entry, "network_"):
        return ": give its network_"
    return ": put them in Sequential([...])" if isinstance(entry, list) else if_class(entry)


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
        kind = snake_case(type(entry).__name__)
        counts[kind] += 1
        while f"{kind}_{counts[kind]}" in given:
            counts[kind] += 1
        named.append((f"{kind}_{counts[kind]}", entry))
    return named


def snake_case(name: str) -> str:
    """Turn a class name into a layer name: ``BatchNorm`` into ``batch_norm``."""
    words = r"(?<=[a-z])(?=[A-Z][a-z]|[A-Z]{3,}$)|(?<=[A-Z])(?=[A-Z][a-z]{2})"
    return re.sub(words, "_", name).lower()
