"""Data that a network cannot take, files that cannot be written: a clear error, nothing changed."""

import copy
import io
import os
import pickle
import re
import warnings
from decimal import Decimal
from fractions import Fraction

import joblib
import numpy as np
import pandas as pd
import pytest
from errors import raises_exactly, theirs
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_fit2d_1sample

from layerkit import (
    AvgPool2D,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MLPClassifier,
    MLPRegressor,
    ModelFileError,
    Permute,
    ReLU,
    Residual,
    SeparableConv2D,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
    TabularClassifier,
    TabularRegressor,
)
from layerkit.inspection import health
from layerkit.interchange import load, save, to_onnx
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Focal,
    Hinge,
    Huber,
    LogCosh,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    Quantile,
)
from layerkit.optimizers import LBFGS, SGD, Adam, Optimizer
from layerkit.schedules import ReduceOnPlateau
from layerkit.training import train
from layerkit.training.history import History

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
LABELS = (X[:, 0] > 0).astype(int)
LARGE = X.copy()
LARGE[3, 1] = 1e39  # finite, but not in float32
TOO_LARGE = "got 1e+39, which float32 cannot hold: scale the input, or compute in float64"
IN_A_NETWORK = f"in layers.0 Dense(units=8): {TOO_LARGE}"


def network(*outputs):
    return Sequential([Dense(8), ReLU(), *map(Dense, outputs)]).build(4, random_state=0)


def regressor(**params):
    return SequentialRegressor([Dense(8)], dtype="float32", max_iter=2, **params)


def classifier(**params):
    return SequentialClassifier([Dense(8), ReLU()], max_iter=2, random_state=0, **params)


# ---------------------------------------------------------------- numbers too large for float32


@pytest.mark.parametrize(
    "layer",
    [
        network(1),
        Dense(2).build(4),
        BatchNorm().build(4),
        Residual(Sequential([Dense(4)])).build(4),
        Sequential([]).build(4),
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", ["forward", "infer"])
def test_a_layer_refuses_what_its_dtype_cannot_hold(layer, method):
    with raises_exactly(ValueError, re.compile(f"in .*: {re.escape(TOO_LARGE)}")):
        getattr(layer, method)(LARGE)


def test_sparse_rows_are_looked_at_too():
    with raises_exactly(ValueError, IN_A_NETWORK):
        network(1).infer(csr_array(LARGE))


def test_what_is_not_finite_passes_as_before_and_float64_holds_it():
    infinite = X.copy()
    infinite[0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(network(1).infer(infinite)[0]).all()
    wide = Sequential([Dense(2)]).build(4, dtype=np.float64)
    assert np.isfinite(wide.infer(LARGE)).all()


@pytest.mark.parametrize("epochs", [1, 20])  # the latter are computed at once where they can be
@pytest.mark.parametrize("at", [3, 50])  # in the first batch, in a later one
def test_training_stops_before_it_learns_nonsense(at, epochs):
    net, rows = network(1), X.copy()
    rows[at] = 1e39
    before = net.flat_params.copy()
    with raises_exactly(ValueError, IN_A_NETWORK):
        train(net, MeanSquaredError(), Adam(), (rows, X[:, 0]), epochs=epochs, shuffle=False)
    np.testing.assert_array_equal(net.flat_params, before)


@pytest.mark.parametrize(
    "make",
    [
        lambda: classifier(dtype="float32"),
        lambda: MLPClassifier((8,), dtype="float32", max_iter=2),
        lambda: MLPClassifier((8,), dtype="float32", max_iter=2, solver="lbfgs"),
        regressor,
        lambda: MLPRegressor(hidden_layer_sizes=(8,), dtype="float32", max_iter=2),
    ],
)
def test_estimators_say_it_in_fit_and_in_predict(make):
    with raises_exactly(ValueError, re.compile(f"in .*: {re.escape(TOO_LARGE)}")):
        make().fit(LARGE, LABELS)
    model = make().fit(X, LABELS)
    for rows in (LARGE, LARGE[3:4]):
        with raises_exactly(ValueError, IN_A_NETWORK):
            model.predict(rows)


def test_targets_too():
    y = X[:, 0].copy()
    y[0] = 1e39
    with raises_exactly(
        ValueError, "MeanSquaredError(): y_true must be what float32 can hold, got 1e+39"
    ):
        regressor().fit(X, y)


NO_NUMBERS = {
    "text": np.array(["1", "2"] * 30),
    "text as objects": np.array(["1", "2"] * 30, dtype=object),
    "one text among numbers": np.array([1.0] * 59 + ["2"], dtype=object),
    "bytes": np.array([b"1", b"2"] * 30),
    "Series of text": pd.Series(["1", "2"] * 30, dtype="string"),
    "Categorical of text": pd.Categorical(["1", "2"] * 30),
    "list of text": ["1", "2"] * 30,
    "periods": pd.period_range("2020-01", periods=60, freq="M"),
    "Series of periods": pd.Series(pd.period_range("2020-01", periods=60, freq="M")),
    "intervals": pd.interval_range(0, 60),
    "None": np.array([1.0] * 59 + [None], dtype=object),
}


SPELLED = re.compile(
    r"y must hold numbers, got .*\): convert it, y\.astype\(float\) if it is text that "
    r"spells them, or number the labels, np\.unique\(y, return_inverse=True\)\[1\]; a classifier "
    r"does that itself"
)


@pytest.mark.parametrize("what", NO_NUMBERS)
def test_targets_that_are_no_numbers_are_refused_though_they_spell_some(what):
    y = NO_NUMBERS[what]
    for data, held_out in [((X, y), None), ([(X, y)], None), ((X, X[:, 0]), (X, y))]:
        net = network(1)
        before = net.flat_params.copy()
        with raises_exactly(ValueError, SPELLED):
            train(net, MeanSquaredError(), Adam(), data, epochs=3, validation_data=held_out)
        np.testing.assert_array_equal(net.flat_params, before)
    unbuilt = Sequential([Dense(1)])
    with raises_exactly(ValueError, SPELLED):
        train(unbuilt, CategoricalCrossEntropy(), Adam(), (X, NO_NUMBERS[what]), epochs=1)
    assert not unbuilt.is_built


@pytest.mark.parametrize(
    "y",
    [[Decimal(1)] * 60, [Fraction(1, 2)] * 60, [np.float32(1)] * 59 + [True], [np.True_] * 60],
    ids=["Decimal", "Fraction", "float and bool", "bool"],
)
def test_objects_that_are_numbers_are_learned(y):
    net = network(1)
    history = train(net, MeanSquaredError(), Adam(), (X, np.array(y, dtype=object)), epochs=1)
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize(
    "loss",
    [MeanSquaredError(), MeanAbsoluteError(), Huber(), LogCosh(), Quantile(0.3), Poisson()],
    ids=repr,
)
@pytest.mark.parametrize("at", [0, 57])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1e39, "y_true must be what float32 can hold, got 1e+39"),
        (np.inf, "y_true must be finite, got inf"),
        (np.nan, "y_true must be finite, got nan"),
    ],
)
def test_a_target_that_the_network_cannot_hold_is_shown_as_it_was_given(loss, at, value, message):
    y = np.abs(X[:, 0])
    y[at] = value
    net = network(1)
    before = net.flat_params.copy()
    if isinstance(loss, Poisson):
        message = message.replace("finite, got nan", "at least 0, got nan")
    with raises_exactly(ValueError, f"{loss}: {message}"):
        train(net, loss, Adam(), (X, y), epochs=5)
    np.testing.assert_array_equal(net.flat_params, before)


