"""Estimators that are fitted on an iterable of batches, where the rows are too many for memory."""

import numpy as np
import pandas as pd
import pytest
from errors import raises_exactly, theirs
from scipy import sparse

from layerkit import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MLPClassifier,
    MLPRegressor,
    ModelFileError,
    ReLU,
    SequentialClassifier,
    SequentialRegressor,
)
from layerkit.training import Checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 4))
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
WEIGHT = rng.uniform(0.5, 3, 120)
WORDS = np.array(["ab", "c", "defg"])[Y]


class Batches:
    """Rows of arrays, so many at a time, anew whenever it is iterated."""

    def __init__(self, *arrays, size=40):
        self.arrays, self.size, self.passes = arrays, size, 0

    def __iter__(self):
        self.passes += 1
        for start in range(0, len(self.arrays[1]), self.size):
            yield tuple(array[start : start + self.size] for array in self.arrays)


def classifiers(**changes):
    common = {"max_iter": 4, "shuffle": False, "batch_size": 40, "random_state": 0} | changes
    yield SequentialClassifier([Dense(6), BatchNorm(), ReLU()], n_iter_no_change=None, **common)
    yield MLPClassifier((6,), alpha=0.1, batch_norm=True, **common)


def regressors(**changes):
    common = {"max_iter": 4, "shuffle": False, "batch_size": 40, "random_state": 0} | changes
    yield SequentialRegressor([Dense(6), ReLU()], n_iter_no_change=None, **common)
    yield MLPRegressor(hidden_layer_sizes=(6,), alpha=0.1, **common)


def twice(models, **changes):
    return zip(models(**changes), models(**changes), strict=True)


def classes_of(model):
    classes = getattr(model, "classes_", [])
    return classes if isinstance(classes, list) else [classes]


def assert_equal_models(one, other, rtol=0.0):
    """Whether both have learned the same."""
    params = other.network_.flat_params, one.network_.flat_params
    np.testing.assert_allclose(*params, rtol=rtol, atol=rtol)  # some are 0 but for rounding
    np.testing.assert_allclose(other.loss_curve_, one.loss_curve_, rtol)
    for labels, expected in zip(classes_of(other), classes_of(one), strict=True):
        assert labels.tolist() == expected.tolist() and labels.dtype == expected.dtype
    assert other.n_features_in_ == one.n_features_in_ and other.n_iter_ == one.n_iter_
    assert getattr(other, "t_", 0) == getattr(one, "t_", 0)


TARGETS = {
    "numbers": (classifiers, Y),
    "words": (classifiers, WORDS),
    "two": (classifiers, Y > 0),
    "small integers": (classifiers, Y.astype(np.uint8)),
    "indicator": (classifiers, np.column_stack([Y > 0, Y > 1, X[:, 2] > 0]).astype(int)),
    "several outputs": (classifiers, np.column_stack([Y, np.minimum(Y, 1)])),
    "regression": (regressors, X[:, 0] * X[:, 1]),
    "two numbers": (regressors, X[:, :2] ** 2),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", TARGETS)
def test_batches_give_what_the_array_gives(name, dtype):
    """Bit by bit for classes; squared errors of whole epochs are rounded in another order."""
    models, y = TARGETS[name]
    rounding = 1e-5 if dtype == np.float32 else 1e-12
    x, rtol = X.astype(dtype), 0.0 if models is classifiers else rounding
    for one, other in twice(models):
        batches = Batches(x, y)
        assert_equal_models(one.fit(x, y), other.fit(batches), rtol)
        assert batches.passes == 1 + 4  # one to look at them, and the epochs
        if models is classifiers:
            np.testing.assert_array_equal(other.predict(x), one.predict(x))
        else:
            np.testing.assert_allclose(other.predict(x), one.predict(x), rtol, rtol)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3, 1: 0.5}])
def test_weights_mean_the_same(class_weight):
    for one, other in twice(classifiers, class_weight=class_weight):
        one.fit(X, Y, sample_weight=WEIGHT)
        assert_equal_models(one, other.fit(Batches(X, Y, WEIGHT)), rtol=1e-9)


def test_rows_without_weight_are_none():
    weight = np.where(np.arange(120) < 80, WEIGHT, 0)
    weight[::3] = 0
    for one, other in twice(classifiers, batch_size="auto", class_weight={0: 0, 2: 5}):
        one.fit(X, Y, sample_weight=weight)
        assert_equal_models(one, other.fit(Batches(X, Y, weight, size=120)), rtol=1e-9)
        other.fit(Batches(X, Y, weight))  # of the last batch no row is left


def test_weights_may_be_missing_in_some_batches():
    batches = [(X[:60], Y[:60]), (X[60:], Y[60:], WEIGHT[60:])]
    weight = np.where(np.arange(120) < 60, 1, WEIGHT)
    for one, other in twice(classifiers, batch_size=60):
        assert_equal_models(one.fit(X, Y, weight), other.fit(batches), rtol=1e-9)


