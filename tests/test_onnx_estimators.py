"""Estimators and whole Pipelines give the same labels, probabilities and numbers in onnxruntime."""

import json
import re
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pandas as pd
import pytest
from errors import raises_exactly
from pandas.api.types import is_numeric_dtype
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import layerkit.layers as nn
from layerkit import (
    MLPClassifier,
    MLPRegressor,
    SequentialClassifier,
    SequentialRegressor,
    TabularClassifier,
    TabularRegressor,
    losses,
)
from layerkit.estimators.targets import Labels, Numbers
from layerkit.interchange import to_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")
EMITTERS = pytest.importorskip("layerkit.interchange.onnx.writer").EMITTERS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def run(model, X):
    """Outputs by name; a DataFrame feeds one input a column."""
    if hasattr(X, "columns"):
        feed = {
            name: column.to_numpy()[:, None].astype("f4" if is_numeric_dtype(column) else object)
            for name, column in X.items()
        }
    else:
        feed = {"X": np.asarray(X, np.float32)}
    runner = session(model)
    names = [output.name for output in runner.get_outputs()]
    return dict(zip(names, runner.run(None, feed), strict=True))


def fit(estimator, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y)


def classifier(**parameters):
    return SequentialClassifier(
        [nn.Dense(8), nn.Tanh(), nn.Dropout(0.1)], max_iter=3, random_state=0, **parameters
    )


def regressor(**parameters):
    return SequentialRegressor([nn.Dense(8), nn.SiLU()], max_iter=3, random_state=0, **parameters)


IRIS_X, IRIS_Y = load_iris(return_X_y=True)
IRIS_X = IRIS_X.astype(np.float32)
DIABETES_X, DIABETES_Y = load_diabetes(return_X_y=True)
DIABETES_X, DIABETES_Y = (10 * DIABETES_X).astype(np.float32), DIABETES_Y / 100
WORDS = np.array(["setosa", "versicolor", "virginica"])
TWO_LABELS = (IRIS_X[:, :2] > np.median(IRIS_X[:, :2], axis=0)).astype(int)

CLASSIFIERS = {
    "MLP of text": (MLPClassifier(8, max_iter=3, random_state=0), WORDS[IRIS_Y]),
    "MLP of two": (MLPClassifier((8, 4), max_iter=3, random_state=0), IRIS_Y > 0),
    "MLP multilabel": (MLPClassifier(8, max_iter=3, random_state=0), TWO_LABELS),
    "integers": (classifier(), IRIS_Y + 5),
    "floats": (classifier(), IRIS_Y * 2.0),
    "two texts": (classifier(), np.array(["no", "yes"], object)[(IRIS_Y > 1).astype(int)]),
    "two logits": (classifier(loss="categorical_cross_entropy"), (IRIS_Y > 1).astype(int)),
    "one class": (classifier(), np.full(len(IRIS_Y), 7)),
    "sigmoids": (classifier(loss=losses.BinaryCrossEntropy()), IRIS_Y),
    "focal": (classifier(loss="focal"), IRIS_Y),
    "multilabel": (classifier(), TWO_LABELS),
}


