"""Every hyper-parameter refuses what it cannot be, by its name, with what came."""

import inspect
import re

import numpy as np
import pytest
from cases import CASES
from sklearn.base import clone

import layerkit as lk
import layerkit.layers as nn
from layerkit import initializers, losses, optimizers, schedules

NAN, INF = float("nan"), float("inf")
NOT_NUMBERS = ["1", None, True, np.True_, NAN, INF, 1j, [0.5], np.ones(2)]
NOT_SIZES = [0, -1, 2.5, 3.0, "3", None, True, np.True_, NAN, np.ones(3, int)]
NOT_COUNTS = [-1, *NOT_SIZES[1:]]
NOT_PAIRS = [*NOT_SIZES, (1, 2, 3, 4), (2, 0), (2, 1.5), (), "ab"]
NOT_PADDINGS = ["full", "SAME", -1, 1.5, None, True, (1, 2, 3), (1, -1)]
NOT_FLAGS = [8, 1, 0.5, "yes", None, [True]]
NOT_AXES = [0, 7, -7, 1.0, "1", None, True]
NOT_STRIDES = [value for value in NOT_PAIRS if value is not None]
NOT_LAYERS = ["relu", 3, nn.ReLU, [nn.ReLU()]]
NOT_POSITIVE = [*NOT_NUMBERS, 0, -1e-5]
NOT_BOUNDS = [value for value in NOT_POSITIVE if value is not None]
NEGATIVE = [*NOT_NUMBERS, -1e-5]
NOT_FRACTIONS = [*NEGATIVE, 1.1]
NOT_BELOW_1 = [*NEGATIVE, 1, 1.5]
NOT_BETAS = [0.9, None, "ab", (0.9,), (0.9, 1), (-0.1, 0.9), (0.9, NAN), (0.9, "x"), (True, 0.9)]

WITH_A_FACTOR = ["ParametricActivation", "PeriodicEmbedding", "Scale"]  # rates on the learning rate

