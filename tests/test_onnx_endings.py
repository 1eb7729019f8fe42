"""Targets that are transformed back, and thresholds, at the end of an exported model."""

import numpy as np
import pytest
from errors import raises_exactly
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from layerkit import Dense, MLPClassifier, MLPRegressor, SequentialClassifier
from layerkit.interchange import to_onnx
from layerkit.losses import Hinge

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 4)).astype(np.float32)
NUMBERS = np.exp(X[:, 0]) + 0.1
CLASS = (X[:, 0] + 0.3 * RNG.standard_normal(80) > 0.5).astype(int)


def run(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": X}), strict=True))


def regressor():
    return MLPRegressor(hidden_layer_sizes=(5,), max_iter=20, random_state=0)


def classifier():
    return MLPClassifier(hidden_layer_sizes=(5,), max_iter=30, random_state=0)


def scaled(scaler=None, inner=None, **how):
    return TransformedTargetRegressor(inner or regressor(), transformer=scaler, **how)


TARGETS = {
    "standard": lambda: scaled(StandardScaler()),
    "min and max": lambda: scaled(MinMaxScaler((-1, 2))),
    "robust": lambda: scaled(RobustScaler()),
    "largest": lambda: scaled(MaxAbsScaler()),
    "log": lambda: scaled(func=np.log, inverse_func=np.exp),
    "log1p": lambda: scaled(func=np.log1p, inverse_func=np.expm1),
    "root": lambda: scaled(func=np.sqrt, inverse_func=np.square),
    "nothing": scaled,
    "in a pipeline": lambda: make_pipeline(StandardScaler(), scaled(StandardScaler())),
    "around one": lambda: scaled(StandardScaler(), make_pipeline(MinMaxScaler(), regressor())),
    "twice": lambda: scaled(
        StandardScaler(), scaled(func=np.arcsinh, inverse_func=lambda y: 2 * y)
    ),
    "in a search": lambda: GridSearchCV(
        scaled(StandardScaler()), {"regressor__alpha": [1e-3]}, cv=2
    ),
    "of another library": lambda: scaled(StandardScaler(), Ridge()),
}


@pytest.mark.parametrize("name", TARGETS)
def test_targets_are_transformed_back(name):
    model = TARGETS[name]().fit(X, NUMBERS)
    outputs = run(to_onnx(model))
    assert list(outputs) == ["variable"]
    expected = model.predict(X)[:, np.newaxis]
    np.testing.assert_allclose(outputs["variable"], expected, rtol=1e-5, atol=1e-5)


def test_each_of_several_targets_has_its_scale():
    model = scaled(StandardScaler()).fit(X, np.c_[NUMBERS, 50 * NUMBERS + 7])
    outputs = run(to_onnx(model))
    np.testing.assert_allclose(outputs["variable"], model.predict(X), rtol=1e-5, atol=1e-4)


def test_other_transformers_are_refused_by_name():
    model = scaled(QuantileTransformer(n_quantiles=10)).fit(X, NUMBERS)
    with raises_exactly(
        TypeError,
        "TransformedTargetRegressor with QuantileTransformer(n_quantiles=10) has no ONNX "
        "form: its inverse_transform is neither a scale and a shift nor exp, expm1, a "
        "square, a square root or a reciprocal",
    ):
        to_onnx(model)
    model = BaggingRegressor(scaled(StandardScaler()), n_estimators=2).fit(X, NUMBERS)
    with raises_exactly(
        TypeError,
        "TransformedTargetRegressor with a model around it has no ONNX form: it can only "
        "come last, be it in a Pipeline",
    ):
        to_onnx(model)


def fixed(threshold, inner=None, **how):
    return FixedThresholdClassifier(inner or classifier(), threshold=threshold, **how)


def hinge():
    return SequentialClassifier([Dense(4)], loss=Hinge(), max_iter=5, random_state=0)


THRESHOLDS = {
    "low": lambda classes: fixed(0.1),
    "high": lambda classes: fixed(0.9),
    "auto": lambda classes: fixed("auto"),
    "of the first class": lambda classes: fixed(0.2, pos_label=classes[0]),
    "high, of the first class": lambda classes: fixed(0.8, pos_label=classes[0]),
    "tuned": lambda classes: TunedThresholdClassifierCV(classifier(), cv=3),
    "in a pipeline": lambda classes: make_pipeline(StandardScaler(), fixed(0.8)),
    "around one": lambda classes: fixed(0.3, make_pipeline(StandardScaler(), classifier())),
    "of another library": lambda classes: fixed(0.3, LogisticRegression()),
    "of margins": lambda classes: fixed(0.3, hinge()),
    "of margins of the first class": lambda classes: fixed(0.1, hinge(), pos_label=classes[0]),
}


@pytest.mark.parametrize("classes", [np.array([0, 1]), np.array(["no", "yes"])], ids=str)
@pytest.mark.parametrize("name", THRESHOLDS)
def test_labels_mind_the_threshold(name, classes):
    y = classes[CLASS]
    model = THRESHOLDS[name](classes).fit(X, y)
    outputs = run(to_onnx(model))
    np.testing.assert_array_equal(outputs["label"], model.predict(X))
    if "margins" not in name:
        expected = model.predict_proba(X)
        np.testing.assert_allclose(outputs["probabilities"], expected, rtol=1e-4, atol=1e-5)


def test_a_model_that_was_fitted_before():
    model = fixed(0.2, FrozenEstimator(classifier().fit(X, CLASS))).fit(X, CLASS)
    np.testing.assert_array_equal(run(to_onnx(model))["label"], model.predict(X))


def test_a_threshold_on_logits_is_refused_by_name():
    model = fixed(0.3, response_method="decision_function").fit(X, CLASS)
    with raises_exactly(
        TypeError,
        "FixedThresholdClassifier with response_method='decision_function' has no ONNX "
        "form: the model inside gives probabilities, not scores alone",
    ):
        to_onnx(model)