@pytest.mark.parametrize("in_pipeline", [False, True], ids=["alone", "pipeline"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_gives_labels_and_probabilities(name, in_pipeline):
    estimator, y = CLASSIFIERS[name]
    model = make_pipeline(StandardScaler(), estimator) if in_pipeline else estimator
    fit(model, IRIS_X, y)
    found = run(to_onnx(model), IRIS_X)
    assert list(found) == ["label", "probabilities"]
    expected = model.predict(IRIS_X)
    assert found["label"].shape == expected.shape
    assert (found["label"] == expected).mean() > 0.99  # rounding may flip a tie
    np.testing.assert_allclose(
        found["probabilities"], model.predict_proba(IRIS_X), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("y", [IRIS_Y, IRIS_Y > 0], ids=["three", "two"])
def test_a_margin_loss_gives_scores(y):
    estimator = fit(classifier(loss="hinge"), IRIS_X, y)
    found = run(to_onnx(estimator), IRIS_X)
    scores = estimator.decision_function(IRIS_X)
    np.testing.assert_array_equal(found["label"], estimator.predict(IRIS_X))
    np.testing.assert_allclose(found["scores"].reshape(scores.shape), scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("in_pipeline", [False, True], ids=["alone", "pipeline"])
def test_several_columns_of_classes(in_pipeline):
    y = np.column_stack([IRIS_Y, 3 + (IRIS_X[:, 0] > 5.8)])
    model = make_pipeline(StandardScaler(), classifier()) if in_pipeline else classifier()
    fit(model, IRIS_X, y)
    found = run(to_onnx(model), IRIS_X)
    np.testing.assert_array_equal(found["label"], model.predict(IRIS_X))
    for i, expected in enumerate(model.predict_proba(IRIS_X)):
        np.testing.assert_allclose(found[f"probabilities_{i}"], expected, rtol=1e-4, atol=1e-6)


REGRESSORS = {
    "MLP": (MLPRegressor(hidden_layer_sizes=8, max_iter=3, random_state=0), DIABETES_Y),
    "MLP Poisson": (MLPRegressor("poisson", 8, max_iter=3, random_state=0), DIABETES_Y),
    "squared error": (regressor(), DIABETES_Y),
    "two targets": (regressor(), np.column_stack([DIABETES_Y, -DIABETES_Y])),
    "gamma": (regressor(loss="gamma"), DIABETES_Y),
    "quantiles": (regressor(loss=losses.Quantile([0.1, 0.5, 0.9])), DIABETES_Y),
    "fractions": (regressor(loss="binary_cross_entropy"), DIABETES_Y / 5),
}


@pytest.mark.parametrize("in_pipeline", [False, True], ids=["alone", "pipeline"])
@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_gives_numbers(name, in_pipeline):
    estimator, y = REGRESSORS[name]
    model = make_pipeline(StandardScaler(), estimator) if in_pipeline else estimator
    fit(model, DIABETES_X, y)
    found = run(to_onnx(model), DIABETES_X)["variable"]
    expected = model.predict(DIABETES_X)
    assert found.ndim >= 2
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("in_pipeline", [False, True], ids=["alone", "pipeline"])
def test_a_gaussian_gives_mean_and_deviation(in_pipeline):
    estimator = regressor(loss=losses.GaussianNLL())
    model = make_pipeline(StandardScaler(), estimator) if in_pipeline else estimator
    fit(model, DIABETES_X, DIABETES_Y)
    found = run(to_onnx(model), DIABETES_X)
    mean, std = model.predict(DIABETES_X, return_std=True)
    np.testing.assert_allclose(found["variable"][:, 0], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["std"][:, 0], std, rtol=1e-4)


def test_images_in_a_pipeline():
    X, y = load_digits(return_X_y=True)
    X, y = X[:300].astype(np.float32), y[:300]
    layers = [nn.Reshape((8, 8, 1)), nn.Conv2D(4, 3), nn.ReLU(), nn.MaxPool2D(), nn.Flatten()]
    model = make_pipeline(StandardScaler(), SequentialClassifier(layers, max_iter=3))
    fit(model, X, y)
    found = run(to_onnx(model), X)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), rtol=1e-3, atol=1e-5)
    alone = fit(SequentialClassifier(layers[1:], max_iter=2), X.reshape(-1, 8, 8, 1), y)
    found = run(to_onnx(alone), X.reshape(-1, 8, 8, 1))
    np.testing.assert_allclose(
        found["probabilities"],
        alone.predict_proba(X.reshape(-1, 8, 8, 1)),
        rtol=1e-3,
        atol=1e-5,
    )


def test_a_table_of_text_and_numbers(rng):
    X = pd.DataFrame(
        {
            "age": rng.uniform(20, 60, 100),
            "town": rng.choice(["Bern", "Basel"], 100).astype(object),
            "count": rng.integers(0, 9, 100),
        }
    )
    y = np.where((X["age"] > 40) & (X["town"] == "Bern"), "old", "other")
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer(
        [("n", numbers, ["age", "count"]), ("t", OneHotEncoder(sparse_output=False), ["town"])]
    )
    model = fit(make_pipeline(columns, classifier()), X, y)
    found = run(to_onnx(model, X=X), X)
    np.testing.assert_array_equal(found["label"], model.predict(X))
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        classifier(),
        make_pipeline(MLPClassifier(4, max_iter=3)),
        SequentialRegressor([nn.Dense(4), nn.Tanh()], max_iter=3),
        make_pipeline(MLPRegressor(hidden_layer_sizes=4, max_iter=3)),
    ],
    ids=["classifier", "in a pipeline", "regressor", "regressor in a pipeline"],
)
def test_a_table_for_an_estimator_of_ours(model, rng):
    X = pd.DataFrame(rng.standard_normal((60, 3)), columns=["a", "b", "c"])
    X["b"] = rng.integers(0, 3, 60)
    fit(model, X, (X["a"] > X["c"]).astype(int))
    found = run(to_onnx(model, X=X), X)
    if "variable" in found:
        expected = model.predict(X)[:, None]
        np.testing.assert_allclose(found["variable"], expected, rtol=1e-4, atol=1e-5)
    else:
        expected = model.predict_proba(X)
        np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4, atol=1e-5)


