"""What is refused: each message names the parameter, what is allowed and what came."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from errors import raises_exactly, theirs, warns_exactly
from sklearn.datasets import load_iris
from sklearn.model_selection import GroupShuffleSplit, PredefinedSplit

from layerkit import (
    Conv2D,
    Dense,
    LogSoftmax,
    MLPClassifier,
    ReLU,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
    Softmax,
    Tanh,
)
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    GaussianNLL,
    Hinge,
    MeanSquaredError,
    Poisson,
    Quantile,
)
from layerkit.optimizers import LBFGS, Adam

X, Y = load_iris(return_X_y=True)
MULTILABEL = np.column_stack([Y > 0, Y > 1]).astype(int)
SEVERAL = np.column_stack([Y, Y])
WEIGHT = np.ones(150)


def classifier(layers=(), **options):
    options = {"max_iter": 2, "n_iter_no_change": None, "random_state": 0, **options}
    return SequentialClassifier(list(layers) or [Dense(4), ReLU()], **options)


def regressor(**options):
    return SequentialRegressor([Dense(4)], max_iter=2, n_iter_no_change=None, **options)


def fitted(**options):
    return classifier(**options).fit(X, Y)


def refused(message):
    return raises_exactly((ValueError, TypeError), message)


PARAMETERS = [
    ("max_iter", 0, "SequentialClassifier: max_iter must be a positive integer, got 0"),
    ("max_iter", 2.5, "SequentialClassifier: max_iter must be a positive integer, got 2.5"),
    (
        "batch_size",
        -1,
        "SequentialClassifier: batch_size must be 'auto' or a positive integer, got -1",
    ),
    (
        "batch_size",
        "all",
        "SequentialClassifier: batch_size must be 'auto' or a positive integer, got 'all'",
    ),
    ("tol", -1e-4, "SequentialClassifier: tol must be a finite number >= 0, got -0.0001"),
    ("tol", "small", "SequentialClassifier: tol must be a finite number >= 0, got 'small'"),
    (
        "n_iter_no_change",
        0,
        "SequentialClassifier: n_iter_no_change must be None or a positive integer, got 0",
    ),
    (
        "early_stopping",
        "yes",
        "SequentialClassifier: early_stopping must be True, False or a splitter such as "
        "GroupShuffleSplit(), got 'yes'",
    ),
    (
        "early_stopping",
        5,
        "SequentialClassifier: early_stopping must be True, False or a splitter such as "
        "GroupShuffleSplit(), got 5",
    ),
    (
        "validation_fraction",
        1.0,
        "SequentialClassifier: validation_fraction must be between 0 and 1, exclusive, got 1.0",
    ),
    ("shuffle", "no", "SequentialClassifier: shuffle must be True or False, got 'no'"),
    ("warm_start", None, "SequentialClassifier: warm_start must be True or False, got None"),
    ("verbose", "loud", "SequentialClassifier: verbose must be True or False, got 'loud'"),
    (
        "dtype",
        "float16",
        "SequentialClassifier: dtype must be 'auto', 'float32' or 'float64', got 'float16'",
    ),
    (
        "dtype",
        int,
        "SequentialClassifier: dtype must be 'auto', 'float32' or 'float64', got <class 'int'>",
    ),
    ("dtype", None, "SequentialClassifier: dtype must be 'auto', 'float32' or 'float64', got None"),
    (
        "dtype",
        float,
        "SequentialClassifier: dtype must be 'auto', 'float32' or 'float64', got <class 'float'>",
    ),
    ("head", Dense(3), "SequentialClassifier: head must be 'auto' or None, got Dense(units=3)"),
    (
        "random_state",
        -1,
        "random_state must be None, a non-negative integer, a numpy Generator, "
        "RandomState or SeedSequence, got -1",
    ),
    (
        "loss",
        "log_los",
        "SequentialClassifier: loss must be 'auto', a Loss, or one of "
        "binary_cross_entropy, categorical_cross_entropy, cosine_similarity, focal, "
        "gamma, gaussian_nll, hinge, huber, kl_divergence, log_cosh, "
        "mean_absolute_error, mean_squared_error, multi_margin, negative_log_likelihood, "
        "poisson, quantile, squared_hinge, tweedie, got 'log_los'",
    ),
    ("loss", 3, "SequentialClassifier: loss must be 'auto', a name or a Loss, got 3"),
    (
        "loss",
        CategoricalCrossEntropy(label_smoothing=2.0),
        "CategoricalCrossEntropy(label_smoothing=2.0): label_smoothing must be "
        "between 0 and 1, got 2.0",
    ),
    (
        "loss",
        MeanSquaredError(),
        "loss=MeanSquaredError() does not classify; use a loss whose `scores` are "
        "'logits' or 'margins', such as BinaryCrossEntropy, CategoricalCrossEntropy, "
        "Focal or Hinge",
    ),
    (
        "optimizer",
        "adamm",
        "SequentialClassifier: optimizer must be an Optimizer, or one of lbfgs, sgd, "
        "adadelta, adagrad, adam, adamw, adamax, lion, nadam, radam, rmsprop, rprop, got "
        "'adamm'",
    ),
    (
        "optimizer",
        Adam,
        "SequentialClassifier: optimizer must be a name or an Optimizer, got <class "
        "'layerkit.optimizers.adam.Adam'>: that is the class, write Adam(...)",
    ),
    (
        "optimizer",
        Adam(-1.0),
        "Adam(learning_rate=-1.0): learning_rate must be a finite number >= 0 or a "
        "schedule, got -1.0",
    ),
    ("optimizer", LBFGS(history=0), "LBFGS(history=0): history must be an integer >= 1, got 0"),
    (
        "layers",
        None,
        "SequentialClassifier: layers must be a Layer or a list of layers or (name, "
        "layer) pairs, got None",
    ),
    (
        "layers",
        [Dense],
        "layers must be layers or (name, layer) pairs, got <class "
        "'layerkit.layers.dense.Dense'>: that is the class, write Dense(...)",
    ),
    (
        "layers",
        [Dense],
        "layers must be layers or (name, layer) pairs, got <class "
        "'layerkit.layers.dense.Dense'>: that is the class, write Dense(...)",
    ),
    (
        "layers",
        [Dense(3), 7],
        "layers must be layers or (name, layer) pairs, got 7: a layer is an object, such "
        "as Dense(7)",
    ),
    (
        "layers",
        [("a", Dense(3)), ("a", ReLU())],
        "layer names must be unique, not a number, not empty and without '__' or '.', "
        "got 'a' in ['a', 'a']",
    ),
    ("layers", [Dense(0)], "in layers.0 Dense(units=0): units must be a positive integer, got 0"),
    (
        "layers",
        [Conv2D(3, 2)],
        "in layers.0 Conv2D(filters=3, kernel_size=2): expects (n_samples, height, "
        "width, channels), got (n_samples, 4); "
        "Reshape((height, width, channels)) before it makes images",
    ),
    ("class_weight", "even", "class_weight must be None, 'balanced' or a dict, got 'even'"),
    ("class_weight", {0: -1.0}, "class_weight must be finite and not negative, got -1.0 for 0"),
    ("class_weight", {0: "a"}, "class_weight must be finite and not negative, got 'a' for 0"),
    ("class_weight", {0: None}, "class_weight must be finite and not negative, got None for 0"),
    ("class_weight", {0: 2, 7: 1}, "class_weight has 7, but the classes are [0, 1, 2]"),
    ("class_weight", {0: 0, 1: 0, 2: 0}, "sample_weight times class_weight is zero for all rows"),
]


@pytest.mark.parametrize(("name", "value", "message"), PARAMETERS)
def test_parameters(name, value, message):
    with refused(message):
        classifier().set_params(**{name: value}).fit(X, Y)


DATA = {
    "weights of the wrong length": (
        lambda: classifier().fit(X, Y, sample_weight=WEIGHT[:9]), theirs("sample_weight")),
    "negative weights": (
        lambda: classifier().fit(X, Y, sample_weight=-WEIGHT), theirs("Negative values in data")),
    "only X_val": (
        lambda: classifier().fit(X, Y, X_val=X), "X_val and y_val belong together, y_val is None"),
    "only y_val": (
        lambda: classifier().fit(X, Y, y_val=Y), "X_val and y_val belong together, X_val is None"),
    "X_val with other columns": (
        lambda: classifier().fit(X, Y, X_val=X[:, :2], y_val=Y),
         "X_val and y_val: X has 2 features, but SequentialClassifier is expecting 4 features as "
         "input."),
    "new classes in y_val": (
        lambda: classifier().fit(X, Y, X_val=X, y_val=Y + 1),
        "X_val and y_val: y has the new classes [3]; the network knows [0, 1, 2]"),
    "groups without a splitter": (
        lambda: classifier().fit(X, Y, groups=Y),
         "groups are for a splitter: set early_stopping to one, such as GroupShuffleSplit(), and "
         "give no X_val, got early_stopping=False"),
    "groups with a part held out": (
        lambda: classifier(early_stopping=True).fit(X, Y, groups=Y),
        "groups are for a splitter: set early_stopping to one, such as GroupShuffleSplit(), and "
        "give no X_val, got early_stopping=True"),
    "groups with L-BFGS": (
        lambda: MLPClassifier(solver="lbfgs").fit(X, Y, groups=Y),
         "groups are for a splitter: set early_stopping to one, such as GroupShuffleSplit(), and "
         "give no X_val, got early_stopping=False"),
    "groups with X_val": (
        lambda: classifier(early_stopping=GroupShuffleSplit()).fit(X, Y, None, X, Y, groups=Y),
        theirs("got X_val and early_stopping=GroupShuffleSplit(")),
    "groups of the wrong length": (
        lambda: classifier(early_stopping=GroupShuffleSplit()).fit(X, Y, groups=Y[:9]),
        theirs("inconsistent numbers of samples: [150, 9]")),
    "held-out rows without weight": (
        lambda: classifier(early_stopping=PredefinedSplit(Y // 2 - 1)).fit(X, Y, Y != 2),
        "sample_weight times class_weight is zero for all held-out rows"),
    "only held-out rows with weight": (
        lambda: classifier(early_stopping=PredefinedSplit(Y // 2 - 1)).fit(X, Y, Y == 2),
        "sample_weight times class_weight is zero for all rows"),
    "a splitter without groups": (
        lambda: classifier(early_stopping=GroupShuffleSplit()).fit(X, Y), theirs("'groups'")),
    "too few rows to hold out": (
        lambda: classifier(early_stopping=True).fit(X[::40], Y[::40]),
        theirs("early_stopping cannot hold out validation_fraction=0.1 of 4 rows: The least")),
    "numbers as classes": (
        lambda: classifier().fit(X, X[:, 0] + 0.01), theirs("Unknown label type: continuous")),
    "no y": (lambda: classifier().fit(X, None),
            theirs("requires y to be passed, but the target y is Non")),
    "names as numbers": (lambda: regressor().fit(X, np.full(150, "a")),
     "y must hold numbers, got 'a' (str) in row 0: turn labels into numbers, np.unique(y, "
     "return_inverse=True)[1]; a classifier does that itself"),
    "NaN": (lambda: classifier().fit(np.where(X > 6, np.nan, X), Y),
            theirs("Input X contains NaN")),
    "sparse rows below Tanh": (
        lambda: classifier([Tanh()]).fit(sp.csr_array(X), Y),
         "in layers.0 Tanh(): takes no sparse rows, only Dense does, as the first layer; use "
         "X.toarray()"),
    "a categorical loss for a multilabel indicator": (
        lambda: classifier(loss=CategoricalCrossEntropy()).fit(X, MULTILABEL),
        "loss=CategoricalCrossEntropy() chooses one class, but y is a multilabel indicator: use "
        "BinaryCrossEntropy, Hinge or another loss of each output"),
    "a loss of single scores for several outputs": (
        lambda: classifier(loss=Hinge()).fit(X, SEVERAL),
        "loss=Hinge() does not choose among several classes, but each column of y is one of "
        "several: use CategoricalCrossEntropy, Focal or MultiMargin"),
    "a dict of class weights for several outputs": (
        lambda: classifier(class_weight={0: 1}).fit(X, SEVERAL),
        "class_weight must be None, 'balanced' or a list of 2 dicts, got {0: 1}"),
    "a categorical loss in a regressor": (
        lambda: regressor(loss="focal").fit(X, Y),
         "loss=Focal() is for classes; a regressor needs another"),
    "targets outside the domain of the loss": (
        lambda: regressor(loss=Poisson()).fit(X, Y - 1.0),
         "Poisson(): y_true must be at least 0, got -1.0"),
    "quantiles out of range": (
        lambda: regressor(loss=Quantile([0.5, 1.5])).fit(X, Y),
         "Quantile(quantiles=[0.5, 1.5]): quantiles must be between 0 and 1, one number or a "
         "sequence of them, got [0.5, 1.5]"),
    "no head and the wrong width": (
        lambda: classifier([Dense(4)], head=None).fit(X, Y),
        "the network must give (n_samples, 3) for this y with loss='auto', but its output is "
        "(n_samples, 4)"),
    "no head and the wrong width for the loss": (
        lambda: classifier([Dense(1)], head=None, loss=CategoricalCrossEntropy()).fit(X, Y > 0),
        "the network must give (n_samples, 2) for this y with loss=CategoricalCrossEntropy(), "
        "but its output is (n_samples, 1)"),
    "no head for mean and variance": (
        lambda: SequentialRegressor([Dense(1)], head=None, loss=GaussianNLL()).fit(X, Y),
        "the network must give (n_samples, 2) for this y with loss=GaussianNLL(), but its output "
        "is (n_samples, 1)"),
    "a body that is not flat": (
        lambda: classifier([Conv2D(2, 3)]).fit(np.ones((9, 8, 8, 1)), np.arange(9) % 3),
        "the network must give (n_samples, 3) for this y with loss='auto', but its output is "
        "(n_samples, 6, 6, 3); end `layers` in Flatten or a global pooling"),
    "a standard deviation that was not learned": (
        lambda: regressor().fit(X, Y).predict(X, return_std=True),
        "return_std=True needs loss=GaussianNLL(), got MeanSquaredError()"),
    "partial_fit without classes": (
        lambda: classifier().partial_fit(X, Y), "classes must be given at the first call to "
                                                "partial_fit"),
    "partial_fit of a column without classes": (
        lambda: classifier().partial_fit(X, Y[:, np.newaxis]),
         "classes must be given at the first call to partial_fit"),
    "partial_fit of a table with one column without classes": (
        lambda: MLPClassifier().partial_fit(X, pd.DataFrame(Y)),
         "classes must be given at the first call to partial_fit"),
    "partial_fit of several outputs without classes": (
        lambda: classifier().partial_fit(X, SEVERAL),
         "classes must be given at the first call to partial_fit"),
    "classes that are a set": (
        lambda: classifier().partial_fit(X, Y, classes={0, 1, 2}),
        "classes must be an array or list of labels, or a list of them for each output, got {0, "
        "1, 2}"),
    "classes that are one label": (
        lambda: fitted().partial_fit(X, Y, classes=2),
         "classes must be an array or list of labels, or a list of them for each output, got 2"),
    "partial_fit with other classes": (
        lambda: fitted().partial_fit(X, Y, classes=[0, 1]),
         "classes=[0, 1] is not the same as on the first call to partial_fit, which was "
         "array([0, 1, 2])"),
    "partial_fit with new classes": (
        lambda: fitted().partial_fit(X, Y + 1), "y has the new classes [3]; the network knows "
                                                "[0, 1, 2]"),
    "partial_fit with balanced classes": (
        lambda: fitted(class_weight="balanced").partial_fit(X, Y),
         "class_weight='balanced' needs all of y; with partial_fit give a dict of weights, got "
         "'balanced'"),
    "partial_fit with other columns": (
        lambda: fitted().partial_fit(X[:, :3], Y),
        theirs("X has 3 features, but SequentialClassifier is")),
    "partial_fit with NaN": (
        lambda: fitted().partial_fit(np.where(X > 6, np.nan, X), Y),
        theirs("Input X contains NaN")),
    "partial_fit with infinity": (
        lambda: fitted().partial_fit(np.where(X > 6, np.inf, X), Y),
        theirs("Input X contains infinity")),
    "partial_fit with NaN for a label": (
        lambda: fitted().partial_fit(X, np.where(Y == 1, np.nan, Y)),
        theirs("Input y contains NaN")),
    "partial_fit with NaN for a target": (
        lambda: regressor().fit(X, Y).partial_fit(X, np.where(Y == 1, np.nan, Y)),
        theirs("Input y contains NaN")),
    "partial_fit with fewer labels": (
        lambda: fitted().partial_fit(X, Y[:9]),
        theirs("inconsistent numbers of samples: [150, 9]")),
    "partial_fit with no rows": (
        lambda: fitted().partial_fit(X[:0], Y[:0]), theirs("Found array with 0 sample(s)")),
    "partial_fit with complex targets": (
        lambda: regressor().fit(X, Y).partial_fit(X, Y * 1j),
         "Complex data not supported: y holds complex numbers, give their real and imaginary "
         "parts as columns"),
    "partial_fit with other columns than names": (
        lambda: classifier().fit(pd.DataFrame(X, columns=list("abcd")), Y).partial_fit(
            pd.DataFrame(X, columns=list("abdc")), Y),
        theirs("Feature names must be in the same order")),
    "X_val of a network that was": (
        lambda: fitted(n_iter_no_change=2).fit(X[:, :3], Y, X_val=X, y_val=Y),
         "X_val and y_val: X has 4 features, but SequentialClassifier is expecting 3 features as "
         "input."),
    "partial_fit with another number of labels": (
        lambda: classifier().fit(X, MULTILABEL).partial_fit(X, MULTILABEL[:, [0, 1, 1]]),
        "y must be a multilabel indicator of 0 and 1 with 2 columns, got multilabel-indicator of "
        "shape (150, 3)"),
    "partial_fit with another number of outputs": (
        lambda: regressor().fit(X, X[:, :2]).partial_fit(X, X[:, :3]),
         "y must have 2 columns, got shape (150, 3)"),
    "warm start with other columns": (
        lambda: fitted(warm_start=True).fit(X[:, :3], Y),
        theirs("X has 3 features, but SequentialClass")),
    "warm start with other images": (
        lambda: classifier([Dense(2)], warm_start=True).fit(X, Y).fit(X.reshape(150, 4, 1), Y),
        "X has samples of shape (4, 1), but SequentialClassifier was fitted on samples of shape "
        "(4,)"),
    "warm start with other layers": (
        lambda: fitted(warm_start=True).set_params(layers__dense_1__units=9).fit(X, Y),
        "layers was [Dense(units=4), ReLU()] when the network was built and is [Dense(units=9), "
        "ReLU()] now: a network that goes on learning cannot change; fit with warm_start=False "
        "builds a new one"),
    "partial_fit with another loss": (
        lambda: fitted().set_params(loss="focal").partial_fit(X, Y),
        "loss was 'auto' when the network was built and is 'focal' now: a network that goes on "
        "learning cannot change; fit with warm_start=False builds a new one"),
    "a score with one y for all rows": (
        lambda: fitted().score(X, [1]), theirs("inconsistent numbers of samples: [1, 150]")),
    "a score of one row with many y": (
        lambda: fitted().score(X[:1], Y), theirs("inconsistent numbers of samples: [150, 1]")),
    "a score with several columns of y": (
        lambda: fitted().score(X, SEVERAL),
        theirs("can't handle a mix of multiclass-multioutput and")),
    "a score with labels of another type": (
        lambda: fitted().score(X, Y.astype(str)),
        theirs("Mix of label input types (string and number)")),
    "a score with labels that are NaN": (
        lambda: fitted().score(X, np.where(Y == 1, np.nan, Y)), theirs("Input y contains NaN")),
    "a score with columns of weights": (
        lambda: fitted().score(X, Y, WEIGHT[:, np.newaxis]),
        theirs("Sample weights must be 1D array")),
    "a score with too few weights": (
        lambda: fitted().score(X, Y, WEIGHT[:9]),
        theirs("inconsistent numbers of samples: [150, 150, 9]")),
    "a score with another number of labels": (
        lambda: classifier().fit(X, MULTILABEL).score(X, MULTILABEL[:, [0, 1, 1]]),
        theirs("indicator input with different numbers of labels")),
    "a score of a multilabel model with one label": (
        lambda: classifier().fit(X, MULTILABEL).score(X, Y),
        theirs("can't handle a mix of multiclass an")),
    "a score with another number of outputs": (
        lambda: classifier().fit(X, SEVERAL).score(X, Y),
         "y must have 2 columns, got shape (150,)"),
    "a score of several outputs with few rows of y": (
        lambda: classifier().fit(X, SEVERAL).score(X, SEVERAL[:1]),
        theirs("inconsistent numbers of samples: [1, 150]")),
    "a score of several outputs with labels of another type": (
        lambda: classifier().fit(X, SEVERAL).score(X, SEVERAL.astype(str)),
        theirs("Mix of label input types (string and number)")),
    "a score of several outputs with NaN": (
        lambda: classifier().fit(X, SEVERAL).score(X, SEVERAL * np.nan),
        theirs("Input y contains NaN")),
    "a score of several outputs with columns of weights": (
        lambda: classifier().fit(X, SEVERAL).score(X, SEVERAL, WEIGHT[:, np.newaxis]),
        theirs("Sample weights must be 1D array")),
    "a score of quantiles with one y for all rows": (
        lambda: regressor(loss=Quantile([0.2, 0.8])).fit(X, Y).score(X, [1.0]),
        theirs("inconsistent numbers of samples: [1, 150]")),
    "a score of quantiles with several columns of y": (
        lambda: regressor(loss=Quantile([0.2, 0.8])).fit(X, Y).score(X, SEVERAL),
        theirs("y_true and y_pred have different number of output (2!=1)")),
    "an unknown parameter": (
        lambda: classifier().set_params(layer__units=3),
        "SequentialClassifier has no parameter 'layer__units'; valid parameters are layers, "
        "loss, optimizer, batch_size, max_iter, shuffle, random_state, tol, n_iter_no_change, "
        "early_stopping, validation_fraction, class_weight, warm_start, dtype, head, verbose, "
        "layers__dense_1, layers__dense_1__units, layers__dense_1__use_bias, "
        "layers__dense_1__initializer, layers__relu_1"),
    "an unknown parameter of an optimizer that is only named": (
        lambda: classifier().set_params(optimizer__rate=3),
         "SequentialClassifier has no parameter 'optimizer__rate'; valid parameters are layers, "
         "loss, optimizer, batch_size, max_iter, shuffle, random_state, tol, n_iter_no_change, "
         "early_stopping, validation_fraction, class_weight, warm_start, dtype, head, verbose, "
         "optimizer__learning_rate, optimizer__betas, optimizer__eps, optimizer__weight_decay, "
         "optimizer__clip_norm, optimizer__clip_value, layers__dense_1, layers__dense_1__units, "
         "layers__dense_1__use_bias, layers__dense_1__initializer, layers__relu_1"),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_data(case):
    action, message = DATA[case]
    with refused(message):
        action()


def test_partial_fit_needs_batches():
    for optimizer in ("lbfgs", LBFGS()):
        model = classifier(optimizer=optimizer)
        assert not hasattr(model, "partial_fit")
        with pytest.raises(AttributeError):
            model.partial_fit(X, Y, classes=[0, 1, 2])


@pytest.mark.parametrize("last", [Softmax(), LogSoftmax(), Sequential([Softmax()])])
def test_softmax_below_the_head_is_warned_of(last):
    with warns_exactly(
        UserWarning,
        re.compile(
            r"the layers end in .*\), but head='auto' appends an output layer after it: "
            r"leave the last layers out \(the loss takes raw outputs\), or set head=None"
        ),
    ) as seen:
        classifier([Dense(3), last]).fit(X, Y)
    assert seen[0].filename == __file__


def test_softmax_and_a_loss_of_logits_are_warned_of():
    with warns_exactly(
        UserWarning,
        "the network ends in Softmax(), but the loss is CategoricalCrossEntropy(); it "
        "takes raw outputs: leave the last layer out",
    ):
        classifier([Dense(3), Softmax()], head=None).fit(X, Y)


def test_divergence_is_warned_of_and_the_last_good_weights_are_kept():
    model = SequentialRegressor([Dense(8), Tanh()], optimizer="sgd", max_iter=20, random_state=0)
    with warns_exactly(
        RuntimeWarning,
        re.compile(
            r"training diverged in epoch 1: the loss is inf, while all outputs are finite, the "
            r"largest in layers\.0 Dense\(units=8\): \d\.\de\+\d+; the network has the weights it "
            r"started from\. A smaller learning_rate, clip_norm or scaled inputs usually cure this"
        ),
    ):
        model.fit(X, Y * 1e200)
    assert np.isfinite(model.predict(X)).all()


def test_a_good_fit_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier(loss=BinaryCrossEntropy()).fit(X, Y).predict(X)
