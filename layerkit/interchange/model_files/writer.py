"""Networks and estimators as trees of plain values and arrays, in a file that is safe to open."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from operator import attrgetter
from types import FunctionType
from typing import IO, Any

import numpy as np

from layerkit import archive
from layerkit.archive import Node
from layerkit.edits import ClosedList, ClosedMap
from layerkit.interchange.model_files.registry import is_estimator, is_ours, is_splitter
from layerkit.layer import Layer
from layerkit.layers import Columns
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.parameters import Parameterized
from layerkit.shapes import Shape, size_of
from layerkit.training import History
from layerkit.version import __version__

FORMAT, VERSION = "layerkit model", 1

# Attributes of a fitted estimator that are stored beside those whose names end in "_".
INNER_ATTRIBUTES = ("_target", "_seed", "_built_for", "_convergence")
MOST_LAYERS = 2_000
MOST_LAYERS_IN_ALL = 2 * MOST_LAYERS  # an estimator has those of its parameters too
# What setup may allocate on its own, buffers and lists of columns, goes with the widths.
LARGEST_WIDTH = 2**24
LARGEST_SAMPLE = 2**40


def save(
    model: Any,
    path: str | os.PathLike | IO[bytes],
    *,
    optimizer: Optimizer | LBFGS | bool | None = None,
    random_streams: bool = False,
) -> None:
    """Store a network or an estimator in a file, for `load`.

    Parameters
    ----------
    model : Layer or estimator of layerkit
        Built, fitted or not. A network is stored with its hyper-parameters, weights, running
        statistics and what is frozen; an estimator with its parameters and fitted attributes:
        network, classes, names of features, history.
    path : str, path or binary file object
        File to write, or to replace once the new one is complete. What is open, a `io.BytesIO` say,
        is written to as it is.
    optimizer : Optimizer, LBFGS or bool, optional
        Stored beside a network, with its state. True for an estimator: keep the state of its
        ``optimizer_``, if it has one, for `partial_fit` to go on with.
    random_streams : bool, default=False
        Store where the layers' random streams (of dropout, say) stand.

    Raises
    ------
    TypeError
        If something cannot be stored, a lambda for instance; it says where. Nothing is written.
    ValueError
        If weights are not finite, or the network is too large for the limits on reading.
    OSError
        If the folder does not exist, or the disk refuses; a file that was there stays as it is.

    Notes
    -----
    The file is an uncompressed ``.npz``: arrays, and one JSON text, ``tree.json``, with the version
    of the format and a digest of each array. Digests tell damage, not who wrote the file.

    Your own layers, losses and initializers are stored by name, see ``custom_layers`` of `load`.
    Not stored: callbacks, and scikit-learn's settings of output and metadata routing.

    Examples
    --------
    >>> import tempfile
    >>> from layerkit import Dense, ReLU, Sequential
    >>> from layerkit.interchange import load, save
    >>> folder = tempfile.TemporaryDirectory()
    >>> network = Sequential([Dense(8), ReLU(), Dense(2)]).build(3, random_state=0)
    >>> save(network, f"{folder.name}/network.npz")
    >>> same = load(f"{folder.name}/network.npz")
    >>> bool((same.infer([[1, 2, 3]]) == network.infer([[1, 2, 3]])).all())
    True
    """
    estimator = not isinstance(model, Layer)
    if estimator and not is_estimator(model):
        raise TypeError(f"save takes a layer or an estimator of layerkit, got {model!r}")
    kinds = (bool, type(None)) if estimator else (Optimizer, LBFGS, type(None))
    if not isinstance(optimizer, kinds):
        wanted = "True or False" if estimator else "an Optimizer"
        raise TypeError(f"optimizer must be {wanted} or None here, got {optimizer!r}")
    writer = Writer(random_streams, estimator, optimizer_state=bool(optimizer))
    if estimator:
        tree, beside = writer.estimator(model), None
    else:
        tree = writer.layer(model, type(model).__name__)
        beside = writer.encode(optimizer, "optimizer")
    archive.write(
        path,
        {
            "format": FORMAT,
            "version": VERSION,
            "layerkit": __version__,
            "estimator": estimator,
            "model": tree,
            "optimizer": beside,
        },
    )


# Objects that are stored as one node: its kind, and what it holds.
_STATES: dict[type, tuple[str, Callable[[Any], Any]]] = {
    slice: ("slice", lambda s: [s.start, s.stop, s.step]),
    np.dtype: ("dtype", attrgetter("str")),
    np.random.SeedSequence: ("seed", lambda s: [s.entropy, s.spawn_key, s.n_children_spawned]),
    np.random.Generator: ("generator", attrgetter("bit_generator.state")),
    np.random.RandomState: ("random_state", lambda s: s.get_state(legacy=False)),
    History: ("history", attrgetter("state")),
}


class Writer:
    """Turns a model into a tree.

    If told to it stores where the layers' random ``streams`` stand, and the state of optimizers.
    ``estimators`` says that the model is one, which has more kinds of objects in it.
    """

    def __init__(self, streams: bool, estimators: bool, optimizer_state: bool) -> None:
        self.streams, self.estimators = streams, estimators
        self.optimizer_state = optimizer_state
        self.inside_root = False
        self.n_layers = 0

    def encode(self, value: Any, where: str) -> Any:
        """Return a value with every object in it as a `Node`."""
        if type(value) in (list, ClosedList, tuple):
            plain = tuple if type(value) is tuple else list
            return plain(self.encode(item, f"{where}[{i}]") for i, item in enumerate(value))
        if type(value) in (dict, ClosedMap):
            return {key: self.encode(item, f"{where}[{key!r}]") for key, item in value.items()}
        if value is None or isinstance(value, bool | int | float | str | np.generic | np.ndarray):
            return value
        for kind, (name, state_of) in _STATES.items():
            if isinstance(value, kind):
                return Node(name, state_of(value))
        if isinstance(value, type) and issubclass(value, np.generic):
            return Node("type", np.dtype(value).str)
        if isinstance(value, functools.partial):
            parts = [value.func, list(value.args), value.keywords]
            return Node("partial", self.encode(parts, where))
        if isinstance(value, Layer):
            return self.layer(value, where)
        if isinstance(value, type | FunctionType):
            return Node("named", self.name(value, where))
        return self.object(value, where)

    def name(self, named: Any, where: str) -> list[Any]:
        """Return the name of a class or function, and whether the reader must be given it."""
        custom = not is_ours(named, self.estimators)
        if not named.__name__.isidentifier() or not callable(named):
            raise TypeError(
                f"cannot store {where} = {named!r}: it has no name to be found by; use a function "
                "or class of layerkit, or a named one of yours"
            )
        return [named.__name__, custom]

    def object(self, value: Any, where: str) -> Node:
        """Store the class's name and the hyper-parameters, or for ours all that it holds."""
        kind, state = type(value), None
        if isinstance(value, Parameterized):
            params = value.get_params(deep=False)
            state = getattr(value, "state", None) if self.optimizer_state else None
        elif dataclasses.is_dataclass(value):
            params = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        elif self.estimators and is_splitter(value) and is_ours(kind, estimators=True):
            held = vars(value) | vars(value).get("cvargs", {})  # where RepeatedKFold has n_splits
            params = {name: held[name] for name in inspect.signature(kind).parameters}
        elif self.estimators and is_ours(kind, estimators=True):
            return Node("held", [self.name(kind, where), self.fields(vars(value), where)])
        else:
            raise TypeError(
                f"cannot store {where} = {value!r}, a {kind.__qualname__}: a "
                "model file holds plain values, arrays, layers, losses, optimizers, schedules, "
                "initializers and scikit-learn's splitters"
            )
        return Node("object", [self.name(kind, where), self.fields(params, where), state])

    def fields(self, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Encode hyper-parameters or attributes."""
        return {name: self.encode(value, f"{where}.{name}") for name, value in values.items()}

    # ---------------------------------------------------------------- layers

    def layer(self, layer: Layer, where: str) -> Node:
        """Store a layer; if it is the root of a tree that is built, with all arrays of the tree."""
        self.n_layers += 1
        if self.n_layers > MOST_LAYERS_IN_ALL:
            raise ValueError(f"{where}: too many layers: at most {MOST_LAYERS_IN_ALL} in one file")
        is_root = layer.is_built and not self.inside_root
        if is_root and not hasattr(layer, "flat_params"):  # views of a larger network's arrays
            layer = copy.deepcopy(layer)
        self.inside_root |= is_root
        params = self.fields(layer.get_params(deep=False), where)
        stored: dict[str, Any] = {"class": self.name(type(layer), where), "params": params}
        if not layer.trainable:
            stored["trainable"] = False
        if isinstance(layer, Columns) and layer.feature_names:
            stored["feature_names"] = list(layer.feature_names)
        if is_root:
            self.inside_root = False
            stored["built"] = self.arrays(layer, where)
        return Node("layer", stored)

    def arrays(self, root: Layer, where: str) -> dict[str, Any]:
        """Return all that a tree of layers has beside its hyper-parameters."""
        tree = list(root.walk())
        check_sizes([layer.input_shape for _, layer in tree], where)
        buffers = {
            f"{path}.{name}".lstrip("."): buffer.copy()
            for path, layer in tree
            for name, buffer in layer.buffers.items()
        }
        for slot in root.layout:
            check_finite(root.flat_params[slot.slice], f"{where}: {slot.path}")
        for path, buffer in buffers.items():
            check_finite(buffer, f"{where}: {path}")
        streams = [layer.rng.bit_generator.state for _, layer in tree] if self.streams else None
        return {
            "input_shape": root.input_shape,
            "dtype": root.dtype.str,
            "params": root.flat_params.copy(),
            "layout": [[slot.path, slot.shape] for slot in root.layout],
            "buffers": buffers,
            "streams": streams,
            # those too that a container made itself, as the parts of a transformer's block
            "frozen": [path for path, layer in tree if not layer.trainable],
        }

    # ---------------------------------------------------------------- estimators

    def estimator(self, estimator: Any) -> Node:
        """Store parameters and fitted attributes."""
        where = type(estimator).__name__
        params = estimator.get_params(deep=False)
        held = {
            name: value
            for name, value in vars(estimator).items()
            if name not in params and (is_fitted_name(name) or name in INNER_ATTRIBUTES)
        }
        stored = [self.fields(values, where) for values in (params, held)]
        return Node("estimator", [self.name(type(estimator), where), *stored])


def is_fitted_name(name: str) -> bool:
    """Whether an attribute is named like what `fit` sets."""
    return name.endswith("_") and not name.startswith("_")


def check_finite(array: np.ndarray, where: str) -> None:
    """Refuse what can predict nothing."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{where} has numbers that are not finite")


def check_sizes(input_shapes: list[Shape], where: str) -> None:
    """Refuse trees so large that a file could use them to take memory that it does not have."""
    widths = sum(shape[-1] or 1 for shape in input_shapes if shape)
    largest = max((size_of(shape) for shape in input_shapes), default=0)
    if len(input_shapes) > MOST_LAYERS or widths > LARGEST_WIDTH or largest > LARGEST_SAMPLE:
        raise ValueError(
            f"{where}: too large for a model file: at most {MOST_LAYERS} layers, whose inputs' "
            f"last axes add up to at most {LARGEST_WIDTH}"
        )