# By the name of a parameter, or of one class alone.
OF_LAYERS = {
    **dict.fromkeys(["units", "filters", "groups", "pieces", "dim", "members"], NOT_SIZES),
    **dict.fromkeys(["num_embeddings", "depth_multiplier", "num_heads", "max_length"], NOT_SIZES),
    **dict.fromkeys(["kernel_size", "stride", "dilation", "pool_size", "size"], NOT_PAIRS),
    **dict.fromkeys(["use_bias", "return_sequences", "stateful"], NOT_FLAGS),
    **dict.fromkeys(["approximate", "causal"], NOT_FLAGS),
    **dict.fromkeys(["stddev", "negative_slope", "alpha", "bias_rate"], NEGATIVE),
    "body": [None, *NOT_LAYERS],
    "layer": [None, *NOT_LAYERS, nn.Dense(2), nn.GRU(2, stateful=True)],
    **dict.fromkeys([f"{kind}.stride" for kind in nn.__all__ if "Pool" in kind], NOT_STRIDES),
    "padding": NOT_PADDINGS,
    "ZeroPad2D.padding": ["same", -1, 1.5, None, True, (1, 2, 3), (1, -1), ((1, 2), (1, -1))],
    "output_padding": [-1, 1.5, "1", None, True, 1, (1, 1, 1)],
    "axis": NOT_AXES,
    "eps": NOT_POSITIVE,
    "momentum": NOT_FRACTIONS,
    "rate": NOT_BELOW_1,
    **dict.fromkeys([f"{kind}.rate" for kind in WITH_A_FACTOR], NEGATIVE),
    **dict.fromkeys(["frequencies", "bins"], NOT_SIZES),
    "PeriodicEmbedding.dim": [*NOT_SIZES, 1],
    **dict.fromkeys(["sigma", "limit"], NOT_POSITIVE),
    "ParametricActivation.activation": [None, *NOT_LAYERS, nn.GLU()],
    "activation": ["gelu", None, 3, nn.ReLU, ["tanh"]],
    "initializer": ["he_normal", None, 3, ["auto"]],
    "algorithm": ["fast", None, 3, ["auto"]],
    "shape": [0, (2, -1, -1), "12", None, 2.5, (5, 5), (12.0,), (True, 12)],
    "axes": [None, "21", (1, 1), (0, 1), 3, (2.0, 1), ()],
    "layers": [None, 3, "relu", nn.ReLU(), nn.ReLU, [3], [nn.ReLU], ["relu"], [("a", "relu")]],
    "branches": [None, 3, "relu", nn.ReLU(), nn.ReLU, [], [3], [nn.ReLU], ["relu"]],
    "routes": [None, 3, nn.ReLU(), [], [3], [nn.ReLU()], [(0,)], [(0, "relu")], {0: nn.ReLU()}],
    "shortcut": NOT_LAYERS,
    "gate": [None, *NOT_LAYERS],
    "Gate.body": NOT_LAYERS,
    "interpolation": ["cubic", None, 3],
    **dict.fromkeys(["low", "high"], NOT_NUMBERS),
}
OF_LOSSES = {
    "pos_weight": ["1", True, NAN, INF, 0, -1, [1.0, -1.0], 1j],
    "label_smoothing": NOT_FRACTIONS,
    "gamma": NEGATIVE,
    "power": NOT_NUMBERS,
    "delta": NOT_POSITIVE,
    "margin": NOT_POSITIVE,
    "quantiles": ["0.5", None, True, NAN, 0, 1, 1.5, [], [0.5, 1], [[0.5]], 1j],
}
OF_OPTIMIZERS = {
    "learning_rate": NEGATIVE,
    "weight_decay": NEGATIVE,
    **dict.fromkeys(["clip_norm", "clip_value"], NOT_BOUNDS),
    **dict.fromkeys(["momentum", "rho"], NOT_BELOW_1),
    **dict.fromkeys(["nesterov", "centered"], NOT_FLAGS),
    **dict.fromkeys(["max_iter", "history", "max_fun"], NOT_SIZES),
    "betas": NOT_BETAS,
    "eps": NOT_POSITIVE,
    "momentum_decay": NEGATIVE,
    "tol": NEGATIVE,
    "etas": [*NOT_BETAS, (0.5, 0.9), (0, 1.2), (0.5, INF)],
    "step_sizes": [0.9, None, (1, 0.5), (0, 1), (0.1, INF), ("a", "b"), (0.1,)],
}
OF_SCHEDULES = {
    **dict.fromkeys(["learning_rate", "final", "power", "threshold", "peak"], NEGATIVE),
    **dict.fromkeys(["every", "steps", "cycles", "CosineRestarts.factor"], NOT_SIZES),
    **dict.fromkeys(["patience", "warmup", "Warmup.steps"], NOT_COUNTS),
    **dict.fromkeys(["factor", "OneCycle.warmup"], NOT_FRACTIONS),
    **dict.fromkeys(["start_divisor", "end_divisor"], NOT_POSITIVE),
    "flat": NOT_BELOW_1,
    "schedule": [0.1, None, "cosine"],
    "mode": ["up", None, 3],
    "minimum": [*NEGATIVE, 0.2],
}


def rows(names, package, wrong):
    return [
        pytest.param(name, parameter, wrong.get(f"{name}.{parameter}", wrong.get(parameter)))
        for name in names
        for parameter in inspect.signature(getattr(package, name)).parameters
    ]


def refused(name, parameter, value, use):
    """What is said, of a parameter of that name, and of what came where it is no container."""
    with pytest.raises((ValueError, TypeError)) as caught:
        use()
    message = str(caught.value)
    assert re.search(rf"\b{parameter}(\[\d+\])? must be", message), (value, message)
    assert re.search(r"got ", message), (value, message)
    if np.ndim(value) == 0 and not isinstance(value, dict):
        assert re.escape(repr(value)) in re.escape(message), (value, message)


LAYERS = [name for name in nn.__all__ if issubclass(getattr(nn, name), nn.Dense.__mro__[1])]


@pytest.mark.parametrize(("name", "parameter", "values"), rows(LAYERS, nn, OF_LAYERS))
def test_layers(name, parameter, values):
    assert values, "a parameter without a row"
    case = next(case for case in CASES if type(case.make()) is getattr(nn, name))
    for value in values:
        options = case.make().get_params(deep=False) | {parameter: value}

        def build(options=options):
            getattr(nn, name)(**options).build(case.input_shape)

        refused(name, parameter, value, build)


