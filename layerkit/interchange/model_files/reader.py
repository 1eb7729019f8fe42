"""Model files as networks and estimators again, believing nothing in them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import numpy as np

from layerkit import archive
from layerkit.archive import ModelFileError, Node
from layerkit.interchange.model_files.registry import Registry, is_estimator, of_estimators
from layerkit.interchange.model_files.writer import (
    FORMAT,
    INNER_ATTRIBUTES,
    MOST_LAYERS_IN_ALL,
    VERSION,
    check_finite,
    check_sizes,
    is_fitted_name,
)
from layerkit.layer import Layer
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.parameters import Parameterized
from layerkit.shapes import Shape, size_of
from layerkit.training import History
from layerkit.version import __version__

_BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")


# What turns a tree of one version into one of the next.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def load(
    path: str | os.PathLike | IO[bytes],
    custom_layers: Iterable[Any] = (),
    *,
    with_optimizer: bool = False,
) -> Any:
    """Read a network or an estimator that `save` has stored.

    Parameters
    ----------
    path : str, path or binary file object
        The file; one that is open must be able to seek.
    custom_layers : iterable of classes and functions, default=()
        Your own layers, losses, optimizers and initializers that the model uses, found by their
        ``__name__``. Nothing that a file names is ever imported.
    with_optimizer : bool, default=False
        Return ``(network, optimizer)``.

    Returns
    -------
    model : Layer or estimator
        As it was stored: built, fitted.

    Raises
    ------
    ModelFileError
        If the file is damaged, hostile, from a newer layerkit, or names what is not passed.
    OSError
        If it cannot be read at all.

    Notes
    -----
    A file runs no code, takes no more memory than a small multiple of its size, and is refused
    before any memory is taken where its sizes do not add up. It can still hold bad weights on
    purpose: load what you trust to predict.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from layerkit import MLPClassifier
    >>> from layerkit.interchange import load, save
    >>> X, y = np.eye(4), ["a", "b", "a", "b"]
    >>> classifier = MLPClassifier((8,), solver="lbfgs", random_state=0).fit(X, y)
    >>> folder = tempfile.TemporaryDirectory()
    >>> save(classifier, f"{folder.name}/classifier.npz")
    >>> load(f"{folder.name}/classifier.npz").predict(X).tolist()
    ['a', 'b', 'a', 'b']
    """
    registry = Registry(custom_layers)
    tree = archive.read(path)
    try:
        tree = _migrated(tree)
        registry.check(names_in(tree))
        reader = Reader(registry, estimators=tree["estimator"] is True)
        model, optimizer = reader.decode(tree["model"]), reader.decode(tree["optimizer"])
        fits = is_estimator(model) if tree["estimator"] is True else isinstance(model, Layer)
        if not fits or not isinstance(optimizer, Optimizer | LBFGS | None):
            raise ModelFileError("holds no network and no estimator")
    except ModelFileError as error:
        raise ModelFileError(f"{archive.name_of(path)}: {error}") from error.__cause__
    except Exception as error:  # whatever layers say of hyper-parameters that make no sense
        reason = f"{type(error).__name__}: {str(error)[:300]}"
        raise ModelFileError(f"{archive.name_of(path)}: describes no model: {reason}") from error
    if with_optimizer and optimizer is None:
        raise ModelFileError(f"{archive.name_of(path)}: was saved without an optimizer")
    return (model, optimizer) if with_optimizer else model


def names_in(value: Any) -> Iterator[list[Any]]:
    """Yield every name in a tree of `Writer`'s, with whether the reader must be given it."""
    if isinstance(value, Node):
        held = value.value["class"] if value.kind == "layer" else value.value
        if value.kind in ("object", "held", "estimator"):
            held = held[0]
        if value.kind in ("named", "layer", "object", "held", "estimator"):
            yield held
        value = value.value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from names_in(item)