def test_rows_of_weight_0_may_have_any_target():
    y, weight = X[:, 0].copy(), np.ones(60)
    y[3], weight[3] = 1e39, 0
    history = train(network(1), MeanSquaredError(), Adam(), (X, y, weight), epochs=5)
    assert len(history) == 5 and np.isfinite(history["loss"]).all()


class Careless(Loss):
    """Fails at the second batch, with what NumPy says of types."""

    def value(self, y_pred, y_true):
        if y_true.max() > 5:
            raise TypeError("no such type")
        return y_pred - y_true

    def derivative(self, y_pred, y_true):
        return np.ones_like(y_pred)


def test_a_type_error_leaves_the_network_as_it_was_too():
    y = X[:, 0].copy()
    y[-1] = 9
    net = network(1)
    before = net.flat_params.copy()
    with pytest.raises(TypeError, match="no such type"):
        train(net, Careless(), Adam(), (X, y), epochs=1, shuffle=False)
    np.testing.assert_array_equal(net.flat_params, before)


# ---------------------------------------------------------------- channels first


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv2D(4, 3), (1, 28, 28)),
        (Conv2D(4, 5), (3, 32, 32)),
        (AvgPool2D(2), (1, 8, 8)),
        (Conv1D(4, 3), (2, 100)),
        (Sequential([Conv2D(4, 3), AvgPool2D(2)]), (3, 32, 32)),
    ],
    ids=str,
)
def test_channels_first_are_suspected_where_no_window_fits(layer, shape):
    with raises_exactly(
        ValueError, re.compile(r"in .*\); channels come last here: X = np\.moveaxis\(X, 1, -1\)")
    ):
        layer.build(shape)


def test_channels_first_are_recognised_by_a_network_and_an_estimator():
    images = RNG.normal(size=(20, 8, 6, 3))
    turned = np.moveaxis(images, -1, 1)
    net = Sequential([Conv2D(4, 3), Flatten(), Dense(1)]).build((8, 6, 3))
    for use in (net.infer, net.forward):
        with raises_exactly(
            ValueError,
            "in Sequential: expects (n_samples, 8, 6, 3), got (20, 3, 8, 6); channels "
            "come last here: X = np.moveaxis(X, 1, -1)",
        ):
            use(turned)
    model = SequentialClassifier([Conv2D(4, 3), Flatten()], max_iter=1).fit(images, LABELS[:20])
    with raises_exactly(
        ValueError,
        "X has samples of shape (3, 8, 6), but SequentialClassifier was fitted on "
        "samples of shape (8, 6, 3); channels come last here: X = np.moveaxis(X, 1, -1)",
    ):
        model.predict(turned)


@pytest.mark.parametrize("shape", [(8, 6), (6, 8, 3), (8, 3, 6)])
def test_other_shapes_get_no_such_advice(shape):
    net = Sequential([Conv2D(4, 3), Flatten(), Dense(1)]).build((8, 6, 3))
    told = f"in Sequential: expects (n_samples, 8, 6, 3), got {(2, *shape)}"
    with raises_exactly(ValueError, told):
        net.infer(np.zeros((2, *shape)))
    with raises_exactly(
        ValueError,
        "in Conv2D(filters=4, kernel_size=3): expects at least 3 x 3 cells, to fill one "
        "window, got (n_samples, 2, 5, 1)",
    ):
        Conv2D(4, 3).build((2, 5, 1))


