"""What health measures of rows and targets, held to scikit-learn or to a sum written out."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from clinic import BCE, CCE, MSE
from evidence_by_hand import evidence
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.neighbors import NearestNeighbors

from layerkit import LSTM, Dense, Embedding, ReLU, Sequential, SimpleRNN
from layerkit.inspection.diagnosis import (
    design_verdicts,
    probes,
    target_verdicts,
    time_verdicts,
)
from layerkit.inspection.diagnosis.explained import Deviance, Squares, measure_of
from layerkit.inspection.diagnosis.subject import Rows, default_loss, rows_of
from layerkit.losses import Hinge, MeanAbsoluteError, NegativeLogLikelihood, Poisson
from layerkit.optimizers import Adam
from layerkit.sequences import Sequences
from layerkit.training import train

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4)) * [1, 5, 0.1, 2] + [0, 3, 9, -1]
Y = np.column_stack([X[:, 0] + RNG.normal(size=30), X[:, 1] * X[:, 3]])
CLASSES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 5)
UNEQUAL = Sequences.from_steps(RNG.normal(size=(10, 2)), [3, 1, 4, 2])


def of_steps(part):
    return np.array([part(row) for row in UNEQUAL])


@pytest.mark.parametrize(
    ("rows", "cells"),
    [
        (X, X),
        (sp.csr_array(np.where(X > 1, X, 0)), np.where(X > 1, X, 0)),
        (X.reshape(30, 2, 2), X.reshape(60, 2)),  # by channel
        (X[:, 0], X[:, :1]),
        (UNEQUAL, UNEQUAL.steps),
        (CLASSES, CLASSES[:, np.newaxis]),
    ],
    ids=["a table", "sparse", "channels", "numbers", "steps", "labels"],
)
def test_moments_are_those_of_columns_and_channels(rows, cells):
    mean, std = probes.moments(rows)
    np.testing.assert_allclose(mean, cells.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, cells.std(axis=0), rtol=1e-9)


def test_a_constant_sparse_column_deviates_by_nothing():
    mean, std = probes.moments(sp.csr_array(np.full((7, 1), 0.1)))
    assert mean == pytest.approx(0.1) and std[0] < 1e-8


@pytest.mark.parametrize(
    ("outputs", "y", "right"),
    [
        (np.zeros((3, 2), np.float32), np.arange(6).reshape(3, 2), [[0, 1], [2, 3], [4, 5]]),
        (np.zeros((3, 2), np.float32), np.array([0, 1, 0]), [[10, 0], [0, 10], [10, 0]]),
        (np.zeros((2, 3), np.float32), np.array([2, 0], np.uint8), [[0, 0, 10], [10, 0, 0]]),
        (np.zeros((3, 2), np.float32), np.array([0.0, 1, 0]), None),
        (np.zeros((3, 2), np.float32), np.array([[0], [1], [0]]), None),
        (np.zeros((3, 2, 2), np.float32), np.array([0, 1, 0]), None),
    ],
)
def test_outputs_that_are_right_are_targets_or_scores_of_labels(outputs, y, right):
    found = probes.right_outputs(outputs, y)
    assert (found is None) == (right is None)
    if found is not None:
        assert found.dtype == np.float32 and found.tolist() == right


@pytest.mark.parametrize(
    ("outputs", "y", "predicted", "actual"),
    [
        ([[0.1], [-0.1], [0.0]], [1, 0, 1], [1, 0, 0], [1, 0, 1]),
        ([[0.1], [-0.1], [0.0]], [[0.6], [0.5], [0.0]], [1, 0, 0], [1, 0, 0]),
        ([[1, 2, 0], [3, 2, 0], [1, 2, 3]], [1, 0, 0], [1, 0, 2], [1, 0, 0]),
        ([[1, 2], [3, 2]], [[0, 1], [0.3, 0.7]], [1, 0], [1, 1]),
        ([[1, 2], [3, 2]], [[1, 1], [0, 1]], None, None),  # several labels a row
        ([[[1, 2]], [[3, 2]]], [[1], [0]], None, None),
    ],
)
def test_a_row_has_one_class_or_none_is_told(outputs, y, predicted, actual):
    found = probes.labels(np.array(outputs, float), np.array(y))
    assert (found is None) == (predicted is None)
    if found is not None:
        assert [part.tolist() for part in found] == [predicted, actual]
        assert all(part.dtype.kind == "i" for part in found)


@pytest.mark.parametrize(
    ("loss", "y", "matrix"),
    [
        (CCE(), [2, 0, 2], [[0, 1], [1, 0], [0, 1]]),
        (BCE(), [[1], [0], [1]], [[0, 1], [1, 0], [0, 1]]),
        (BCE(), [[1, 0], [0, 1], [1, 1]], [[1, 0], [0, 1], [1, 1]]),
        (MSE(), [3, 4, 5], [[3], [4], [5]]),
        (MSE(), [[[1, 2], [3, 4]]] * 3, [[1, 2, 3, 4]] * 3),
    ],
)
def test_targets_are_columns_of_numbers(loss, y, matrix):
    found = probes.target_matrix(loss, np.array(y))
    assert found.dtype == np.float64 and found.tolist() == matrix


def r2(targets, predictions):
    return r2_score(targets, predictions, multioutput="variance_weighted")


def test_explained_is_the_share_of_the_variance_of_all_columns():
    predictions = Y + RNG.normal(size=Y.shape)
    assert probes.explained(Y, predictions) == pytest.approx(r2(Y, predictions))
    assert np.isnan(probes.explained(np.ones((4, 2)), np.zeros((4, 2))))


def one_hot(labels):
    return (labels[:, np.newaxis] == np.unique(labels)).astype(float)


def test_a_network_is_judged_by_its_predictions():
    raw = RNG.normal(size=(30, 4))
    score = raw[:, :1]
    p = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    two = np.hstack([1 / (1 + np.exp(score)), 1 / (1 + np.exp(-score))])
    binary = CLASSES > 0
    for loss, outputs, y, expected in (
        (MSE(), Y + 0.1, Y, r2(Y, Y + 0.1)),
        (CCE(), raw, CLASSES, r2(one_hot(CLASSES), p[:, :3])),  # of the classes that occur
        (CCE(), raw[:, :3], one_hot(CLASSES), r2(one_hot(CLASSES), np.exp(raw[:, :3])
         / np.exp(raw[:, :3]).sum(axis=1, keepdims=True))),
        (BCE(), score, binary.astype(int), r2(one_hot(binary), two)),
        (BCE(), score, binary.astype(int)[:, np.newaxis], r2(one_hot(binary), two)),
    ):  # fmt: skip
        assert probes.network_explains(loss, outputs, y) == pytest.approx(expected)
    assert np.isnan(probes.network_explains(Hinge(), score, np.where(binary, 1, -1)))
    assert np.isnan(probes.network_explains(MSE(), raw, Y))


def left_out_one_by_one(x, y, alpha):
    """Predictions of ridge regression, each of the other rows."""
    found = np.empty_like(y)
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        found[i] = Ridge(alpha=alpha).fit(x[others], y[others]).predict(x[[i]])[0]
    return found


def test_a_linear_model_predicts_each_row_from_the_others():
    x = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = r2(Y, left_out_one_by_one(x, Y, 1e-3 * len(x)))
    assert probes.linear_explains(X, Y) == pytest.approx(expected, abs=1e-9)


def test_surprise_is_kernel_regression_against_shuffled_targets():
    x, n = (X - X.mean(axis=0)) / X.std(axis=0), len(X)
    distances = np.square(x[:, np.newaxis] - x).sum(axis=2)
    kernel = np.exp(-2 * distances / np.median(distances))
    centre = np.eye(n) - 1 / n
    kernel = centre @ kernel @ centre
    sizes, vectors = np.linalg.eigh(kernel)
    features = vectors * np.sqrt(np.maximum(sizes, 0))
    ridge = 10 * np.trace(kernel) / n
    rng = np.random.default_rng(0)
    chance = [r2(y, left_out_one_by_one(features, y, ridge))
              for y in (Y[rng.permutation(n)] for _ in range(3))]  # fmt: skip
    found = r2(Y, left_out_one_by_one(features, Y, ridge))
    expected = (found - np.mean(chance)) / np.std(chance)
    assert probes.surprise(X, Y, draws=3) == pytest.approx(expected, rel=1e-6)
    assert probes.surprise(X, Y) == probes.surprise(X, Y, draws=60)
    alike = np.ones((30, 1))  # of rows that do not differ nothing is surprising
    assert abs(probes.surprise(alike, Y)) < 1e-3


@pytest.mark.parametrize("of_classes", [False, True])
def test_one_column_explains_what_a_line_or_means_of_classes_do(of_classes):
    column = X[:, 0]
    if of_classes:
        matrix = one_hot(CLASSES)
        means = matrix @ (column @ matrix / matrix.sum(axis=0))
        expected, targets = r2_score(column, means), matrix
    else:
        line = np.column_stack([np.polyval(np.polyfit(column, y, 1), column) for y in Y.T])
        expected, targets = r2(Y, line), Y
    assert probes.one_column_explains(column, targets, of_classes) == pytest.approx(expected)
    assert probes.one_column_explains(np.full(30, 3.0), targets, of_classes) == 0
    empty = np.column_stack([targets, np.zeros(30)])  # a class that no row has
    assert probes.one_column_explains(column, empty, of_classes) == pytest.approx(expected)


def test_neighbours_are_the_nearest_that_are_no_copies():
    x = np.vstack([X, X[:3]])
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    order = NearestNeighbors(n_neighbors=33).fit(scaled).kneighbors(scaled)
    near = probes.Neighbourhood(x)
    for i, (far, _) in enumerate(zip(*order, strict=True)):
        found = np.linalg.norm(scaled[near.nearest[i]] - scaled[i], axis=1)
        np.testing.assert_allclose(np.sort(found), far[far > 1e-4][: probes.NEIGHBOURS])
    y = np.vstack([Y, Y[:3]])
    np.testing.assert_allclose(
        near.predicts(y), np.array([y[rows].mean(axis=0) for rows in near.nearest])
    )
    assert near.explains(y) == pytest.approx(r2(y, near.predicts(y)))
    assert probes.Neighbourhood(X[:4]).nearest.shape == (4, 3)
    shifted = probes.explained_by_shift(x, y)
    assert list(shifted) == [-3, -2, -1, 0, 1, 2, 3]
    assert shifted[2] == near.explains(np.vstack([y[-2:], y[:-2]]))


@pytest.mark.parametrize(
    ("n", "counted"), [(1, 1), (4, 4), (5, 5), (6, 5), (29, 5), (30, 6), (34, 6), (100, 20)]
)
def test_the_end_of_a_training_is_a_fifth_of_it_five_at_least(n, counted):
    losses = RNG.random(n)
    assert probes.smooth_end(losses) == pytest.approx(losses[n - counted :].mean())
    assert probes.smooth_end(losses[:0]) == np.inf


@pytest.mark.parametrize(
    ("rows", "table"),
    [
        (X, (X - X.mean(axis=0)) / X.std(axis=0)),
        (sp.csr_array(X), (X - X.mean(axis=0)) / X.std(axis=0)),
        (X.reshape(30, 2, 2), (X - X.mean(axis=0)) / (X - X.mean(axis=0)).std()),  # on one scale
        (np.ones((5, 2)), np.zeros((5, 2))),
    ],
    ids=["a table", "sparse", "images", "constant"],
)
def test_columns_are_put_on_their_scale_and_images_on_one(rows, table):
    np.testing.assert_allclose(probes.standardized(rows), table, atol=1e-12)


def test_columns_that_hardly_vary_are_not_blown_up():
    x = np.column_stack([X, 1e-4 * X[:, 0], np.full(30, 7.0)])
    scale = x.std(axis=0)
    least = 0.01 * np.median(scale[:5])
    expected = (x - x.mean(axis=0)) / np.maximum(scale, least)
    np.testing.assert_allclose(probes.standardized(x), expected, atol=1e-12)


def test_rows_of_unequal_length_become_a_table_of_first_mean_and_last():
    table = of_steps(lambda row: np.concatenate([row[0], row.mean(axis=0), row[-1]]))
    expected = (table - table.mean(axis=0)) / table.std(axis=0)
    np.testing.assert_allclose(probes.standardized(UNEQUAL), expected, atol=1e-12)


@pytest.mark.parametrize("weight", [None, RNG.random(30)], ids=["", "weighted"])
def test_the_best_constant_is_median_mean_and_shares(weight):
    shares = np.bincount(CLASSES, weight) / np.sum(np.ones(30) if weight is None else weight)
    mean = np.average(Y, axis=0, weights=weight)
    counts = np.round(np.abs(Y[:, :1]))
    rate = np.average(counts[:, 0], weights=weight)
    for loss, y, shape, expected in (
        (MSE(), Y, (2,), np.average(np.square(Y - mean).mean(axis=1), weights=weight)),
        (CCE(), CLASSES, (3,), -np.sum(shares * np.log(shares))),
        (NegativeLogLikelihood(), CLASSES, (3,), -np.sum(shares * np.log(shares))),
        (Poisson(), counts, (1,), rate - rate * np.log(rate)),
    ):
        found = probes.best_constant(loss, Rows(np.empty((30, 0)), y, weight), shape)
        assert found == pytest.approx(expected, rel=1e-5)
    if weight is None:
        found = probes.best_constant(MeanAbsoluteError(), Rows(X, Y), (2,))
        assert found == pytest.approx(np.abs(Y - np.median(Y, axis=0)).mean())


@pytest.mark.parametrize(
    ("width", "y", "kind"),
    [
        (3, CLASSES, CCE),
        (3, CLASSES.astype(float), MSE),
        (1, (CLASSES > 0).astype(int), BCE),
        (1, (CLASSES > 0).astype(float)[:, np.newaxis], BCE),
        (1, CLASSES, MSE),  # three numbers are no labels of one output
        (2, CLASSES > 0, CCE),
        (3, one_hot(CLASSES), CCE),
        (2, np.column_stack([CLASSES > 0, CLASSES > 1]).astype(int), BCE),
        (2, np.column_stack([CLASSES > 0, CLASSES > 1]).astype(float), BCE),
        (2, Y, MSE),
        (1, np.empty(0), MSE),
    ],
)
def test_the_usual_loss_is_that_of_the_targets(width, y, kind):
    assert type(default_loss(Sequential([Dense(width)]).build(4), y)) is kind


def test_labels_of_steps_have_a_cross_entropy():
    network = Sequential([LSTM(4, return_sequences=True), Dense(3)]).build((5, 2))
    assert type(default_loss(network, np.ones((7, 5), int))) is CCE
    assert type(default_loss(network, 2 * np.ones((7, 5, 3)))) is MSE


@pytest.mark.parametrize("loss", [MSE(), CCE(), BCE(), NegativeLogLikelihood(), Poisson()], ids=str)
def test_losses_that_are_no_squares_are_judged_by_their_own_deviance(loss):
    y = (
        CLASSES
        if loss.scores and not isinstance(loss, BCE)
        else (CLASSES > 0)[:, None].astype(float)
    )
    kind = measure_of(loss, Rows(X, y), 1.0, (3,) if y.ndim == 1 else (1,))
    assert type(kind) is (Deviance if isinstance(loss, Poisson) else Squares)


def test_a_line_of_a_deviance_has_few_columns_and_pays_for_each():
    counts = RNG.poisson(np.exp(X[:, :1] / 2)).astype(float)
    rows = Rows(X, counts)
    by = measure_of(Poisson(), rows, probes.best_constant(Poisson(), rows, (1,)), (1,))
    x = probes.standardized(X)
    basis = np.column_stack([np.ones(30), x])
    lowest = probes.lowest(Poisson(), rows, (1,), basis, limit=200)
    assert by.by_line(X) == pytest.approx(1 - by.left(lowest) * 29 / 25)
    assert by.by_line(np.hstack([X, X[:, :1] ** 2])) != 0  # five columns of thirty rows
    assert by.by_line(np.hstack([X, X[:, :2] ** 2])) == 0  # six are as many as a fifth


def test_a_network_is_tried_out_for_as_many_steps_as_are_asked_for(monkeypatch):
    seen = []

    def watched(network, loss, optimizer, data, **options):
        seen.append((network, optimizer, data, options))
        network.build(data[0].shape[1:], random_state=0)

    monkeypatch.setattr(probes, "train", watched)
    for n, epochs in ((30, 1280), (1200, 32), (1300, 29), (50_000, 1)):
        rows = Rows(np.ones((n, 3)), np.ones((n, 2)), np.ones(n))
        outputs = probes.try_out((7, 5), 2, MSE(), rows)
        network, optimizer, data, options = seen[-1]
        assert [type(layer) for layer in network] == [Dense, ReLU, Dense, ReLU, Dense]
        assert [layer.units for layer in network[::2]] == [7, 5, 2]
        assert options == {"epochs": epochs, "random_state": 0}
        assert type(optimizer) is Adam and optimizer.learning_rate == 0.01
        assert data[0].dtype == np.float32 and data[1] is rows.y and data[2] is rows.weight
        np.testing.assert_array_equal(outputs, network.infer(data[0]))
    sparse = sp.csr_array(np.eye(3))
    probes.try_out((2,), 1, MSE(), Rows(sparse, np.ones((3, 1))))
    assert seen[-1][2][0] is sparse


def test_gates_take_the_place_of_every_plain_recurrence():
    layers = [SimpleRNN(3, return_sequences=True), SimpleRNN(4), Dense(2)]
    network = Sequential(layers).build((5, 2), random_state=0)
    with_gates = time_verdicts._with_gates(network, None)
    assert repr(list(with_gates)) == repr([LSTM(3, return_sequences=True), LSTM(4), Dense(2)])


def test_rows_are_arrays_with_as_many_targets():
    for given, kind in ((X, np.ndarray), (X.tolist(), np.ndarray), (list(UNEQUAL), Sequences)):
        rows = rows_of(given, np.ones(len(given)), np.ones(len(given), int))
        assert (
            isinstance(rows.X, kind) and rows.weight.dtype == np.float64 and len(rows) == len(given)
        )
    assert rows_of(sp.csc_array(X), Y).X.format == "csr"


LABELS = np.arange(30) % 3
COUNTS = np.arange(30.0)[:, np.newaxis] % 4
INF = np.inf


@pytest.mark.parametrize(
    ("loss", "y", "width", "low", "high", "expected"),
    [
        (MSE(), Y, 2, -INF, INF, 0.0),
        (MSE(), Y, 2, 0.0, INF, np.square(np.minimum(Y, 0)).mean()),
        (MSE(), Y, 2, -1.0, 1.0, np.square(Y - np.clip(Y, -1, 1)).mean()),
        (MSE(), 0.1 * Y, 2, -INF, INF, 0.0),
        (CCE(), LABELS, 3, 0.0, 1.0, np.log(1 + 2 / np.e)),
        (CCE(), LABELS, 3, 0.0, INF, 0.0),
        (CCE(), LABELS, 3, -INF, 0.0, 0.0),
        (BCE(), (LABELS > 0)[:, np.newaxis].astype(float), 1, -INF, INF, 0.0),
        (
            BCE(),
            (LABELS > 0)[:, np.newaxis].astype(float),
            1,
            0.0,
            1.0,
            (np.log(2) + 2 * np.log(1 + 1 / np.e)) / 3,
        ),
        (
            Poisson(),
            COUNTS,
            1,
            0.0,
            1.0,
            (1 + 1 + (2 - 2 * np.log(2)) + (np.e - 3)) * 7 / 30 + (1 + 1) / 30,
        ),
    ],
    ids=str,
)
def test_the_best_loss_in_a_range_is_that_of_the_best_output_of_every_row(
    loss, y, width, low, high, expected
):
    outputs = RNG.normal(size=(30, width))
    e = evidence(loss=loss, rows=Rows(X, y), now=SimpleNamespace(outputs=outputs))
    found = target_verdicts._best_between(e, low, high)
    assert found == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-INF, INF, "(-inf, inf)"),
        (0.0, INF, "[0, inf)"),
        (-INF, 1.0, "(-inf, 1]"),
        (-1.04999, 0.12345, "[-1.05, 0.123]"),
    ],
)
def test_a_range_is_written_as_an_interval(low, high, words):
    assert target_verdicts._interval(low, high) == words


class Bent:
    """A linear map of what it is given, in place of a network; the sums are off by so much."""

    def __init__(self, off=0.0, offset=0.0, dtype=np.float64):
        self.off, self.offset, self.dtype, self.calls = off, offset, dtype, []

    def walk(self):
        return [("", self)]

    def infer(self, x):
        self.calls.append(x)
        return x.sum(axis=1, keepdims=True) + self.offset + self.off * (len(self.calls) == 3)


def size_of(rows):
    half = len(rows) // 2
    sums = design_verdicts.STRETCH * rows[: 2 * half].sum(axis=1)
    return np.abs(sums).max()


@pytest.mark.parametrize(
    ("dtype", "border"), [(np.float64, design_verdicts.AFFINE), (np.float32, 1e-3)]
)
@pytest.mark.parametrize("rows", [X[:16], X[:7], X[:2]], ids=["even", "odd", "two"])
def test_a_linear_map_is_one_up_to_rounding(rows, dtype, border):
    for part, is_one in ((0.9, True), (1.1, False), (-0.9, True), (-1.1, False)):
        network = Bent(part * border * size_of(rows), dtype=dtype)
        assert design_verdicts._is_affine(network, rows) is is_one
        a, b, both, nothing = network.calls
        half = len(rows) // 2
        np.testing.assert_allclose(a, design_verdicts.STRETCH * rows[:half])
        np.testing.assert_allclose(b, design_verdicts.STRETCH * rows[half : 2 * half])
        np.testing.assert_allclose(both, a + b)
        assert not nothing.any() and nothing.shape == a.shape


def test_outputs_that_hardly_depend_on_the_rows_tell_nothing():
    for share, is_one in ((1.2, False), (0.8, True)):
        network = Bent(offset=share * size_of(X[:16]) / design_verdicts.VARIES)
        assert design_verdicts._is_affine(network, X) is is_one


def test_a_linear_map_is_looked_for_in_numbers_only():
    assert design_verdicts._is_affine(Bent(), sp.csr_array(X))
    network = Bent()
    design_verdicts._is_affine(network, np.tile(X, (9, 1)))
    assert len(network.calls[0]) == design_verdicts.CHECKED_ROWS
    for rows in (UNEQUAL, CLASSES[:, np.newaxis], X[:1]):
        assert not design_verdicts._is_affine(Bent(), rows)
    codes = Sequential([Embedding(5, 2), Dense(1)]).build(2, random_state=0)
    assert not design_verdicts._is_affine(codes, np.ones((8, 2)))


def test_a_rehearsal_begins_with_a_new_optimizer_and_leaves_the_one_given_as_it_was():
    X = np.random.default_rng(0).standard_normal((40, 3))
    rows = Rows(X, X[:, :1])
    network, used = Sequential([Dense(1)]).build(3, random_state=0), Adam(0.1)
    new, _ = probes.rehearse(network, MSE(), Adam(0.1), rows, 1.0, 6, 8)
    train(copy.deepcopy(network), MSE(), used, (X, -9 * X[:, :1]), epochs=2, random_state=0)
    state = {name: np.copy(value) for name, value in used.state.items()}
    again, _ = probes.rehearse(network, MSE(), used, rows, 1.0, 6, 8)
    np.testing.assert_array_equal(again, new)
    assert used.learning_rate == 0.1 and state
    assert all(np.array_equal(used.state[name], value) for name, value in state.items())