def _migrated(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise ModelFileError("not a model file")
    version = tree.get("version")
    if type(version) is not int or version < 1:
        raise ModelFileError(f"{str(version)[:20]} is no version of the format")
    if version > VERSION:
        raise ModelFileError(
            f"written by layerkit {str(tree.get('layerkit'))[:20]} in version {version} of the "
            f"format; layerkit {__version__} reads up to {VERSION}: upgrade it"
        )
    for older in range(version, VERSION):
        tree = MIGRATIONS[older](tree)
    return tree


class Reader:
    """Turns a tree into a model.

    The tree may name what ``registry`` knows, with ``estimators`` also these and what they hold.
    """

    def __init__(self, registry: Registry, estimators: bool) -> None:
        self.registry, self.estimators = registry, estimators
        self.n_layers = 0

    def decode(self, value: Any) -> Any:
        """Return a value with every `Node` in it as the object that it stands for."""
        if type(value) in (list, tuple):
            return type(value)(map(self.decode, value))
        if type(value) is dict:
            return {key: self.decode(item) for key, item in value.items()}
        if not isinstance(value, Node):
            return value
        if value.kind not in _KINDS:
            raise ModelFileError(f"holds a {value.kind[:100]!r}, which is nothing of ours")
        return _KINDS[value.kind](self, value.value)

    def find(self, name: list[Any]) -> Any:
        """Return a class or function by what `Writer.name` made of it."""
        return self.registry.find(name[0], custom=name[1] is True, estimators=self.estimators)

    def object(self, value: list[Any]) -> Any:
        """Call a constructor of layerkit's, or of the caller's, with hyper-parameters."""
        name, params, state = value
        made = self.construct(name, params)
        if state is not None:
            if not hasattr(type(made), "state"):
                raise ModelFileError(f"{name[0]} has no state")
            made.state = state
        return made

    def construct(self, name: list[Any], params: dict[str, Any]) -> Any:
        kind = self.find(name)
        if not isinstance(kind, type):
            raise ModelFileError(f"{name[0]} is no class")
        if issubclass(kind, Parameterized) and (unknown := params.keys() - kind._defaults()):
            raise ModelFileError(f"{name[0]} has no parameter {min(unknown)[:100]}")
        return kind(**self.decode(params))

    def held(self, value: list[Any]) -> Any:
        """Return an object of an estimator's with the attributes it had."""
        name, attributes = value
        kind = self.find(name)
        if kind not in of_estimators().values() or issubclass(kind, Parameterized):
            raise ModelFileError(f"{name[0]} is not held by an estimator")
        made = object.__new__(kind)
        for attribute, held in attributes.items():
            if attribute.startswith("_") or callable(getattr(kind, attribute, None)):
                raise ModelFileError(f"{name[0]} has no attribute {attribute[:100]}")
            setattr(made, attribute, self.decode(held))
        return made

    def partial(self, value: list[Any]) -> Any:
        function, args, keywords = self.decode(value)
        if not callable(function):
            raise ModelFileError("a partial of what is no function")
        return functools.partial(function, *args, **keywords)

    # ---------------------------------------------------------------- layers

    def layer(self, stored: dict[str, Any]) -> Layer:
        self.n_layers += 1
        if self.n_layers > MOST_LAYERS_IN_ALL:
            raise ModelFileError(f"too many layers: at most {MOST_LAYERS_IN_ALL} in one file")
        layer = self.construct(stored["class"], stored["params"])
        if not isinstance(layer, Layer):
            raise ModelFileError(f"{stored['class'][0]} is no layer")
        layer._trainable = stored.get("trainable", True) is True
        if "feature_names" in stored:
            layer.name_features(stored["feature_names"])
        if "built" in stored:
            _build(layer, stored["built"])
        return layer

    # ---------------------------------------------------------------- estimators

    def estimator(self, value: list[Any]) -> Any:
        name, params, held = value
        estimator = self.construct(name, params)
        for attribute, stored in held.items():
            fitted = is_fitted_name(attribute) or attribute in INNER_ATTRIBUTES
            if not fitted or hasattr(type(estimator), attribute):
                raise ModelFileError(f"{name[0]} has no fitted attribute {attribute[:100]}")
            setattr(estimator, attribute, self.decode(stored))
        if "network_" in held:
            _check_fitted(estimator)
        if "networks_" in held:
            _check_members(estimator)
        return estimator


def _check_fitted(estimator: Any) -> None:
    """Refuse an estimator whose parts do not belong together."""
    network, target = estimator.network_, estimator._target
    if not isinstance(network, Layer) or not isinstance(estimator.history_, History):
        raise ModelFileError("the estimator has no network_ or no history_")
    if tuple(target.output_shape) != network.output_shape:
        raise ModelFileError(
            f"the network gives {network.output_shape}, its targets are {target.output_shape}"
        )
    if size_of(network.output_shape) < 2**20:
        one = (1, *(n or 1 for n in network.output_shape))  # one step, where any number will do
        target.predict(np.zeros(one, network.dtype))


def _freeze(root: Layer, paths: list[Any]) -> None:
    layers = dict(root.walk())
    for path in paths:
        if not isinstance(path, str) or path not in layers:
            raise ModelFileError(f"the file freezes {str(path)[:100]}, which is no layer")
        layers[path]._trainable = False


def _check_members(estimator: Any) -> None:
    """Refuse a tabular estimator whose parts do not belong together."""
    encoder, target = estimator.encoder_, estimator._target
    widths = {(len(encoder.kinds_),), *(network.input_shape for network in estimator.networks_)}
    shapes = {tuple(target.output_shape), *(n.output_shape for n in estimator.networks_)}
    if not estimator.networks_ or len(widths) > 1 or len(shapes) > 1:
        raise ModelFileError(
            f"the encoder gives {len(encoder.kinds_)} features and the targets have shape "
            f"{target.output_shape}, but the networks take {widths} and give {shapes}"
        )


def _build(root: Layer, built: dict[str, Any]) -> None:
    """Let a tree of layers have its arrays.

    Layers find their shapes in `setup`, from hyper-parameters that the file gives. So before each
    one sets up its size is looked at, and after it whether the file has just the arrays that it
    declared: not until all is in order are the vectors allocated.
    """
    tree = list(root.walk())
    check_sizes([()] * len(tree), "the network")
    stored = {path: tuple(shape) for path, shape in built["layout"]}
    buffers, declared = built["buffers"], dict[str, Shape]()
    shapes: list[Shape] = []

    def declare(layer: Layer, path: str, input_shape: Shape) -> Shape:
        shapes.append(input_shape)
        check_sizes(shapes, "the network")
        output_shape = type(layer).declare(layer, input_shape)
        for name, declaration in layer.declared_params.items():
            full = f"{path}.{name}".lstrip(".")
            declared[full] = declaration.shape
            if declaration.shape != stored.get(full):
                raise ModelFileError(f"{full} must be {declaration.shape}, is {stored.get(full)}")
        for name, buffer in layer.buffers.items():
            full = f"{path}.{name}".lstrip(".")
            if full not in buffers or buffers[full].shape != buffer.shape:
                raise ModelFileError(f"the file has no {full} of shape {buffer.shape}")
        return output_shape

    for path, layer in tree:
        layer.__dict__["declare"] = functools.partial(declare, layer, path)
    try:
        params = built["params"]
        check_finite(params, "params")
        root.adopt(tuple(built["input_shape"]), built["dtype"], params)
        _freeze(root, built.get("frozen", []))
    finally:
        for _, layer in tree:
            layer.__dict__.pop("declare", None)
    if declared.keys() != stored.keys() or params.shape != root.flat_params.shape:
        raise ModelFileError("the file has parameters that no layer declares")
    _fill(tree, built, params)


def _fill(tree: list[tuple[str, Layer]], built: dict[str, Any], params: np.ndarray) -> None:
    """Put buffers and streams back."""
    root, buffers = tree[0][1], dict(built["buffers"])
    if params.dtype != root.dtype:
        raise ModelFileError(f"params are {params.dtype}, not {root.dtype}")
    for path, layer in tree:
        for name, buffer in layer.buffers.items():
            value = buffers.pop(f"{path}.{name}".lstrip("."))
            check_finite(value, f"{path}.{name}")
            buffer[...] = value
    if buffers:
        raise ModelFileError(f"no layer has a buffer {min(buffers)[:100]}")
    if built["streams"] is not None:
        for (_, layer), stream in zip(tree, built["streams"], strict=True):
            layer.rng.bit_generator.state = stream


def _random_state(state: dict[str, Any]) -> np.random.RandomState:
    made = np.random.RandomState(_bit_generator({k: state[k] for k in ("bit_generator", "state")}))
    made.set_state(state)
    return made


def _bit_generator(state: dict[str, Any]) -> np.random.BitGenerator:
    if state["bit_generator"] not in _BIT_GENERATORS:
        raise ModelFileError("a random stream of an unknown kind")
    made = getattr(np.random, state["bit_generator"])(0)
    made.state = state
    return made


def _history(state: dict[str, Any]) -> History:
    most = max((len(where) for where, _ in state["columns"].values()), default=0)
    if not 0 <= state["n_rows"] <= most:
        raise ModelFileError("a history with rows that are nowhere")
    history = History()
    history.state = state
    return history


_KINDS: dict[str, Callable[[Reader, Any], Any]] = {
    "object": Reader.object,
    "held": Reader.held,
    "layer": Reader.layer,
    "estimator": Reader.estimator,
    "partial": Reader.partial,
    "named": Reader.find,
    "generator": lambda _, state: np.random.Generator(_bit_generator(state)),
    "random_state": lambda _, state: _random_state(state),
    "history": lambda _, state: _history(state),
    "seed": lambda _, seed: np.random.SeedSequence(
        seed[0], spawn_key=seed[1], n_children_spawned=seed[2]
    ),
    "slice": lambda _, value: slice(*value),
    "dtype": lambda _, code: np.dtype(code),
    "type": lambda _, code: np.dtype(code).type,
}