# ---------------------------------------------------------------- one output


@pytest.mark.parametrize(
    "loss", [MeanSquaredError(), BinaryCrossEntropy(), Focal(), Hinge(), Quantile(0.9)], ids=repr
)
@pytest.mark.parametrize("optimizer", [Adam, LBFGS])
def test_one_output_is_trained_on_a_vector_as_on_a_column(loss, optimizer):
    one, two = network(1), network(1)
    column = LABELS[:, np.newaxis]
    data = {"validation_data": (X, LABELS)}, {"validation_data": (X, column)}
    histories = [
        train(net, loss, optimizer(), (X, y), epochs=3, random_state=0, **more)
        for net, y, more in zip((one, two), (LABELS, column), data, strict=True)
    ]
    np.testing.assert_array_equal(one.flat_params, two.flat_params)
    for name in ("loss", "validation_loss"):
        np.testing.assert_array_equal(histories[0][name], histories[1][name])
    assert str(health(one, X, LABELS, loss)) == str(health(one, X, column, loss))


def test_batches_of_vectors_too():
    one, two = network(1), network(1)
    halves = [slice(0, 30), slice(30, 60)]
    for net, y in ((one, LABELS), (two, LABELS[:, np.newaxis])):
        train(net, MeanSquaredError(), Adam(), [(X[half], y[half]) for half in halves], epochs=2)
    np.testing.assert_array_equal(one.flat_params, two.flat_params)


def test_two_outputs_and_labels_are_as_before():
    with raises_exactly(
        ValueError,
        "MeanSquaredError(): y_true must have the shape of y_pred, got y_pred (32, 2) "
        "and y_true (32,)",
    ):
        train(network(2), MeanSquaredError(), Adam(), (X, X[:, 0]), epochs=1)
    train(network(2), CategoricalCrossEntropy(), Adam(), (X, LABELS), epochs=1)

    class Ordinary:  # no Loss of ours, with a rule of its own for a vector
        def forward(self, y_pred, y_true, sample_weight=None, normalizer=None):
            assert y_true.ndim == 1
            self.error = y_pred[:, 0] - y_true
            return float((self.error**2).mean())

        def backward(self):
            return (2 * self.error / len(self.error))[:, np.newaxis].astype(np.float32)

    train(network(1), Ordinary(), Adam(), (X, X[:, 0]), epochs=1)


# ---------------------------------------------------------------- files


def test_an_open_file_is_written_and_read(tmp_path):
    net = network(1)
    memory = io.BytesIO()
    save(net, memory)
    save(net, tmp_path / "net.npz")
    assert memory.getvalue() == (tmp_path / "net.npz").read_bytes()
    np.testing.assert_array_equal(load(memory).infer(X), net.infer(X))
    with open(tmp_path / "open.npz", "wb") as file:
        save(net, file)
    with open(tmp_path / "open.npz", "rb") as file:
        np.testing.assert_array_equal(load(file).infer(X), net.infer(X))


def test_an_open_file_that_will_not_do_is_named(tmp_path):
    with (
        open(tmp_path / "net.txt", "w") as file,
        raises_exactly(
            TypeError, f"{tmp_path}/net.txt must be open for bytes, as with mode='wb', not for text"
        ),
    ):
        save(network(1), file)
    with raises_exactly(ModelFileError, "BytesIO: not a layerkit file, or cut off"):
        load(io.BytesIO(b"nothing"))


@pytest.mark.parametrize("write", [save, to_onnx])
def test_a_path_that_cannot_be_written_is_the_users(write, tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "file").write_text("")
    for path in ("no/such/net.npz", "file/net.npz"):
        with pytest.raises(OSError, match=rf": '{tmp_path / path}'$") as caught:
            write(network(1), tmp_path / path)
        assert caught.value.filename == str(tmp_path / path)
    assert os.listdir(tmp_path) == ["file"]


GROUPS = np.repeat(np.arange(12), 5)
SPLITTERS = [
    GroupShuffleSplit(n_splits=1, random_state=0),
    ShuffleSplit(1, test_size=0.2, random_state=1),
    StratifiedShuffleSplit(1, random_state=1),
    KFold(3, shuffle=True, random_state=np.random.RandomState(0)),
    TimeSeriesSplit(n_splits=3, gap=1),
    PredefinedSplit(np.repeat([0, -1], 30)),
    RepeatedStratifiedKFold(n_splits=4, n_repeats=2, random_state=3),
    LeaveOneGroupOut(),
    GroupKFold(3),
]


