"""Networks that come trained: every fit starts from their weights, and leaves them as they are."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from errors import raises_exactly
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import layerkit as lk
from layerkit import (
    GRU,
    BatchNorm,
    Columns,
    Concat,
    Conv2D,
    Dense,
    MLPClassifier,
    ReLU,
    Residual,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
    Tanh,
)
from layerkit.interchange import from_onnx, from_pytorch, load, save, to_onnx, to_pytorch
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    GaussianNLL,
    Hinge,
    MeanSquaredError,
    Poisson,
    Quantile,
)
from layerkit.optimizers import SGD, Adam
from layerkit.training import History, train

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
BARELY = {"optimizer": SGD(1e-9), "max_iter": 1, "random_state": 0, "shuffle": False}


def plain():
    return Sequential([Dense(6), Tanh(), ("scores", Dense(2))])


def trained(network=None, width=2):
    network = network or plain()
    y = np.column_stack([1 - Y, Y, Y])[:, :width].astype(np.float32)
    train(network, MeanSquaredError(), Adam(0.05), (X, y), epochs=3, random_state=0)
    return network


def by_file(tmp_path):
    save(trained(), tmp_path / "network.npz")
    return load(tmp_path / "network.npz")


def by_onnx(tmp_path):
    pytest.importorskip("onnx")
    to_onnx(trained(), tmp_path / "network.onnx")
    return from_onnx(tmp_path / "network.onnx")


def by_pytorch(tmp_path):
    pytest.importorskip("torch")
    return from_pytorch(to_pytorch(trained()), input_shape=(4,))


def of_an_estimator(tmp_path):
    return SequentialClassifier(plain(), head=None, max_iter=2, random_state=1).fit(X, Y).network_


def of_an_mlp(tmp_path):
    return MLPClassifier((6,), max_iter=2, random_state=1).fit(X, Y.astype(str)).network_


SOURCES = {
    "built": lambda _: plain().build(4, random_state=5),
    "trained": lambda _: trained(),
    "in float64": lambda _: trained(plain().build(4, random_state=5, dtype=np.float64)),
    "unpickled": lambda _: pickle.loads(pickle.dumps(trained())),
    "copied": lambda _: copy.deepcopy(trained()),
    "file": by_file,
    "onnx": by_onnx,
    "pytorch": by_pytorch,
    "network_": of_an_estimator,
    "of an MLP": of_an_mlp,
}


def state(network):
    buffers = [b.copy() for _, layer in network.walk() for b in layer.buffers.values()]
    return [network.flat_params.copy(), *buffers, [r.trainable for _, r in network.walk()]]


def without_warnings(fit):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", category=lk.estimators.sequential_recipe.ConvergenceWarning)
        return fit()


@pytest.mark.parametrize("source", SOURCES)
def test_a_fit_starts_from_the_weights_that_the_layers_have(source, tmp_path):
    network = SOURCES[source](tmp_path)
    width = network.output_shape[0]
    before = state(network)
    model = SequentialClassifier(network, head=None, **BARELY)
    for fitted in (model, clone(model), clone(clone(model)), pickle.loads(pickle.dumps(model))):
        without_warnings(lambda fitted=fitted: fitted.fit(X, Y))
        np.testing.assert_allclose(fitted.network_.flat_params, before[0], atol=1e-6)
        np.testing.assert_allclose(fitted.network_.infer(X), network.infer(X), atol=1e-5)
        assert fitted.network_.dtype == network.dtype
    np.testing.assert_equal(state(network), before)
    assert fitted.network_.output_shape == (width,)


@pytest.mark.parametrize("source", SOURCES)
def test_a_body_keeps_its_weights_below_a_new_head(source, tmp_path):
    network = SOURCES[source](tmp_path)
    before = state(network)
    body = network[:-1]
    y = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    first = SequentialClassifier(body, **BARELY).fit(X, y)
    second = clone(first).set_params(random_state=1).fit(X, y)
    for model in (first, second):
        assert model.network_.names[-1] == "head" and len(model.network_) == len(network)
        hidden = model.transform(X)
        np.testing.assert_allclose(hidden, body.infer(X), atol=1e-5)
    heads = [model.network_["head"].params["W"] for model in (first, second)]
    assert not np.allclose(*heads)  # which are drawn, each from its seed
    np.testing.assert_equal(state(network), before)


def test_as_a_list_with_layers_that_are_drawn_between(tmp_path):
    network = trained()
    model = SequentialClassifier([*network.layers[:-1], Dense(5), BatchNorm(), ReLU()], **BARELY)
    fitted = clone(model).fit(X, Y)
    np.testing.assert_allclose(fitted.network_[0].params["W"], network[0].params["W"], atol=1e-6)
    assert fitted.network_["dense_2"].params["W"].any()
    assert not any(layer.is_built for layer in model.layers[2:])


def test_what_is_frozen_stays_to_the_last_bit_and_the_rest_learns():
    network = trained(Sequential([Dense(6), BatchNorm(), Tanh(), Dense(2)]))
    network[:3].trainable = False
    before = state(network)
    model = clone(SequentialClassifier(network[:3], max_iter=20, random_state=0)).fit(X, Y)
    np.testing.assert_equal(state(network), before)
    for i in (0, 1):
        for name, array in [*network[i].params.items(), *network[i].buffers.items()]:
            kept = {**model.network_[i].params, **model.network_[i].buffers}[name]
            np.testing.assert_array_equal(kept, array)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    thawed = clone(model)
    Sequential(thawed.layers.layers).trainable = True
    thawed.fit(X, Y)
    assert not np.array_equal(thawed.network_[0].params["W"], network[0].params["W"])


def test_equal_fits_are_equal_and_share_nothing():
    network = trained()
    model = SequentialClassifier(network, head=None, max_iter=4, random_state=0)
    one, two = clone(model).fit(X, Y), model.fit(X, Y)
    again = one.network_.flat_params.copy()
    np.testing.assert_array_equal(again, two.network_.flat_params)
    np.testing.assert_array_equal(model.fit(X, Y).network_.flat_params, again)
    arrays = [network, one.layers, one.network_, two.network_]
    for i, a in enumerate(arrays):
        for b in arrays[:i]:
            assert not np.shares_memory(a.flat_params, b.flat_params)
    one.layers.flat_params[...] = 0
    assert network.flat_params.any() and model.layers is network


def test_searches_start_every_fit_from_the_same_weights():
    network = trained()
    before = state(network)
    seen = []

    def note(train_state):
        if train_state.step == 0:
            seen.append(train_state.network.flat_params.copy())

    note.before_batch = note
    model = SequentialClassifier(network, head=None, max_iter=2, random_state=0)
    model.set_callbacks(note)
    model.set_params(optimizer=Adam())
    search = GridSearchCV(model, {"optimizer__learning_rate": [1e-3, 1e-2]}, cv=3).fit(X, Y)
    assert len(seen) == 7
    for weights in seen:
        np.testing.assert_array_equal(weights, before[0])
    np.testing.assert_equal(state(network), before)
    assert search.best_estimator_.score(X, Y) > 0.5
    cross_val_score(make_pipeline(StandardScaler(), model), X, Y, cv=2)
    BaggingClassifier(model, n_estimators=2).fit(X, Y)
    assert len(seen) == 11
    np.testing.assert_equal(state(network), before)


def test_a_search_in_processes(tmp_path):
    network = trained()
    model = SequentialClassifier(network[:-1], max_iter=2, random_state=0)
    scores = [
        GridSearchCV(model, {"max_iter": [1, 2]}, cv=2, n_jobs=n).fit(X, Y).cv_results_
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(scores[0]["mean_test_score"], scores[1]["mean_test_score"])


def test_refit_partial_fit_and_warm_start():
    network = trained()
    model = SequentialClassifier(network, head=None, early_stopping=True, max_iter=3)
    model.set_params(random_state=0).fit(X, Y).refit(X, Y)
    barely = SequentialClassifier(network, head=None, **BARELY)
    barely.partial_fit(X, Y, classes=[0, 1])
    np.testing.assert_allclose(barely.network_.flat_params, network.flat_params, atol=1e-6)
    warm = SequentialClassifier(network, head=None, warm_start=True, max_iter=2, random_state=0)
    once = warm.fit(X, Y).network_.flat_params.copy()
    warm.fit(X, Y)
    assert not np.array_equal(warm.network_.flat_params, once)  # goes on from the first fit
    assert len(warm.history_) == 4


def test_saved_estimators_remember_what_they_start_from(tmp_path):
    network = trained()
    model = SequentialClassifier(network[:-1], **BARELY).fit(X, Y)
    save(model, tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    refitted = clone(again).fit(X, Y)
    np.testing.assert_allclose(refitted.network_[0].params["W"], network[0].params["W"], atol=1e-6)


def test_an_unbuilt_network_is_drawn_as_ever_and_clone_makes_one():
    network = trained()
    fresh = SequentialClassifier(plain(), head=None, max_iter=2, random_state=3).fit(X, Y)
    anew = SequentialClassifier(clone(network), head=None, max_iter=2, random_state=3).fit(X, Y)
    np.testing.assert_array_equal(anew.network_.flat_params, fresh.network_.flat_params)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    "rows, told",
    [
        (
            X[:, :3],
            "in layers.0 Dense(units=6): keeps its weights, as it is built already, for "
            "(n_samples, 4), but gets (n_samples, 3): W has shape (4, 6) and would need "
            "(3, 6)",
        ),
        (
            np.hstack([X, X]),
            "in layers.0 Dense(units=6): keeps its weights, as it is built already, for "
            "(n_samples, 4), but gets (n_samples, 8): W has shape (4, 6) and would need "
            "(8, 6)",
        ),
    ],
)
def test_rows_of_another_width_are_refused(rows, told, frozen):
    network = trained()
    network.trainable = not frozen
    before = state(network)
    model = SequentialClassifier(network, head=None, **BARELY)
    with raises_exactly(ValueError, told):
        model.fit(rows, Y)
    assert not hasattr(model, "network_")
    np.testing.assert_equal(state(network), before)


def test_structure_of_what_is_pretrained_is_no_parameter_to_search_over():
    model = SequentialClassifier(trained()[:-1])
    with raises_exactly(
        ValueError,
        "in layers.0 Dense(units=6): built with units=6, on which its shapes and arrays "
        "depend; for units=9 make another network, of sklearn.base.clone(network) for "
        "instance, which is not built and draws new weights when it is",
    ):
        model.set_params(layers__dense_1__units=9)
    with raises_exactly(
        TypeError,
        "in Sequential: a built network keeps its layers; make another one of them, in "
        "which those that are built keep their weights: "
        "Sequential([*network.layers[:-1], Dense(2)]).build(input_shape)",
    ):
        model.set_params(layers__dense_1=Dense(9))
    free = SequentialClassifier(clone(trained()[:-1]), max_iter=2)
    search = GridSearchCV(free, {"layers__dense_1__units": [3, 5]}, cv=2).fit(X, Y)
    assert search.best_params_["layers__dense_1__units"] in (3, 5)


def test_a_second_head_on_a_head_is_refused():
    source = SequentialClassifier([Dense(3)], max_iter=1).fit(X, Y)
    with raises_exactly(
        ValueError,
        "layers has a head of its own, the layer named 'head', but head='auto' appends "
        "another: give network[:-1] for a new head, or set head=None",
    ):
        SequentialClassifier(source.network_).fit(X, Y)


def test_other_containers_keep_theirs_too():
    network = trained()
    parts = {
        "residual": Residual(network[:2], Dense(6)),
        "concat": Concat([network, Dense(3)]),
        "columns": Columns([([0, 1, 2, 3], network), (0, Dense(1))]),
        "nested": Sequential([("body", network), ReLU()]),
    }
    for layers in parts.values():
        model = clone(SequentialClassifier([layers], **BARELY)).fit(X, Y)
        kept = [
            layer
            for _, layer in model.network_.walk()
            if layer.label == "Dense(units=6)"
            and np.allclose(layer.params["W"], network[0].params["W"], atol=1e-6)
        ]
        assert len(kept) == 1


@pytest.mark.parametrize("given, data, dtype", [("32", "32", "32"), ("64", "32", "64")])
def test_no_digits_are_lost_by_default(given, data, dtype):
    network = plain().build(4, random_state=0, dtype=f"float{given}")
    rows = X.astype(f"float{data}")
    model = SequentialClassifier(network, head=None, **BARELY).fit(rows, Y)
    assert model.network_.dtype == f"float{dtype}"
    model = SequentialClassifier(network, head=None, dtype="float32", **BARELY).fit(rows, Y)
    assert model.network_.dtype == np.float32


def test_train_fine_tunes_what_a_new_network_holds():
    source = trained(plain().build(4, random_state=0, dtype=np.float64))
    new = Sequential([*source.layers[:-1], Dense(3)])
    history = train(new, CategoricalCrossEntropy(), SGD(1e-12), (X, Y), epochs=1, random_state=0)
    assert len(history) == 1 and new.dtype == np.float64
    np.testing.assert_allclose(new[0].params["W"], source[0].params["W"], atol=1e-9)


# ---------------------------------------------------------------- fitted without a fit


def logits(width=2, network=None):
    return trained(network or Sequential([Dense(6), Tanh(), Dense(width)]), width)


CLASSIFIERS = [
    # what the network gives, the arguments, the labels, and whether there are probabilities
    (lambda: logits(2), {"classes": ["no", "yes"]}, ["no", "yes"], True),
    (lambda: logits(1), {"classes": ["no", "yes"]}, ["no", "yes"], True),
    (lambda: logits(1), {}, [0, 1], True),
    (lambda: logits(3), {}, [0, 1, 2], True),
    (lambda: logits(2), {"classes": (False, True)}, [False, True], True),
    (lambda: logits(2), {"classes": np.array([-1, 7])}, [-1, 7], True),
    (lambda: logits(2), {"loss": Hinge()}, [0, 1], False),
    (lambda: logits(2), {"multilabel": True}, [0, 1], True),
]


@pytest.mark.parametrize("make, arguments, labels, probable", CLASSIFIERS)
def test_a_network_becomes_a_fitted_classifier(make, arguments, labels, probable, tmp_path):
    network = make()
    before, raw = state(network), network.infer(X)
    model = SequentialClassifier.from_network(network, **arguments)
    assert model.classes_.tolist() == labels and model.n_features_in_ == 4
    np.testing.assert_array_equal(model.network_.infer(X), raw)
    if arguments.get("multilabel"):
        np.testing.assert_array_equal(model.predict(X), (raw > 0).astype(int))
    else:
        best = raw.argmax(axis=1) if raw.shape[1] > 1 else (raw[:, 0] > 0).astype(int)
        assert model.predict(X).tolist() == np.array(labels)[best].tolist()
    assert hasattr(model, "predict_proba") == probable
    if probable and not arguments.get("multilabel"):
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    save(model, tmp_path / "model.npz")
    for twin in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model.npz")):
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    y = np.array(model.classes_)[Y] if not arguments.get("multilabel") else np.c_[Y, 1 - Y]
    assert 0 <= model.score(X, y) <= 1
    model.partial_fit(X, y)
    assert len(model.history_) == 1
    np.testing.assert_equal(state(network), before)


@pytest.mark.parametrize(
    ("layers", "multilabel"),
    [
        ([Dense(3), lk.Softmax()], False),
        ([Dense(1), lk.Sigmoid()], False),
        ([Dense(3), Sequential([lk.Sigmoid()])], True),
    ],
    ids=["Softmax", "Sigmoid", "of labels"],
)
def test_a_link_that_would_be_applied_twice_is_warned_of(layers, multilabel):
    network = Sequential(layers).build(4, random_state=0)
    with pytest.warns(UserWarning, match="takes raw outputs: leave the last layer out"):
        SequentialClassifier.from_network(network, multilabel=multilabel)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SequentialClassifier.from_network(network[:-1], multilabel=multilabel)
    probabilities = model.predict_proba(X)[:, -network.output_shape[0] :]
    np.testing.assert_allclose(probabilities, network.infer(X), rtol=1e-5)


@pytest.mark.parametrize("kind", [SequentialClassifier, SequentialRegressor])
def test_another_network_in_the_place_of_the_fitted_one_gives_its_outputs_or_is_refused(kind):
    model = kind([Dense(3)], max_iter=1, random_state=0).fit(X, Y)
    model.predict(X)
    network = Sequential([Dense(4), Tanh(), Dense(1)]).build(4, random_state=1)
    model.network_ = network
    outputs = network.infer(X)[:, 0]
    scores = model.decision_function(X) if kind is SequentialClassifier else model.predict(X)
    np.testing.assert_allclose(scores, outputs, rtol=1e-4, atol=1e-6)
    model.network_ = Sequential([Dense(2)]).build(4)
    with raises_exactly(
        ValueError,
        "network_ must give (n_samples, 1), as the network that "
        f"{kind.__name__} was fitted with, but its output is (n_samples, 2): "
        f"{kind.__name__}.from_network(network) makes a fitted estimator of another network",
    ):
        model.predict(X)


def test_several_outputs_of_several_classes():
    network = Sequential([Dense(5)]).build(4, random_state=0)
    model = SequentialClassifier.from_network(network, [["a", "b", "c"], [1, 2]])
    raw = network.infer(X)
    expected = [["abc"[i], [1, 2][j]] for i, j in zip(raw[:, :3].argmax(1), raw[:, 3:].argmax(1))]  # noqa: B905
    assert model.predict(X).astype(str).tolist() == np.array(expected).tolist()


@pytest.mark.parametrize(
    "width, loss, shape",
    [
        (1, "auto", (120,)),
        (3, "auto", (120, 3)),
        (3, Quantile([0.1, 0.5, 0.9]), None),
        (2, GaussianNLL(), (120,)),
        (1, Poisson(), (120,)),
    ],
)
def test_a_network_becomes_a_fitted_regressor(width, loss, shape):
    network = Sequential([Dense(6), Tanh(), Dense(width)])
    network.build(4, random_state=0)
    model = SequentialRegressor.from_network(network, loss=loss)
    predicted = model.predict(X)
    assert shape is None or predicted.shape == shape
    raw = network.infer(X)
    link = raw if loss == "auto" else loss.inverse_link(raw)
    np.testing.assert_allclose(predicted.ravel(), link.ravel(), rtol=1e-5, atol=1e-6)
    y = np.abs(X[:, :width] if width > 1 and loss == "auto" else X[:, 0])
    model.partial_fit(X, y)
    assert clone(model).fit(X, y).predict(X).shape == predicted.shape


def test_images_and_sequences_and_pipelines():
    images = Sequential([lk.Conv2D(2, kernel_size=3), lk.GlobalAvgPool2D(), Dense(2)])
    x = np.random.default_rng(0).normal(size=(5, 6, 6, 1)).astype(np.float32)
    model = SequentialClassifier.from_network(images.build((6, 6, 1), 0), ["cat", "dog"])
    assert set(model.predict(x)) <= {"cat", "dog"}
    rows = [np.ones((n, 2), np.float32) for n in (1, 4, 2)]
    steps = Sequential([lk.GRU(3), Dense(1)]).build((None, 2), 0)
    assert SequentialRegressor.from_network(steps).predict(rows).shape == (3,)
    scaled = make_pipeline(StandardScaler().fit(X), SequentialClassifier.from_network(logits()))
    assert scaled.predict(X).shape == (120,)


@pytest.mark.parametrize(
    "call, kind, told",
    [
        (
            lambda: SequentialClassifier.from_network(plain()),
            ValueError,
            "network must be built, with the weights that it learned, got "
            "Sequential(layers=[Dense(units=6), Tanh(), ('scores', Dense(units=2))]): an "
            "estimator of its own fits it",
        ),
        (
            lambda: SequentialRegressor.from_network(plain()),
            ValueError,
            "network must be built, with the weights that it learned, got "
            "Sequential(layers=[Dense(units=6), Tanh(), ('scores', Dense(units=2))]): an "
            "estimator of its own fits it",
        ),
        (
            lambda: SequentialClassifier.from_network([Dense(2)]),
            TypeError,
            "network must be a layer, such as a Sequential, got [Dense(units=2)]",
        ),
        (
            lambda: SequentialClassifier.from_network(logits(), ["yes", "no"]),
            ValueError,
            "classes must be in sorted order, each once, as scikit-learn has them: "
            "['no', 'yes'], got ['yes', 'no']; put the columns of the network's last "
            "weights into that order",
        ),
        (
            lambda: SequentialClassifier.from_network(logits(), [[1, 0], [0, 1]]),
            ValueError,
            "classes must be in sorted order, each once, as scikit-learn has them: "
            "[0, 1], got [1, 0]; put the columns of the network's last weights into "
            "that order",
        ),
        (
            lambda: SequentialClassifier.from_network(logits(), ["a", "b", "c"]),
            ValueError,
            "the network must give (n_samples, 3) for this y with loss='auto', but "
            "its output is (n_samples, 2)",
        ),
        (
            lambda: SequentialClassifier.from_network(logits(), ["a", "b"], multilabel=True),
            ValueError,
            "with multilabel=True a label is its position: leave classes out",
        ),
        (
            lambda: SequentialClassifier.from_network(logits(), loss=MeanSquaredError()),
            ValueError,
            "loss=MeanSquaredError() does not classify; use a loss whose `scores` "
            "are 'logits' or 'margins', such as BinaryCrossEntropy, "
            "CategoricalCrossEntropy, Focal or Hinge",
        ),
        (
            lambda: SequentialClassifier.from_network(logits(), max_iter=0),
            ValueError,
            "SequentialClassifier: max_iter must be a positive integer, got 0",
        ),
        (
            lambda: SequentialRegressor.from_network(
                Sequential([Dense(3)]).build(4), loss=GaussianNLL()
            ),
            ValueError,
            "no y goes with a network that gives (n_samples, 3) and loss=GaussianNLL()",
        ),
        (
            lambda: SequentialRegressor.from_network(logits(), units=3),
            TypeError,
            "SequentialRegressor: got an unexpected keyword argument 'units'; it is "
            "SequentialRegressor(layers, *, loss='auto', optimizer='adam', "
            "batch_size='auto', max_iter=200, shuffle=True, random_state=None, "
            "tol=0.0001, n_iter_no_change=10, early_stopping=False, "
            "validation_fraction=0.1, warm_start=False, dtype='auto', head='auto', "
            "verbose=False)",
        ),
    ],
)
def test_what_makes_no_estimator_is_refused(call, kind, told):
    with raises_exactly(kind, told):
        call()


def test_the_record_of_an_adopted_network_is_empty():
    model = SequentialClassifier.from_network(logits(), loss=BinaryCrossEntropy())
    assert isinstance(model.history_, History) and len(model.history_) == 0
    assert (model.n_iter_, model.best_iter_, model.loss_curve_) == (0, 0, [])
    assert repr(clone(model)) == repr(model)


PER_STEP = [
    (lambda k: [GRU(4, return_sequences=True), Dense(k)], (None, 5)),
    (lambda k: [GRU(4, return_sequences=True), Dense(k)], (7, 5)),
    (lambda k: [Conv2D(k, 3)], (8, 8, 1)),
]


@pytest.mark.parametrize("kind", [SequentialClassifier, SequentialRegressor])
@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("layers, shape", PER_STEP, ids=["any time", "seven steps", "images"])
def test_a_network_of_outputs_of_more_axes_is_refused_by_its_shape(layers, shape, outputs, kind):
    network = Sequential(layers(outputs)).build(shape)
    places = "6, 6" if len(shape) == 3 else shape[0] or "time"
    with raises_exactly(
        ValueError,
        "network must give one row of outputs a sample, got one that gives (n_samples, "
        f"{places}, {outputs}): end it in LastStep(), Flatten() or a global pooling; an estimator "
        "for targets of every step fits it, SequentialRegressor([network], head=None).fit(X, y) "
        "with lists of arrays",
    ):
        kind.from_network(network)
