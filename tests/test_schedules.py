"""Schedules against PyTorch's schedulers and scikit-learn's formula, at their ends, and refused."""

import copy
import pickle
from math import cos, inf, nan, pi

import numpy as np
import pytest
from errors import raises_exactly

from layerkit import Dense, Dropout, Sequential, schedules
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import Adam, AdamW
from layerkit.schedules import (
    Constant,
    CosineDecay,
    CosineRestarts,
    CosLog,
    ExponentialDecay,
    FlatCosine,
    InverseScaling,
    OneCycle,
    Polynomial,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    Warmup,
)
from layerkit.training import train

# One of each, with options away from the defaults.
EXAMPLES = [
    Constant(0.3),
    StepDecay(0.3, every=4, factor=0.5),
    ExponentialDecay(0.3, every=4, factor=0.5),
    InverseScaling(0.3, power=0.7),
    Polynomial(0.3, steps=12, power=2.0, final=0.1),
    CosineDecay(0.3, steps=12, final=0.1, warmup=3),
    CosineRestarts(0.3, steps=3, factor=2, final=0.1),
    OneCycle(0.3, steps=12, warmup=0.4, start_divisor=10.0, end_divisor=100.0),
    Warmup(StepDecay(0.3, every=4), steps=3),
    ReduceOnPlateau(0.3, factor=0.5, patience=1, minimum=0.01),
]
# These are told how long the run is.
OF_PROGRESS = [CosLog(0.3, cycles=3), FlatCosine(0.3, flat=0.25)]
every_schedule = pytest.mark.parametrize("schedule", EXAMPLES, ids=lambda s: type(s).__name__)


def test_every_schedule_has_an_example():
    names = [type(schedule).__name__ for schedule in EXAMPLES + OF_PROGRESS]
    assert sorted([*names, "Schedule", "Progress"]) == sorted(schedules.__all__)


def torch_rates(make, n, learning_rate=0.3):
    """The rates of `n` steps under a PyTorch scheduler."""
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=learning_rate)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    "schedule, n, make",
    [
        (Constant(0.3), 9, lambda lr, opt: lr.ConstantLR(opt, factor=1.0)),
        (StepDecay(0.3, 4, factor=0.5), 30, lambda lr, opt: lr.StepLR(opt, 4, 0.5)),
        (ExponentialDecay(0.3, 1, factor=0.9), 30, lambda lr, opt: lr.ExponentialLR(opt, 0.9)),
        (Polynomial(0.3, 12, power=2.5), 20, lambda lr, opt: lr.PolynomialLR(opt, 12, 2.5)),
        (Polynomial(0.3, 12, final=0.1), 20, lambda lr, opt: lr.LinearLR(opt, 1.0, 1 / 3, 12)),
        (CosineDecay(0.3, 12, final=0.1), 13, lambda lr, opt: lr.CosineAnnealingLR(opt, 12, 0.1)),
        (
            CosineDecay(0.3, 17, final=0.1, warmup=5),
            18,
            lambda lr, opt: lr.SequentialLR(
                opt, [lr.LinearLR(opt, 1 / 5, 1.0, 4), lr.CosineAnnealingLR(opt, 12, 0.1)], [5]
            ),
        ),
        (
            CosineRestarts(0.3, 4, factor=1, final=0.1),
            30,
            lambda lr, opt: lr.CosineAnnealingWarmRestarts(opt, 4, 1, 0.1),
        ),
        (
            CosineRestarts(0.3, 3, factor=2, final=0.1),
            50,
            lambda lr, opt: lr.CosineAnnealingWarmRestarts(opt, 3, 2, 0.1),
        ),
        (OneCycle(0.3, 20), 20, lambda lr, opt: lr.OneCycleLR(opt, 0.3, 20)),
        (
            OneCycle(0.3, 17, warmup=0.45, start_divisor=10.0, end_divisor=100.0),
            17,
            lambda lr, opt: lr.OneCycleLR(
                opt, 0.3, 17, pct_start=0.45, div_factor=10.0, final_div_factor=100.0
            ),
        ),
        (
            Warmup(StepDecay(0.3, 4, factor=0.5), 5),
            20,
            lambda lr, opt: lr.SequentialLR(
                opt, [lr.LinearLR(opt, 1 / 5, 1.0, 4), lr.StepLR(opt, 4, 0.5)], [5]
            ),
        ),
    ],
    ids=lambda x: repr(x) if isinstance(x, Schedule) else "",
)
@pytest.mark.filterwarnings("ignore:.*epoch parameter")
def test_as_in_pytorch(schedule, n, make):
    expected = torch_rates(make, n)
    np.testing.assert_allclose([schedule(step) for step in range(n)], expected, rtol=1e-12)


