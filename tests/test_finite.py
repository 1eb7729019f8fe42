"""Rows with NaN or infinity: refused by their places before a weight moves, however they come."""

import warnings

import numpy as np
import pytest
from errors import raises_exactly, warns_exactly
from scipy.sparse import csr_array

import layerkit as lk
from layerkit.losses import CategoricalCrossEntropy, MeanSquaredError
from layerkit.optimizers import LBFGS, SGD, Adam
from layerkit.training import DivergenceWarning, run, train

TABLE = np.random.default_rng(3).normal(size=(40, 4))
IMAGES = np.random.default_rng(3).normal(size=(40, 5, 5, 1)).astype(np.float32)
CLASSES = (TABLE[:, 0] > 0).astype(int)


class Filling(lk.Layer):
    """Takes what is missing for zero, as a layer of one's own may."""

    def forward(self, x, training=False):
        self.cache = np.isfinite(x)
        return np.where(self.cache, x, 0)

    def backward(self, grad_output):
        return grad_output * self.cache


def holed(X, places):
    X = X.copy()
    for *place, value in places:
        X[tuple(place)] = value
    return X


def steps(bad=None):
    rng = np.random.default_rng(4)
    rows = [rng.normal(size=(2 + i % 3, 3)) for i in range(40)]
    if bad is not None:
        rows[5][1, 2] = bad
    return rows


def dense():
    return lk.Sequential([lk.Dense(5), lk.ReLU(), lk.Dense(2)])


def of_images():
    return lk.Sequential([lk.Conv2D(2, 3), lk.ReLU(), lk.Flatten(), lk.Dense(2)])


HOLED = holed(TABLE, [(7, 2, np.nan)])
MANY = holed(TABLE, [(i, 1, -np.inf) for i in range(3, 20, 2)] + [(30, 3, np.nan)])
IN_MANY = (
    "row 3 has -inf in column 1 (10 such numbers in rows 3, 5, 7, 9, 11, ..., in columns 1, 3)"
)
CURE = "Fill them in, with sklearn.impute.SimpleImputer() say, or leave these rows out"
WHERE = [
    ("nan", dense, lambda: HOLED, "row 7 has nan in column 2"),
    ("inf in several", dense, lambda: MANY, IN_MANY),
    ("float32", dense, lambda: MANY.astype(np.float32), IN_MANY),
    ("sparse", dense, lambda: csr_array(MANY), IN_MANY),
    (
        "an image",
        of_images,
        lambda: holed(IMAGES, [(3, 1, 2, 0, np.inf)]),
        "row 3 has inf at (1, 2, 0)",
    ),
    (
        "steps",
        lambda: lk.Sequential([lk.GRU(3), lk.Dense(2)]),
        lambda: steps(np.nan),
        "row 5 has nan at (1, 2)",
    ),
    (
        "hidden by ReLU",
        dense,
        lambda: holed(TABLE, [(0, 0, -np.inf)]),
        "row 0 has -inf in column 0",
    ),
]


@pytest.mark.parametrize("optimizer", [Adam, LBFGS], ids=["Adam", "LBFGS"])
@pytest.mark.parametrize("built", [True, False], ids=["built", "new"])
@pytest.mark.parametrize("name, make, rows, told", WHERE, ids=[name for name, *_ in WHERE])
def test_rows_that_are_not_finite_are_named_before_anything_moves(
    name, make, rows, told, built, optimizer
):
    X, network = rows(), make()
    if built:
        shape = (None, 3) if isinstance(X, list) else X.shape[1:]
        network.build(shape, random_state=0, dtype=np.float64)
    before = network.flat_params.copy() if built else None
    with raises_exactly(ValueError, f"X must hold finite numbers, but {told}. {CURE}"):
        train(network, CategoricalCrossEntropy(), optimizer(), (X, CLASSES), epochs=3)
    assert network.is_built == built
    if built:
        np.testing.assert_array_equal(network.flat_params, before)


STREAMS = [
    ("a batch", lambda: [(TABLE, CLASSES), (HOLED, CLASSES)], None, "X of a batch"),
    ("validation", lambda: (TABLE, CLASSES), lambda: (HOLED, CLASSES), "X of validation_data"),
    (
        "a batch of validation",
        lambda: [(TABLE, CLASSES)],
        lambda: [(TABLE, CLASSES), (HOLED, CLASSES)],
        "X of validation_data",
    ),
]


