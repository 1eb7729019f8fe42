"""What people bring from other libraries, and data that are no numbers, meet a clear sentence."""

import inspect
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from errors import raises_exactly, warns_exactly
from sklearn.base import clone
from sklearn.compose import make_column_selector
from sklearn.model_selection import GridSearchCV

from layerkit import (
    Columns,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    MLPClassifier,
    MLPRegressor,
    ReLU,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
    TabularClassifier,
    TabularRegressor,
    initializers,
    losses,
    schedules,
)
from layerkit.inspection import HealthMonitor, TrainingCurveDisplay, check_gradients, health
from layerkit.losses import CategoricalCrossEntropy, MeanSquaredError
from layerkit.optimizers import LBFGS, SGD, Adam
from layerkit.training import train
from layerkit.training.history import History

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = X[:, :1].copy()
LABELS = (X[:, 0] > 0).astype(int)
TABLE = pd.DataFrame(X, columns=list("abc"))
DATES = np.datetime64("2020-01-01") + np.arange(40)


def network():
    return Sequential([Dense(4), ReLU(), Dense(1)]).build(3, random_state=0)


@pytest.mark.parametrize(
    ("loss", "optimizer", "message"),
    [
        (
            MeanSquaredError,
            Adam(),
            "loss must be a loss, such as MeanSquaredError(), as in train(network, loss, "
            "optimizer, (X, y), epochs=10), got <class "
            "'layerkit.losses.regression.MeanSquaredError'>: that is the class, write "
            "MeanSquaredError(...)",
        ),
        (
            "mse",
            Adam(),
            "loss must be a loss, such as MeanSquaredError(), as in train(network, loss, "
            "optimizer, (X, y), epochs=10), got 'mse'",
        ),
        (
            None,
            Adam(),
            "loss must be a loss, such as MeanSquaredError(), as in train(network, loss, "
            "optimizer, (X, y), epochs=10), got None",
        ),
        (
            MeanSquaredError(),
            Adam,
            "optimizer must be an optimizer, such as Adam(), as in train(network, loss, "
            "optimizer, (X, y), epochs=10), got <class 'layerkit.optimizers.adam.Adam'>: "
            "that is the class, write Adam(...)",
        ),
        (
            MeanSquaredError(),
            LBFGS,
            "optimizer must be an optimizer, such as Adam(), as in train(network, loss, "
            "optimizer, (X, y), epochs=10), got <class "
            "'layerkit.optimizers.lbfgs.LBFGS'>: that is the class, write LBFGS(...)",
        ),
        (
            MeanSquaredError(),
            "adam",
            "optimizer must be an optimizer, such as Adam(), as in train(network, loss, "
            "optimizer, (X, y), epochs=10), got 'adam'",
        ),
    ],
)
def test_train_refuses_classes_and_names(loss, optimizer, message):
    net = network()
    before = net.flat_params.copy()
    with raises_exactly(TypeError, message):
        train(net, loss, optimizer, (X, Y), epochs=1)
    np.testing.assert_array_equal(net.flat_params, before)


@pytest.mark.parametrize("params", [{"loss": CategoricalCrossEntropy}, {"optimizer": Adam}])
def test_an_estimator_says_how_to_write_a_class(params):
    ((name, kind),) = params.items()
    known = {"loss": "'auto', a name or a Loss", "optimizer": "a name or an Optimizer"}[name]
    with raises_exactly(
        ValueError,
        f"SequentialClassifier: {name} must be {known}, got {kind}: that is the class, write "
        f"{kind.__name__}(...)",
    ):
        SequentialClassifier([Dense(4)], **params).fit(X, LABELS)


def test_a_number_among_layers_gets_the_line_to_write():
    with raises_exactly(
        TypeError,
        "layers must be layers or (name, layer) pairs, got 64: a layer is an object, "
        "such as Dense(64)",
    ):
        SequentialClassifier([64, 32]).fit(X, LABELS)


def test_a_name_among_layers_gets_the_line_to_write():
    with raises_exactly(
        TypeError,
        "layers must be layers or (name, layer) pairs, got 'relu': a layer is an object, "
        "such as ReLU()",
    ):
        Sequential([Dense(4), "relu"]).build(3)


WRONG = {
    "dates": DATES,
    "spans": DATES - DATES[0],
    "not a time": np.array(["NaT"] * 40, "M8[s]"),
    "complex": Y[:, 0] + 1j,
}


def told_of(y):
    """What is said of targets that are no numbers; pandas keeps dates in another unit."""
    if np.iscomplexobj(y):
        return (
            "Complex data not supported: y holds complex numbers, give their real and imaginary "
            "parts as columns"
        )
    return (
        f"y holds dates or spans of time ({np.asarray(y).dtype}): a network learns numbers. Choose "
        "an origin and a unit, such as (y - y.min()) / np.timedelta64(1, 'D')"
    )


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("container", [np.asarray, pd.Series, lambda y: pd.DataFrame({"y": y})])
@pytest.mark.parametrize(
    "make", [lambda: SequentialRegressor([Dense(4)]), lambda: MLPRegressor(hidden_layer_sizes=(4,))]
)
def test_a_regressor_refuses_targets_that_are_no_numbers(kind, container, make):
    y = container(WRONG[kind])
    with raises_exactly(ValueError, told_of(y)):
        make().fit(X, y)


@pytest.mark.parametrize("kind", WRONG)
def test_train_refuses_targets_that_are_no_numbers(kind):
    y, net = WRONG[kind], network()
    before = net.flat_params.copy()
    with raises_exactly(ValueError, told_of(y)):
        train(net, MeanSquaredError(), Adam(), (X, y.reshape(-1, 1)), epochs=1)
    np.testing.assert_array_equal(net.flat_params, before)


