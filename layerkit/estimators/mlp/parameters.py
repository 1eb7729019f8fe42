"""What each parameter of an MLP may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from layerkit.layer import Layer
from layerkit.layers import Identity, ReLU, Sigmoid, Tanh
from layerkit.parameters import is_dtype, is_number, is_size

ACTIVATIONS = {"identity": Identity, "logistic": Sigmoid, "tanh": Tanh, "relu": ReLU}

Rule = tuple[Callable[[Any], bool], str]


def _is_activation(value: Any) -> bool:
    if isinstance(value, str):
        return value in ACTIVATIONS
    return isinstance(value, Layer) or (isinstance(value, type) and issubclass(value, Layer))


def _all(ok: Any) -> Any:
    """Rule for a value or a list of values."""
    return lambda v: all(map(ok, v)) if isinstance(v, list | tuple | np.ndarray) else ok(v)


def are_sizes(sizes: Any) -> bool:
    """Whether these are the units of hidden layers: a number, or several, or none."""
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        return is_size(sizes)
    return all(map(is_size, sizes))


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _between(low: float, high: float = np.inf, ends: str = "[)") -> Any:
    def ok(value: Any) -> bool:
        if not is_number(value):
            return False
        above = value >= low if ends[0] == "[" else value > low
        return above and (value <= high if ends[1] == "]" else value < high)

    return ok


def _one_of(*names: str) -> Any:
    return lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}"


_COUNT = (is_size, "a positive integer")
_FLAG = (_is_flag, "True or False")
_NOT_NEGATIVE = (_between(0), "a finite number >= 0")
_POSITIVE = (_between(0, ends="()"), "a finite number > 0")
_BETA = (_between(0, 1), "in [0, 1)")

RULES: dict[str, Rule] = {
    "loss": _one_of("squared_error", "poisson"),
    "hidden_layer_sizes": (are_sizes, "a positive integer or a sequence of them"),
    "activation": (
        _all(_is_activation),
        f"one of {', '.join(ACTIVATIONS)}, a layer, or a list of these",
    ),
    "solver": _one_of("lbfgs", "sgd", "adam"),
    "alpha": _NOT_NEGATIVE,
    "batch_size": (
        lambda v: is_size(v) or (isinstance(v, str) and v == "auto"),
        "'auto' or a positive integer",
    ),
    "learning_rate": _one_of("constant", "invscaling", "adaptive"),
    "learning_rate_init": _POSITIVE,
    "power_t": _NOT_NEGATIVE,
    "max_iter": _COUNT,
    "shuffle": _FLAG,
    "tol": _NOT_NEGATIVE,
    "verbose": (lambda v: _is_flag(v) or is_size(v, 0), "True, False or an integer >= 0"),
    "warm_start": _FLAG,
    "momentum": (_between(0, 1, "[]"), "in [0, 1]"),
    "nesterovs_momentum": _FLAG,
    "early_stopping": (
        lambda v: _is_flag(v) or (hasattr(v, "split") and not isinstance(v, str)),
        "True, False or a splitter such as GroupShuffleSplit()",
    ),
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
    "dtype": (is_dtype, "'auto', 'float32' or 'float64'"),
}