def test_columns_by_name(rng):
    X = pd.DataFrame(rng.standard_normal((60, 3)), columns=["a", "b", "c"])
    layers = [nn.Columns([(["c", "a"], nn.Dense(3)), ("b", nn.Tanh())])]
    model = fit(SequentialRegressor(layers, max_iter=2), X, X["a"] - X["c"])
    found = run(to_onnx(model), X.to_numpy())["variable"][:, 0]
    np.testing.assert_allclose(found, model.predict(X), rtol=1e-4, atol=1e-5)


def test_a_search_and_two_networks_in_one_model():
    vote = VotingClassifier(
        [("a", classifier()), ("b", MLPClassifier(4))], voting="soft", flatten_transform=False
    )
    model = fit(make_pipeline(StandardScaler(), vote), IRIS_X, IRIS_Y)
    found = run(to_onnx(model), IRIS_X)["probabilities"]
    np.testing.assert_allclose(found, model.predict_proba(IRIS_X), rtol=1e-4, atol=1e-5)
    search = GridSearchCV(MLPClassifier(4, max_iter=2), {"alpha": [0.0, 0.1]}, cv=2)
    fit(search, IRIS_X, IRIS_Y)
    found = run(to_onnx(search), IRIS_X)["probabilities"]
    np.testing.assert_allclose(found, search.predict_proba(IRIS_X), rtol=1e-4, atol=1e-5)


HELD = {
    "MLP": MLPClassifier(8, max_iter=3, random_state=0),
    "two logits": classifier(loss="categorical_cross_entropy"),
    "margins": classifier(loss="hinge"),
}


def scaled(model):
    return make_pipeline(StandardScaler(), model)


def stack(*models, final=None, **parameters):
    named = [(str(i), model) for i, model in enumerate(models)]
    return StackingClassifier(named, final or LogisticRegression(), cv=2, **parameters)


HOLDERS = {
    "calibrated": lambda model: CalibratedClassifierCV(model, cv=2),
    "calibrated together": lambda model: CalibratedClassifierCV(model, cv=2, ensemble=False),
    "calibrated pipeline": lambda model: CalibratedClassifierCV(scaled(model), cv=2),
    "calibrated search": lambda m: CalibratedClassifierCV(GridSearchCV(scaled(m), {}, cv=2), cv=2),
    "calibrated one against rest": lambda m: CalibratedClassifierCV(OneVsRestClassifier(m), cv=2),
    "one against rest": OneVsRestClassifier,
    "pipelines against rest": lambda model: OneVsRestClassifier(scaled(model)),
    "one against one": OneVsOneClassifier,
    "pipelines against one": lambda model: OneVsOneClassifier(scaled(model)),
    "stack": stack,
    "stack of scores": lambda model: stack(model, stack_method="decision_function"),
    "stack of pipelines": lambda model: stack(scaled(model), model, passthrough=True),
    "end of a stack": lambda model: stack(LogisticRegression(), final=model),
    "voting": lambda m: VotingClassifier([("0", m), ("1", m)], flatten_transform=False),
}


