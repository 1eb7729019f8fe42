"""The training loop: what it computes, what it records, and how it ends."""

import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from errors import raises_exactly, warns_exactly

from layerkit import (
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    Layer,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    kernels,
)
from layerkit.inspection import health
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    MeanSquaredError,
    NegativeLogLikelihood,
)
from layerkit.optimizers import LBFGS, SGD, Adam
from layerkit.schedules import ReduceOnPlateau
from layerkit.training import DivergenceWarning, train
from layerkit.training.batches import ArrayBatches, as_batches


@pytest.fixture
def table(rng):
    X = rng.standard_normal((60, 4))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    return X, y


def classifier():
    return Sequential([Dense(16), Tanh(), Dense(2)])


def fit(network, data, **options):
    options = {"epochs": 5, "random_state": 0, **options}
    return train(network, CategoricalCrossEntropy(), SGD(0.1), data, **options)


# ---------------------------------------------------------------- what one epoch computes


def test_one_full_batch_epoch_is_one_gradient_descent_step(table):
    X, y = table
    network = classifier().build(4, random_state=1, dtype=np.float64)
    by_hand = classifier().build(4, random_state=1, dtype=np.float64)
    loss = CategoricalCrossEntropy()
    value = loss.forward(by_hand.forward(X, training=True), y)
    by_hand.backward(loss.backward())
    by_hand.flat_params[...] -= 0.1 * by_hand.flat_grads

    history = fit(network, table, epochs=1, batch_size=60, shuffle=False)

    np.testing.assert_array_equal(network.flat_params, by_hand.flat_params)
    assert history["loss"][0] == value


def test_epoch_loss_is_the_mean_over_rows_not_over_batches(table):
    network = classifier().build(4, random_state=1, dtype=np.float64)
    expected = CategoricalCrossEntropy().forward(network.infer(table[0]), table[1])
    history = train(
        network, CategoricalCrossEntropy(), SGD(0.0), table, epochs=1, batch_size=25, random_state=0
    )
    assert history["loss"][0] == pytest.approx(expected, rel=1e-12)


def test_weight_two_equals_the_row_twice(table):
    X, y = table
    weight = np.arange(60) % 3
    repeated = np.repeat(np.arange(60), weight)
    networks = [classifier().build(4, random_state=1, dtype=np.float64) for _ in range(2)]
    fit(networks[0], (X, y, weight), batch_size=60, shuffle=False)
    fit(networks[1], (X[repeated], y[repeated]), batch_size=len(repeated), shuffle=False)
    np.testing.assert_allclose(networks[0].flat_params, networks[1].flat_params, rtol=1e-9)


def test_the_scale_of_the_weights_does_not_matter(table, rng):
    weight = rng.uniform(0, 2, 60)
    networks = [classifier().build(4, random_state=1, dtype=np.float64) for _ in range(2)]
    fit(networks[0], (*table, weight), batch_size=7)
    fit(networks[1], (*table, 1000 * weight), batch_size=7)
    np.testing.assert_allclose(networks[0].flat_params, networks[1].flat_params, rtol=1e-9)


def test_a_batch_of_zero_weights_does_nothing(table):
    X, y = table
    network = Sequential([Dense(4), BatchNorm(), Dense(2)]).build(4, random_state=0)
    weight = np.r_[np.ones(20), np.zeros(20)]
    only_weighted = Sequential([Dense(4), BatchNorm(), Dense(2)]).build(4, random_state=0)
    with kernels.use("numpy"):  # compiled epochs of an array agree with given batches to rounding
        fit(network, (X[:40], y[:40], weight), batch_size=20, shuffle=False)
        fit(only_weighted, [(X[:20], y[:20], np.full(20, 2.0))])
    np.testing.assert_array_equal(network.flat_params, only_weighted.flat_params)
    np.testing.assert_array_equal(
        network[1].buffers["running_mean"], only_weighted[1].buffers["running_mean"]
    )