LOSS_DATA = {
    "Quantile": ([[0.3], [0.2]], [[0.1], [0.4]]),
    "CategoricalCrossEntropy": ([[0.3, 0.2], [0.1, 0.4]], [0, 1]),
    "MultiMargin": ([[0.3, 0.2], [0.1, 0.4]], [0, 1]),
    "Focal": ([[0.3, 0.2], [0.1, 0.4]], [0, 1]),
}


@pytest.mark.parametrize(("name", "parameter", "values"), rows(losses.__all__, losses, OF_LOSSES))
def test_losses(name, parameter, values):
    assert values, "a parameter without a row"
    data = LOSS_DATA.get(name, ([[0.3], [0.2]], [[1.0], [1.0]]))
    getattr(losses, name)().forward(*data)
    for value in values:
        loss = getattr(losses, name)(**{parameter: value})
        refused(name, parameter, value, lambda loss=loss: loss.forward(*data))


@pytest.mark.parametrize(
    ("name", "parameter", "values"), rows(optimizers.__all__, optimizers, OF_OPTIMIZERS)
)
def test_optimizers(name, parameter, values):
    assert values, "a parameter without a row"
    params = np.ones(3)
    for value in values:
        optimizer = getattr(optimizers, name)(**{parameter: value})

        def use(optimizer=optimizer):
            if name == "LBFGS":
                optimizer.minimize(lambda p: (p @ p, 2 * p), params)
            else:
                optimizer.step(params, np.ones(3))

        refused(name, parameter, value, use)
        np.testing.assert_array_equal(params, np.ones(3))


@pytest.mark.parametrize(
    ("name", "parameter", "values"), rows(schedules.__all__, schedules, OF_SCHEDULES)
)
def test_schedules(name, parameter, values):
    assert values, "a parameter without a row"
    needed = {"schedule": schedules.Constant(0.1)} if name == "Warmup" else {}
    for value in values:
        schedule = getattr(schedules, name)(**needed | {parameter: value})

        if isinstance(schedule, schedules.Progress):
            schedule.bind(steps=10)

        def use(schedule=schedule):
            schedule(0)
            schedule.update(1.0)

        refused(name, parameter, value, use)


@pytest.mark.parametrize(
    ("make", "parameter"),
    [
        (lambda v: initializers.constant(v), "value"),
        (lambda v: initializers.uniform(v, 1.0), "low"),
        (lambda v: initializers.uniform(-1.0, v), "high"),
        (lambda v: initializers.normal(v), "mean"),
        (lambda v: initializers.normal(stddev=v), "stddev"),
    ],
)
def test_initializers(make, parameter):
    for value in [*NOT_NUMBERS, *[-2.0] * (parameter in ("high", "stddev"))]:
        with pytest.raises(ValueError, match=rf"{parameter} .*must be"):
            make(value)((2, 2), np.random.default_rng(0))


# ---------------------------------------------------------------- what is shown

ALL = [*((nn, name) for name in LAYERS)]
ALL += [(package, name) for package in (losses, optimizers, schedules) for name in package.__all__]


@pytest.mark.parametrize(("package", "name"), ALL, ids=lambda v: v if isinstance(v, str) else "")
def test_what_differs_from_its_default_is_shown_and_nothing_else(package, name):
    kind = getattr(package, name)
    known = inspect.signature(kind).parameters
    needed = {n: object() for n, parameter in known.items() if parameter.default is parameter.empty}
    assert repr(kind(**needed)) == f"{name}({', '.join(f'{n}={v}' for n, v in needed.items())})"
    for changed in known:
        other = {n: "other" if n == changed else v for n, v in needed.items()} | {changed: "other"}
        shown = ", ".join(f"{n}={other[n]!r}" for n in known if n in other)
        assert repr(kind(**other)) == f"{name}({shown})"


# ---------------------------------------------------------------- what is just allowed