@pytest.mark.parametrize("splitter", SPLITTERS, ids=lambda splitter: type(splitter).__name__)
@pytest.mark.parametrize("kind", [classifier, MLPClassifier])
def test_an_estimator_with_a_splitter_is_saved(splitter, kind, tmp_path):
    groups = GROUPS if "Group" in type(splitter).__name__ else None
    model = kind(early_stopping=splitter).set_params(max_iter=2).fit(X, LABELS, groups=groups)
    save(model, tmp_path / "model.npz")
    same = load(tmp_path / "model.npz")
    np.testing.assert_array_equal(same.predict_proba(X), model.predict_proba(X))
    assert type(same.early_stopping) is type(splitter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [s.early_stopping.split(X, LABELS, groups) for s in (model, same)]
    for before, after in zip(*rows, strict=True):
        np.testing.assert_array_equal(before[1], after[1])


class Halves:
    def split(self, X, y=None, groups=None):
        yield np.arange(30), np.arange(30, 60)


def test_a_splitter_of_ones_own_cannot_be_saved(tmp_path):
    halves = Halves()
    with raises_exactly(
        TypeError,
        f"cannot store SequentialClassifier.early_stopping = {halves}, a Halves: a model file "
        "holds plain values, arrays, layers, losses, optimizers, schedules, initializers and "
        "scikit-learn's splitters",
    ):
        save(classifier(early_stopping=halves).fit(X, LABELS), tmp_path / "model.npz")
    assert not os.listdir(tmp_path)


class Twice(Layer):
    def forward(self, x, training=False):
        return 2 * x

    def backward(self, grad_output):
        return 2 * grad_output


class Cubic(Loss):
    def value(self, y_pred, y_true):
        return np.abs(y_pred - y_true) ** 3

    def derivative(self, y_pred, y_true):
        error = y_pred - y_true
        return 3 * error * np.abs(error)


class Plain(Optimizer):
    def update(self, p, g, rate, t):
        p -= rate * g


def tenths(shape, rng):
    return np.full(shape, 0.1)


def test_all_that_a_file_needs_is_named_at_once(tmp_path):
    layers = [Twice(), Dense(3, initializer=tenths), Twice()]
    model = SequentialRegressor(layers, loss=Cubic(), optimizer=Plain(), max_iter=1, batch_size=60)
    save(model.fit(X, X[:, 0]), tmp_path / "model.npz")
    with raises_exactly(
        ModelFileError,
        f"{tmp_path}/model.npz: names 'Cubic', 'Plain', 'Twice', 'tenths', not known here: pass "
        "your own layers, losses, optimizers, initializers and functions as "
        "custom_layers=[Cubic, Plain, Twice, tenths]",
    ):
        load(tmp_path / "model.npz")
    with raises_exactly(
        ModelFileError,
        f"{tmp_path}/model.npz: names 'Plain', 'tenths', not known here: pass your own "
        "layers, losses, optimizers, initializers and functions as custom_layers=[Plain, "
        "tenths]",
    ):
        load(tmp_path / "model.npz", [Twice, Cubic])
    same = load(tmp_path / "model.npz", [Twice, Cubic, Plain, tenths])
    np.testing.assert_array_equal(same.predict(X), model.predict(X))


# ---------------------------------------------------------------- equal fits


@pytest.mark.parametrize(
    "make",
    [
        classifier,
        lambda: MLPClassifier((8,), max_iter=2, random_state=0),
        lambda: MLPRegressor(max_iter=2, random_state=0, early_stopping=True),
    ],
)
def test_equal_fits_have_equal_hashes(make):
    one, two = make().fit(X, LABELS), make().fit(X, LABELS)
    assert joblib.hash(one) == joblib.hash(two)
    assert joblib.hash(one) != joblib.hash(make().fit(X[1:], LABELS[1:]))


def test_a_history_keeps_its_seconds_but_in_a_pickle(tmp_path):
    model = classifier().fit(X, LABELS)
    seconds = model.history_["seconds"]
    save(model, tmp_path / "model.npz")
    np.testing.assert_array_equal(load(tmp_path / "model.npz").history_["seconds"], seconds)
    history = History([{"epoch": 1, "loss": 0.5, "seconds": 0.1}])
    assert pickle.loads(pickle.dumps(history)).rows == [{"epoch": 1, "loss": 0.5}]
    assert history["seconds"].tolist() == [0.1]


def test_copies_of_a_history_are_whole():
    history = History([{"epoch": 1, "loss": 0.5, "seconds": 0.1}])
    history.best_epoch, history.stopped = 1, "a callback asked for it"
    for twin in (copy.deepcopy(history), copy.copy(history)):
        assert twin.rows == history.rows
        assert (twin.best_epoch, twin.stopped) == (1, "a callback asked for it")
    assert copy.deepcopy(history).rows[0] is not history.rows[0]


@pytest.mark.parametrize(
    "model",
    [
        MLPClassifier((4,), batch_norm=True),
        MLPRegressor(hidden_layer_sizes=(4,), batch_norm=True),
        SequentialClassifier([Dense(4), BatchNorm()]),
    ],
    ids=repr,
)
def test_a_single_row_is_refused_in_scikit_learns_words(model):
    check_fit2d_1sample(type(model).__name__, model)
    with raises_exactly(
        ValueError,
        "in layers.1 BatchNorm(): training needs at least 2 values per channel, got 1 "
        "from n_samples=1, a batch of shape (1, 4): use a larger batch, or forward(x, "
        "training=False)",
    ):
        clone(model).fit(X[:1], LABELS[:1] if is_regressor(model) else [0])


# ---------------------------------------------------------------- what to_onnx says


class Doubling(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return 2 * X


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (3, TypeError, "to_onnx takes a layer, an estimator or a Pipeline, got 3"),
        (MLPClassifier, TypeError, theirs("is a class, not an instance")),
        (
            Sequential([Dense(2)]),
            RuntimeError,
            "in Dense(units=2): not built yet; call build(input_shape) first",
        ),
        (
            Sequential([Twice()]).build(4),
            TypeError,
            "in layers.0 Twice(): Twice has no ONNX form; give it one with "
            "`@layerkit.interchange.onnx_export.emits(Twice)`",
        ),
        (
            MLPClassifier(),
            NotFittedError,
            theirs("This MLPClassifier instance is not fitted"),
        ),
        (
            make_pipeline(MLPClassifier()),
            NotFittedError,
            theirs("This Pipeline instance is not fitted"),
        ),
        (
            make_pipeline(Doubling(), MLPClassifier(max_iter=1)),
            ValueError,
            "Pipeline does not say how many columns it takes: give some rows as X",
        ),
        (
            make_pipeline(StandardScaler(), Doubling(), MLPClassifier(max_iter=1)),
            TypeError,
            re.compile("Pipeline has no ONNX form: Unable to find a shape calculator.*Doubling.*"),
        ),
        (
            make_pipeline(FunctionTransformer(np.abs), MLPClassifier(max_iter=1)),
            TypeError,
            re.compile("Pipeline has no ONNX form: FunctionTransformer is not supported.*"),
        ),
    ],
)
def test_the_errors_of_to_onnx_are_those_that_it_documents(model, kind, message):
    pytest.importorskip("skl2onnx")
    if isinstance(model, Pipeline) and len(model) > 1:
        model = model.fit(X, LABELS)
    with raises_exactly(kind, message):
        to_onnx(model)
    assert f"    {kind.__name__}\n" in to_onnx.__doc__