@pytest.mark.parametrize("y", [IRIS_Y, (IRIS_Y > 0).astype(int)], ids=["three", "two"])
@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_model_takes_probabilities_or_scores_of_those_that_it_holds(holder, name, y):
    if name == "MLP" and holder == "stack of scores":
        pytest.skip("it has none")
    model = fit(HOLDERS[holder](HELD[name]), IRIS_X, y)
    if name == "MLP" and holder == "calibrated one against rest":
        with raises_exactly(
            TypeError,
            "CalibratedClassifierCV with OneVsRestClassifier of probabilities has no "
            "ONNX form: skl2onnx takes them before they are normalised",
        ):
            to_onnx(model)
        return
    found = run(to_onnx(model), IRIS_X)
    assert (found["label"].reshape(-1) == model.predict(IRIS_X)).mean() > 0.97  # ties of votes
    if hasattr(model, "predict_proba"):
        expected = model.predict_proba(IRIS_X)
    elif hasattr(model, "decision_function"):
        expected = model.decision_function(IRIS_X)
    else:
        return
    if holder.endswith("against one") and expected.ndim == 1:
        return  # skl2onnx gives the votes of two classes in a form of its own
    scores = found["probabilities"]
    scores = scores[:, 1] if expected.ndim == 1 else scores
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "y", "message"),
    [
        (
            CalibratedClassifierCV(classifier(), method="isotonic", cv=2),
            IRIS_Y,
            "CalibratedClassifierCV with method='isotonic' has no ONNX form: "
            "skl2onnx has 'sigmoid' alone right",
        ),
        (
            OneVsRestClassifier(scaled(HELD["margins"])),
            TWO_LABELS,
            "OneVsRestClassifier with several labels has no ONNX form: skl2onnx "
            "takes margins for probabilities",
        ),
        (
            stack(HELD["margins"], LogisticRegression()),
            (IRIS_Y > 0).astype(int),
            "StackingClassifier with decision_function of two classes, and "
            "LogisticRegression and SequentialClassifier in it, has no ONNX form: "
            "skl2onnx would write two columns where scikit-learn has one",
        ),
        (
            CalibratedClassifierCV(classifier(), method="temperature", cv=2),
            IRIS_Y,
            "CalibratedClassifierCV with method='temperature' has no ONNX form: "
            "skl2onnx has 'sigmoid' alone right",
        ),
        (
            OneVsRestClassifier(OneVsRestClassifier(scaled(HELD["margins"]))),
            IRIS_Y,
            "OneVsRestClassifier with another of margins has no ONNX form: skl2onnx "
            "takes two columns for one",
        ),
        (
            scaled(BaggingClassifier(HELD["margins"], 2)),
            IRIS_Y,
            "BaggingClassifier with classifiers without predict_proba has no ONNX "
            "form: skl2onnx cannot count votes",
        ),
    ],
    ids=["isotonic", "labels", "stack", "temperature", "nested", "bagging"],
)
def test_what_skl2onnx_would_get_wrong_is_refused(model, y, message):
    fit(model, IRIS_X, y)
    with raises_exactly(TypeError, message):
        to_onnx(model)


def test_metadata():
    X = pd.DataFrame(IRIS_X, columns=["a", "b", "c", "d"])
    estimator = fit(classifier(), X, WORDS[IRIS_Y])
    for model in (to_onnx(estimator), to_onnx(fit(make_pipeline(classifier()), X, IRIS_Y))):
        assert model.producer_name == "layerkit"
        assert [(o.domain, o.version) for o in model.opset_import if o.domain == ""] == [("", 17)]
        known = {entry.key: entry.value for entry in model.metadata_props}
        assert json.loads(known["feature_names"]) == ["a", "b", "c", "d"]
        assert known["layerkit_version"] == model.producer_version
        assert len(json.loads(known["classes"])) == 3


def test_a_link_without_a_form_is_named():
    class Shifted(losses.MeanSquaredError):
        def inverse_link(self, y_pred):
            return y_pred + 1

    estimator = fit(regressor(loss=Shifted()), DIABETES_X, DIABETES_Y)
    with raises_exactly(TypeError, "Shifted.inverse_link has no ONNX form"):
        to_onnx(estimator)


@pytest.mark.parametrize(
    ("loss", "link"),
    [
        (losses.MeanSquaredError(), "identity"),
        (losses.Quantile([0.1, 0.9]), "identity"),
        (losses.Poisson(), "exp"),
        (losses.Tweedie(1.5), "exp"),
        (losses.BinaryCrossEntropy(), "sigmoid"),
        (losses.GaussianNLL(), None),
    ],
)
@pytest.mark.parametrize("y", [np.ones(3), np.ones((3, 2))], ids=["one", "two"])
def test_numbers_know_the_link_of_their_loss(loss, link, y):
    target = Numbers(y)
    target.bind(loss, target.shapes(loss)[0])
    assert target.link == link


@pytest.mark.parametrize(
    ("loss", "width", "link"),
    [
        (None, 1, "sigmoid"),
        (losses.CategoricalCrossEntropy(), 2, "softmax"),
        (losses.BinaryCrossEntropy(), 2, "softmax of log-sigmoids"),
    ],
)
def test_labels_know_their_link(loss, width, link):
    target = Labels(np.arange(2))
    target.bind(loss, (width,))
    assert target.link == link
    raw = np.linspace(-3, 3, 4)[:, None] * np.arange(1, width + 1)
    log_sigmoids = -np.log1p(np.exp(-raw))
    scores = {
        "sigmoid": np.hstack([0 * raw, raw]),
        "softmax": raw,
        "softmax of log-sigmoids": log_sigmoids,
    }
    np.testing.assert_allclose(target.proba(raw), softmax(scores[link], axis=1))


