"""What may be edited in a network that is built: whatever leaves its arrays and shapes as they are.

All parts of the library have to see one network, so an edit either takes effect everywhere or is
refused where it happens. A hyper-parameter that is assigned is tried: ``setup`` runs again, and the
edit stays if the layers, their arrays and the shapes that pass between them are what they were, as
after another ``rate`` of Dropout. Else it is undone. Lists of layers are closed while they are in a
built network. New networks are made of the parts of old ones instead: ``build`` keeps the weights
of what is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn

import numpy as np

_HELD = ("_own_params", "_own_buffers", "_declared")
_PARTS = (
    "a built network keeps its layers; make another one of them, in which those that are built "
    "keep their weights: Sequential([*network.layers[:-1], Dense(2)]).build(input_shape)"
)
_VALUES = (
    "a built layer keeps the values that it was given, as nobody would hear of this change: assign "
    "others, layer.name = values, or make another network, of sklearn.base.clone(network) for "
    "instance"
)


def _refuse_parts(given: list | dict, *_: Any, **__: Any) -> NoReturn:
    raise TypeError(_PARTS if not given or _holds_layers(given) else _VALUES)


def _holds_layers(value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value
    nested = (isinstance(item, list | tuple | dict) and _holds_layers(item) for item in items)
    return any(hasattr(item, "walk") for item in items) or any(nested)


class ClosedList(list):
    """A list of a built network, such as its layers: to be read and copied, not to be changed.

    Examples
    --------
    >>> from layerkit import Dense, ReLU, Sequential
    >>> network = Sequential([Dense(3), ReLU()])
    >>> network.layers.append(Dense(2))
    >>> network.build(4).layers[:-1] + [Dense(5)]
    [Dense(units=3), ReLU(), Dense(units=5)]
    """

    append = extend = insert = remove = pop = clear = sort = reverse = _refuse_parts
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse_parts  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self), (list(self),)  # in one piece: appending is refused

    def __sklearn_clone__(self) -> list:
        from sklearn.base import clone

        return clone(list(self), safe=False)


class ClosedMap(dict):
    """The same for a dict."""

    __setitem__ = __delitem__ = __ior__ = _refuse_parts  # type: ignore[assignment]
    pop = popitem = clear = update = setdefault = _refuse_parts  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self), (dict(self),)

    def __sklearn_clone__(self) -> dict:
        from sklearn.base import clone

        return clone(dict(self), safe=False)


class ClosedDict(dict):
    """The arrays of a layer by name, each to be written into, none to be put in its place.

    Parameters
    ----------
    arrays : dict
        Copied.
    kind : {"params", "grads", "buffers"}
        What they are called.
    """

    def __init__(self, arrays: dict[str, np.ndarray], kind: str) -> None:
        super().__init__(arrays)
        self.kind = kind

    def _refuse(self, name: Any = None, *_: Any, **__: Any) -> NoReturn:
        how = f"write into the array, self.{self.kind}[{name!r}][...] = value"
        if not isinstance(name, str):
            how = f"write into its arrays, self.{self.kind}[name][...] = value"
        elif name not in self:
            told = (
                "buffer({!r}, array)"
                if self.kind == "buffers"
                else "param({!r}, shape, initializer)"
            )
            how = f"declare it with self.add_{told.format(name)} in setup"
        raise TypeError(f"{self.kind} does not support item assignment: {how}")

    def __missing__(self, name: Any) -> NoReturn:
        raise KeyError(f"{name!r} is not among the {self.kind}, which are {list(self)}")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (dict(self),)  # a copy is anybody's

    def __setitem__(self, name: str, array: Any) -> None:
        if array is not self.get(name):  # what `params["W"] *= 2` ends with has been written
            self._refuse(name)

    __delitem__ = __ior__ = _refuse  # type: ignore[assignment]
    pop = popitem = clear = update = setdefault = _refuse  # type: ignore[assignment]


class HyperParameter:
    """What the class of a built layer has under the name of a hyper-parameter.

    It sees assignments only: having no ``__get__``, it costs nothing to read.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __set__(self, layer: Any, value: Any) -> None:
        if layer.is_built:
            edit(layer, self.name, value)
        else:
            vars(layer)[self.name] = value

    def __delete__(self, layer: Any) -> None:
        if layer.is_built:
            raise AttributeError(f"in {layer.where}: {self.name} is part of the layer, assign it")
        try:
            del vars(layer)[self.name]
        except KeyError:
            raise AttributeError(self.name) from None