# ---------------------------------------------------------------- dates and text


DAYS = np.arange("2020-01-01", "2020-02-10", dtype="datetime64[D]")
SPANS = {
    "dates": DAYS,
    "spans": DAYS - DAYS[0],
    "NumPy's dates as objects": np.array([*map(np.datetime64, DAYS), None], object)[:-1],
}


@pytest.mark.parametrize("name", list(SPANS))
@pytest.mark.parametrize(
    "model",
    [SequentialRegressor([Dense(2)]), MLPRegressor(), TabularRegressor.quick()],
    ids=["sequential", "mlp", "tabular"],
)
def test_dates_are_no_targets(model, name):
    X = np.random.default_rng(0).normal(size=(40, 2))
    with raises_exactly(
        ValueError,
        re.compile(
            r"y holds dates or spans of time .*\): a network learns numbers\. Choose an "
            r"origin and a unit, such as \(y - y\.min\(\)\) / np\.timedelta64\(1, 'D'\)"
        ),
    ):
        clone(model).fit(X, SPANS[name])


def test_a_column_of_dates_or_text_is_named_in_fit_and_predict():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"])
    y = np.arange(40) % 2
    model = SequentialClassifier([Dense(2)], max_iter=1).fit(X, y)
    for change, told in (
        (
            {"b": DAYS},
            "X: column 'b' holds dates or spans of time (datetime64[s]): a network "
            "learns numbers. Give the year, the day of the week or the days since a date "
            "as columns",
        ),
        (
            {"b": DAYS - DAYS[0]},
            "X: column 'b' holds dates or spans of time (timedelta64[s]): a network "
            "learns numbers. Give the year, the day of the week or the days since a date "
            "as columns",
        ),
        (
            {"a": "text"},
            "X: column 'a' holds no numbers but str; encode it, with OneHotEncoder() in "
            "a ColumnTransformer, or with OrdinalEncoder(), whose codes Columns([(['a'], "
            "Embedding(n_categories, dim)), ...]) takes",
        ),
        *(
            (
                {"b": values},
                f"X: column 'b' holds no numbers but {dtype}; encode it, with OneHotEncoder() in "
                "a ColumnTransformer, or with OrdinalEncoder(), whose codes Columns([(['b'], "
                "Embedding(n_categories, dim)), ...]) takes",
            )
            for values, dtype in (
                (pd.Series(DAYS).astype(object), "object"),
                (pd.Series([(1, 2)] * 40), "object"),
                (pd.Series(DAYS).dt.to_period("D"), "period[D]"),
                (pd.cut(X["a"], 3), "category"),
            )
        ),
    ):
        wrong = X.assign(**change)
        for call in (lambda w=wrong: clone(model).fit(w, y), lambda w=wrong: model.predict(w)):
            with raises_exactly(ValueError, told):
                call()
    with raises_exactly(
        ValueError,
        "X: X holds dates or spans of time (datetime64[D]): a network learns numbers. "
        "Give the year, the day of the week or the days since a date as columns",
    ):
        clone(model).fit(np.column_stack([DAYS, DAYS]), y)


def test_of_a_table_of_targets_the_dates_are_named():
    y = pd.DataFrame({"a": np.arange(40.0), "b": DAYS})
    with pytest.raises(ValueError, match=r"y holds dates or spans of time \(datetime64\[s\]\)"):
        SequentialRegressor([Dense(2)]).fit(np.ones((40, 2)), y)


def test_a_table_where_images_were_fitted_is_refused_by_its_shape():
    images = np.random.default_rng(0).normal(size=(20, 5, 5, 1))
    model = SequentialClassifier([Conv2D(2, 3), Flatten()], max_iter=1)
    model.fit(images, np.arange(20) % 2)
    with raises_exactly(
        ValueError,
        "X has samples of shape (25,), but SequentialClassifier was fitted on samples of shape "
        "(5, 5, 1)",
    ):
        model.predict(images.reshape(20, 25))


# ---------------------------------------------------------------- what NumPy reads as another thing

