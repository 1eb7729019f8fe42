"""What each constructor parameter of the estimators may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer_names

from layerkit.layer import Layer
from layerkit.layers import Identity, ReLU, Sigmoid, Tanh
from layerkit.losses import Loss
from layerkit.parameters import is_dtype, is_flag, is_number, is_size

ACTIVATIONS = {"identity": Identity, "logistic": Sigmoid, "tanh": Tanh, "relu": ReLU}

Activation = str | Layer | type[Layer]
"""What one hidden layer of an MLP may be given as its activation."""
Rule = tuple[Callable[[Any], bool], str]
"""Whether a value is allowed, and what to say it must be."""


def is_splitter(early_stopping: Any) -> bool:
    """Whether it is a splitter, such as GroupShuffleSplit(), whose first split is used."""
    return hasattr(early_stopping, "split") and not isinstance(early_stopping, str)


def are_sizes(sizes: Any) -> bool:
    """Whether these are the units of hidden layers: a number, or several, or none."""
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        return is_size(sizes)
    return all(map(is_size, sizes))


def _is_scorer(name: Any) -> bool:
    return isinstance(name, str) and name in get_scorer_names()


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _is_activation(value: Any) -> bool:
    if isinstance(value, str):
        return value in ACTIVATIONS
    return isinstance(value, Layer) or (isinstance(value, type) and issubclass(value, Layer))


def _all(ok: Any) -> Any:
    """Rule for a value or a list of values."""
    return lambda v: all(map(ok, v)) if isinstance(v, list | tuple | np.ndarray) else ok(v)


def _between(low: float, high: float = np.inf, ends: str = "[)") -> Any:
    def ok(value: Any) -> bool:
        if not is_number(value):
            return False
        above = value >= low if ends[0] == "[" else value > low
        return above and (value <= high if ends[1] == "]" else value < high)

    return ok


def _one_of(*names: str) -> Rule:
    return lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}"


_COUNT: Rule = (is_size, "a positive integer")
_FLAG: Rule = (is_flag, "True or False")
_SHOWN: Rule = (lambda v: is_flag(v) or is_size(v, 0), "True or False")
_INT_OR_FLAG: Rule = (lambda v: is_flag(v) or isinstance(v, int), "True or False")
_NOT_NEGATIVE: Rule = (_between(0), "a finite number >= 0")
_POSITIVE: Rule = (_between(0, ends="()"), "a finite number > 0")
_BETA: Rule = (_between(0, 1), "in [0, 1)")

# Of all estimators.
_SHARED: dict[str, Rule] = {
    "batch_size": (lambda v: is_size(v) or _is_auto(v), "'auto' or a positive integer"),
    "max_iter": _COUNT,
    "tol": _NOT_NEGATIVE,
    "early_stopping": (
        lambda v: is_flag(v) or is_splitter(v),
        "True, False or a splitter such as GroupShuffleSplit()",
    ),
    "dtype": (is_dtype, "'auto', 'float32' or 'float64'"),
}

SEQUENTIAL: dict[str, Rule] = {
    **_SHARED,
    "n_iter_no_change": (
        lambda v: v is None or v == np.inf or is_size(v),
        "None or a positive integer",
    ),
    "validation_fraction": (_between(0, 1, "()"), "between 0 and 1, exclusive"),
    "shuffle": _INT_OR_FLAG,
    "warm_start": _INT_OR_FLAG,
    "verbose": _SHOWN,
    "layers": (
        lambda v: isinstance(v, Layer | list | tuple),
        "a Layer or a list of layers or (name, layer) pairs",
    ),
    "head": (lambda v: v is None or _is_auto(v), "'auto' or None"),
}

TABULAR: dict[str, Rule] = {
    "members": _COUNT,
    "max_iter": _COUNT,
    "hidden_layer_sizes": (
        lambda v: isinstance(v, list | tuple) and all(map(is_size, v)),
        "a sequence of positive integers",
    ),
    "embedding": _one_of("periodic", "piecewise", "none"),
    "max_onehot": (lambda v: is_size(v, 2), "an integer >= 2"),
    "target_means": _FLAG,
    "dropout": _BETA,
    "learning_rate": (lambda v: _is_auto(v) or _between(0, ends="()")(v), "'auto' or > 0"),
    "weight_decay": _NOT_NEGATIVE,
    "batch_size": _COUNT,
    "label_smoothing": _BETA,
    "calibrate": _FLAG,
    "loss": (lambda v: v is None or isinstance(v, Loss), "None or a Loss"),
    "linear": (lambda v: _is_auto(v) or is_flag(v), "'auto', True or False"),
    "monitor": (
        lambda v: v is None or (callable(v) and not isinstance(v, type)) or _is_scorer(v),
        "None, a scorer or the name of one, see sklearn.metrics.get_scorer_names()",
    ),
    "validation_fraction": (_between(0, 1, "()"), "between 0 and 1, exclusive"),
    "cv": (
        lambda v: v is None or is_splitter(v) or isinstance(v, Iterable),
        "None, a splitter or an iterable of (train, test)",
    ),
    "refit": _FLAG,
    "verbose": _SHOWN,
}

MLP: dict[str, Rule] = {
    "loss": _one_of("squared_error", "poisson"),
    "hidden_layer_sizes": (are_sizes, "a positive integer or a sequence of them"),
    "activation": (
        _all(_is_activation),
        f"one of {', '.join(ACTIVATIONS)}, a layer, or a list of these",
    ),
    "solver": _one_of("lbfgs", "sgd", "adam"),
    "alpha": _NOT_NEGATIVE,
    "learning_rate": _one_of("constant", "invscaling", "adaptive"),
    "learning_rate_init": _POSITIVE,
    "power_t": _NOT_NEGATIVE,
    "shuffle": _FLAG,
    "verbose": (_SHOWN[0], "True, False or an integer >= 0"),
    "warm_start": _FLAG,
    "momentum": (_between(0, 1, "[]"), "in [0, 1]"),
    "nesterovs_momentum": _FLAG,
    "validation_fraction": _BETA,
    "beta_1": _BETA,
    "beta_2": _BETA,
    "epsilon": _POSITIVE,
    "n_iter_no_change": (
        lambda v: is_size(v) or (isinstance(v, float) and v == np.inf),
        "a positive integer or numpy.inf",
    ),
    "max_fun": _COUNT,
    "dropout": (_all(_between(0, 1)), "in [0, 1), one or one for each hidden layer"),
    "batch_norm": _FLAG,
    **_SHARED,
}