def test_inverse_scaling_as_in_scikit_learn():
    pytest.importorskip("sklearn")
    from sklearn.neural_network._stochastic_optimizers import SGDOptimizer

    schedule = InverseScaling(0.3, power=0.7)
    theirs = SGDOptimizer([np.zeros(1)], 0.3, "invscaling", power_t=0.7)
    for samples in (0, 1, 50, 1000):
        theirs.iteration_ends(samples)
        assert schedule(samples) == theirs.learning_rate


def test_values_by_hand():
    assert [StepDecay(8.0, 2, factor=0.5)(step) for step in range(6)] == [8, 8, 4, 4, 2, 2]
    assert ExponentialDecay(8.0, 3, factor=0.5)(6) == 2
    assert InverseScaling(6.0, power=0.5)(8) == 2
    assert [Polynomial(3.0, 4, final=1.0)(step) for step in (0, 1, 2, 4, 5)] == [3, 2.5, 2, 1, 1]
    assert CosineDecay(3.0, 8, final=1.0)(2) == pytest.approx(2 + cos(pi / 4))
    assert [Warmup(Constant(8.0), 4)(step) for step in range(6)] == [2, 4, 6, 8, 8, 8]
    assert Warmup(lambda step: 5.0 - step, 2)(3) == 4.0
    assert Warmup(Constant(8.0), 0)(0) == 8
    cycle = OneCycle(1.0, steps=11, warmup=0.5, start_divisor=10.0, end_divisor=10.0)
    assert [cycle(step) for step in (0, 10)] == pytest.approx([0.1, 0.01])
    assert max(cycle(step) for step in range(11)) == pytest.approx(cycle(4), rel=0.02)


@pytest.mark.parametrize(
    "schedule, final",
    [
        (Polynomial(0.3, 12, final=0.1), 0.1),
        (CosineDecay(0.3, 12, final=0.1, warmup=3), 0.1),
        (OneCycle(0.3, 12), 0.3 / 25 / 1e4),
        (OneCycle(0.3, 12, warmup=1.0), 0.3),
        (OneCycle(0.3, 12, warmup=0.0), 0.3 / 25 / 1e4),
        (StepDecay(0.3, 1, factor=0.0), 0.0),
    ],
    ids=repr,
)
def test_stays_at_its_last_value(schedule, final):
    assert [schedule(step) for step in (12, 13, 10**9)] == pytest.approx([final] * 3, rel=1e-12)


def test_restarts_far_out():
    assert CosineRestarts(0.3, 4)(4 * 10**12) == 0.3
    assert CosineRestarts(0.3, 1, factor=2)(2**50 - 1) == 0.3, "a new cycle"


@every_schedule
def test_a_number_at_every_step(schedule):
    for step in (0, 1, 7, np.int64(5)):
        rate = schedule(step)
        assert type(rate) is float and 0 <= rate <= 0.3
    assert schedule.state == type(schedule)(**schedule.get_params(deep=False)).state


@every_schedule
def test_parameters_clone_and_print(schedule):
    sklearn = pytest.importorskip("sklearn")
    clone = sklearn.clone(schedule)
    assert repr(clone) == repr(schedule)
    assert repr(eval(repr(schedule), vars(schedules))) == repr(schedule)
    assert [clone(step) for step in range(20)] == [schedule(step) for step in range(20)]