ALMOST_1 = float(np.nextafter(1, 0))
EDGES = [
    (NOT_SIZES, [1, np.int64(1)]),
    (NOT_PAIRS, [1]),
    (NOT_COUNTS, [0, np.int8(1)]),
    (NOT_FLAGS, [True, np.False_]),
    (NEGATIVE, [0, 0.0, 1e-12, np.float32(1)]),
    (NOT_POSITIVE, [1e-12, 1]),
    (NOT_BOUNDS, [1e-12, 1]),
    (NOT_FRACTIONS, [0, 1, 1.0, np.float32(0.5)]),
    (NOT_BELOW_1, [0, 0.0, ALMOST_1]),
    (NOT_BETAS, [(0, 0), [0.5, ALMOST_1]]),
]
ABSTRACT = [("Optimizer", parameter) for parameter in OF_OPTIMIZERS]
ALONE_NOT_ALLOWED = [("PositionalEmbedding", "max_length"), ("SGD", "nesterov"), *ABSTRACT]
ALONE_NOT_ALLOWED += [("OneCycle", "steps")]  # at least 2


def taken_by_layers(name, parameter, value):
    case = next(case for case in CASES if type(case.make()) is getattr(nn, name))
    options = case.make().get_params(deep=False) | {parameter: value}
    getattr(nn, name)(**options).build(case.input_shape)


def taken_by_losses(name, parameter, value):
    data = LOSS_DATA.get(name, ([[0.3], [0.2]], [[1.0], [1.0]]))
    getattr(losses, name)(**{parameter: value}).forward(*data)


def taken_by_optimizers(name, parameter, value):
    optimizer = getattr(optimizers, name)(**{parameter: value})
    if name == "LBFGS":
        optimizer.minimize(lambda p: (p @ p, 2 * p), np.ones(3))
    else:
        optimizer.step(np.ones(3), np.ones(3))


def taken_by_schedules(name, parameter, value):
    needed = {"schedule": schedules.Constant(0.1)} if name == "Warmup" else {}
    schedule = getattr(schedules, name)(**needed | {parameter: value})
    if isinstance(schedule, schedules.Progress):
        schedule.bind(steps=10)
    assert schedule(0) >= 0