def test_a_pipeline_writes_the_network_once(monkeypatch):
    write, written = EMITTERS[nn.Dense], []

    def note(g, layer, x):
        written.append(layer.path)
        return write(g, layer, x)

    monkeypatch.setitem(EMITTERS, nn.Dense, note)
    to_onnx(fit(scaled(classifier()), IRIS_X, IRIS_Y))
    assert len(written) == len(set(written)) == 2


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    estimator = fit(classifier(), IRIS_X, IRIS_Y)
    to_onnx(estimator, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("layerkit.archive.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        to_onnx(fit(regressor(), DIABETES_X, DIABETES_Y), path)
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("model", [classifier(), regressor(), MLPClassifier(), scaled(regressor())])
def test_a_model_that_is_not_fitted(model):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        to_onnx(model)


@pytest.mark.parametrize("model", [3, None, "model.onnx", [nn.Dense(2)]])
def test_what_is_no_model(model):
    with raises_exactly(
        TypeError, re.compile(r"to_onnx takes a layer, an estimator or a Pipeline, got .*")
    ):
        to_onnx(model)


def test_a_pipeline_runs_without_layerkit(tmp_path):
    """The lines of the README, the second half in a process that cannot import layerkit."""
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(16, max_iter=20, random_state=0))
    fit(pipeline, IRIS_X, WORDS[IRIS_Y])
    to_onnx(pipeline, tmp_path / "model.onnx")
    np.save(tmp_path / "X.npy", IRIS_X)
    script = """
        import sys
        sys.modules["layerkit"] = sys.modules["sklearn"] = None  # importing them raises
        import numpy as np, onnxruntime
        X = np.load("X.npy")
        session = onnxruntime.InferenceSession("model.onnx")
        label, probabilities = session.run(None, {"X": X.astype("float32")})
        np.savez("predicted.npz", label=label.astype(str), probabilities=probabilities)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, check=True)
    predicted = np.load(tmp_path / "predicted.npz")
    np.testing.assert_array_equal(predicted["label"], pipeline.predict(IRIS_X))
    np.testing.assert_allclose(
        predicted["probabilities"], pipeline.predict_proba(IRIS_X), rtol=1e-4, atol=1e-6
    )


ONE_MEMBER = {
    "classes": (TabularClassifier, {}, lambda y: y),
    "labels": (TabularClassifier, {}, lambda y: np.column_stack([y > 0, y > 1]).astype(int)),
    "numbers": (TabularRegressor, {}, lambda y: y.astype(float)),
    "two numbers": (TabularRegressor, {}, lambda y: np.column_stack([y, -y]).astype(float)),
    "normal": (TabularRegressor, {"loss": losses.GaussianNLL()}, lambda y: y.astype(float)),
    "quantiles": (TabularRegressor, {"loss": losses.Quantile([0.2, 0.8])}, lambda y: 1.0 * y),
}


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("kind", ONE_MEMBER)
def test_tabular_models_of_one_member_and_of_several(kind, members):
    make, options, targets = ONE_MEMBER[kind]
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X.set_axis(["a", "b", "c", "d"], axis=1).astype(np.float32)
    shape = {"members": members, "hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}
    model = make(**shape, **options).fit(X, targets(y.to_numpy()))
    found = list(run(to_onnx(model), X).values())
    expected = model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
    got = found[-1] if hasattr(model, "predict_proba") else found[0]
    np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=2e-4, atol=2e-5)
    if hasattr(model, "predict_proba"):
        assert (found[0] == model.predict(X)).mean() > 0.97


def test_nodes_after_the_network_are_not_called_after_its_last_layer():
    X, y = load_iris(return_X_y=True)
    nodes = to_onnx(fit(classifier(), X, y)).graph.node
    of_layers = [node.name.startswith("layers") for node in nodes]
    assert any(of_layers) and not of_layers[-1]
    last = max(i for i, inside in enumerate(of_layers) if inside)
    assert nodes[last].op_type in ("Gemm", "Add")  # of the last Dense: Softmax and labels follow