def test_classes_are_found_in_all_batches():
    order = np.argsort(Y, kind="stable")  # the first batches have one class only
    for one, other in twice(classifiers):
        one.fit(X[order], WORDS[order])
        assert_equal_models(one, other.fit(Batches(X[order], WORDS[order])))
        assert other.classes_.tolist() == ["ab", "c", "defg"]


def test_validation_data_and_refit():
    for one, other in twice(classifiers, max_iter=30):
        one.fit(X, Y, X_val=X[:30], y_val=Y[:30])
        assert_equal_models(one, other.fit(Batches(X, Y), X_val=X[:30], y_val=Y[:30]))
        assert other.best_iter_ == one.best_iter_
        assert_equal_models(one.refit(X, Y), other.refit(Batches(X, Y)))


def test_warm_start_and_partial_fit_go_on():
    for one, other in twice(classifiers, warm_start=True):
        for _ in range(2):
            one.fit(X, Y)
            other.fit(Batches(X, Y))
        one.partial_fit(X, Y)
        other.partial_fit(X, Y)
        np.testing.assert_array_equal(other.network_.flat_params, one.network_.flat_params)
        with raises_exactly(ValueError, "y has the new classes [7]; the network knows [0, 1, 2]"):
            other.fit([(X, np.where(Y == 0, 7, Y))])


class Chunks:
    """A table read piece by piece."""

    def __init__(self, path):
        self.path = path

    def __iter__(self):
        for chunk in pd.read_csv(self.path, chunksize=40):
            yield chunk.drop(columns="y"), chunk["y"]


def test_chunks_of_a_table(tmp_path):
    table = pd.DataFrame(X.round(3), columns=list("abcd")).assign(y=WORDS)
    table.to_csv(tmp_path / "table.csv", index=False)
    for one, other in twice(classifiers):
        one.fit(table.drop(columns="y"), table["y"])
        assert_equal_models(one, other.fit(Chunks(tmp_path / "table.csv")))
        assert other.feature_names_in_.tolist() == list("abcd")


def test_chunks_of_arrow():
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({**{name: X[:, i] for i, name in enumerate("abcd")}, "y": WORDS})
    chunks = [chunk.to_pandas() for chunk in table.to_batches(max_chunksize=40)]
    for one, other in twice(classifiers):
        one.fit(X, WORDS.astype(object))
        other.fit([(chunk.drop(columns="y"), chunk["y"]) for chunk in chunks])
        assert_equal_models(one, other)


def test_a_data_loader_of_pytorch():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    for one, other in twice(classifiers):
        loader = torch.utils.data.DataLoader(data, batch_size=40)
        assert_equal_models(one.fit(X, Y), other.fit(loader))


def test_sparse_batches_and_images():
    rows = sparse.csr_array(X)
    for one, other in twice(classifiers):
        assert_equal_models(one.fit(rows, Y), other.fit(Batches(rows, Y)))
    images = X.reshape(-1, 2, 2, 1)
    layers = [Conv2D(3, 2), Flatten()]
    one, other = (
        SequentialRegressor(layers, max_iter=4, batch_size=40, shuffle=False, random_state=0)
        for _ in range(2)
    )
    assert_equal_models(one.fit(images, Y), other.fit(Batches(images, Y)))


def test_resume_is_bit_identical(tmp_path):
    def model(epochs):
        layers = [Dense(6), BatchNorm(), ReLU(), Dropout(0.3)]
        return SequentialClassifier(layers, max_iter=epochs, n_iter_no_change=None, random_state=0)

    whole = model(6).fit(Batches(X, Y))
    checkpoint = Checkpoint(tmp_path / "run.npz")
    model(3).fit(Batches(X, Y), checkpoint=checkpoint)
    resumed = model(6).fit(Batches(X, Y), checkpoint=checkpoint, resume=True)
    assert_equal_models(whole, resumed)
    with raises_exactly(
        ModelFileError,
        f"{tmp_path}/run.npz belongs to another run, with data "
        "['9c6bcce577d53fefe40938dbe40af6b7185870bdcb848e207c4fed84bfc0d380'], not "
        "['2ab1860ba755fd24765bc5e5d3d6242d1738daa8a591e1484f813a9d30d99905']; "
        "resume=False begins anew and replaces it",
    ):
        model(6).fit(Batches(X, Y, WEIGHT), checkpoint=checkpoint, resume=True)