class DefaultedHyperParameter(HyperParameter):
    """The same where the class has a value under that name, as a dataclass has."""

    def __init__(self, name: str, default: Any) -> None:
        super().__init__(name)
        self.default = default

    def __get__(self, layer: Any, kind: Any = None) -> Any:
        return self.default if layer is None else vars(layer).get(self.name, self.default)


class Constant:
    """A number in the formula of a layer: one for all of its class, so none can be assigned."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __set_name__(self, kind: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: Any, kind: Any = None) -> Any:
        return self.value

    def __set__(self, layer: Any, value: Any) -> None:
        raise AttributeError(
            f"in {layer.where}: {self.name} = {self.value!r} is a constant of "
            f"{type(layer).__name__}"
        )


def renamed_settled(kind: type, state: dict[str, Any]) -> dict[str, Any]:
    """Return what a pickle holds, of a version too that kept what is settled under bare names."""
    settled = {name for name in state if isinstance(getattr(kind, name, None), property)}
    return {f"_{name}" if name in settled else name: value for name, value in state.items()}


@contextmanager
def restoring(root: Any) -> Iterator[list[tuple[Any, dict[str, Any]]]]:
    """Give every layer of a tree with its state, and put these back where something is raised."""
    before = [(layer, vars(layer).copy()) for _, layer in root.walk()]
    try:
        yield before
    except BaseException:
        for layer, state in before:
            layer.__dict__ = state
        raise


def edit(layer: Any, name: str, value: Any) -> None:
    """Change a hyper-parameter of a built layer, or raise and leave the layer as it was."""
    where, owner = layer.where, vars(layer).get("handed_down_by")
    if owner:
        raise TypeError(f"in {where}: a part of {owner}, which makes it: set {name} there")
    with restoring(layer) as before:
        vars(layer)[name] = closed(value)
        if [id(inner) for _, inner in layer.walk()] != [id(inner) for inner, _ in before]:
            raise TypeError(f"in {where}: {_PARTS}")
        for inner, _ in before:
            inner._own_params = None  # not built for a moment: setup may assign what it likes
        layer.declare(layer.input_shape)
        if any(_arrays(vars(inner)) != _arrays(state) for inner, state in before):
            old = before[0][1][name]
            raise ValueError(
                f"in {where}: built with {name}={old!r}, on which its shapes and arrays depend; "
                f"for {name}={value!r} make another network, of sklearn.base.clone(network) for "
                "instance, which is not built and draws new weights when it is"
            )
    for inner, state in before:
        vars(inner).update({held: state[held] for held in _HELD})


def _arrays(state: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells one layer from another: its arrays and its shapes."""
    declared = {name: (d.shape, d.decay, d.rate) for name, d in state["_declared"].items()}
    buffers = {name: buffer.shape for name, buffer in state["_own_buffers"].items()}
    return declared, buffers, state["_input_shape"], state["_output_shape"]


def watch_hyper_parameters(layer: Any) -> None:
    """Close what a layer that is being built was given, and see to what is assigned to it."""
    for name in _watched(type(layer)) & vars(layer).keys():  # type: ignore[arg-type]
        vars(layer)[name] = closed(vars(layer)[name])


@cache
def _watched(kind: type) -> frozenset[str]:
    """Give a class its `HyperParameter`s; return the names of all of them."""
    if kind.__init__ is object.__init__:  # type: ignore[misc]
        return frozenset()
    names = frozenset(list(inspect.signature(kind.__init__).parameters)[1:])  # type: ignore[misc]
    for name in names:
        held = inspect.getattr_static(kind, name, HyperParameter)
        if not hasattr(kind, name):
            setattr(kind, name, HyperParameter(name))
        elif not hasattr(held, "__get__") and not isinstance(held, HyperParameter):
            setattr(kind, name, DefaultedHyperParameter(name, held))
    return names


def closed(value: Any) -> Any:
    """Copy lists, dicts and arrays in a hyper-parameter, so that no one can change them."""
    if type(value) in (list, ClosedList):
        return ClosedList(map(closed, value))
    if type(value) in (dict, ClosedMap):
        return ClosedMap({key: closed(item) for key, item in value.items()})
    if type(value) is tuple:
        return tuple(map(closed, value))
    if type(value) is np.ndarray:
        value = value.copy()
        value.flags.writeable = False
    return value


def opened(value: Any) -> Any:
    """Return what `closed` closed with plain lists and dicts again, for pickles."""
    if type(value) is ClosedDict:
        return dict(value)
    if type(value) is ClosedMap:
        return {key: opened(item) for key, item in value.items()}
    if type(value) in (ClosedList, tuple):
        return (list if type(value) is ClosedList else tuple)(map(opened, value))
    return value
