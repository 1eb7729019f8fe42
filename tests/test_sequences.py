"""Rows of unequal length: every row is what it is alone, whatever else is in the batch."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from errors import error_of, raises_exactly, warns_exactly
from lengths import LAYERS, built, rows_of
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV, cross_val_score

import layerkit.layers as nn
from layerkit import SequentialClassifier, SequentialRegressor, check_gradients
from layerkit.interchange import load, save
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import Adam
from layerkit.sequences import Sequences, as_sequences, step_values
from layerkit.training import train


@pytest.fixture(params=LAYERS, ids=str)
def layer(request):
    return built(request.param)


def one(y, i):
    return y[i]


def test_a_row_does_not_depend_on_the_others(layer):
    rows = rows_of()
    together = layer.infer(rows)
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = layer.infer([rows[i] for i in order])
    for place, i in enumerate(order):
        assert_allclose(one(layer.infer([rows[i]]), 0), together[i], rtol=1e-10, atol=1e-12)
        assert_allclose(layer.infer(rows[i][np.newaxis])[0], together[i], rtol=1e-10, atol=1e-12)
        assert_allclose(one(shuffled, place), together[i], rtol=1e-10, atol=1e-12)


def test_the_gradient_of_a_batch_is_the_sum_over_its_rows(layer):
    rows = rows_of()
    y = layer.forward(rows)
    is_ragged = isinstance(y, Sequences)
    G = np.random.default_rng(2).standard_normal((y.steps if is_ragged else y).shape)
    G = y.with_steps(G) if is_ragged else G
    grad_input = layer.backward(G)
    total, summed = layer.flat_grads.copy(), 0
    for i, row in enumerate(rows):
        layer.forward(row[np.newaxis])
        alone = layer.backward(G[i][np.newaxis])
        summed = summed + layer.flat_grads
        assert_allclose(alone[0], grad_input[i], rtol=1e-9, atol=1e-12)
    assert_allclose(total, summed, rtol=1e-9, atol=1e-12)


def test_batch_norm_sees_real_steps_only():
    norm = nn.BatchNorm().build((None, 4), dtype=np.float64)
    rows = rows_of()
    y = norm.forward(rows, training=True)
    assert_allclose(y.steps.mean(axis=0), 0, atol=1e-12)
    assert_allclose(norm.buffers["running_mean"], 0.1 * np.concatenate(rows).mean(axis=0))


@pytest.mark.parametrize("key", [[2, 0], [True, False, True, False], slice(1, 3), 1], ids=str)
def test_rows_as_scikit_learn_indexes_them(key):
    """By a tuple: the rows, and an ellipsis for the axes of each."""
    rows = Sequences(rows_of([3, 1, 4, 2]))
    key = np.array(key) if isinstance(key, list) else key
    assert [row.tolist() for row in rows[key, ...]] == [row.tolist() for row in rows[key]]


def test_rows_by_position_slice_mask_and_shuffled():
    rows = rows_of()
    x = Sequences(rows)
    for key in (slice(1, 4), slice(None, None, 2), [4, 0, 4], np.arange(6) > 2, slice(0, 0)):
        picked = x[key]
        expected = [rows[i] for i in np.arange(6)[key]]
        assert [row.tolist() for row in picked] == [row.tolist() for row in expected]
    assert_array_equal(pickle.loads(pickle.dumps(x)).steps, x.steps)
    assert_array_equal(x[-1], rows[-1])


@pytest.mark.parametrize(
    "rows, message",
    [
        ([np.ones((2, 3)), np.ones((0, 3))], "row 1 has no steps"),
        ([np.ones((2, 3)), np.ones((2, 4))], "row 1 has steps of shape"),
        ([np.ones((2, 3)), np.ones((2, 4, 1))], "row 1 must have shape"),
        ([[[1.0], [2.0]], [[1.0, 2.0]]], "row 1 has steps of shape"),
    ],
)
def test_bad_rows_are_named(rows, message):
    network = nn.LSTM(2).build((None, 3))
    assert message in error_of(ValueError, network.infer, rows)
    assert message in error_of(
        ValueError, lambda X: SequentialClassifier([nn.LSTM(2)]).fit(X, [0, 1]), rows
    )


def test_other_layers_refuse_rows_of_unequal_length():
    message = error_of(ValueError, nn.Flatten().infer, rows_of())
    assert "Flatten" in message and "(n_samples, time, 4)" in message
    assert nn.Flatten().infer([np.ones((2, 3))] * 4).shape == (4, 6)


def problem(n=60, width=2):
    """Whether the first number of a row is positive: to be remembered to its end."""
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((n_steps, width)) for n_steps in rng.integers(1, 7, n)]
    return rows, np.array([int(row[0, 0] > 0) for row in rows])


def test_train_takes_a_list():
    rows, y = problem()
    network = nn.Sequential([nn.LSTM(8), nn.Dense(1)])
    data = rows, y[:, np.newaxis].astype(float)
    history = train(
        network,
        MeanSquaredError(),
        Adam(learning_rate=0.02),
        data,
        epochs=60,
        validation_data=data,
        random_state=0,
    )
    assert history.rows[-1]["loss"] < 0.05
    batches = [(rows[:30], data[1][:30]), (rows[30:], data[1][30:])]
    train(network, MeanSquaredError(), Adam(), batches, epochs=1)


def test_estimators_take_a_list():
    X, y = problem()
    model = SequentialClassifier(
        [nn.LSTM(8)], optimizer=Adam(learning_rate=0.02), max_iter=60, random_state=0,
        n_iter_no_change=None, class_weight="balanced",
    ).fit(X, y, sample_weight=np.ones(len(X)), X_val=X[:10], y_val=y[:10])  # fmt: skip
    assert model.score(X, y) > 0.9 and model.n_features_in_ == 2
    together = model.predict_proba(X)
    for i in (0, 7, 31):
        assert_allclose(model.predict_proba(X[i : i + 1])[0], together[i], rtol=1e-9)
        assert_allclose(model.predict_proba(X[i][np.newaxis])[0], together[i], rtol=1e-9)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), together)
    assert "(n_samples, time, 2)" in str(model.network_.summary()) or model.network_.summary()
    with raises_exactly(
        ValueError,
        "X has samples of shape (3, 5), but SequentialClassifier was fitted on samples "
        "of shape (None, 2)",
    ):
        model.predict([np.ones((3, 5))])
    with pytest.raises(ValueError, match="NaN"):
        model.predict([np.full((3, 2), np.nan)])


def test_searches_and_early_stopping_take_a_list():
    X, y = problem()
    model = SequentialClassifier(
        [nn.GRU(4)], max_iter=3, n_iter_no_change=None, early_stopping=True,
        validation_fraction=0.2, random_state=0,
    )  # fmt: skip
    assert cross_val_score(model, X, y, cv=2).shape == (2,)
    search = GridSearchCV(model, {"layers__gru_1__units": [2, 3]}, cv=2).fit(X, y)
    assert search.predict(X).shape == (60,)
    regressor = SequentialRegressor([nn.SimpleRNN(3)], max_iter=2, n_iter_no_change=None)
    assert regressor.fit(X, y.astype(float)).predict(X[:4]).shape == (4,)


def test_an_estimator_fitted_on_an_array_takes_rows_of_other_lengths():
    X = np.random.default_rng(0).standard_normal((20, 5, 2))
    model = SequentialClassifier([nn.LSTM(3)], max_iter=1, n_iter_no_change=None)
    model.fit(X, np.arange(20) % 2)
    assert_allclose(model.predict_proba(list(X)), model.predict_proba(X), rtol=1e-6)
    assert model.predict([X[0, :2], X[1]]).shape == (2,)


def test_batches_and_partial_fit_take_lists():
    X, y = problem()
    model = SequentialClassifier([nn.LSTM(3)], max_iter=2, n_iter_no_change=None)
    assert model.fit([(X[:20], y[:20]), (X[20:], y[20:])]).predict(X).shape == (60,)
    model = SequentialClassifier([nn.LSTM(3)], random_state=0)
    assert model.partial_fit(X[:20], y[:20], classes=[0, 1]).predict(X[:5]).shape == (5,)


def test_a_model_file_remembers_that_any_number_of_steps_will_do(tmp_path):
    network = nn.Sequential([nn.LSTM(4, return_sequences=True), nn.GlobalAvgPool1D(), nn.Dense(2)])
    network.build((None, 4), random_state=0)
    save(network, tmp_path / "network.npz")
    back = load(tmp_path / "network.npz")
    assert back.input_shape == (None, 4)
    assert_array_equal(back.infer(rows_of()), network.infer(rows_of()))


@pytest.mark.parametrize("kind", [nn.SimpleRNN, nn.GRU, nn.LSTM])
def test_check_gradients_takes_a_list(kind):
    layer = kind(3, return_sequences=True)
    report = check_gradients(nn.Sequential([layer, nn.BatchNorm()]), x=rows_of())
    assert report, str(report)
    assert check_gradients(kind(2), input_shape=(None, 3))


def test_rows_of_ids():
    network = nn.Sequential([nn.Embedding(9, 4), nn.GRU(3)]).build((None,), random_state=0)
    together = network.infer(Sequences([np.array([1, 2, 8]), np.array([3])]))
    assert_allclose(network.infer(np.array([[3]]))[0], together[1], rtol=1e-6)


# ---------------------------------------------------------------- rows as people have them


def fitted(X, y, layers=None, **data):
    options = {"max_iter": 1, "n_iter_no_change": None, "random_state": 0}
    return SequentialClassifier(layers or [nn.GRU(3)], **options).fit(X, y, **data)


def test_a_series_of_arrays_is_a_list_of_rows():
    pd = pytest.importorskip("pandas")
    X, y = problem(20)
    model = fitted(pd.Series(X, index=range(40, 20, -1)), y)
    assert_array_equal(model.predict_proba(pd.Series(X)), fitted(X, y).predict_proba(X))


def test_columns_of_data_frames_are_held_to_their_names():
    pd = pytest.importorskip("pandas")
    X, y = problem(20)
    frames = [pd.DataFrame(x, columns=["a", "b"]) for x in X]
    turned = [frame[["b", "a"]] for frame in frames]
    model = fitted(frames, y)
    assert model.feature_names_in_.tolist() == ["a", "b"] and model.n_features_in_ == 2
    assert_array_equal(model.predict(frames), fitted(X, y).predict(X))
    for call in (model.predict, lambda X: model.partial_fit(X, y)):
        assert "feature names should match" in error_of(ValueError, call, turned)
    with warns_exactly(
        UserWarning,
        "X does not have valid feature names, but SequentialClassifier was fitted with "
        "feature names",
    ):
        model.predict(X)
    message = error_of(ValueError, model.predict, [*frames[:3], turned[3]])
    assert "row 3 has the columns ['b', 'a'], row 0 ['a', 'b']" in message


def test_ids_of_rows_alone_or_equally_long_are_the_rows_they_were():
    rng = np.random.default_rng(0)
    X = [rng.integers(9, size=n) for n in rng.integers(1, 6, 20)]
    model = fitted(X, np.arange(20) % 2, [nn.Embedding(9, 4), nn.GRU(3)])
    together = model.predict_proba(X)
    for rows in (X, [x.tolist() for x in X], np.array([*X, None], dtype=object)[:-1]):
        assert_array_equal(model.predict_proba(rows), together)
    for i, x in enumerate(X):
        for alone in ([x], x[np.newaxis], [x.tolist()]):
            assert_allclose(model.predict_proba(alone)[0], together[i], rtol=1e-6)
    assert "got 99" in error_of(ValueError, model.predict, [np.array([3, 99]), X[0]])


def test_ids_of_any_length_travel_in_a_model_file(tmp_path):
    X = [np.array([1, 2, 3]), np.array([4])] * 5
    model = fitted(X, np.arange(10) % 2, [nn.Embedding(9, 4), nn.GRU(3)])
    save(model, tmp_path / "model.npz")
    assert_array_equal(load(tmp_path / "model.npz").predict_proba(X), model.predict_proba(X))


def test_arrays_are_taken_wherever_a_list_was_fitted_on():
    (X, y), array = problem(20), np.random.default_rng(0).standard_normal((4, 5, 2))
    model = fitted(X, y, X_val=array, y_val=y[:4])
    assert model.partial_fit(array, y[:4]).predict(array).shape == (4,)
    assert model.set_params(warm_start=True).fit(array, y[:4]).predict(X).shape == (20,)


def test_transform_gives_a_list_where_a_layer_gives_every_step():
    X, y = problem(20)
    model = fitted(X, y, [nn.GRU(3, return_sequences=True), nn.LSTM(2)])
    steps = model.transform(X, layer="gru_1")
    assert [row.shape for row in steps] == [(len(x), 3) for x in X]
    assert model.transform(X).shape == (20, 2)
    assert model.transform(np.zeros((2, 4, 2)), layer=0)[0].shape == (4, 3)


@pytest.mark.parametrize(
    "rows, error, message",
    [
        ("a generator", TypeError, "got a generator, which can be read only once"),
        ([np.ones(2), np.ones(3)], ValueError, "expects (n_samples, time, 2), got Sequences"),
        ([np.ones((2, 2, 1)), np.ones((3, 2, 1))], ValueError, "row 0 must have shape"),
        ([np.ones((2, 2)), "words"], ValueError, "row 1 must have shape (time, n_features)"),
        ([np.ones((2, 2)), np.full((1, 2), "a")], TypeError, "row 1 must hold numbers"),
        ([np.ones((2, 2)), np.full((1, 2), 1j)], TypeError, "row 1 must hold numbers"),
    ],
    ids=["generator", "vectors", "images", "words", "strings", "complex"],
)
def test_rows_that_are_none_are_named(rows, error, message):
    network = nn.LSTM(2).build((None, 2))
    made = (np.ones((2, 2)) for _ in range(3)) if rows == "a generator" else rows
    assert message in error_of(error, network.infer, made)


def test_sparse_rows_are_named():
    sp = pytest.importorskip("scipy.sparse")
    network = nn.LSTM(2).build((None, 2))
    assert "row 0 is sparse" in error_of(TypeError, network.infer, [sp.csr_array(np.eye(2))] * 2)


# ---------------------------------------------------------------- what a user's layer gets wrong


class Odd(nn.Identity):
    """Passes rows of unequal length on, but changed there or on the way back."""

    takes_sequences, stepwise = True, False

    def __init__(self, there=lambda x: x, back=lambda grad: grad):
        self.there, self.back = there, back

    def forward(self, x, training=False):
        return self.there(x)

    def backward(self, grad_output):
        return self.back(grad_output)


DECLARED = "setup declared the output (n_samples, time, 4), but forward turned (3, None, 4) into "
RETURNED = "backward must return the gradient of the input, (13, 4), but returned "
OTHER_LENGTHS = (
    "backward must return the gradient of the input, (13, 4) with {} steps in row {}, but returned "
    "(13, 4) with {} steps in row {}"
)
WRONG = {
    "fewer features": (
        {"there": lambda x: x.with_steps(x.steps[:, :2])},
        DECLARED + "(3, None, 2)",
    ),
    "a row too few": ({"there": lambda x: x[:-1]}, DECLARED + "(2, None, 4)"),
    "one step of each row": ({"there": lambda x: x.steps[: len(x)]}, DECLARED + "(3, 4)"),
    "a gradient of fewer features": (
        {"back": lambda g: g.with_steps(g.steps[:, :2])},
        RETURNED + "(13, 2)",
    ),
    "a gradient of other lengths": ({"back": lambda g: g[::-1]}, OTHER_LENGTHS.format(7, 0, 5, 0)),
    "a gradient of a row more": (
        {"back": lambda g: Sequences.from_steps(g.steps, [7, 1, 2, 3])},
        OTHER_LENGTHS.format(5, 2, 2, 2),
    ),
    "a gradient of steps": ({"back": lambda g: g.steps[0]}, RETURNED + "(4,)"),
    "no gradient": ({"back": lambda g: None}, RETURNED + "None"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_layer_that_returns_other_rows_than_it_should_is_named(mistake):
    ways, message = WRONG[mistake]
    rows = [np.ones((n, 4), np.float32) for n in (7, 1, 5)]
    layer = Odd(**ways).build((None, 4))
    with raises_exactly(ValueError, f"in Odd(): {message}"):
        layer.backward(layer.forward(rows))


@pytest.mark.parametrize("lengths, width", [((5, 1, 7), 4), ((7, 1, 5), 3), ((7, 1), 4)])
def test_a_gradient_of_other_rows_than_the_output_is_refused(lengths, width):
    layer = Odd().build((None, 4))
    layer.forward([np.ones((n, 4), np.float32) for n in (7, 1, 5)])
    with raises_exactly(
        ValueError,
        re.compile(
            r"in Odd\(\): backward expects the gradient of its output, Sequences of 3 "
            r"rows, 1 to 7 steps of shape \(4,\), float32, got Sequences of .*,\), float32"
        ),
    ):
        layer.backward([np.ones((n, width), np.float32) for n in lengths])


def test_steps_without_features_are_no_rows_of_a_layer_without_time():
    with raises_exactly(
        ValueError,
        "in ReLU(): expects (n_samples,), got Sequences of 2 rows, 2 to 3 steps of shape "
        "(), float64",
    ):
        nn.ReLU().build(()).infer(Sequences([np.ones(3), np.ones(2)]))


# ---------------------------------------------------------------- what is said of them

TWO = Sequences([np.ones((2, 3)), np.ones((4, 3))])
SAID = {
    "no rows": (
        lambda: Sequences([]),
        ValueError,
        "sequences must have at least one row, got none",
    ),
    "another width": (
        lambda: Sequences([np.ones((2, 3)), np.ones((2, 3)), np.ones((4, 5))]),
        ValueError,
        "row 2 has steps of shape (5,), row 0 of (3,): all rows of sequences must have the same "
        "width",
    ),
    "columns in another order": (
        lambda: Sequences([pd.DataFrame(np.ones((2, 2)), columns=list(c)) for c in ("ab", "ba")]),
        ValueError,
        "row 1 has the columns ['b', 'a'], row 0 ['a', 'b']: all rows of sequences must have the "
        "same columns, in the same order",
    ),
    **{
        f"lengths: {lengths}": (
            lambda lengths=lengths: Sequences.from_steps(np.ones((6, 1)), lengths),
            ValueError,
            f"lengths must be positive integers, one a row, got {np.asarray(lengths)}",
        )
        for lengths in ([6, 0], [7, -1], [3.0, 3.0], [[3, 3]], 6)
    },
    "a sum": (
        lambda: Sequences.from_steps(np.ones((6, 1)), [2, 3]),
        ValueError,
        "lengths add up to 5, but there are 6 steps",
    ),
    "an addition": (
        lambda: TWO + TWO[::-1],
        ValueError,
        f"cannot add {TWO} and {TWO[::-1]}: their rows differ in length",
    ),
    "an array": (
        lambda: TWO.to_array(),
        ValueError,
        f"rows of unequal length are no array: {TWO}",
    ),
    "a generator": (
        lambda: as_sequences(iter([np.ones((2, 3))])),
        TypeError,
        "rows must be a list of arrays, got a list_iterator, which can be read only once; "
        "list(...) makes a list of it",
    ),
    "images": (
        lambda: Sequences([np.ones((2, 3)), np.ones((2, 3, 1))]),
        ValueError,
        "row 1 must have shape (time, n_features), got (2, 3, 1)",
    ),
    "no steps": (
        lambda: Sequences([np.ones((2, 3)), np.ones((0, 3))]),
        ValueError,
        "row 1 has no steps, its shape is (0, 3)",
    ),
    "text": (
        lambda: Sequences([np.full((2, 1), "a")]),
        TypeError,
        "row 0 must hold numbers, got dtype <U1",
    ),
    "targets of too few rows": (
        lambda: step_values(TWO, [np.ones(2), np.ones(4), np.ones(1)], "y"),
        ValueError,
        "y must have 2 rows, one for each of X, got 3",
    ),
    "targets of other steps": (
        lambda: step_values(TWO, [np.ones(2), np.ones(3)], "y"),
        ValueError,
        "y must have a value for every step, or one for every row: row 1 has 4 steps, but 3 values "
        "in y",
    ),
}


@pytest.mark.parametrize("what", SAID)
def test_what_makes_no_sequences_is_told_word_by_word(what):
    call, error, told = SAID[what]
    with raises_exactly(error, told):
        call()


def test_rows_of_one_length_are_an_array_and_what_is_no_sequence_is_not_added():
    rows = np.arange(12.0).reshape(2, 3, 2)
    same = Sequences.from_array(rows)
    assert np.shares_memory(same.to_array(), rows)
    np.testing.assert_array_equal((same + same).to_array(), 2 * rows)
    with pytest.raises(TypeError):
        same + 1