ONLY_ONCE = (
    "an iterator that gives its batches only once, but every epoch needs them all: pass something "
    "that can be iterated anew (a list, an object with __iter__), or call partial_fit for every "
    "batch"
)
NO_TARGET = "This {} estimator requires y to be passed, but the target y is None."
WRONG = {
    "iterator": (lambda: iter([(X, Y)]), {}, f"X is list_iterator, {ONLY_ONCE}"),
    "generator": (lambda: ((X, Y) for _ in range(2)), {}, f"X is generator, {ONLY_ONCE}"),
    "nothing": (lambda: [], {}, "X gave no batches"),
    "rows without y": (
        lambda: X.tolist(),
        {},
        "y is None, so X must be an iterable of batches (X, y) or (X, y, sample_weight); batch 0 "
        f"is list: {X[0].tolist()}",
    ),
    "an array without y": (lambda: X, {}, NO_TARGET),
    "text": (lambda: "table.csv", {}, NO_TARGET),
    "no target": (lambda: [(X, Y), (X, None)], {}, f"batch 1: {NO_TARGET}"),
    "lengths": (
        lambda: [(X, Y[:-1])],
        {},
        "batch 0: Found input variables with inconsistent numbers of samples: [120, 119]",
    ),
    "width": (
        lambda: [(X, Y), (X[:, 1:], Y)],
        {},
        "batch 1: X has 3 features, but {} is expecting 4 features as input.",
    ),
    "not finite": (
        lambda: [(X, Y), (np.where(X > 2, np.nan, X), Y)],
        {},
        theirs("batch 1: Input X contains NaN."),
    ),
    "weights": (
        lambda: [(X, Y, -WEIGHT)],
        {},
        "batch 0: Negative values in data passed to `sample_weight`.",
    ),
    "no weight": (
        lambda: [(X, Y, WEIGHT * 0)],
        {},
        "sample_weight times class_weight is zero for all rows",
    ),
    "sample_weight": (
        lambda: [(X, Y)],
        {"sample_weight": WEIGHT},
        "sample_weight is for arrays; batches are (X, y, sample_weight)",
    ),
    "groups": (
        lambda: [(X, Y)],
        {"groups": Y},
        "groups is for arrays; batches are (X, y, sample_weight)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_learned_from_is_named(name):
    make, arguments, message = WRONG[name]
    for model in classifiers():
        told = message
        if isinstance(message, str):
            told = message.replace("{}", type(model).__name__)
        with raises_exactly(ValueError, told):
            model.fit(make(), **arguments)
        assert not hasattr(model, "network_")


def test_parameters_that_need_all_rows_are_refused():
    splits, labels = [(X, Y)], [(X, np.column_stack([Y > 0, Y > 1]).astype(int))]
    for model in (*classifiers(early_stopping=True), *regressors(early_stopping=True)):
        with raises_exactly(
            ValueError,
            "early_stopping=True cannot hold out rows of batches: give X_val and y_val, "
            "which are evaluated after every epoch",
        ):
            model.fit(splits)
    for model in classifiers(class_weight=[{0: 2}, {1: 2}]):
        with raises_exactly(
            ValueError,
            "class_weight with several outputs needs y as a whole: give the batches "
            "weights of their own, (X, y, sample_weight), got [{0: 2}, {1: 2}]",
        ):
            model.fit(labels)
    for model in (
        SequentialClassifier([Dense(3)], optimizer="lbfgs"),
        MLPClassifier(solver="lbfgs"),
    ):
        with raises_exactly(
            ValueError, "L-BFGS needs all rows at once: give X and y as arrays, not as batches"
        ):
            model.fit(splits)
    for model in classifiers():
        with raises_exactly(
            ValueError,
            "batch 0: Unknown label type: continuous. Maybe you are trying to fit a "
            "classifier, which expects discrete classes on a regression target with "
            "continuous values.",
        ):
            model.fit([(X, X[:, 0])])


def test_rows_of_other_shapes_are_named():
    images = X.reshape(-1, 2, 2, 1)
    model = SequentialRegressor([Dense(3)], max_iter=2)
    with raises_exactly(
        ValueError,
        "batch 1: X and y have rows of shape (2, 1, 2) and (), those of the batches "
        "before (2, 2, 1) and ()",
    ):
        model.fit([(images, Y), (images.reshape(-1, 2, 1, 2), Y)])
    with raises_exactly(
        ValueError,
        "batch 1: X and y have rows of shape (4,) and (2,), those of the batches before "
        "(4,) and ()",
    ):
        model.fit([(X, Y), (X, X[:, :2])])


class OnlyArray:
    """What NumPy makes an array of, and Python a sequence of rows; of no shape itself."""

    def __array__(self, dtype=None, copy=None):
        return np.asarray(X, dtype)

    def __iter__(self):
        return iter(X)


TABLES = {
    "array": lambda: X,
    "table": lambda: pd.DataFrame(X),
    "sparse array": lambda: sparse.csr_array(X),
    "sparse matrix": lambda: sparse.csc_matrix(X),
    "array by a method": OnlyArray,
    "text": lambda: "abcd",
    "bytes": lambda: b"abcd",
    "number": lambda: 3,
}


@pytest.mark.parametrize("form", TABLES)
def test_rows_that_are_no_batches_need_y(form):
    for model in (*classifiers(), *regressors()):
        with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
            model.fit(TABLES[form]())