@pytest.mark.parametrize("name, data, validation, told", STREAMS, ids=[n for n, *_ in STREAMS])
def test_so_are_those_of_streams_and_of_validation(name, data, validation, told):
    network = dense().build(4, random_state=0, dtype=np.float64)
    before = network.flat_params.copy()
    with raises_exactly(
        ValueError, f"{told} must hold finite numbers, but row 7 has nan in column 2. {CURE}"
    ):
        train(
            network,
            CategoricalCrossEntropy(),
            Adam(),
            data(),
            epochs=1,
            validation_data=validation and validation(),
        )
    if name != "a batch of validation":  # which is looked at when the epoch is done
        np.testing.assert_array_equal(network.flat_params, before)


def test_a_memory_map_is_read_once_and_its_rows_are_named_as_they_come(tmp_path):
    np.save(tmp_path / "X.npy", HOLED)
    X, network = np.load(tmp_path / "X.npy", mmap_mode="r"), dense().build(4, random_state=0)
    before = network.flat_params.copy()
    with raises_exactly(
        ValueError,
        "X of a batch must hold finite numbers, but row 7 has nan in column 2. Fill them "
        "in, with sklearn.impute.SimpleImputer() say, or leave these rows out",
    ):
        train(network, CategoricalCrossEntropy(), Adam(), (X, CLASSES), epochs=2, shuffle=False)
    np.testing.assert_array_equal(network.flat_params, before)


@pytest.mark.parametrize("rows", [HOLED, MANY], ids=["nan", "inf"])
def test_a_layer_of_ones_own_may_fill_them_in(rows):
    network = lk.Sequential([Filling(), lk.Dense(2)])
    history = train(network, CategoricalCrossEntropy(), Adam(), (rows, CLASSES), epochs=2)
    assert np.isfinite(history["loss"]).all() and np.isfinite(network.flat_params).all()


def test_large_numbers_whose_sum_overflows_are_finite():
    X = np.full((40, 4), 3e38, np.float32)
    X[::2] *= 0.5
    network = lk.Sequential([lk.LayerNorm(), lk.Tanh(), lk.Dense(2)]).build(4)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(network, CategoricalCrossEntropy(), Adam(), (X, CLASSES), epochs=1)


def test_infinities_of_both_signs_are_named_without_a_warning_before():
    X = holed(np.zeros((20, 3)), [(3, 1, np.inf), (4, 2, -np.inf)])
    with (
        raises_exactly(
            ValueError,
            "X must hold finite numbers, but row 3 has inf in column 1 (2 such numbers in "
            "rows 3, 4, in columns 1, 2). Fill them in, with sklearn.impute.SimpleImputer() "
            "say, or leave these rows out",
        ),
        np.errstate(all="raise"),
    ):
        train(dense(), CategoricalCrossEntropy(), SGD(0.1), (X, np.zeros(20, int)), epochs=1)


def halves(X, y):
    return [(X[:48], y[:48]), (X[48:], y[48:])]


@pytest.mark.parametrize(
    "batch_size, data",
    [(32, None), (48, None), (None, halves)],
    ids=["an epoch at once", "batch by batch", "a stream"],
)
def test_weights_that_the_last_step_made_infinite_are_taken_back_in_that_epoch(batch_size, data):
    """All losses are finite: only the weights show it."""
    X, y = np.zeros((96, 2), np.float32), np.zeros((96, 1))
    X[-1], y[-1] = 1, 1e3
    net = lk.Sequential([lk.Dense(1)]).build(2, random_state=0)
    before = net.flat_params.copy()
    given = (X, y) if data is None else data(X, y)
    options = {} if batch_size is None else {"batch_size": batch_size}
    with (
        np.errstate(over="ignore"),
        warns_exactly(
            DivergenceWarning,
            "training diverged in epoch 1: weights are not finite, first in W and b of "
            "layers.0 Dense(units=1); the network has the weights it started from. A "
            "smaller learning_rate, clip_norm or scaled inputs usually cure this",
        ),
    ):
        history = train(
            net, MeanSquaredError(), SGD(3e38), given, epochs=1, shuffle=False, **options
        )
    np.testing.assert_array_equal(net.flat_params, before)
    assert history.stopped.startswith("diverged")


def test_rows_of_validation_are_looked_through_only_where_their_loss_is_not_finite(monkeypatch):
    looked = []
    monkeypatch.setattr(run, "refuse_nonfinite", lambda network, x, name: looked.append(name))
    for y, times in ((np.arange(4.0)[:, np.newaxis], 0), (np.full((4, 1), 1e200), 2)):
        network = lk.Sequential([lk.Dense(1)]).build(3, random_state=0, dtype=np.float64)
        X = np.ones((4, 3))
        with np.errstate(over="ignore"):
            train(network, MeanSquaredError(), SGD(0.1), (X, X[:, :1]), epochs=2,
                  validation_data=(X, y))  # fmt: skip
        assert looked == ["X of validation_data"] * times