@every_schedule
def test_numpy_numbers_give_the_same_floats(schedule):
    params = {
        name: np.asarray(value)[()] if isinstance(value, (int, float)) else value
        for name, value in schedule.get_params(deep=False).items()
    }
    same = type(schedule)(**params)
    assert [same(step) for step in range(20)] == [schedule(step) for step in range(20)]
    assert type(same(3)) is float


# ---------------------------------------------------------------------------------- plateaus


def fed(schedule, values):
    """The rates after each of `values`."""
    rates = []
    for value in values:
        schedule.update(value)
        rates.append(schedule(0))
    return rates


@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateaus_as_in_pytorch(mode, rng):
    torch = pytest.importorskip("torch")
    # positive, mostly stagnating, with improvements below and above the threshold
    values = 1 + rng.normal(scale=0.01, size=200) + np.linspace(1, 0, 200) ** 4
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, factor=0.7, patience=4, threshold=0.005, min_lr=1e-3
    )
    expected = []
    for value in values:
        theirs.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    ours = ReduceOnPlateau(0.3, factor=0.7, patience=4, threshold=0.005, mode=mode, minimum=1e-3)
    np.testing.assert_allclose(fed(ours, values), expected, rtol=1e-12)
    assert len(set(expected)) > 5


def test_plateau_by_hand():
    schedule = ReduceOnPlateau(8.0, factor=0.5, patience=1, threshold=0.1, minimum=3.0)
    #                      best, too little, reduce; best, equal, worse: reduce to the minimum
    values = [1.0, 0.95, 0.91, 0.8, 0.8, 0.9]
    assert fed(schedule, values) == [8.0, 8.0, 4.0, 4.0, 4.0, 3.0]


@pytest.mark.parametrize("mode, sign", [("min", 1), ("max", -1)])
def test_a_worse_negative_value_is_no_improvement(mode, sign):
    schedule = ReduceOnPlateau(8.0, factor=0.5, patience=0, threshold=0.1, mode=mode)
    values = [-1.0, -0.95, -1.05, -1.2]
    assert fed(schedule, [sign * value for value in values]) == [8.0, 4.0, 2.0, 2.0]


def test_values_that_are_not_finite_are_no_improvement():
    schedule = ReduceOnPlateau(8.0, factor=0.5, patience=1)
    assert fed(schedule, [nan, inf, 5.0, -inf, 4.0]) == [8.0, 4.0, 4.0, 4.0, 4.0]
    assert schedule.state == {"best": 4.0, "bad_epochs": 0, "reductions": 1}


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: Warmup(s, steps=3)])
def test_plateau_remembers(wrap):
    sklearn = pytest.importorskip("sklearn")

    def make():
        return wrap(ReduceOnPlateau(8.0, factor=0.5, patience=1))

    values = [1.0, 0.9, 0.95, 0.95, 0.8, 0.9, 0.9, 0.9, 0.9]
    expected = fed(make(), values)
    schedule = make()
    fed(schedule, values[:3])
    by_state = make()
    by_state.state = schedule.state
    for other in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule), by_state):
        assert fed(other, values[3:]) == expected[3:]
    fresh = sklearn.clone(schedule)
    assert fresh.state == make().state != schedule.state
    assert fed(fresh, values) == expected
    schedule.state = {}
    assert fed(schedule, values) == expected


@pytest.mark.parametrize(
    "schedule", [Constant(), Warmup(Constant()), Warmup(lambda step: 0.1)], ids=lambda s: ""
)
def test_others_ignore_metrics_and_have_no_state(schedule):
    before = schedule(5)
    schedule.update(1.0)
    assert schedule(5) == before and schedule.state == {}
    schedule.state = {}
    with pytest.raises(ValueError, match=r"has no state, got best$"):
        schedule.state = {"best": 1.0}


# ----------------------------------------------------------------------------------- progress


def bound(schedule, steps, start=0):
    schedule = copy.deepcopy(schedule)
    schedule.bind(steps, start)
    return schedule