@pytest.mark.parametrize("dtype", ["object", "category", "string"])
def test_a_column_of_text_is_named_with_its_cures(dtype):
    table = TABLE.assign(colour=pd.Series(["red", "blue"] * 20, dtype=dtype))
    with raises_exactly(
        ValueError,
        re.compile(
            r"X: column 'colour' holds no numbers but .*; encode it, with "
            r"OneHotEncoder\(\) in a ColumnTransformer, or with OrdinalEncoder\(\), whose "
            r"codes Columns\(\[\(\['colour'\], Embedding\(n_categories, dim\)\), "
            r"\.\.\.\]\) takes"
        ),
    ):
        SequentialClassifier([Dense(4)], max_iter=2).fit(table, LABELS)


@pytest.mark.parametrize(
    "columns",
    [
        ["a", "b"],
        ("a", "b"),
        pd.Index(["a", "b"]),
        pd.Series(["a", "b"]),
        np.array(["a", "b"]),
        slice("a", "b"),
        slice(None, "b"),
        slice(0, 2),
        make_column_selector(pattern="[ab]")(TABLE),
        np.array([True, True, False]),
    ],
    ids=repr,
)
def test_columns_are_chosen_as_pandas_users_write_them(columns):
    layer = Columns([(columns, Dense(2))])
    layer.name_features(["a", "b", "c"])
    layer.build(3, random_state=0)
    assert [p.tolist() for p in layer.positions] == [[0, 1]]


@pytest.mark.parametrize("columns", [slice("b", "z"), pd.Index(["z"]), np.array(["a", "z"])])
def test_an_unknown_column_is_named(columns):
    layer = Columns([(columns, Dense(2))])
    layer.name_features(["a", "b", "c"])
    with raises_exactly(ValueError, "in Columns: no column 'z', the input's are a, b, c"):
        layer.build(3)


def test_a_selector_that_needs_the_table_is_refused_with_the_cure():
    selector = make_column_selector(pattern="a")
    with raises_exactly(
        ValueError,
        f"in Columns: columns={selector!r} selects from a DataFrame, which no layer sees: call it "
        "with yours and give the names that it returns",
    ):
        Columns([(selector, Dense(2))]).build(3)


def test_a_history_is_a_table():
    history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "seconds": 1.0}])
    assert list(history) == history.rows
    frame = pd.DataFrame(history)
    assert frame["loss"].tolist() == [0.5, 0.25]
    assert frame.columns.tolist() == history.columns


def test_the_rate_of_a_named_optimizer_is_within_reach():
    model = SequentialClassifier([Dense(4), ReLU()], max_iter=2, random_state=0)
    tuned = model.set_params(optimizer__learning_rate=0.5, optimizer="sgd")
    assert repr(tuned.optimizer) == "SGD(learning_rate=0.5)"
    search = GridSearchCV(
        SequentialClassifier([Dense(4), ReLU()], max_iter=2, n_iter_no_change=None),
        {"optimizer__learning_rate": [0.1, 0.01]},
        cv=2,
    ).fit(X, LABELS)
    assert search.best_estimator_.optimizer_.learning_rate in (0.1, 0.01)


def test_an_unknown_parameter_of_a_named_optimizer_changes_nothing():
    model = SequentialClassifier([Dense(4)])
    with raises_exactly(
        ValueError,
        "SequentialClassifier has no parameter 'optimizer__lr'; valid parameters are "
        "layers, loss, optimizer, batch_size, max_iter, shuffle, random_state, tol, "
        "n_iter_no_change, early_stopping, validation_fraction, class_weight, "
        "warm_start, dtype, head, verbose, optimizer__learning_rate, optimizer__betas, "
        "optimizer__eps, optimizer__weight_decay, optimizer__clip_norm, "
        "optimizer__clip_value, layers__dense_1, layers__dense_1__units, "
        "layers__dense_1__use_bias, layers__dense_1__initializer",
    ):
        model.set_params(optimizer__lr=0.1)
    assert model.optimizer == "adam"


class Gain(Layer):
    """A layer of a user's, in which one method after another is wrong below."""

    def setup(self, input_shape):
        self.add_param("g", input_shape, initializers.ones)
        return input_shape

    def forward(self, x, training=False):
        self.cache = x
        return x * self.params["g"]

    def backward(self, grad_output):
        self.grads["g"][...] = (grad_output * self.cache).sum(0)
        return grad_output * self.params["g"]


def assign_gradient(self, grad_output):
    self.grads["g"] = (grad_output * self.cache).sum(0)


def assign_parameter(self, x, training=False):
    self.params["g"] = self.params["g"] * 2


def assign_buffer(self, x, training=False):
    self.buffers["mean"] = x.mean(0)


def forgets_to_return(self, input_shape):
    self.add_param("g", input_shape, initializers.ones)