def test_frozen_layers_stay_bit_identical(table):
    network = Sequential([Dense(8), BatchNorm(), Tanh(), Dense(2)]).build(4, random_state=0)
    network[0].trainable = network[1].trainable = False
    before = network.flat_params.copy()
    fit(network, table)
    frozen = network[:2]
    for slot in network.layout:
        same = (network.flat_params[slot.slice] == before[slot.slice]).all()
        assert same == (not slot.trainable), slot.path
    assert (frozen[1].buffers["running_mean"] == 0).all()


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("n_rows", [1, 2, 9, 10, 11, 12, 21])
def test_batches_hold_every_row_once_and_never_one_alone(n_rows, rng):
    batches = ArrayBatches(np.arange(n_rows)[:, None], np.arange(n_rows), batch_size=10, rng=rng)
    for _ in range(2):
        parts = [y for _, y, _, _ in batches]
        assert sorted(np.concatenate(parts).tolist()) == list(range(n_rows))
        assert n_rows == 1 or min(map(len, parts)) > 1
        assert max(map(len, parts)) <= 11


def test_every_epoch_has_its_own_order(rng):
    batches = ArrayBatches(np.zeros((50, 1)), np.arange(50), batch_size=50, rng=rng)
    (first,), (second,) = ([y.tolist() for _, y, _, _ in batches] for _ in range(2))
    assert first != second


FORMS = [
    f"{form}_{kind}"
    for form in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
    for kind in ("array", "matrix")
]


@pytest.mark.parametrize("form", FORMS)
def test_sparse_rows_of_every_form_train_infer_and_are_looked_at_as_dense_ones(table, form):
    X = np.where(np.abs(table[0]) > 1, table[0], 0)
    networks = [classifier().build(4, random_state=1, dtype=np.float64) for _ in range(2)]
    for network, rows in zip(networks, (getattr(sp, form)(X), X), strict=True):
        fit(network, (rows, table[1]))
    np.testing.assert_allclose(networks[0].flat_params, networks[1].flat_params, rtol=1e-9)
    y = networks[1].infer(X)
    np.testing.assert_allclose(networks[0].infer(getattr(sp, form)(X)), y, rtol=1e-9)
    X[[3, 7], 1] = np.nan
    loss = CategoricalCrossEntropy()
    verdict = health(networks[1], getattr(sp, form)(X), table[1], loss).verdicts[0]
    assert verdict == health(networks[1], sp.csr_array(X), table[1], loss).verdicts[0]
    assert verdict.name == "non-finite origin" and f"2 of {len(X)} rows" in verdict.evidence


def test_memory_map_equals_array(table, tmp_path):
    np.save(tmp_path / "X.npy", table[0])
    networks = [classifier() for _ in range(2)]
    fit(networks[0], (np.load(tmp_path / "X.npy", mmap_mode="r"), table[1]))
    fit(networks[1], table)
    np.testing.assert_array_equal(networks[0].flat_params, networks[1].flat_params)


def test_any_iterable_of_batches(table):
    X, y = table

    class Halves:
        def __iter__(self):
            yield X[:30], y[:30]
            yield X[30:], y[30:]

    networks = [classifier() for _ in range(2)]
    fit(networks[0], Halves())
    fit(networks[1], table, batch_size=30, shuffle=False)
    np.testing.assert_array_equal(networks[0].flat_params, networks[1].flat_params)


# ---------------------------------------------------------------- seeds


def test_same_seed_same_weights(table):
    def run(seed):
        network = Sequential([Dense(16), ReLU(), Dropout(0.3), Dense(2)])
        fit(network, table, random_state=seed)
        return network.flat_params

    np.testing.assert_array_equal(run(3), run(3))
    assert (run(3) != run(4)).any()


def test_training_leaves_the_global_random_state_alone(table):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    fit(classifier(), table)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_an_unbuilt_network_takes_shape_and_dtype_of_the_data(table):
    double, single = classifier(), classifier()
    fit(double, table)
    fit(single, (table[0].astype(np.float32), table[1]))
    assert (double.dtype, single.dtype) == (np.float64, np.float32)
    assert double.input_shape == (4,)


# ---------------------------------------------------------------- validation, best weights, history


def test_best_weights_are_restored(table):
    X, y = table
    network = classifier()
    history = fit(network, (X[:40], y[:40]), validation_data=(X[40:], 1 - y[40:]), epochs=6)
    best = int(np.argmin(history["validation_loss"]))
    assert history.best_epoch == best + 1 < 6  # labels are swapped there: training makes it worse
    value = CategoricalCrossEntropy().forward(network.infer(X[40:]), 1 - y[40:])
    assert value == pytest.approx(history["validation_loss"][best], rel=1e-12)


