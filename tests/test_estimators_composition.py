"""The estimators inside scikit-learn's meta-estimators."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.neural_network
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    HalvingRandomSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from layerkit import (
    Columns,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    MaxPool2D,
    MLPClassifier,
    MLPRegressor,
    ReLU,
    Reshape,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
    Tanh,
)
from layerkit.optimizers import SGD, Adam

X, Y = load_iris(return_X_y=True)


def classifier(**options):
    options = {"optimizer": Adam(0.05), "max_iter": 15, "n_iter_no_change": None, **options}
    return SequentialClassifier([Dense(8), ReLU()], random_state=0, **options)


def regressor(**options):
    options = {"optimizer": Adam(0.05), "max_iter": 15, "n_iter_no_change": None, **options}
    return SequentialRegressor([Dense(8), Tanh()], random_state=0, **options)


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_grid_search_reaches_into_layers_optimizer_and_loss(n_jobs):
    pipeline = make_pipeline(StandardScaler(), classifier(loss="auto"))
    grid = {
        "sequentialclassifier__layers__dense_1__units": [1, 12],
        "sequentialclassifier__optimizer__learning_rate": [0.0, 0.05],
    }
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=n_jobs).fit(X, Y)
    scores = dict(
        zip(
            map(str, (list(p.values()) for p in search.cv_results_["params"])),
            search.cv_results_["mean_test_score"],
            strict=True,
        )
    )
    assert scores["[12, 0.05]"] > 0.9 > scores["[12, 0.0]"]
    assert search.best_params_["sequentialclassifier__optimizer__learning_rate"] == 0.05
    network = search.best_estimator_[-1].network_
    assert network[0].units == search.best_params_["sequentialclassifier__layers__dense_1__units"]


@pytest.mark.slow
def test_halving_search_in_processes():
    search = HalvingRandomSearchCV(
        classifier(),
        {"layers__dense_1__units": [1, 2, 4, 8], "layers": [Sequential([Dense(3), ReLU()])]},
        resource="max_iter",
        max_resources=12,
        min_resources=2,
        n_jobs=2,
        random_state=0,
    ).fit(X, Y)
    assert search.best_estimator_.n_iter_ == search.best_estimator_.max_iter


def test_a_fit_in_a_clone_is_the_fit():
    scores = cross_val_score(classifier(), X, Y, cv=3)
    np.testing.assert_array_equal(scores, cross_val_score(classifier(), X, Y, cv=3))
    predicted = cross_val_predict(classifier(), X, Y, cv=3, method="predict_proba")
    np.testing.assert_allclose(predicted.sum(axis=1), 1)
    assert np.mean(predicted.argmax(axis=1) == Y) > 0.8


@pytest.mark.parametrize("loss", ["auto", "hinge"])
def test_calibration(loss):
    rows = Y > 0
    model = CalibratedClassifierCV(classifier(loss=loss), cv=3).fit(X[rows], Y[rows])
    assert model.score(X[rows], Y[rows]) > 0.8


def test_bagging_and_boosting_use_sample_weights():
    bagging = BaggingClassifier(classifier(), n_estimators=3, random_state=0).fit(X, Y)
    assert bagging.score(X, Y) > 0.8
    boosting = AdaBoostClassifier(classifier(max_iter=4), n_estimators=4, random_state=0).fit(X, Y)
    assert boosting.estimator_weights_.shape[0] > 1
    assert boosting.score(X, Y) > boosting.estimators_[0].score(X, Y)


def test_stacking_voting_and_one_against_the_rest():
    stack = StackingClassifier(
        [("net", classifier()), ("lr", LogisticRegression(max_iter=1000))], cv=3
    )
    assert stack.fit(X, Y).score(X, Y) > 0.9
    assert OneVsRestClassifier(classifier()).fit(X, Y).score(X, Y) > 0.8
    X_reg, y_reg = load_diabetes(return_X_y=True)
    y_reg = (y_reg - y_reg.mean()) / y_reg.std()
    assert VotingRegressor([("a", regressor()), ("b", regressor())]).fit(X_reg, y_reg)


def test_transformed_target():
    X_reg, y_reg = load_diabetes(return_X_y=True)
    model = TransformedTargetRegressor(regressor(), transformer=StandardScaler())
    assert model.fit(X_reg, y_reg).score(X_reg, y_reg) > 0.4
    Y_reg = np.column_stack([y_reg, -y_reg])
    assert model.fit(X_reg, Y_reg).predict(X_reg).shape == (442, 2)


def test_permutation_importance_finds_the_feature_that_matters(rng):
    noise = rng.standard_normal((200, 3))
    y = (noise[:, 1] > 0).astype(int)
    model = classifier(max_iter=40).fit(noise, y)
    found = permutation_importance(model, noise, y, n_repeats=3, random_state=0)
    assert found.importances_mean.argmax() == 1


# ---------------------------------------------------------------- tables


@pytest.fixture
def table(rng):
    frame = pd.DataFrame(
        {"age": rng.normal(40, 10, 200), "city": rng.choice(["Rome", "Oslo", "Lima"], 200)}
    )
    return frame, np.where(frame["city"] == "Oslo", "cold", "warm")


def test_columns_by_name_behind_a_column_transformer(table):
    frame, y = table
    prepare = ColumnTransformer(
        [("scale", StandardScaler(), ["age"]), ("code", OrdinalEncoder(), ["city"])],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    network = [Columns([(["age"], Dense(2)), ("city", Embedding(3, 2))]), Dense(8), ReLU()]
    model = SequentialClassifier(
        network, optimizer=Adam(0.05), max_iter=30, n_iter_no_change=None, random_state=0
    )
    pipeline = Pipeline([("prepare", prepare), ("network", model)]).fit(frame, y)
    assert pipeline.score(frame, y) > 0.95
    assert pipeline[-1].feature_names_in_.tolist() == ["age", "city"]


def test_sparse_one_hot_columns(table):
    frame, y = table
    model = make_pipeline(OneHotEncoder(sparse_output=True), classifier(max_iter=40))
    assert model.fit(frame[["city"]], y).score(frame[["city"]], y) > 0.95


def test_hidden_activations_as_features_of_another_model():
    pipeline = make_pipeline(StandardScaler(), classifier(), LogisticRegression())
    assert pipeline.fit(X, Y).score(X, Y) > 0.9
    assert len(pipeline[:-1].get_feature_names_out()) == 8


def test_set_output():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"], index=np.arange(150) + 7)
    model = classifier().set_output(transform="pandas").fit(frame, Y)
    hidden = model.transform(frame)
    assert hidden.columns.tolist() == [f"sequentialclassifier{i}" for i in range(8)]
    assert hidden.index.tolist() == frame.index.tolist()
    assert isinstance(model.predict(frame), np.ndarray)
    np.testing.assert_array_equal(hidden, classifier().fit_transform(X, Y))


@pytest.mark.parametrize("container", ["pandas", "default"])
def test_set_output_and_a_layer_of_another_width(container):
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"], index=np.arange(150) + 7)
    model = SequentialClassifier([Dense(5), ReLU(), ("code", Dense(3))], max_iter=1)
    model.set_params(n_iter_no_change=None).fit(frame, Y)
    arrays = {layer: model.transform(frame, layer=layer) for layer in (0, "relu_1", -1, 2, "code")}
    model.set_output(transform=container)
    for layer, array in arrays.items():
        hidden = model.transform(frame, layer=layer)
        is_last = layer in (-1, 2, "code")
        assert isinstance(hidden, pd.DataFrame) == (is_last and container == "pandas")
        np.testing.assert_array_equal(hidden, array)
    model = MLPClassifier((5, 3), max_iter=200, tol=1, random_state=0).fit(frame, Y)
    assert model.set_output(transform=container).transform(frame, layer=0).shape == (150, 5)


def test_html_repr():
    html = make_pipeline(StandardScaler(), classifier())._repr_html_()
    assert "SequentialClassifier" in html
    assert "Dense(units=8)" in html
    assert repr(classifier()).startswith("SequentialClassifier(layers=[Dense(units=8), ReLU()],")


def test_images_as_rows_behind_a_scaler():
    pixels, digits = load_digits(return_X_y=True)
    network = [Reshape((8, 8, 1)), Conv2D(8, 3), ReLU(), MaxPool2D(2), Flatten()]
    model = SequentialClassifier(
        network, optimizer=Adam(0.01), max_iter=6, n_iter_no_change=None, random_state=0
    )
    pipeline = make_pipeline(StandardScaler(), model).fit(pixels[:600], digits[:600])
    assert pipeline.score(pixels[600:900], digits[600:900]) > 0.85


def test_a_perceptron_is_calibrated_as_scikit_learns():
    options = {"max_iter": 60, "random_state": 0, "learning_rate_init": 0.01}
    ours, theirs = (
        CalibratedClassifierCV(kind((10,), **options), cv=3).fit(X, Y).predict_proba(X)
        for kind in (MLPClassifier, sklearn.neural_network.MLPClassifier)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert not hasattr(MLPClassifier(), "decision_function")


# ---------------------------------------------------------------- metadata


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_sample_weights_are_routed_through_a_search(routing):
    weight = np.where(Y == 0, 0.0, 1.0)
    model = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    search = GridSearchCV(
        make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model),
        {"sequentialclassifier__max_iter": [15]},
        cv=3,
    ).fit(X, Y, sample_weight=weight)
    assert 0 not in search.predict(X)


@pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor, classifier, regressor])
def test_groups_of_a_cross_validation_stay_outside_unless_asked_for(routing, make):
    groups, model = np.arange(150) % 30, make(max_iter=2)
    given = {"groups": groups}
    found = cross_validate(model, X, Y, cv=GroupKFold(3), params=given, error_score="raise")
    assert np.isfinite(found["test_score"]).all()
    cross_val_predict(model, X, Y, cv=GroupKFold(3), params=given)
    GridSearchCV(model, {"max_iter": [1, 2]}, cv=GroupKFold(3)).fit(X, Y, groups=groups)
    in_pipeline = make_pipeline(StandardScaler(), model)
    cross_validate(in_pipeline, X, Y, cv=GroupKFold(3), params=given, error_score="raise")
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="X_val"):
        cross_validate(model, X, Y, params={"X_val": X})


def test_groups_are_routed_to_the_splitter_of_early_stopping(routing):
    seen = []

    class Splitter(GroupShuffleSplit):
        def split(self, X, y=None, groups=None):
            for learn, validate in super().split(X, y, groups):
                seen.append(not set(groups[learn]) & set(groups[validate]))
                yield learn, validate

    groups = np.arange(150) % 30
    model = classifier(early_stopping=Splitter(random_state=0)).set_fit_request(groups=True)
    cross_validate(model, X, Y, cv=GroupKFold(3), params={"groups": groups})
    assert seen == [True] * 3


def test_validation_data_pass_through_the_steps_before(routing):
    model = classifier(optimizer=SGD(0.1)).set_fit_request(X_val=True, y_val=True)
    pipeline = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
    pipeline.fit(X, Y, X_val=X[::3], y_val=Y[::3])
    scaled = StandardScaler().fit(X)
    alone = classifier(optimizer=SGD(0.1)).fit(
        scaled.transform(X), Y, X_val=scaled.transform(X[::3]), y_val=Y[::3]
    )
    np.testing.assert_array_equal(
        pipeline[-1].history_["validation_loss"], alone.history_["validation_loss"]
    )