ROWS, CLASSES = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
HIDDEN = np.ma.array(ROWS, mask=ROWS > 1.5)
HIDDEN_CLASSES = np.ma.array(CLASSES, mask=np.arange(40) < 2)
HIDDEN_WEIGHTS = np.ma.array(np.ones(40), mask=np.arange(40) < 2)
MODELS = {
    "sequential": lambda: SequentialClassifier([Dense(2)], max_iter=1, random_state=0),
    "numbers": lambda: SequentialRegressor([Dense(2)], max_iter=1, random_state=0),
    "mlp": lambda: MLPClassifier((2,), max_iter=1, random_state=0),
    "tabular": lambda: TabularClassifier(max_iter=1, members=1, random_state=0),
}
FITTED = {name: make for name, make in MODELS.items() if name != "tabular"}
OF_MODELS = {
    "X of fit": lambda model: model.fit(HIDDEN, CLASSES),
    "X of predict": lambda model: model.fit(ROWS, CLASSES).predict(HIDDEN),
    "y": lambda model: model.fit(ROWS, HIDDEN_CLASSES),
    "y of partial_fit": lambda model: model.fit(ROWS, CLASSES).partial_fit(ROWS, HIDDEN_CLASSES),
    "y of score": lambda model: model.fit(ROWS, CLASSES).score(ROWS, HIDDEN_CLASSES),
    "sample_weight": lambda model: model.fit(ROWS, CLASSES, sample_weight=HIDDEN_WEIGHTS),
    "sample_weight of score": lambda model: model.fit(ROWS, CLASSES).score(
        ROWS, CLASSES, sample_weight=HIDDEN_WEIGHTS
    ),
    "X_val": lambda model: model.fit(ROWS, CLASSES, X_val=HIDDEN, y_val=CLASSES),
    "y_val": lambda model: model.fit(ROWS, CLASSES, X_val=ROWS, y_val=HIDDEN_CLASSES),
}
OF_NETWORKS = {
    "X of infer": lambda network, fit: network.infer(HIDDEN),
    "X of forward": lambda network, fit: network.forward(HIDDEN, training=True),
    "X of train": lambda network, fit: fit((HIDDEN, CLASSES)),
    "y of train": lambda network, fit: fit((ROWS, HIDDEN_CLASSES)),
    "sample_weight of train": lambda network, fit: fit((ROWS, CLASSES, HIDDEN_WEIGHTS)),
    "X of a batch": lambda network, fit: fit([(HIDDEN, CLASSES)]),
    "X of health": lambda network, fit: health(network, HIDDEN, CLASSES),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", FITTED)
@pytest.mark.parametrize("where", OF_MODELS)
def test_estimators_do_not_read_what_is_masked(where, kind):
    with pytest.raises(ValueError, match=f"{where.split()[0]}.* masked array, .* are masked: fill"):
        OF_MODELS[where](FITTED[kind]())


@pytest.mark.parametrize("where", OF_NETWORKS)
def test_networks_do_not_read_what_is_masked(where):
    network = Sequential([Dense(2)]).build(3, random_state=0)
    before = network.flat_params.copy()

    def fit(data):
        train(network, CategoricalCrossEntropy(), Adam(), data, epochs=1)

    with pytest.raises(ValueError, match=f"{where.split()[0]} is a masked array"):
        OF_NETWORKS[where](network, fit)
    np.testing.assert_array_equal(network.flat_params, before)


def test_a_masked_array_without_a_masked_value_is_an_array():
    fitted = [MODELS["sequential"]().fit(X, CLASSES) for X in (ROWS, np.ma.array(ROWS))]
    first, second = (model.predict_proba(np.ma.array(ROWS)) for model in fitted)
    np.testing.assert_array_equal(first, second)


class Raises:
    """A callback that stops whatever it is called in."""

    def __init__(self, error):
        self.error = error

    def __call__(self, state):
        raise self.error


LEARN = {
    "fit": lambda model, X, y: model.fit(X, y),
    "refit": lambda model, X, y: model.refit(X, y),
    "weighted fit": lambda model, X, y: model.fit(X, y, sample_weight=np.zeros(len(y))),
}
FAIL = {
    "rows of another number": ("fit", ValueError, CLASSES[:-1], None),
    "y that is missing": ("fit", ValueError, np.full(40, np.nan), None),
    "weights": ("weighted fit", ValueError, CLASSES, None),
    "a callback": ("fit", RuntimeError, CLASSES, Raises(RuntimeError())),
    "a callback of refit": ("refit", RuntimeError, CLASSES, Raises(RuntimeError())),
    "the system": ("fit", SystemExit, CLASSES, Raises(SystemExit())),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", FITTED)
@pytest.mark.parametrize("failure", FAIL)
def test_a_fit_that_fails_leaves_what_was_known_of_the_columns(failure, kind):
    learn, error, y, callback = FAIL[failure]
    table = pd.DataFrame(ROWS, columns=["a", "b", "c"])
    model = FITTED[kind]().fit(table, CLASSES)
    before = model.predict(table)
    if callback is not None:
        model.set_callbacks(callback)
    with pytest.raises(error):
        LEARN[learn](model, table[["b", "a"]].rename(columns=str.upper), y)
    assert model.n_features_in_ == 3 and list(model.feature_names_in_) == ["a", "b", "c"]
    np.testing.assert_array_equal(model.predict(table), before)
    unfitted = clone(model)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        unfitted.fit(table, CLASSES[:-1])
    assert not hasattr(unfitted, "n_features_in_") and not hasattr(unfitted, "feature_names_in_")


UNSUITABLE = {
    "labels": (CategoricalCrossEntropy(), (ROWS, CLASSES + 5), {}),
    "labels in the second batch": (CategoricalCrossEntropy(), (ROWS, np.arange(40) // 35 * 9), {}),
    "a shape of targets": (MeanSquaredError(), (ROWS, np.ones((40, 3))), {}),
    "validation data": (CategoricalCrossEntropy(), (ROWS, CLASSES), {"rows": ROWS[:, :2]}),
    "weights": (CategoricalCrossEntropy(), (ROWS, CLASSES, -np.ones(40)), {}),
    "a batch": (CategoricalCrossEntropy(), [(ROWS, CLASSES), (ROWS[:, :2], CLASSES)], {}),
    "LBFGS": (CategoricalCrossEntropy(), (ROWS, CLASSES + 5), {"optimizer": LBFGS()}),
}


@pytest.mark.parametrize("what", UNSUITABLE)
def test_a_new_network_that_train_cannot_fit_to_the_data_stays_new(what):
    loss, data, how = UNSUITABLE[what]
    kept = Dense(3).build(3, random_state=0)
    network = Sequential([kept, ReLU(), Dense(2)])
    before = [vars(layer).copy() for _, layer in network.walk()]
    held_out = {"validation_data": (how["rows"], CLASSES)} if "rows" in how else {}
    optimizer = how.get("optimizer", Adam())
    with pytest.raises(ValueError, match=r"y_true|sample_weight|expects"):
        train(network, loss, optimizer, data, epochs=2, shuffle=False, **held_out)
    assert not network.is_built and network[0] is kept
    assert [vars(layer) for _, layer in network.walk()] == before
    network.layers[-1].units = 4  # as if it had never been tried
    train(network, CategoricalCrossEntropy(), optimizer, (ROWS, np.arange(40) % 4), epochs=1)
    assert network.output_shape == (4,)


def test_what_was_learned_before_a_fault_is_kept():
    def late(state):
        if state.epoch == 2:
            raise ValueError("mine")

    network = Sequential([Dense(2)])
    with pytest.raises(ValueError, match="mine"):
        train(
            network, CategoricalCrossEntropy(), Adam(), (ROWS, CLASSES), epochs=3, callbacks=[late]
        )
    assert network.is_built


def test_a_schedule_that_another_optimizer_used_starts_anew():
    schedule, weights = ReduceOnPlateau(0.1, patience=0), []
    for _ in range(2):
        network = Sequential([Dense(2)]).build(3, random_state=0)
        data = {"data": (ROWS, 1 - CLASSES), "validation_data": (ROWS, CLASSES)}
        train(network, CategoricalCrossEntropy(), SGD(schedule), **data, epochs=9, random_state=0)
        assert schedule.state["reductions"]
        weights.append(network.flat_params)
    np.testing.assert_array_equal(*weights)


NO_WEIGHTS = {
    "text": np.full(40, "1.0"),
    "dates": np.full(40, np.datetime64("2020-01-01")),
    "spans of time": np.full(40, np.timedelta64(1, "D")),
    "complex": np.ones(40) + 0j,
    "dates among objects": pd.Series(DAYS).astype(object),
    "a name": "balanced",
    "a dict": {0: 1, 1: 2},
}
TAKERS = {
    **{
        name: lambda w, m=make: m().fit(ROWS, CLASSES, sample_weight=w)
        for name, make in MODELS.items()
    },
    "partial_fit": lambda w: MODELS["sequential"]().partial_fit(ROWS, CLASSES, [0, 1], w),
    "batches": lambda w: MODELS["mlp"]().fit([(ROWS, CLASSES, w)]),
    "train": lambda w: train(
        Sequential([Dense(2)]), CategoricalCrossEntropy(), Adam(), (ROWS, CLASSES, w), epochs=1
    ),
}


@pytest.mark.parametrize("kind", NO_WEIGHTS)
@pytest.mark.parametrize("taker", TAKERS)
def test_weights_are_numbers_wherever_they_are_taken(taker, kind):
    with pytest.raises(ValueError, match="sample_weight must be numbers, one for each row, got"):
        TAKERS[taker](NO_WEIGHTS[kind])


# ---------------------------------------------------------------- what stands in y

NAMES = ["a", "b"] * 6


def with_gap(values, gap, **options):
    return pd.Series([*values[:3], gap, *values[4:-1], gap], **options)


GAPS = {
    "NA in text": with_gap(NAMES, pd.NA, dtype="string"),
    "NA among objects": with_gap(NAMES, pd.NA, dtype=object),
    "None among objects": with_gap(NAMES, None, dtype=object),
    "NaN among objects": with_gap(NAMES, np.nan, dtype=object),
    "NaN in a category": with_gap(NAMES, None, dtype="category"),
    "None in a list": with_gap(NAMES, None, dtype=object).tolist(),
    "NA in an array": with_gap(NAMES, pd.NA, dtype=object).to_numpy(),
    "NaT among periods": pd.Series(pd.PeriodIndex([*["2020-01"] * 3, "NaT"] * 3, freq="M"))[:12],
    "NA in a column": pd.DataFrame({"u": NAMES, "v": with_gap(NAMES, pd.NA, dtype="string")}),
}
KINDS_OF = [SequentialClassifier, MLPClassifier, TabularClassifier]
KINDS_OF += [SequentialRegressor, MLPRegressor, TabularRegressor]


def fit_of(kind, y):
    model = kind([Dense(3), ReLU()]) if kind.__name__.startswith("Seq") else kind()
    return model.set_params(max_iter=1).fit(X[:12], y)


@pytest.mark.parametrize("kind", KINDS_OF)
@pytest.mark.parametrize("name", GAPS)
def test_missing_targets_are_named_by_their_rows(kind, name):
    rows = "3 of 12 rows (3, 7, 11)" if "periods" in name else "2 of 12 rows (3, 11)"
    message = f"y contains missing values, in {rows}: leave these rows out of X and y"
    with raises_exactly(ValueError, message):
        fit_of(kind, GAPS[name])


def test_of_many_missing_targets_a_few_are_named_and_those_of_steps_too():
    with raises_exactly(
        ValueError,
        "y contains missing values, in 12 of 12 rows (0, 1, 2, 3, 4, ...): leave these "
        "rows out of X and y",
    ):
        fit_of(SequentialClassifier, [None] * 12)
    rows, labels = [X[:2], X[:3]], [["a", "b"], ["a", None, "b"]]
    steps = [np.array(row, dtype=object) for row in labels]
    with raises_exactly(
        ValueError, "y contains missing values, in 1 of 5 rows (3): leave these rows out of X and y"
    ):
        SequentialClassifier([Dense(2)], max_iter=1).fit(rows, steps)


ODD = {
    "periods": (pd.Series(pd.period_range("2020", periods=12, freq="D")), "Period"),
    "intervals": (pd.Series(pd.interval_range(0, 12)), "Interval"),
    "bins": (pd.cut(pd.Series(range(12)), 3), "Interval"),
    "dictionaries": ([{"a": 1}] * 12, "dict"),
    "objects": ([object()] * 12, "object"),
    "a column": (
        pd.DataFrame({"u": range(12), "v": pd.period_range("2020", periods=12)}),
        "Period",
    ),
}


@pytest.mark.parametrize("kind", KINDS_OF)
@pytest.mark.parametrize("name", ODD)
def test_odd_targets_are_named(kind, name):
    y, called = ODD[name]
    numeric = is_regressor(kind()) if "Seq" not in kind.__name__ else is_regressor(kind([]))
    wanted = "numbers" if numeric else "text, or numbers in a dtype of numbers"
    called = called if numeric or name != "a column" else "int"
    with pytest.raises(ValueError, match=rf"y must hold {wanted}, got .* \({called}\) in row 0: "):
        fit_of(kind, y)


@pytest.mark.parametrize("kind", KINDS_OF[3:])
def test_text_that_is_no_number_is_named_in_its_row(kind):
    with raises_exactly(
        ValueError,
        "y must hold numbers, got 'b' (str) in row 1: turn labels into numbers, "
        "np.unique(y, return_inverse=True)[1]; a classifier does that itself",
    ):
        fit_of(kind, ["1", "b", *map(str, range(10))])


@pytest.mark.parametrize(
    "y",
    [
        [Decimal(i) for i in range(12)],
        [Fraction(i, 3) for i in range(12)],
        pd.Series(range(12), dtype="Int64"),
        pd.Series(range(12), dtype=object),
        pd.Series([True, False] * 6, dtype="boolean"),
    ],
    ids=["decimals", "fractions", "Int64", "objects", "boolean"],
)
def test_numbers_of_other_kinds_are_learned_as_ever(y):
    for kind in KINDS_OF[3:]:
        assert np.isfinite(fit_of(kind, y).predict(X[:12])).all()


@pytest.mark.parametrize(
    "y",
    [NAMES, pd.Series(NAMES, dtype="string"), pd.Series(NAMES, dtype="category"), np.array(NAMES)],
    ids=["list", "string", "category", "array"],
)
def test_text_is_learned_as_ever(y):
    for kind in KINDS_OF[:3]:
        assert set(fit_of(kind, y).classes_) == {"a", "b"}


# ---------------------------------------------------------------- channels first, where it fits


def first_layers(kernel_size):
    same = {"padding": "same"}
    return [
        [Conv2D(4, kernel_size, **same), ReLU(), Flatten()],
        [Sequential([SeparableConv2D(4, kernel_size, **same)]), ReLU(), Flatten()],
    ]


def told(layers, shape, learn):
    images = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    labels = np.arange(8) % 2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if learn == "fit":
            SequentialClassifier(layers, max_iter=1, random_state=0).fit(images, labels)
        else:
            loss, data = CategoricalCrossEntropy(), (images, labels)
            train(Sequential([*layers, Dense(2)]), loss, Adam(), data, epochs=1)
    return [str(w.message) for w in caught if "channels last" in str(w.message)]


@pytest.mark.parametrize("learn", ["fit", "train"])
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 12, 12)], ids=str)
@pytest.mark.parametrize("which", [0, 1], ids=["Conv2D", "in a Sequential"])
def test_channels_first_that_fit_are_warned_of(learn, shape, which):
    (said,) = told(first_layers(3)[which], shape, learn)
    assert f"X has samples of shape {shape}" in said and "np.moveaxis(X, 1, -1)" in said


@pytest.mark.parametrize(
    "layers, shape",
    [
        (first_layers(3)[0], (8, 8, 3)),
        (first_layers(3)[0], (8, 8, 1)),
        (first_layers((1, 3))[0], (1, 12, 12)),  # a signal of one row
        (first_layers(3)[0], (3, 8, 9)),
        (first_layers(3)[0], (3, 7, 7)),
        (first_layers(3)[0], (2, 8, 8)),
        (first_layers(3)[0], (8, 8, 8)),
        ([Permute((2, 3, 1)), *first_layers(3)[0]], (3, 8, 8)),
        ([Flatten()], (3, 8, 8)),
        ([Conv1D(4, 3), Flatten()], (8, 8)),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else "",
)
def test_what_may_well_be_channels_last_is_not(layers, shape):
    assert told(layers, shape, "fit") == []
