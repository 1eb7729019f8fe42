"""Networks and estimators in a file that is safe to open."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import layerkit
from layerkit import archive
from layerkit.archive import ModelFileError
from layerkit.interchange.reading import Reader
from layerkit.interchange.registry import Registry
from layerkit.interchange.writing import Writer
from layerkit.layer import Layer
from layerkit.optimizers import LBFGS, Optimizer

FORMAT, VERSION = "layerkit model", 1

# What turns a tree of one version into one of the next.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def save(
    model: Any,
    path: str | os.PathLike,
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
    path : str or path
        File to write, or to replace once the new one is complete.
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
        If the disk refuses; a file that was there stays as it is.

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
    is_estimator = not isinstance(model, Layer)
    if is_estimator and not _is_estimator(model):
        raise TypeError(f"save takes a layer or an estimator of layerkit, got {model!r}")
    kinds = (bool, type(None)) if is_estimator else (Optimizer, LBFGS, type(None))
    if not isinstance(optimizer, kinds):
        wanted = "True or False" if is_estimator else "an Optimizer"
        raise TypeError(f"optimizer must be {wanted} or None here, got {optimizer!r}")
    writer = Writer(random_streams, is_estimator, optimizer_state=bool(optimizer))
    if is_estimator:
        tree, beside = writer.estimator(model), None
    else:
        tree = writer.layer(model, type(model).__name__)
        beside = writer.encode(optimizer, "optimizer")
    archive.write(
        path,
        {
            "format": FORMAT,
            "version": VERSION,
            "layerkit": layerkit.__version__,
            "estimator": is_estimator,
            "model": tree,
            "optimizer": beside,
        },
    )


def load(
    path: str | os.PathLike, custom_layers: Iterable[Any] = (), *, with_optimizer: bool = False
) -> Any:
    """Read a network or an estimator that `save` has stored.

    Parameters
    ----------
    path : str or path
        The file.
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
        reader = Reader(registry, estimators=tree["estimator"] is True)
        model, optimizer = reader.decode(tree["model"]), reader.decode(tree["optimizer"])
        _check_model(model, optimizer, tree)
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from error.__cause__
    except Exception as error:  # whatever layers say of hyper-parameters that make no sense
        reason = f"{type(error).__name__}: {str(error)[:300]}"
        raise ModelFileError(f"{os.fspath(path)}: describes no model: {reason}") from error
    if with_optimizer and optimizer is None:
        raise ModelFileError(f"{os.fspath(path)}: was saved without an optimizer")
    return (model, optimizer) if with_optimizer else model


def _check_model(model: Any, optimizer: Any, tree: dict[str, Any]) -> None:
    fits = _is_estimator(model) if tree["estimator"] is True else isinstance(model, Layer)
    if not fits or not isinstance(optimizer, Optimizer | LBFGS | None):
        raise ModelFileError("holds no network and no estimator")


def _migrated(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise ModelFileError("not a model file")
    version = tree.get("version")
    if type(version) is not int or version < 1:
        raise ModelFileError(f"{str(version)[:20]} is no version of the format")
    if version > VERSION:
        raise ModelFileError(
            f"written by layerkit {str(tree.get('layerkit'))[:20]} in version {version} of the "
            f"format; layerkit {layerkit.__version__} reads up to {VERSION}: upgrade it"
        )
    for older in range(version, VERSION):
        tree = MIGRATIONS[older](tree)
    return tree


def _is_estimator(model: Any) -> bool:
    """Whether it is one of our estimators, without importing scikit-learn for a network."""
    from layerkit.estimators.base import NetworkEstimator

    return isinstance(model, NetworkEstimator)