def test_the_score_chooses_the_best_epoch(table):
    scores = iter([0.1, 0.9, 0.3])
    history = fit(
        classifier(), table, epochs=3, validation_data=table, score=lambda t, p, w: next(scores)
    )
    assert history.best_epoch == 2
    assert history["validation_score"].tolist() == [0.1, 0.9, 0.3]


def test_the_loss_can_choose_while_the_score_is_recorded(table):
    X, y = table
    weight = np.arange(len(y), dtype=float)
    seen = []
    history = fit(
        classifier(),
        table,
        epochs=3,
        validation_data=(X, y, weight),
        score=lambda t, p, w: seen.append(w) or -1.0 * len(seen),
        monitor="validation_loss",
    )
    assert history.best_epoch == 1 + int(np.argmin(history["validation_loss"]))
    assert history.best_epoch > 1
    np.testing.assert_array_equal(seen[0], weight)
    with raises_exactly(ValueError, "monitor must be one of loss here, got 'validation_loss'"):
        fit(classifier(), table, monitor="validation_loss")


def test_patience_with_validation_data(table):
    X, y = table
    history = fit(classifier(), table, epochs=50, patience=3, validation_data=(X, 1 - y))
    assert len(history) == history.best_epoch + 3
    assert history.stopped == "no improvement in 3 epochs"


def test_patience_without_validation_data_looks_at_the_training_loss(table):
    history = train(
        classifier(), CategoricalCrossEntropy(), SGD(0.0), table, epochs=50, patience=2, tol=1e-9
    )
    assert len(history) == 3
    assert history.best_epoch is None


def test_validation_leaves_running_statistics_alone(table):
    X, y = table
    networks = [Sequential([Dense(4), BatchNorm(), Dense(2)]) for _ in range(2)]
    fit(networks[0], table, epochs=1)
    fit(networks[1], table, epochs=1, validation_data=(X + 100, y))
    np.testing.assert_array_equal(networks[0].flat_params, networks[1].flat_params)
    np.testing.assert_array_equal(
        networks[0][1].buffers["running_mean"], networks[1][1].buffers["running_mean"]
    )


def test_history_is_a_table(table):
    history = fit(classifier(), table, epochs=3)
    assert history.columns == ["epoch", "loss", "learning_rate", "seconds"]
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["learning_rate"].tolist() == [0.1] * 3
    assert "learning_rate" in str(history).splitlines()[0]
    assert len(str(history).splitlines()) == 4
    told = "no column 'accuracy' in the history, only epoch, loss, learning_rate, seconds"
    with raises_exactly(KeyError, repr(told)):
        history["accuracy"]


def test_reduce_on_plateau_is_fed(table):
    schedule = ReduceOnPlateau(0.1, patience=0)
    history = train(
        classifier(),
        CategoricalCrossEntropy(),
        SGD(schedule, clip_norm=1e-9),
        table,
        epochs=4,
        validation_data=(table[0], 1 - table[1]),
        random_state=0,
    )
    assert history["learning_rate"][-1] < 0.1


# ---------------------------------------------------------------- L-BFGS


def test_lbfgs_solves_least_squares(rng):
    X = rng.standard_normal((50, 3))
    y = X @ [[1.0], [-2.0], [0.5]] + 3
    network = Dense(1)
    history = train(network, MeanSquaredError(), LBFGS(), (X, y), epochs=50, random_state=0)
    np.testing.assert_allclose(network.params["W"][:, 0], [1, -2, 0.5], atol=1e-4)
    np.testing.assert_allclose(network.params["b"], [3], atol=1e-4)
    assert 1 < len(history) <= 50
    assert (np.diff(history["loss"]) <= 0).all()


def test_lbfgs_iterations_are_epochs(table):
    assert len(fit_lbfgs(table, epochs=3)) == 3


def test_lbfgs_sees_the_same_noise_at_every_evaluation(table):
    history = fit_lbfgs(table, epochs=20)
    assert (np.diff(history["loss"]) <= 0).all()


