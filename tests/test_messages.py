"""Messages for what is seldom done wrong, whole: those of the rest stand with what they refuse."""

import numpy as np
import pytest
import scipy.sparse as sp
from errors import raises_exactly

from layerkit import (
    LSTM,
    BatchNorm,
    Dense,
    Layer,
    MLPClassifier,
    MLPRegressor,
    PositionalEmbedding,
    ReLU,
    Sequential,
    SequentialRegressor,
    TableEncoder,
)
from layerkit.inspection import (
    GradientThroughTimeDisplay,
    TrainingCurveDisplay,
    health,
)
from layerkit.inspection.displays.display import Display
from layerkit.layers.activations import Elementwise
from layerkit.losses import Loss, MeanSquaredError

X, y = np.ones((4, 3)), np.arange(4.0)
NO_PERCEPTRON = (
    "network is not one that MLPRegressor has, hidden layers of Dense, maybe BatchNorm(), an "
    "activation and maybe Dropout, and a Dense of one output for each class (of two: one for "
    "both) or target: {}. SequentialRegressor.from_network takes any network"
)
STEPS = [np.ones((2, 3)), np.ones((5, 3))]


class Flat(Layer):
    """Takes rows of one length only."""

    def forward(self, x, training=False):
        return x


def built(*layers, shape=3):
    return Sequential(list(layers)).build(shape, random_state=0)


def kept_state():
    layer = LSTM(2, stateful=True).build((None, 3), random_state=0)
    layer.forward(np.ones((4, 2, 3), np.float32))
    layer.forward(np.ones((3, 2, 3), np.float32))


MESSAGES = {
    **{
        f"a {kind.__name__} without {method}": (
            NotImplementedError,
            lambda kind=kind, method=method, n=n: getattr(kind(), method)(*[X] * n),
            f"{kind.__name__} defines no {method}",
        )
        for kind, method, n in [
            (Elementwise, "function", 1),
            (Elementwise, "derivative", 1),
            (Loss, "value", 2),
            (Loss, "derivative", 2),
            (Display, "draw", 1),
        ]
    },
    "unequal rows for a layer that takes none": (
        ValueError,
        lambda: built(Dense(2), Flat(), shape=(None, 3)),
        "in layers.1 Flat(): takes rows of one length only, got (n_samples, time, 2)",
    ),
    "more steps than positions": (
        ValueError,
        lambda: built(PositionalEmbedding(4), shape=(None, 3)).infer(np.ones((1, 5, 3))),
        "in layers.0 PositionalEmbedding(max_length=4): rows must have at most max_length=4 "
        "steps, got 5",
    ),
    "a state of other rows": (
        ValueError,
        kept_state,
        "in LSTM(units=2, stateful=True): the state it goes on from is of 4 rows, (4, 2) and "
        "(4, 2), got 3 rows, for which it would be (3, 2) and (3, 2); reset_state() begins with "
        "new rows",
    ),
    "a sparse row": (
        TypeError,
        lambda: SequentialRegressor([LSTM(2)]).fit([STEPS[0], sp.csr_array(STEPS[1])], y[:2]),
        "row 1 is sparse, rows of sequences must be arrays; use .toarray()",
    ),
    "unequal rows for a perceptron": (
        ValueError,
        lambda: MLPRegressor().fit(STEPS, y[:2]),
        "MLPRegressor takes a table, got Sequences of 2 rows, 2 to 5 steps of shape (3,), float64",
    ),
    "targets of three axes": (
        ValueError,
        lambda: SequentialRegressor([Dense(2)]).fit(X, np.ones((4, 2, 2))),
        "y must be (n_samples,) or (n_samples, n_outputs), got (4, 2, 2): its axes can become "
        "columns, y.reshape(len(y), -1)",
    ),
    "targets of three axes for steps": (
        ValueError,
        lambda: SequentialRegressor([LSTM(2)]).fit(np.ones((4, 2, 2)), np.ones((4, 2, 2))),
        "y must be (n_samples,) or (n_samples, n_outputs), got (4, 2, 2): for a target of every "
        "step give lists of arrays, fit(list(X), list(y))",
    ),
    "labels of no kind": (
        ValueError,
        lambda: MLPClassifier().fit(X, np.array([object] * 4, dtype=object)),
        "Unknown label type: y must hold text, or numbers in a dtype of numbers, got "
        "<class 'object'> (type) in row 0: y.astype(str) makes text of it",
    ),
    "weights of no perceptron": (
        AttributeError,
        lambda: MLPRegressor().coefs_,
        "MLPRegressor has no coefs_ before it is fitted",
    ),
    "a vector for a table": (
        ValueError,
        lambda: TableEncoder().fit(y),
        "Expected 2D array, got 1D array of shape (4,) instead. Reshape your data: "
        "array.reshape(-1, 1) if it has a single feature, array.reshape(1, -1) if it is a single "
        "sample",
    ),
    "too few names": (
        ValueError,
        lambda: TableEncoder().fit(X).get_feature_names_out(["a"]),
        "input_features should have length equal to number of features (3), got 1",
    ),
    "a norm that is no vector": (
        ValueError,
        lambda: GradientThroughTimeDisplay({"lstm": X}),
        "norms of 'lstm' must be a vector, got shape (4, 3)",
    ),
    "a history that is none": (
        TypeError,
        lambda: TrainingCurveDisplay.from_history([1.0]),
        "history must be what train returned, got a list; of an estimator write "
        "TrainingCurveDisplay.from_estimator(estimator)",
    ),
    "a class in place of rows": (
        TypeError,
        lambda: health(built(Dense(1)), Dense, y, MeanSquaredError()),
        "X must be the rows, as in health(network, X, y, loss) or health(estimator, X, y), got "
        "<class 'layerkit.layers.dense.Dense'>: that is the class, write Dense(...)",
    ),
    "no network to examine": (
        TypeError,
        lambda: health(3, X, y),
        "network_or_estimator must be a layerkit network, an MLP or Sequential estimator, or a "
        "Pipeline that ends in one, got 3",
    ),
    "masked values": (
        ValueError,
        lambda: SequentialRegressor([Dense(2)]).fit(np.ma.masked_equal(np.eye(4), 1), y),
        "X is a masked array, 4 of whose 16 values are masked: fill them in, X.filled(value), or "
        "leave their rows out",
    ),
    "no perceptron at its ends": (
        ValueError,
        lambda: MLPRegressor.from_network(built(ReLU(), Dense(1))),
        NO_PERCEPTRON.format(
            "it must begin and end with Dense, got Sequential(layers=[ReLU(), Dense(units=1)])"
        ),
    ),
    "some layers normed": (
        ValueError,
        lambda: MLPRegressor.from_network(
            built(Dense(2), BatchNorm(), ReLU(), Dense(2), ReLU(), Dense(1))
        ),
        NO_PERCEPTRON.format("only some of its hidden layers have BatchNorm()"),
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_whole(name):
    kind, call, text = MESSAGES[name]
    with raises_exactly(kind, text):
        call()