@pytest.mark.parametrize(
    ("taken", "name", "parameter", "edges"),
    [
        (taken, *row.values[:2], edges)
        for taken, *of in [
            (taken_by_layers, LAYERS, nn, OF_LAYERS),
            (taken_by_losses, losses.__all__, losses, OF_LOSSES),
            (taken_by_optimizers, optimizers.__all__, optimizers, OF_OPTIMIZERS),
            (taken_by_schedules, schedules.__all__, schedules, OF_SCHEDULES),
        ]
        for row in rows(*of)
        for wrong, edges in EDGES
        if row.values[2] is wrong and row.values[:2] not in ALONE_NOT_ALLOWED
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_just_allowed_is_taken(taken, name, parameter, edges):
    for value in edges:
        taken(name, parameter, value)


# ---------------------------------------------------------------- integers that could overflow

SMALL = [np.int8, np.uint8]
SIZED = {
    "Dense": (lambda n: lk.Dense(n(100)), (100,)),
    "two of them": (lambda n: lk.Sequential([lk.Dense(n(100)), lk.Dense(n(90))]), (4,)),
    "Conv2D": (lambda n: lk.Conv2D(n(20), n(3), stride=n(2), padding=n(1)), (30, 30, 20)),
    "pairs": (lambda n: lk.Conv2D(n(20), (n(3), n(5)), dilation=[n(2), n(1)]), (30, 30, 20)),
    "Flatten behind": (lambda n: lk.Sequential([lk.Conv2D(n(9), 3), lk.Flatten()]), (20, 20, 3)),
    "Conv1D": (lambda n: lk.Conv1D(n(4), n(3), dilation=n(100), padding="same"), (300, 2)),
    "SeparableConv2D": (lambda n: lk.SeparableConv2D(n(60), n(3)), (9, 9, 60)),
    "ConvTranspose2D": (lambda n: lk.ConvTranspose2D(n(20), n(3), stride=n(2)), (90, 9, 20)),
    "MaxPool2D": (lambda n: lk.MaxPool2D(n(2), stride=n(1), padding=n(1)), (200, 9, 1)),
    "UpSample2D": (lambda n: lk.UpSample2D(n(100)), (9, 9, 1)),
    "ZeroPad2D": (lambda n: lk.ZeroPad2D(((n(100), n(100)), (n(1), n(2)))), (254, 3, 1)),
    "Reshape": (lambda n: lk.Reshape((n(20), n(10))), (200,)),
    "Maxout": (lambda n: lk.Maxout(n(50), n(4)), (100,)),
    "Embedding": (lambda n: lk.Embedding(n(100), n(100)), (3,)),
    "GroupNorm": (lambda n: lk.GroupNorm(n(2)), (20, 20, 8)),
    "LSTM": (lambda n: lk.LSTM(n(100)), (3, 100)),
    "GRU": (lambda n: lk.Bidirectional(lk.GRU(n(60))), (3, 100)),
    "attention": (lambda n: lk.MultiHeadAttention(n(2)), (300, 4)),
    "transformer": (lambda n: lk.TransformerEncoderBlock(n(2), n(100)), (5, 100)),
    "positions": (lambda n: lk.PositionalEmbedding(n(100)), (100, 4)),
    "BatchEnsemble": (lambda n: lk.BatchEnsemble(n(4)), (100,)),
}


@pytest.mark.parametrize("small", SMALL)
@pytest.mark.parametrize("kind", SIZED)
def test_sizes_may_be_small_integers_of_numpy(kind, small):
    make, shape = SIZED[kind]
    network, expected = make(small), make(int).build(shape, random_state=0)
    network.build(tuple(map(small, shape)) if max(shape) < 128 else shape, random_state=0)
    assert repr(network) == repr(expected)
    assert network.output_shape == expected.output_shape
    assert network.n_params == expected.n_params
    x = np.random.default_rng(0).integers(0, 9, (2, *shape)).astype(np.float32)
    np.testing.assert_array_equal(network.infer(x), expected.infer(x))


@pytest.mark.parametrize("small", SMALL)
def test_an_edit_and_a_clone_may_be_small_integers_of_numpy(small):
    network = lk.Sequential([lk.Conv2D(2, 3, padding="same")]).build((9, 9, 1))
    network[0].padding = (small(1), small(1))
    assert network[0].padding == (1, 1) and type(network[0].padding[0]) is int
    given = lk.Dense(small(100))
    assert type(given.units) is small and clone(given).units is given.units
    assert type(given.build(100).units) is int


COUNTED = {
    "train": lambda n: lk.training.train(
        lk.Sequential([lk.Dense(2)]),
        losses.CategoricalCrossEntropy(),
        optimizers.SGD(schedules.Warmup(schedules.StepDecay(0.1, n(40)), n(50))),
        (np.ones((300, 2)), np.arange(300) % 2),
        epochs=n(3),
        batch_size=n(4),
        patience=n(2),
        random_state=0,
    )["loss"],
    "an estimator": lambda n: (
        lk.SequentialClassifier(
            [lk.Dense(n(100))],
            max_iter=n(3),
            batch_size=n(7),
            n_iter_no_change=n(2),
            random_state=n(0),
        )
        .fit(np.ones((300, 2)), np.arange(300) % 2)
        .loss_curve_
    ),
    "an MLP": lambda n: (
        lk.MLPRegressor(
            hidden_layer_sizes=(n(100),),
            max_iter=n(3),
            batch_size=n(7),
            n_iter_no_change=n(100),
            random_state=n(0),
        )
        .fit(np.ones((300, 2)), np.arange(300) % 2)
        .loss_curve_
    ),
    "a tabular one": lambda n: (
        lk.TabularRegressor(
            members=n(2),
            max_iter=n(2),
            hidden_layer_sizes=(n(100),),
            batch_size=n(100),
            random_state=0,
        )
        .fit(np.eye(300, 2), np.arange(300) % 7)
        .predict(np.eye(2))
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("small", SMALL)
@pytest.mark.parametrize("kind", COUNTED)
def test_counts_may_be_small_integers_of_numpy(kind, small):
    np.testing.assert_array_equal(COUNTED[kind](small), COUNTED[kind](int))