def fit_lbfgs(table, epochs):
    network = Sequential([Dense(16), Tanh(), Dropout(0.2), Dense(2)])
    loss = CategoricalCrossEntropy()
    return train(network, loss, LBFGS(), table, epochs=epochs, random_state=0)


# ---------------------------------------------------------------- how it ends


def test_divergence_stops_names_the_layer_and_keeps_the_last_good_weights(table):
    network = Sequential([Dense(8), ReLU(), Dense(1)]).build(4, random_state=0)
    data = (table[0].astype(np.float32), table[1][:, None].astype(np.float32))
    with warns_exactly(
        DivergenceWarning,
        re.compile(
            r"training diverged in epoch 1: the loss is inf, while all outputs are finite, the "
            r"largest in layers\.2 Dense\(units=1\): \d\.\de\+\d+; the network has the weights it "
            r"started from\. A smaller learning_rate, clip_norm or scaled inputs usually cure this"
        ),
    ):
        history = train(
            network, MeanSquaredError(), SGD(1e3), data, epochs=50, batch_size=10, random_state=0
        )
    assert len(history) < 50
    assert history.stopped.startswith("diverged")
    assert np.isfinite(network.flat_params).all()


def test_ctrl_c_keeps_what_was_learned(table):
    def interrupt(state):
        if state.epoch == 2:
            raise KeyboardInterrupt

    network, reference = classifier(), classifier()
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(network, table, callbacks=[interrupt], epochs=10)
    assert caught.value.__notes__ == [
        "training was interrupted in epoch 3; what was learned is kept"
    ]
    fit(reference, table, epochs=2)
    assert len(caught.value.history) == 2
    np.testing.assert_array_equal(network.flat_params, reference.flat_params)


def test_callbacks_see_the_state_and_may_stop(table):
    class Watcher:
        def __init__(self):
            self.batches, self.epochs = [], []

        def on_batch(self, state):
            self.batches.append((state.step, state.batch_loss))

        def __call__(self, state):
            self.epochs.append((state.epoch, state.history["loss"][-1]))
            state.stop = state.epoch == 2

    watcher = Watcher()
    history = fit(classifier(), table, callbacks=[watcher], batch_size=20, epochs=9)
    assert [step for step, _ in watcher.batches] == [1, 2, 3, 4, 5, 6]
    assert [epoch for epoch, _ in watcher.epochs] == [1, 2]
    assert np.mean([value for _, value in watcher.batches[:3]]) == pytest.approx(history["loss"][0])
    assert history.stopped == "a callback asked for it"


@pytest.mark.parametrize("poison", [False, True])
def test_callbacks_are_told_before_each_batch_and_at_the_end(table, poison):
    class Watcher:
        def __init__(self):
            self.seen = []

        def before_batch(self, state):
            x, y, weight = state.batch
            self.seen.append(("before", state.step, len(x), len(y), weight))
            if poison:
                state.network.flat_params[0] = np.nan

        def on_batch(self, state):
            self.seen.append(("after", state.step))

        def on_end(self, state):
            self.seen.append(("end", bool(state.history.stopped), state.batch))

        def __call__(self, state):
            pass

    watcher, rows = Watcher(), len(table[0])
    if poison:
        with pytest.warns(DivergenceWarning):
            fit(classifier(), table, callbacks=[watcher], batch_size=rows, epochs=1)
        assert watcher.seen == [("before", 0, rows, rows, None), ("end", True, None)]
    else:
        fit(classifier(), table, callbacks=[watcher], batch_size=rows, epochs=1)
        steps = [("before", 0, rows, rows, None), ("after", 1)]
        assert watcher.seen == [*steps, ("end", False, None)]


def test_after_training_no_cache_is_left_and_the_input_gradient_is_back(table):
    network = classifier()
    fit(network, table)
    assert network.needs_input_grad
    with raises_exactly(RuntimeError, "in Sequential: backward needs a forward before it"):
        network.backward(np.zeros((60, 2)))