SLIPS = {
    "assigned gradient": (
        "backward",
        assign_gradient,
        "grads does not support item assignment: write into the array, "
        "self.grads['g'][...] = value",
    ),
    "assigned parameter": (
        "forward",
        assign_parameter,
        "params does not support item assignment: write into the array, "
        "self.params['g'][...] = value",
    ),
    "assigned buffer": (
        "forward",
        assign_buffer,
        "buffers does not support item assignment: declare it with "
        "self.add_buffer('mean', array) in setup",
    ),
    "updated": (
        "forward",
        lambda self, x, training: self.params.update(g=x),
        "params does not support item assignment: write into its arrays, "
        "self.params[name][...] = value",
    ),
    "deleted": (
        "forward",
        lambda self, x, training: self.params.pop("g"),
        "params does not support item assignment: write into the array, "
        "self.params['g'][...] = value",
    ),
    "setup of None": (
        "setup",
        forgets_to_return,
        "in Slip(): setup must return the shape of the output without the batch "
        "axis, a tuple such as input_shape, got None: end it with a return",
    ),
    "setup of a number": (
        "setup",
        lambda self, shape: 3,
        "in Slip(): setup must return the shape of the output without the batch axis, a "
        "tuple such as input_shape, got 3: end it with a return",
    ),
    "shape of a number": (
        "setup",
        lambda self, shape: self.add_param("g", 3, initializers.ones),
        "in Slip(): the shape of 'g' must be a tuple, got 3",
    ),
    "array for initializer": (
        "setup",
        lambda self, shape: self.add_param("g", shape, np.ones(3)),
        "in Slip(): the initializer of 'g' must be a function (shape, rng) -> array, "
        "such as initializers.zeros, got array([1., 1., 1.])",
    ),
    "forward of None": (
        "forward",
        lambda self, x, training: None,
        "in Slip(): forward must return an array, got None",
    ),
    "forward of a list": (
        "forward",
        lambda self, x, training: [1.0],
        "in Slip(): forward must return an array, got [1.0]",
    ),
    "backward of a list": (
        "backward",
        lambda self, grad: [1.0],
        "in Slip(): backward must return an array, got [1.0]",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_in_a_layer_of_ones_own_gets_the_line_to_write(slip):
    method, wrong, message = SLIPS[slip]
    kind = type("Slip", (Gain,), {method: wrong})

    def use():
        layer = kind().build(3)
        layer.forward(X)
        layer.backward(X)

    with raises_exactly(TypeError, message):
        use()
    right = Gain().build(3)
    right.backward(right.forward(X))


SIGNATURES = {
    "forward": (lambda self, x: x, "self, x", "self, x, training=False"),
    "backward": (lambda self, x, grad_output: x, "self, x, grad_output", "self, grad_output"),
    "setup": (lambda self: None, "self", "self, input_shape"),
    "infer": (lambda self, x, training: x, "self, x, training", "self, x"),
}


@pytest.mark.parametrize("method", SIGNATURES)
def test_a_method_of_a_layer_that_takes_other_arguments_gets_the_line_to_write(method):
    wrong, taken, line = SIGNATURES[method]
    told = f"Slip.{method} takes ({taken}): it is called with all of ({line}), write "
    with raises_exactly(TypeError, f"{told}def {method}({line}):"):
        type("Slip", (Gain,), {method: wrong})
    for right in (lambda *given: given, lambda self, x, more=False, **other: x):
        type("Right", (Gain,), {method: right})


class ForgetsSize(Gain):
    def __init__(self, size, scale=2.0):
        self.n, self.scale = size, scale


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    "use",
    [
        lambda layer: layer.build(3),
        lambda layer: layer.forward(X),
        lambda layer: layer.get_params(),
        lambda layer: clone(layer),
        lambda layer: SequentialClassifier([layer], max_iter=2).fit(X, LABELS),
    ],
    ids=["build", "forward", "get_params", "clone", "fit"],
)
def test_an_argument_that_a_layer_does_not_store_gets_the_line_to_write(use, again):
    told = (
        "ForgetsSize.__init__ must store its arguments under their own names: write "
        "self.size = size"
    )
    for _ in range(1 + again):
        with raises_exactly(TypeError, told):
            use(ForgetsSize(3))


@pytest.mark.parametrize("held", ["params", "grads"])
def test_an_array_by_another_name_says_which_there_are(held):
    told = f"'weight' is not among the {held}, which are ['W', 'b']"
    with raises_exactly(KeyError, repr(told)):
        getattr(Dense(2).build(3), held)["weight"]


def test_views_are_mappings_that_can_be_read_in_every_way():
    layer = Gain().build(3)
    assert list(layer.params) == ["g"] and "g" in layer.grads
    assert dict(layer.params)["g"] is layer.params["g"]
    layer.params["g"] *= 2
    assert layer.flat_params.tolist() == [2, 2, 2]


@pytest.mark.parametrize("flag", ["no", 0, None, [False]])
def test_trainable_is_true_or_false(flag):
    layer = Sequential([Gain(), Dense(2)]).build(3)
    with raises_exactly(
        ValueError, f"in Sequential: trainable must be True or False, got {flag!r}"
    ):
        layer.trainable = flag
    assert layer.trainable and layer[0].trainable
    layer.trainable = np.False_
    assert layer[0].trainable is False


# ---------------------------------------------------------------- what a network is asked for

ELSEWHERE = {
    "network.infer": ("predict", "call", "eval"),
    "layerkit.train": ("fit", "compile", "train"),
    "keeps what is built": ("add", "append", "pop", "insert", "extend", "add_module"),
    "layer.params": ("weight", "bias", "weights", "kernel", "coefs_", "parameters", "state_dict"),
    "network.flat_params": ("get_weights", "set_weights", "load_state_dict"),
    "nothing to zero": ("zero_grad",),
    "chooses the dtype": ("to",),
    "layer.trainable = False": ("requires_grad", "frozen"),
    "network.forward(x, training=True)": ("training",),
    "is rate": ("p",),
}


@pytest.mark.parametrize("built", [True, False], ids=["built", "new"])
@pytest.mark.parametrize("told", ELSEWHERE)
def test_names_of_other_libraries_say_what_they_are_called_here(told, built):
    network = Sequential([Dense(2), ReLU()])
    if built:
        network.build(3)
    for name in ELSEWHERE[told]:
        for layer in (network, network[0]):
            with pytest.raises(AttributeError, match=re.escape(told)):
                getattr(layer, name)
            assert not hasattr(layer, name)


def test_freezing_by_another_name_is_refused_as_it_would_freeze_nothing():
    layer = Dense(2).build(3)
    with raises_exactly(
        AttributeError, "in Dense(units=2): a layer is frozen by layer.trainable = False"
    ):
        layer.requires_grad = False
    assert layer.trainable


OF_ARRAYS = "W b weight bias weights kernel coefs_"
ASSIGNED = {
    "network.flat_params": (lambda: Dense(2).build(3), OF_ARRAYS),
    "the arrays are layer.params": (lambda: Sequential([ReLU()]), OF_ARRAYS),
    "network.infer(x)": (network, "training"),
    "the probability of dropping is rate": (lambda: Dropout(0.5), "p"),
    "layer.trainable = False": (network, "frozen requires_grad"),
    "Adam(): write optimizer.learning_rate = 0.01": (Adam, "lr param_groups"),
    "SGD(): write optimizer.learning_rate = 0.01": (SGD, "lr param_groups"),
}


@pytest.mark.parametrize("told", ASSIGNED)
def test_what_nobody_would_look_at_is_not_assigned(told):
    make, names = ASSIGNED[told]
    for name in names.split():
        owner = make()
        before = vars(owner).copy()
        with pytest.raises(AttributeError, match=re.escape(told)):
            setattr(owner, name, 0.5)
        assert vars(owner) == before
        assert not hasattr(owner, name)
        assert isinstance(owner, Adam | SGD) or name not in dir(owner)


class Halved(Layer):
    """Calls its things as other libraries do."""

    def __init__(self, p=0.5, bias=1.0):
        self.p, self.bias = p, bias

    def forward(self, x, training=False):
        self.weight = self.p
        return x * self.weight + self.bias

    def backward(self, grad_output):
        return grad_output * self.weight


def test_a_layer_of_ones_own_calls_its_things_as_it_likes():
    network = Sequential([Halved()]).build(3)
    (layer,) = network
    layer.bias = 2.0
    for copied in (layer, pickle.loads(pickle.dumps(network))[0], clone(network).build(3)[0]):
        assert copied.forward(np.ones((1, 3))).tolist() == [[2.5] * 3]
        assert (copied.p, copied.bias, copied.weight) == (0.5, 2.0, 0.5)
    assert check_gradients(layer, (3,))
    assert "weight" in dir(layer) and not hasattr(layer, "kernel")
    with pytest.raises(TypeError, match="must store its arguments"):
        type("Forgets", (Layer,), {"__init__": lambda self, bias=1: None})().get_params()


class Renamed(Adam):
    """An optimizer of one's own."""

    def __init__(self, lr=0.1):
        super().__init__(lr)
        self.lr = lr


def test_an_optimizer_of_ones_own_calls_its_things_as_it_likes():
    twin = clone(Renamed(0.2))
    assert (twin.lr, twin.learning_rate) == (0.2, 0.2)


@pytest.mark.parametrize("name", ["flat_params", "flat_grads", "nothing", "_nothing"])
def test_what_an_attribute_raised_itself_is_what_comes(name):
    part = Sequential([Dense(2), ReLU()]).build(3)[0]
    told = f"'Dense' object has no attribute '{name}'"
    if "flat" in name:
        told = f"in layers.0 Dense(units=2): only the root of a tree has {name}"
    with raises_exactly(AttributeError, told):
        getattr(part, name)


ONCE_ONLY = {
    "generator": lambda: (Dense(2) for _ in range(2)),
    "map": lambda: map(Dense, (2, 3)),
    "iterator": lambda: iter([Dense(2)]),
}


@pytest.mark.parametrize("kind", ONCE_ONLY)
def test_layers_that_can_be_read_only_once_are_no_list(kind):
    given = ONCE_ONLY[kind]()
    with raises_exactly(TypeError, f"layers must be a list of layers, got {given}"):
        Sequential(given).build(3)


@pytest.mark.parametrize("function", [np.zeros, np.ones, max, len], ids=lambda f: f.__name__)
@pytest.mark.parametrize("make", [Dense, lambda **k: Conv2D(2, 1, **k)], ids=["Dense", "Conv2D"])
def test_a_function_that_is_no_initializer_is_named(make, function):
    layer = Dense(2, initializer=function) if make is Dense else make(initializer=function)
    told = r"in (Dense|Conv2D)\(.*: the initializer of [WK]\w* must be a function \(shape, rng\)"
    with pytest.raises(TypeError, match=told):
        layer.build(3 if make is Dense else (4, 4, 1))
    assert not layer.is_built


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
@pytest.mark.parametrize("kind", [schedules.CosineDecay, schedules.Constant, np.float64, int])
def test_a_class_is_no_schedule(name, kind):
    optimizer, params = Adam(**{name: kind}), np.ones(3)
    called = f"that is the class, write {kind.__name__}(...)"
    with raises_exactly(
        ValueError,
        f"Adam({name}={kind.__name__}): {name} must be a finite number >= 0 or a schedule, "
        f"got {kind}" + f": {called}" * (kind.__module__.startswith("layerkit")),
    ):
        optimizer.step(params, np.ones(3))
    assert params.tolist() == [1, 1, 1]


# ---------------------------------------------------------------- first steps that go wrong

LINE = re.escape("train(network, loss, optimizer, (X, y), epochs=10)")
LOSS, RULE = MeanSquaredError(), Adam()
DISORDER = {
    "X, y apart": lambda: train(network(), LOSS, RULE, X, Y),
    "X, y apart, with epochs": lambda: train(network(), LOSS, RULE, X, Y, epochs=1),
    "no loss": lambda: train(network(), X, Y, epochs=1),
    "no epochs": lambda: train(network(), LOSS, RULE, (X, Y)),
    "n_epochs": lambda: train(network(), LOSS, RULE, (X, Y), n_epochs=1),
    "lr": lambda: train(network(), LOSS, RULE, (X, Y), epochs=1, lr=0.1),
    "data first": lambda: train((X, Y), network(), LOSS, RULE, epochs=1),
    "data second": lambda: train(network(), (X, Y), LOSS, RULE, epochs=1),
    "loss first": lambda: train(LOSS, network(), RULE, (X, Y), epochs=1),
    "optimizer before loss": lambda: train(network(), RULE, LOSS, (X, Y), epochs=1),
    "data before optimizer": lambda: train(network(), LOSS, (X, Y), RULE, epochs=1),
}


@pytest.mark.parametrize("disorder", DISORDER)
def test_train_in_a_wrong_order_gets_the_line_to_write(disorder):
    with pytest.raises(TypeError, match=LINE) as caught:
        DISORDER[disorder]()
    assert len(str(caught.value)) < 300  # the line, not the rows


OF_HEALTH = re.escape("health(network, X, y, loss) or health(estimator, X, y)")
OF_REPORT = re.escape("monitor.report() or monitor.report(X, y)")
CLASS = "that is the class, write"


def model():
    return MLPClassifier((4,), max_iter=2)


def watched():
    monitor = HealthMonitor()
    train(network(), LOSS, Adam(), (X, Y), epochs=1, callbacks=[monitor])
    return monitor


UNWELL = {
    "the order of train": (lambda: health(network(), LOSS, (X, Y)), OF_HEALTH),
    "with weights": (lambda: health(network(), LOSS, (X, Y, np.ones(40))), OF_HEALTH),
    "with an optimizer": (lambda: health(network(), LOSS, RULE, (X, Y)), OF_HEALTH),
    "a pair": (lambda: health(network(), (X, Y)), OF_HEALTH),
    "a pair and the loss": (lambda: health(network(), (X, Y), LOSS), OF_HEALTH),
    "a pair and loss=": (lambda: health(network(), (X, Y), loss=LOSS), OF_HEALTH),
    "data=": (lambda: health(network(), data=(X, Y), loss=LOSS), OF_HEALTH),
    "the loss before the data": (lambda: health(network(), LOSS, X, Y), OF_HEALTH),
    "the loss between the data": (lambda: health(network(), X, LOSS, Y), OF_HEALTH),
    "the data first": (lambda: health((X, Y), network(), LOSS), OF_HEALTH),
    "X, y first": (lambda: health(X, Y, network()), OF_HEALTH),
    "an estimator, a pair": (lambda: health(model(), (X, LABELS)), OF_HEALTH),
    "an estimator, no y": (lambda: health(model(), X, None), OF_HEALTH),
    "the optimizer fifth": (lambda: health(network(), X, Y, LOSS, RULE), OF_HEALTH),
    "lr=": (lambda: health(network(), X, Y, lr=0.1), OF_HEALTH),
    "a class of losses": (lambda: health(network(), X, Y, MeanSquaredError), CLASS),
    "a name": (lambda: health(network(), X, Y, "mse"), r"loss must be .*MeanSquaredError\(\)"),
    "the optimizer for the loss": (lambda: health(network(), X, Y, RULE), "loss must be .*Adam"),
    "a class of optimizers": (lambda: health(network(), X, Y, optimizer=Adam), CLASS),
    "the name of one": (lambda: health(network(), X, Y, optimizer="adam"), r"such as Adam\(\)"),
    "a class of networks": (lambda: health(Sequential, X, Y), CLASS),
    "a class of estimators": (lambda: health(MLPClassifier, X, LABELS), CLASS),
    "a list of layers": (lambda: health([Dense(1)], X, Y), "network_or_estimator must be"),
    "rows without targets": (lambda: health(network(), X, Y, validation_data=X), "validation_data"),
    "a report on a pair": (lambda: watched().report((X, Y)), OF_REPORT),
    "a report on X": (lambda: watched().report(X), OF_REPORT),
    "a report in the order of train": (lambda: watched().report(LOSS, (X, Y)), OF_REPORT),
    "a report of a network": (lambda: watched().report(network(), X, Y), OF_REPORT),
    "a report without targets": (lambda: watched().report(validation_data=X), "validation_data"),
}


@pytest.mark.parametrize("call", UNWELL)
def test_health_in_a_wrong_order_gets_the_line_to_write(call):
    ask, told = UNWELL[call]
    with pytest.raises((TypeError, ValueError), match=told) as caught:
        ask()
    assert len(str(caught.value)) < 300  # the line, not the rows


def test_a_type_error_inside_train_stays_what_it_is():
    def odd(state):
        raise TypeError("of a callback")

    network = Sequential([Dense(1)]).build(3, random_state=0)
    with raises_exactly(TypeError, "of a callback"):
        train(network, MeanSquaredError(), Adam(), (X, Y[:, :1]), epochs=1, callbacks=[odd])


@pytest.mark.parametrize("make", [SequentialClassifier, SequentialRegressor])
def test_an_estimator_without_layers_gets_the_line_to_write(make):
    line = (
        f"{make.__name__}: missing a required argument: 'layers'; write "
        f"{make.__name__}([Dense(64), ReLU()])"
    )
    with raises_exactly(TypeError, line):
        make()
    assert clone(make([Dense(4)], max_iter=3)).max_iter == 3
    assert pickle.loads(pickle.dumps(make([Dense(4)], max_iter=3))).max_iter == 3
    assert next(iter(inspect.signature(make).parameters)) == "layers"


VALIDATION = {
    "gaps": (np.full((9, 3), np.nan), Y[:9, 0], "contains NaN"),
    "columns": (X[:9, :2], Y[:9, 0], "2 features"),
    "rows": (X[:9], Y[:8, 0], "[Ii]nconsistent"),
    "text": (np.full((9, 3), "a"), Y[:9, 0], "strings|no numbers|numeric"),
    "gaps in y": (X[:9], np.full(9, np.nan), "y contains NaN"),
}


@pytest.mark.parametrize("kind", VALIDATION)
@pytest.mark.parametrize("make", [lambda: SequentialRegressor([Dense(4)]), TabularRegressor],
                         ids=["Sequential", "Tabular"])  # fmt: skip
def test_errors_in_validation_data_say_so(make, kind):
    X_val, y_val, message = VALIDATION[kind]
    if make is TabularRegressor and kind in ("gaps", "text"):
        pytest.skip("a table may have gaps and text")
    with pytest.raises(ValueError, match=f"X_val and y_val: .*({message})"):
        make().fit(X, Y[:, 0], X_val=X_val, y_val=y_val)


@pytest.mark.parametrize("kind", ["Sequential", "MLP", "Tabular"])
def test_labels_of_validation_data_that_are_new_are_not_blamed_on_y(kind):
    model = {
        "Sequential": SequentialClassifier([Dense(4)]),
        "MLP": MLPClassifier((4,)),
        "Tabular": TabularClassifier.quick(),
    }[kind]
    with raises_exactly(
        ValueError, "X_val and y_val: y has the new classes [7]; the network knows [0, 1]"
    ):
        model.fit(X, LABELS, X_val=X[:3], y_val=[0, 1, 7])


def test_a_frozen_network_is_not_trained_in_silence():
    net = network()
    net.trainable = False
    with warns_exactly(
        UserWarning,
        "nothing is learned: all 2 layers that have parameters are frozen. Set trainable "
        "= True on those that should learn, layer by layer",
    ) as seen:
        train(net, LOSS, RULE, (X, Y), epochs=1)
    assert seen[0].filename == __file__
    net[0].trainable = True
    train(net, LOSS, RULE, (X, Y), epochs=1)


def test_codes_are_asked_for_where_numbers_came():
    net = Sequential([Embedding(10, 3), Flatten(), Dense(2)])
    with raises_exactly(
        ValueError,
        re.compile(
            r"in layers\.0 Embedding\(num_embeddings=10, dim=3\): expects integers from 0 to 9, "
            r"got -?\d\.\d+ at \[0, 0\]: it looks up codes of categories, whole numbers such as "
            r"those of sklearn\.preprocessing\.OrdinalEncoder; check_gradients needs some too, "
            r"x=codes"
        ),
    ):
        check_gradients(net, (4,))
    assert check_gradients(net, x=RNG.integers(10, size=(5, 4)))


def test_a_display_that_is_given_a_record_names_the_method():
    history = History([{"epoch": 1, "loss": 0.5}])
    with raises_exactly(
        TypeError,
        "loss must be an array of numbers, got a History: write "
        "TrainingCurveDisplay.from_history(history)",
    ):
        TrainingCurveDisplay(history)
    model = SequentialRegressor([Dense(4)], max_iter=1, n_iter_no_change=None).fit(X, Y[:, 0])
    got = "got a SequentialRegressor"
    line = "write TrainingCurveDisplay.from_estimator(estimator)"
    for make, told in {
        TrainingCurveDisplay: f"loss must be an array of numbers, {got}: {line}",
        TrainingCurveDisplay.from_history: (
            f"history must be what train returned, {got}; of an estimator {line}"
        ),
    }.items():
        with raises_exactly(TypeError, told):
            make(model)


@pytest.mark.parametrize("verbose", [-1, 1.5, "yes", None])
def test_verbose_is_a_flag(verbose):
    for use in (
        lambda: train(network(), LOSS, RULE, (X, Y), epochs=1, verbose=verbose),
        lambda: SequentialRegressor([Dense(4)], verbose=verbose).fit(X, Y[:, 0]),
        lambda: MLPRegressor(verbose=verbose).fit(X, Y[:, 0]),
    ):
        with pytest.raises(ValueError, match="verbose must be True"):
            use()


SPELLINGS = [
    (SequentialClassifier, {"lr": 0.1}, r"write optimizer=Adam\(learning_rate=\.\.\.\)"),
    (SequentialClassifier, {"epochs": 3}, "write max_iter"),
    (SequentialRegressor, {"hidden_layer_sizes": (8,)}, r"write layers=\[Dense\(64\), ReLU\(\)\]"),
    (SequentialRegressor, {"n_jobs": 2}, "in the search or the cross-validation"),
    (MLPClassifier, {"lr": 0.1}, "write learning_rate_init"),
    (MLPClassifier, {"callbacks": []}, "set_callbacks"),
    (MLPRegressor, {"epochs": 3}, "write max_iter"),
    (SequentialClassifier, {"criterion": "mse"}, "write loss"),
    (SequentialRegressor, {"alpha": 0.1}, r"write optimizer=AdamW\(weight_decay=\.\.\.\)"),
    (TabularClassifier, {"epochs": 3}, "write max_iter"),
    (TabularClassifier, {"n_estimators": 3}, "write members"),
    (TabularClassifier, {"hidden_layers": (8,)}, "write hidden_layer_sizes"),
    (TabularRegressor, {"lr": 0.1}, "write learning_rate"),
    (TabularRegressor, {"patience": 3}, "trains for max_iter epochs and keeps the best"),
    (TabularRegressor, {"seed": 3}, "write random_state"),
    (Dense, {"bias": False}, "write use_bias"),
    (Conv2D, {"strides": 2}, "write stride"),
    (Dropout, {"p": 0.3}, "write rate"),
]


@pytest.mark.parametrize(("make", "params", "told"), SPELLINGS, ids=str)
def test_arguments_of_other_libraries_say_what_to_write(make, params, told):
    needed = {Dense: (4,), Conv2D: (4, 3), SequentialClassifier: ([],), SequentialRegressor: ([],)}
    (name,) = params
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'.*{told}"):
        make(*needed.get(make, ()), **params)


TOLD = {
    "a network": (
        lambda: Sequential([Dense(2)]).build(3, seed=0),
        "Sequential.build: got an unexpected keyword argument 'seed'; it takes input_shape, "
        "random_state, dtype, rebuild",
    ),
    "a layer": (
        lambda: Dense(2).build(3, units=4),
        "Dense.build: got an unexpected keyword argument 'units'; it takes input_shape, "
        "random_state, dtype, rebuild; units is told to the constructor, Dense(..., units=4)",
    ),
    "Sequential": (
        lambda: SequentialClassifier([Dense(4)]).partial_fit(X, LABELS, epochs=3),
        "SequentialClassifier.partial_fit: got an unexpected keyword argument 'epochs'; it takes "
        "X, y, classes, sample_weight; write max_iter, in the constructor",
    ),
    "MLP": (
        lambda: MLPClassifier().partial_fit(X, LABELS, epochs=3),
        "MLPClassifier.partial_fit: got an unexpected keyword argument 'epochs'; it takes "
        "X, y, sample_weight, classes; write max_iter, in the constructor",
    ),
    "numbers": (
        lambda: MLPRegressor().partial_fit(X, LABELS, verbose=1),
        "MLPRegressor.partial_fit: got an unexpected keyword argument 'verbose'; it takes "
        "X, y, sample_weight; verbose is told to the constructor, MLPRegressor(..., verbose=1)",
    ),
}


@pytest.mark.parametrize("kind", TOLD)
def test_methods_name_their_own_class_and_what_they_take(kind):
    call, told = TOLD[kind]
    with raises_exactly(TypeError, told):
        call()


OF_ALL = {
    "write max_iter, in the constructor": "epochs n_epochs num_epochs max_epochs",
    "write random_state, in the constructor": "seed random_seed",
    "pass them to set_callbacks": "callbacks",
    "give them to fit, X_val and y_val": "validation_data eval_set",
    "everything is computed on processors": "device",
    "score them by sklearn.model_selection.cross_validate(scoring=...)": "metrics",
}
OF_NETWORKS = {
    "write early_stopping=True and validation_fraction, in the constructor": "validation_split",
    "write n_iter_no_change, in the constructor": "patience",
    "set it in the search or the cross-validation around this estimator": "n_jobs",
}
OF_PERCEPTRONS = {
    "write learning_rate_init, in the constructor": "lr",
    "write alpha, in the constructor": "weight_decay",
    "write dropout, in the constructor": "dropout_rate",
    "write hidden_layer_sizes, or take SequentialClassifier or SequentialRegressor": "layers",
    "write solver, in the constructor": "optimizer",
}
OF_SEQUENTIALS = {
    "write optimizer=Adam(learning_rate=...), in the constructor": "lr learning_rate "
    "learning_rate_init",
    "write optimizer=AdamW(weight_decay=...), in the constructor": "weight_decay alpha",
    "write loss, in the constructor": "criterion loss_fn objective",
    'write optimizer="adam", in the constructor': "solver",
    "put Dropout(rate) among the layers": "dropout",
    "put it among the layers, such as ReLU()": "activation",
    "write layers=[Dense(64), ReLU()]": "hidden_layer_sizes",
}
OF_TABLES = {
    "write validation_fraction, in the constructor": "validation_split",
    "write learning_rate, in the constructor": "lr learning_rate_init",
    "write members, in the constructor": "n_estimators n_members",
    "write hidden_layer_sizes=(256, 256), in the constructor": "layers hidden_layers hidden_sizes",
    "write dropout, in the constructor": "dropout_rate",
    "write weight_decay, in the constructor": "alpha",
    "it learns by AdamW: write learning_rate and weight_decay": "optimizer",
    "write monitor, in the constructor": "scoring",
    "each member trains for max_iter epochs and keeps the best of them": "early_stopping "
    "n_iter_no_change patience",
}
LINES = {
    MLPClassifier: OF_ALL | OF_NETWORKS | OF_PERCEPTRONS,
    MLPRegressor: OF_ALL | OF_NETWORKS | OF_PERCEPTRONS,
    SequentialClassifier: OF_ALL | OF_NETWORKS | OF_SEQUENTIALS,
    SequentialRegressor: OF_ALL | OF_NETWORKS | OF_SEQUENTIALS,
    TabularClassifier: OF_ALL | OF_TABLES,
    TabularRegressor: OF_ALL | OF_TABLES,
}


@pytest.mark.parametrize("kind", LINES)
def test_every_name_of_other_libraries_gets_its_whole_line(kind):
    names = {name: line for line, several in LINES[kind].items() for name in several.split()}
    assert kind.habits.keys() == names.keys()
    needed = ([],) if "Sequential" in kind.__name__ else ()
    for name, line in names.items():
        with pytest.raises(TypeError, match=f"'{name}'.*; {re.escape(line)}$"):
            kind(*needed, **{name: 1})
        for written in re.findall(r"write (\w+)", line):
            assert written in kind(*needed).get_params()


KINDS = {
    "Sequential": lambda: SequentialClassifier([Dense(4)]),
    "numbers": lambda: SequentialRegressor([Dense(4)]),
    "MLP": lambda: MLPClassifier((4,)),
    "MLP of numbers": lambda: MLPRegressor(hidden_layer_sizes=(4,)),
    "Tabular": TabularClassifier.quick,
    "Tabular of numbers": TabularRegressor.quick,
}
AT_FIT = {
    "epochs": (3, "write max_iter, in the constructor"),
    "batch_size": (8, r"batch_size is told to the constructor, \w+\(..., batch_size=8\)"),
    "verbose": (1, r"verbose is told to the constructor, \w+\(..., verbose=1\)"),
    "lr": (0.1, r"write (optimizer=Adam\(learning_rate|learning_rate).*, in the constructor"),
    "validation_data": ((X, LABELS), "give them to fit, X_val and y_val"),
    "callbacks": ([], "pass them to set_callbacks"),
}


@pytest.mark.parametrize("name", AT_FIT)
@pytest.mark.parametrize("kind", KINDS)
def test_what_other_libraries_tell_to_fit_has_its_place(kind, name):
    value, told = AT_FIT[name]
    model = KINDS[kind]()
    line = rf"{type(model).__name__}\.fit: got an unexpected .* '{name}'; it takes X, .*; {told}"
    with pytest.raises(TypeError, match=f"^{line}$"):
        model.fit(X, LABELS, **{name: value})
    assert not [attribute for attribute in vars(model) if attribute.endswith("_")]


STEPS = RNG.normal(size=(40, 5, 3))
OF_STEPS = "got (40, 5, 2): for a target of every step give lists of arrays, fit(list(X), list(y))"
AXES = "got (40, 5, 2): its axes can become columns, y.reshape(len(y), -1)"


@pytest.mark.parametrize("y", [STEPS[..., :2], STEPS[..., :2] > 0], ids=["numbers", "classes"])
@pytest.mark.parametrize("kind", KINDS)
def test_targets_of_three_axes_say_how_those_of_steps_are_given(kind, y):
    given = [(X, AXES)] if "Sequential" not in kind else [(X, AXES), (STEPS, OF_STEPS)]
    for rows, told in given:
        with raises_exactly(
            ValueError, f"y must be (n_samples,) or (n_samples, n_outputs), {told}"
        ):
            KINDS[kind]().fit(rows, y)


def test_targets_of_steps_given_as_lists_are_learned():
    model = SequentialRegressor([Dense(8)], max_iter=200, random_state=0)
    model.fit(list(STEPS), list(STEPS[..., :2]))
    assert np.shape(model.predict(list(STEPS))) == (40, 5, 2)
    assert model.score(list(STEPS), list(STEPS[..., :2])) > 0.9


OUT_OF_RANGE = {
    "Quantile": (
        losses.Quantile(90),
        Adam(),
        "Quantile(quantiles=90): quantiles must be between 0 and 1, one number or a "
        "sequence of them, got 90",
    ),
    "Huber": (losses.Huber(-1), Adam(), "Huber(delta=-1): delta must be a positive number, got -1"),
    "Tweedie": (
        losses.Tweedie("a"),
        Adam(),
        "Tweedie(power='a'): power must be a finite number, got 'a'",
    ),
    "Focal": (
        losses.Focal(-1),
        Adam(),
        "Focal(gamma=-1): gamma must be a number, at least 0, got -1",
    ),
    "smoothing": (
        losses.BinaryCrossEntropy(label_smoothing=9),
        Adam(),
        "BinaryCrossEntropy(label_smoothing=9): label_smoothing must be between 0 and 1, got 9",
    ),
    "Adam": (
        MeanSquaredError(),
        Adam(betas=(0.9, 2)),
        "Adam(betas=(0.9, 2)): betas must be two numbers in [0, 1), got (0.9, 2)",
    ),
    "rate": (
        MeanSquaredError(),
        Adam(learning_rate=-1),
        "Adam(learning_rate=-1): learning_rate must be a finite number >= 0 or a schedule, got -1",
    ),
    "LBFGS": (
        MeanSquaredError(),
        LBFGS(history=0),
        "LBFGS(history=0): history must be an integer >= 1, got 0",
    ),
}


@pytest.mark.parametrize("kind", OUT_OF_RANGE)
def test_train_refuses_what_is_out_of_range_before_it_builds_a_network(kind):
    loss, optimizer, told = OUT_OF_RANGE[kind]
    net = Sequential([Dense(1)])
    with raises_exactly(ValueError, told):
        train(net, loss, optimizer, (X, np.abs(Y)), epochs=1)
    assert not net.is_built


@pytest.mark.parametrize("sizes", [(64,), 64, [64, 32], np.array([8])], ids=repr)
def test_sizes_where_the_loss_comes_first_say_where_they_go(sizes):
    with raises_exactly(
        ValueError,
        f"MLPRegressor: loss must be one of squared_error, poisson, got {sizes!r}; it comes first, "
        f"as in scikit-learn since 1.7: write hidden_layer_sizes={sizes!r}",
    ):
        MLPRegressor(sizes).fit(X, Y[:, 0])


def test_layers_are_given_in_a_list():
    with raises_exactly(
        TypeError,
        "SequentialClassifier: too many positional arguments; it is "
        "SequentialClassifier(layers, *, loss='auto', optimizer='adam', "
        "batch_size='auto', max_iter=200, shuffle=True, random_state=None, tol=0.0001, "
        "n_iter_no_change=10, early_stopping=False, validation_fraction=0.1, "
        "class_weight=None, warm_start=False, dtype='auto', head='auto', verbose=False); "
        "put the layers into a list, such as [Dense(64), ReLU()]",
    ):
        SequentialClassifier(Dense(4), ReLU())


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (-np.ones(40), "must be finite and not negative, got numbers from -1 to -1"),
        (np.full(40, np.nan), "must be finite and not negative, got numbers from nan to nan"),
        (np.zeros(40), "is zero for all rows"),
        (np.ones((40, 1)), "must have one weight for each of the 40 rows of X, got (40, 1)"),
        (
            "balanced",
            "must be numbers, one for each row, got 'balanced'; "
            "sklearn.utils.class_weight.compute_sample_weight makes them of a class_weight",
        ),
    ],
    ids=["negative", "NaN", "zero", "2-D", "a name"],
)
def test_weights_of_train_are_one_number_a_row(weight, told):
    with raises_exactly(ValueError, f"sample_weight {told}"):
        train(network(), LOSS, RULE, (X, Y, weight), epochs=1)