@pytest.mark.parametrize("schedule", OF_PROGRESS, ids=repr)
def test_progress_is_what_counts_not_the_step(schedule):
    short, long, late = bound(schedule, 12), bound(schedule, 1200), bound(schedule, 12, start=50)
    for step in range(15):
        assert short(step) == pytest.approx(long(100 * step), abs=1e-15) == late(50 + step)
        assert 0 <= short(step) <= 0.3 and type(short(np.int64(step))) is float
    assert short(12) == short(10**9) == pytest.approx(0, abs=1e-15)
    assert repr(clone_of(schedule)) == repr(schedule)


def clone_of(schedule):
    return pytest.importorskip("sklearn").clone(schedule)


def test_shapes_by_hand():
    done = np.linspace(0, 1, 50)
    coslog = [CosLog(1.0).shape(t) for t in done]
    np.testing.assert_allclose(coslog, (1 - np.cos(2 * pi * np.log2(1 + 15 * done))) / 2)
    assert [FlatCosine(1.0).shape(t) for t in (0, 0.5, 0.75, 1)] == pytest.approx([1, 1, 0.5, 0])


@pytest.mark.parametrize("schedule", OF_PROGRESS, ids=repr)
def test_without_a_run_it_says_what_is_missing(schedule):
    message = (
        f"{schedule!r} does not know how long the run is: train tells it; in a loop of your own "
        "call its bind(steps)"
    )
    with raises_exactly(ValueError, message):
        clone_of(schedule)(0)


def test_train_binds_rate_decay_and_dropout():
    seen = []

    class Watch:
        def before_batch(self, state):
            rate, optimizer = state.network[1].current_rate, state.optimizer
            seen.append((rate, optimizer.rate, optimizer.weight_decay(optimizer.steps_done)))

        def __call__(self, state):
            pass

    network = Sequential([Dense(3), Dropout(FlatCosine(0.4)), Dense(1)])
    optimizer = AdamW(CosLog(0.1), weight_decay=FlatCosine(0.02))
    X, y = np.ones((20, 2)), np.ones((20, 1))
    how = {"epochs": 2, "batch_size": 10, "random_state": 0, "callbacks": [Watch()]}
    train(network, MeanSquaredError(), optimizer, (X, y), **how)
    expected = [
        (bound(FlatCosine(0.4), 4)(t), bound(CosLog(0.1), 4)(t), bound(FlatCosine(0.02), 4)(t))
        for t in range(4)
    ]
    assert seen == expected
    seen.clear()  # a second run is a run of its own, although the optimizer goes on counting
    train(network, MeanSquaredError(), optimizer, (X, y), **how)
    assert seen == expected


def test_a_stream_of_unknown_length_has_no_progress():
    class Stream:
        def __iter__(self):
            yield np.ones((4, 2)), np.ones((4, 1))

    with raises_exactly(
        ValueError,
        "CosLog(peak=0.1) needs to know how many batches an epoch has: give data that have a len()",
    ):
        train(Dense(1), MeanSquaredError(), Adam(CosLog(0.1)), Stream(), epochs=2)


def test_a_dropout_rate_out_of_range_is_refused():
    layer = Dropout(bound(FlatCosine(1.5), 10)).build(3, random_state=0)
    with raises_exactly(
        ValueError,
        "in Dropout(rate=FlatCosine(peak=1.5)): rate must be at least 0 and less than 1, "
        "the schedule gave 1.5",
    ):
        layer.forward(np.ones((2, 3)), training=True)


