"""What is refused is refused at once: the message, the moment, and nothing that changed."""

import warnings

import numpy as np
import pytest
from errors import raises_exactly

from layerkit import BatchNorm, Dense, ReLU, Sequential
from layerkit.losses import CategoricalCrossEntropy, MeanSquaredError
from layerkit.optimizers import SGD, Adam
from layerkit.training import train

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((30, 4)), RNG.integers(3, size=30)
NAN, INF = np.full(30, 1.0), np.full(30, 1.0)
NAN[29], INF[7] = np.nan, np.inf
LABELS_BEYOND = Y.copy()
LABELS_BEYOND[-1] = 3

WRONG = {
    "weights that are NaN": (
        {"data": (X, Y, NAN)},
        "sample_weight must be finite and not negative, got numbers from nan to nan",
    ),
    "weights that are infinite": (
        {"data": (X, Y, INF)},
        "sample_weight must be finite and not negative, got numbers from 1 to inf",
    ),
    "weights below zero": (
        {"data": (X, Y, -INF)},
        "sample_weight must be finite and not negative, got numbers from -inf to -1",
    ),
    "weights that are all zero": ({"data": (X, Y, 0 * Y)}, "sample_weight is zero for all rows"),
    "too few weights": (
        {"data": (X, Y, np.ones(29))},
        "sample_weight must have one weight for each of the 30 rows of X, got (29,)",
    ),
    "too few targets": (
        {"data": (X, Y[1:])},
        "y must have one row for each of the 30 rows of X, got (29,)",
    ),
    "no rows": ({"data": (X[:0], Y[:0])}, "X must have at least one row, its shape is (0, 4)"),
    "dates": (
        {"data": (X, Y.astype("M8[s]"))},
        "y holds dates or spans of time (datetime64[s]): a network learns numbers. Choose an "
        "origin and a unit, such as (y - y.min()) / np.timedelta64(1, 'D')",
    ),
    "complex": (
        {"data": (X, Y + 1j)},
        "Complex data not supported: y holds complex numbers, give their real and imaginary "
        "parts as columns",
    ),
    "a list": (
        {"data": [X, Y]},
        "data must be (X, y), (X, y, sample_weight) or an iterable of such batches; batch 0 is "
        "an array of shape (30, 4)",
    ),
    "a list of lists": (
        {"data": [[1, 2, 3, 4]]},
        "data must be (X, y), (X, y, sample_weight) or an iterable of such batches; batch 0 is "
        "list of 4 entries",
    ),
    "numbers": (
        {"data": [1, 2]},
        "data must be (X, y), (X, y, sample_weight) or an iterable of such batches; batch 0 is int",
    ),
    "one number": (
        {"data": 3},
        "data must be (X, y), (X, y, sample_weight) or an iterable of such batches, got int",
    ),
    "one array": (
        {"data": X},
        "data must be (X, y), (X, y, sample_weight) or an iterable of such batches, got an array "
        "of shape (30, 4)",
    ),
    "nothing": (
        {"data": None},
        "data must be (X, y), (X, y, sample_weight) or an iterable of such batches, got NoneType",
    ),
    "the loss's class": (
        {"loss": MeanSquaredError},
        "loss must be a loss, such as MeanSquaredError(), as in train(network, loss, optimizer, "
        "(X, y), epochs=10), got <class 'layerkit.losses.regression.MeanSquaredError'>: that is "
        "the class, write MeanSquaredError(...)",
    ),
    "the loss's name": (
        {"loss": "mse"},
        "loss must be a loss, such as MeanSquaredError(), as in train(network, loss, optimizer, "
        "(X, y), epochs=10), got 'mse'",
    ),
    "the optimizer's class": (
        {"optimizer": Adam},
        "optimizer must be an optimizer, such as Adam(), as in train(network, loss, optimizer, "
        "(X, y), epochs=10), got <class 'layerkit.optimizers.adam.Adam'>: that is the class, "
        "write Adam(...)",
    ),
    "the optimizer's name": (
        {"optimizer": "adam"},
        "optimizer must be an optimizer, such as Adam(), as in train(network, loss, optimizer, "
        "(X, y), epochs=10), got 'adam'",
    ),
    "half an epoch": ({"epochs": 0.5}, "epochs must be a positive integer, got 0.5"),
    "a batch of none": ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
    "patience": ({"patience": 0}, "patience must be None or a positive integer, got 0"),
    "tol": ({"tol": np.nan}, "tol must be a finite number >= 0, got nan"),
    "shuffle": ({"shuffle": "no"}, "shuffle must be True or False, got 'no'"),
    "a monitor": ({"monitor": "accuracy"}, "monitor must be one of loss here, got 'accuracy'"),
    "validation of other weights": (
        {"validation_data": (X, Y, NAN)},
        "sample_weight must be finite and not negative, got numbers from nan to nan",
    ),
    "validation without rows": (
        {"validation_data": (X[:0], Y[:0])},
        "X must have at least one row, its shape is (0, 4)",
    ),
    "a random state": (
        {"random_state": "x"},
        "random_state must be None, a non-negative integer, a numpy Generator, RandomState or "
        "SeedSequence, got 'x'",
    ),
}


def make(built):
    network = Sequential([Dense(5), BatchNorm(), ReLU(), Dense(3)])
    return network.build(4, random_state=0) if built else network


@pytest.mark.parametrize("built", [False, True], ids=["unbuilt", "built"])
@pytest.mark.parametrize("what", WRONG)
def test_training_that_is_refused_changes_nothing(what, built, tmp_path):
    changes, message = WRONG[what]
    network, called, optimizer = make(built), [], SGD(0.1, momentum=0.9)
    before = network.flat_params.copy() if built else None
    arguments = {
        "loss": CategoricalCrossEntropy(), "optimizer": optimizer, "data": (X, Y), "epochs": 2,
        "callbacks": [called.append], "checkpoint": tmp_path / "run.npz",
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with raises_exactly((ValueError, TypeError), message):
            train(network, **arguments | changes)
    assert network.is_built == built
    if built:
        np.testing.assert_array_equal(network.flat_params, before)
        np.testing.assert_array_equal(network[1].buffers["running_mean"], np.zeros(5))
    assert called == [] and list(tmp_path.iterdir()) == [] and network.needs_input_grad