def test_progress_lines_without_tqdm(table, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tqdm", None)
    fit(classifier(), table, epochs=2, verbose=True, validation_data=table)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2 loss ")
    assert "validation_loss" in lines[1]


def test_progress_bar_counts_batches(table, capsys):
    pytest.importorskip("tqdm")
    fit(classifier(), table, epochs=2, batch_size=20, verbose=True)
    assert "6/6" in capsys.readouterr().err


class Bar:
    """What a bar of tqdm is asked to show."""

    def __init__(self, total, initial, unit, dynamic_ncols):
        self.total, self.n, self.unit, self.seen, self.told = total, initial, unit, [], []

    def update(self, n):
        self.n += n
        self.seen.append(self.n)

    def set_description(self, text, refresh):
        self.told.append(text)

    def set_postfix(self, shown):
        self.told.append(shown)

    def close(self):
        self.told.append("closed")


WITHOUT_WEIGHT = (np.arange(60) // 20 != 1).astype(float)  # in the second of three batches
WAYS = {
    "a table": ({}, {3, 6}),
    "batches of a list": ({"stream": True}, {1, 2, 3, 4, 5, 6}),
    "rows without weight": ({"weight": WITHOUT_WEIGHT}, {3, 6}),
    "batches without weight": ({"stream": True, "weight": WITHOUT_WEIGHT}, {1, 2, 3, 4, 5, 6}),
    "L-BFGS": ({"optimizer": LBFGS(max_iter=2)}, {3, 6}),
    "epochs of unknown length": ({"stream": iter}, {1, 2, 3, 4, 5, 6}),
}


class Unsized:
    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize("way", WAYS)
def test_a_bar_shows_every_batch_and_ends_full(way, table, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    options, seen = WAYS[way]
    bars, stream = [], options.get("stream")
    monkeypatch.setattr(tqdm, "tqdm", lambda **given: bars.append(Bar(**given)) or bars[-1])
    data = (*table, options.get("weight", np.ones(60)))
    if stream:
        data = [tuple(part[i : i + 20] for part in data) for i in (0, 20, 40)]
        data = Unsized(data) if stream is iter else data
    rule = options.get("optimizer", SGD(0.1))
    sizes = {} if stream else {"batch_size": 20, "shuffle": False}
    loss = CategoricalCrossEntropy()
    train(classifier(), loss, rule, data, epochs=2, random_state=0, verbose=True, **sizes)
    (bar,) = bars
    assert (bar.total, bar.unit) == (None if stream is iter else 6, "batch")
    assert bar.n == 6 and seen <= {*bar.seen} <= {0, 1, 2, 3, 4, 5, 6}
    first, loss_1, second, loss_2, closed = bar.told
    assert (first, second, closed) == ("epoch 1/2", "epoch 2/2", "closed")
    assert set(loss_1) == set(loss_2) == {"loss"}


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("network", "loss", "message"),
    [
        (
            Sequential([Dense(2), Softmax()]),
            CategoricalCrossEntropy(),
            "the network ends in Softmax(), but the loss is CategoricalCrossEntropy(); "
            "it takes raw outputs: leave the last layer out",
        ),
        (
            Sequential([Sequential([Sigmoid()])]),
            BinaryCrossEntropy(),
            "the network ends in Sigmoid(), but the loss is BinaryCrossEntropy(); it "
            "takes raw outputs: leave the last layer out",
        ),
        (
            Sequential([Dense(2), Softmax()]),
            NegativeLogLikelihood(),
            "the network ends in Softmax(), but the loss is NegativeLogLikelihood(); it "
            "takes log-probabilities: use LogSoftmax",
        ),
    ],
)
def test_warns_when_the_link_is_applied_twice(network, loss, message, table):
    y = np.tile(table[1][:, None], 4) if isinstance(loss, BinaryCrossEntropy) else table[1]
    with warns_exactly(UserWarning, message):
        train(network, loss, SGD(0.1), (table[0], y), epochs=1)


def test_no_warning_for_raw_outputs(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(classifier(), table)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be a positive integer, got 0"),
        ({"shuffle": "no"}, "shuffle must be True or False, got 'no'"),
        ({"resume": 1}, "resume must be True or False, got 1"),
        ({"patience": 0}, "patience must be None or a positive integer, got 0"),
        ({"tol": -1.0}, "tol must be a finite number >= 0, got -1.0"),
        ({"batch_size": 2.5}, "batch_size must be a positive integer, got 2.5"),
        (
            {"data": np.zeros((3, 2))},
            "data must be (X, y), (X, y, sample_weight) or an iterable of such batches, "
            "got an array of shape (3, 2)",
        ),
        (
            {"data": (np.zeros((3, 4)), np.zeros(2))},
            "y must have one row for each of the 3 rows of X, got (2,)",
        ),
        (
            {"data": (np.zeros((3, 4)), np.zeros(3, int), np.zeros(2))},
            "sample_weight must have one weight for each of the 3 rows of X, got (2,)",
        ),
        (
            {"data": (np.zeros((2, 4)), np.zeros(2, int), [1, -1])},
            "sample_weight must be finite and not negative, got numbers from -1 to 1",
        ),
        (
            {"data": (np.zeros((2, 4)), np.zeros(2, int), [0, 0])},
            "sample_weight is zero for all rows",
        ),
        (
            {"data": (np.zeros((0, 4)), np.zeros(0, int))},
            "X must have at least one row, its shape is (0, 4)",
        ),
        (
            {"data": [np.zeros((3, 4))]},
            "data must be (X, y), (X, y, sample_weight) or an iterable of such batches; "
            "batch 0 is an array of shape (3, 4)",
        ),
        (
            {"data": (b for b in [])},
            "data gave no batches: an iterator can be used up only once, so for several "
            "epochs pass something that can be iterated anew (a list, an object with "
            "__iter__)",
        ),
        (
            {"random_state": "seed"},
            "random_state must be None, a non-negative integer, a numpy Generator, "
            "RandomState or SeedSequence, got 'seed'",
        ),
        (
            {"data": (np.zeros((3, 5)), np.zeros(3, int))},
            "in Sequential: expects (n_samples, 4), got (3, 5)",
        ),
    ],
)
def test_bad_arguments_are_named_and_change_nothing(changes, message, table):
    network = classifier().build(4, random_state=0)
    before = network.flat_params.copy()
    arguments = {"data": table, "epochs": 2, **changes}
    with raises_exactly(ValueError, message):
        train(network, CategoricalCrossEntropy(), Adam(), **arguments)
    np.testing.assert_array_equal(network.flat_params, before)
    assert network.needs_input_grad


def test_an_iterator_cannot_build_a_network(table):
    with raises_exactly(
        ValueError,
        "data is an iterator, whose first batch cannot be looked at without losing it: "
        "build the network first, or pass something that can be iterated anew",
    ):
        fit(classifier(), iter([table]))
    fit(classifier().build(4), iter([table]), epochs=1)


def test_images_train_too(rng):
    network = Sequential([Flatten(), Dense(2)])
    fit(network, (rng.standard_normal((6, 3, 3, 1)), [0, 1, 0, 1, 0, 1]))
    assert network.input_shape == (3, 3, 1)


def test_a_tuple_of_batches_is_a_stream(table):
    batches = as_batches(((table[0], table[1]), (table[0], table[1])), 32)
    assert len(list(batches)) == 2


def test_divergence_names_the_first_layer_whose_output_is_not_finite(table):
    class Logarithm(Layer):
        def forward(self, x, training=False):
            self.cache = x
            with np.errstate(all="ignore"):
                return np.log(x)

        def backward(self, grad_output):
            return grad_output / self.cache

    network = Sequential([Dense(4), Logarithm(), Tanh(), Dense(2)])
    with warns_exactly(
        DivergenceWarning,
        "training diverged in epoch 1: the loss is nan, first in the output of layers.1 "
        "Logarithm(); the network has the weights it started from. A smaller "
        "learning_rate, clip_norm or scaled inputs usually cure this",
    ):
        fit(network, table)


def test_a_callback_may_put_another_network_in_its_place():
    X, y = np.random.default_rng(0).standard_normal((40, 4)), np.arange(40) % 2
    first, second = (Sequential([Dense(3), ReLU(), Dense(2)]).build(4, seed) for seed in (0, 1))
    before = second.flat_params.copy()

    def exchange(state):
        state.network = second

    train(first, CategoricalCrossEntropy(), SGD(0.1), (X, y), epochs=2, callbacks=[exchange])
    assert not np.array_equal(second.flat_params, before)