# ------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    "schedule, message",
    [
        *[
            (
                type(schedule)(learning_rate=bad),
                f"{type(schedule).__name__}(learning_rate={bad}): "
                f"learning_rate must be a finite number >= 0, got {bad}",
            )
            for schedule in EXAMPLES
            if not isinstance(schedule, Warmup)
            for bad in (-1, nan, inf, None)
        ],
        (StepDecay(every=0), "StepDecay(every=0): every must be an integer >= 1, got 0"),
        (
            StepDecay(factor=1.5),
            "StepDecay(factor=1.5): factor must be a number in [0, 1], got 1.5",
        ),
        (
            ExponentialDecay(every=1.5),
            "ExponentialDecay(every=1.5): every must be an integer >= 1, got 1.5",
        ),
        (
            ExponentialDecay(factor=-0.1),
            "ExponentialDecay(factor=-0.1): factor must be a number in [0, 1], got -0.1",
        ),
        (
            InverseScaling(power=-1),
            "InverseScaling(power=-1): power must be a finite number >= 0, got -1",
        ),
        (Polynomial(steps=0), "Polynomial(steps=0): steps must be an integer >= 1, got 0"),
        (
            Polynomial(power=nan),
            "Polynomial(power=nan): power must be a finite number >= 0, got nan",
        ),
        (Polynomial(final=-1), "Polynomial(final=-1): final must be a finite number >= 0, got -1"),
        (CosineDecay(steps=0), "CosineDecay(steps=0): steps must be an integer >= 1, got 0"),
        (
            CosineDecay(steps=10, warmup=10),
            "CosineDecay(steps=10, warmup=10): warmup must be less than steps=10, got 10",
        ),
        (CosineDecay(warmup=-1), "CosineDecay(warmup=-1): warmup must be an integer >= 0, got -1"),
        (
            CosineDecay(final=inf),
            "CosineDecay(final=inf): final must be a finite number >= 0, got inf",
        ),
        (CosineRestarts(steps=0), "CosineRestarts(steps=0): steps must be an integer >= 1, got 0"),
        (
            CosineRestarts(factor=0),
            "CosineRestarts(factor=0): factor must be an integer >= 1, got 0",
        ),
        (OneCycle(steps=1), "OneCycle(steps=1): steps must be an integer >= 2, got 1"),
        (OneCycle(warmup=1.1), "OneCycle(warmup=1.1): warmup must be a number in [0, 1], got 1.1"),
        (
            OneCycle(start_divisor=0),
            "OneCycle(start_divisor=0): start_divisor must be a positive finite number, got 0",
        ),
        (
            OneCycle(end_divisor=-1),
            "OneCycle(end_divisor=-1): end_divisor must be a positive finite number, got -1",
        ),
        (bound(CosLog(-1), 5), "CosLog(peak=-1): peak must be a finite number >= 0, got -1"),
        (bound(CosLog(cycles=0), 5), "CosLog(cycles=0): cycles must be an integer >= 1, got 0"),
        (
            bound(FlatCosine(flat=1.0), 5),
            "FlatCosine(flat=1.0): flat must be a number in [0, 1), got 1.0",
        ),
        (Warmup(0.1), "Warmup(schedule=0.1): schedule must be a function of the step, got 0.1"),
        (
            Warmup(Constant(), steps=-1),
            "Warmup(schedule=Constant(), steps=-1): steps must be an integer >= 0, got -1",
        ),
        (
            Warmup(Constant(-1)),
            "Constant(learning_rate=-1): learning_rate must be a finite number >= 0, got -1",
        ),
        (
            ReduceOnPlateau(factor=2),
            "ReduceOnPlateau(factor=2): factor must be a number in [0, 1], got 2",
        ),
        (
            ReduceOnPlateau(0.1, minimum=0.2),
            "ReduceOnPlateau(learning_rate=0.1, minimum=0.2): minimum must be a number in [0, "
            "learning_rate], got 0.2",
        ),
    ],
    ids=lambda x: repr(x) if isinstance(x, Schedule) else "",
)
def test_bad_parameters_are_refused_when_used(schedule, message):
    with raises_exactly(ValueError, message):
        schedule(0)


@pytest.mark.parametrize(
    "schedule, message",
    [
        (
            ReduceOnPlateau(patience=-1),
            "ReduceOnPlateau(patience=-1): patience must be an integer >= 0, got -1",
        ),
        (
            ReduceOnPlateau(threshold=nan),
            "ReduceOnPlateau(threshold=nan): threshold must be a finite number >= 0, got nan",
        ),
        (
            ReduceOnPlateau(mode="auto"),
            "ReduceOnPlateau(mode='auto'): mode must be 'min' or 'max', got 'auto'",
        ),
    ],
)
def test_bad_parameters_of_plateaus_are_refused_when_fed(schedule, message):
    with raises_exactly(ValueError, message):
        schedule.update(1.0)


def test_the_base_class_is_abstract():
    with raises_exactly(NotImplementedError, "Schedule has no __call__"):
        Schedule()(0)
