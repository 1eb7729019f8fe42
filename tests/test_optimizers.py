"""Optimizers against PyTorch, hand values, test functions; layouts, state, and mutants."""

import copy
import pickle
import re
import sys
import warnings
from math import sqrt

import numpy as np
import pytest
from errors import raises_exactly
from optimizer_cases import CASES

from layerkit import Layer, initializers, optimizers
from layerkit.kernels._numpy import optimizers as kernels
from layerkit.optimizers import LBFGS, SGD, Adam, AdamW, Lion, NAdam, Optimizer, Rprop
from layerkit.optimizers.pieces import read_only, settings_of
from layerkit.schedules import CosineDecay, ReduceOnPlateau, Schedule, Warmup
from layerkit.shapes import Slot

N, STEPS = 40, 30
BY_NAME = {case.name: case for case in CASES}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_option = pytest.mark.parametrize(
    "case, options",
    [
        pytest.param(case, options, id=f"{case.name}-{i}")
        for case in CASES
        for i, options in enumerate([{}, *case.options])
    ],
)


@pytest.fixture(autouse=True)
def several_pieces(monkeypatch):
    """Let the small vectors below span pieces and blocks, the last of them odd ones."""
    monkeypatch.setattr("layerkit.optimizers.optimizer.CHUNK", 17)
    monkeypatch.setattr("layerkit.kernels._numpy.optimizers.BLOCK", 5)


def problem(dtype=np.float64, seed=0):
    """Parameters, and random gradients of all sizes for `STEPS` steps, with some exact zeros."""
    rng = np.random.default_rng(seed)
    params = rng.normal(size=N).astype(dtype)
    grads = rng.normal(size=(STEPS, N)) * 10.0 ** rng.uniform(-3, 2, N)
    grads[:, 5] = 0
    grads[3:6, 7] = 0
    return params, grads.astype(dtype)


def run(optimizer, params, grads, layout=None):
    params = params.copy()
    for g in grads:
        optimizer.step(params, g, layout)
    return params


def slots(*rows):
    """Slots of the sizes, decays and trainabilities given, one after the other."""
    layout, start = [], 0
    for size, decay, trainable in rows:
        layout.append(Slot(str(start), slice(start, start + size), (size,), decay, trainable))
        start += size
    return layout


def test_every_optimizer_has_a_row():
    assert sorted([*BY_NAME, "LBFGS", "Optimizer"]) == sorted(optimizers.__all__)
    assert [case.name for case in CASES if case.torch_name is None] == ["Lion"]


# ---------------------------------------------------------------------------- the rules themselves


@every_case
def test_first_step_by_hand(case):
    params = np.ones(1)
    case.make().step(params, np.full(1, 0.5))
    assert params[0] == pytest.approx(case.first, rel=1e-15)


@pytest.fixture(autouse=True)
def pytorchs_default_dtype():
    """Put back what `run_torch` changes."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_default_dtype(sys.modules["torch"].float32)


def run_torch(case, options, params, grads, *, rate=None, clip=None, layout=None, frozen=()):
    """The same steps by PyTorch: one tensor for each slot, no gradient for those in `frozen`."""
    torch = pytest.importorskip("torch")
    layout = layout or slots((N, True, True))
    tensors = [torch.nn.Parameter(torch.tensor(params[slot.slice])) for slot in layout]
    decay = case.make(**options).weight_decay
    groups = [
        # Rprop has no such thing
        {"params": [tensor]} | ({"weight_decay": decay if slot.decay else 0.0} if decay else {})
        for tensor, slot in zip(tensors, layout, strict=True)
    ]
    optimizer = case.make_torch(groups, **options)
    torch.set_default_dtype(torch.float64)  # in which NAdam keeps its product of momenta
    for t, g in enumerate(grads):
        for i, (tensor, slot) in enumerate(zip(tensors, layout, strict=True)):
            tensor.grad = None if i in frozen and t in frozen[i] else torch.tensor(g[slot.slice])
        if rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = rate(t)
        if clip is not None:
            clip(torch.nn.utils, tensors)
        optimizer.step()
    return np.concatenate([tensor.detach().numpy() for tensor in tensors])


def run_lion(options, params, grads, rate=None):
    """Algorithm 2 of the paper, number by number."""
    beta1, beta2 = options.get("betas", (0.9, 0.99))
    decay = options.get("weight_decay", 0.0)
    result = []
    for theta, series in zip(params.tolist(), grads.T.tolist(), strict=True):
        m = 0.0
        for t, g in enumerate(series):
            eta = rate(t) if rate else options.get("learning_rate", 1e-4)
            c = beta1 * m + (1 - beta1) * g
            theta -= eta * ((c > 0) - (c < 0) + decay * theta)
            m = beta2 * m + (1 - beta2) * g
        result.append(theta)
    return np.array(result)


def disagreement(case, options, optimizer=None):
    """Largest difference after 30 steps, relative to the way gone, from PyTorch or the paper."""
    params, grads = problem()
    ours = run(optimizer or case.make(**options), params, grads)
    if case.torch_name is None:
        theirs = run_lion(options, params, grads)
    else:
        theirs = run_torch(case, options, params, grads)
    return np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs - params))


@every_option
def test_same_steps_as_the_oracle(case, options):
    assert disagreement(case, options) < 1e-12


@pytest.mark.parametrize("case", [c for c in CASES if c.name != "Rprop"], ids=lambda c: c.name)
def test_same_steps_with_a_schedule(case):
    def rate(step):
        return 0.1 / (step + 1)

    params, grads = problem()
    options = {"weight_decay": 0.1}
    ours = run(case.make(learning_rate=rate, **options), params, grads)
    if case.torch_name is None:
        theirs = run_lion(options, params, grads, rate)
    else:
        theirs = run_torch(case, options, params, grads, rate=rate)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_rprop_takes_the_first_rate_only():
    params, grads = problem()
    ours = run(Rprop(lambda step: 0.1 if step == 0 else 77.0), params, grads)
    np.testing.assert_array_equal(ours, run(Rprop(0.1), params, grads))


def test_rprop_reads_signs_of_the_smallest_gradients():
    params = np.ones(1, np.float32)
    rprop = Rprop(0.1, etas=(0.5, 2.0))
    for _ in range(3):
        rprop.step(params, np.full(1, 1e-30, np.float32))  # the product of two is 0 in float32
    assert params[0] == pytest.approx(1 - 0.1 - 0.2 - 0.4)


def test_nadam_long_after_the_momentum_has_warmed_up():
    case, options = BY_NAME["NAdam"], {"betas": (0.5, 0.9), "momentum_decay": 0.5}
    params, grads = problem()
    grads = np.tile(grads, (10, 1))
    expected = run_torch(case, options, params, grads)
    np.testing.assert_allclose(run(NAdam(**options), params, grads), expected, rtol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rmsprop_centered_survives_a_constant_gradient(dtype):
    params = np.zeros(200, dtype)
    optimizer = optimizers.RMSProp(rho=0.5, centered=True)
    for _ in range(100):  # v - m² goes to 0 and, by rounding, below
        optimizer.step(params, np.linspace(1, 3, 200).astype(dtype))
    assert np.isfinite(params).all()


# -------------------------------------------------------------------------------------- descent


def quadratic(p):
    scale = np.array([1.0, 30.0])
    return float(np.sum(scale * (p - 3) ** 2)) / 2, (scale * (p - 3)).astype(p.dtype)


def rosenbrock(p):
    x, y = map(float, p)
    grads = [-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)]
    return 100 * (y - x * x) ** 2 + (1 - x) ** 2, np.array(grads, p.dtype)


@every_case
def test_descends_to_the_minimum_of_a_quadratic(case):
    params, optimizer = np.zeros(2), case.make(**case.fast)
    for _ in range(2000):
        optimizer.step(params, quadratic(params)[1])
    assert quadratic(params)[0] < 2e-3


@pytest.mark.parametrize(
    "optimizer, steps",
    [
        (SGD(2e-4, momentum=0.98), 3000),
        (SGD(2e-4, momentum=0.98, nesterov=True), 3000),
        (Adam(CosineDecay(0.1, steps=3000)), 3000),
        (NAdam(CosineDecay(0.1, steps=5000)), 5000),
        (Lion(CosineDecay(0.01, steps=3000)), 3000),
    ],
    ids=lambda x: repr(x) if isinstance(x, Optimizer) else None,
)
def test_finds_its_way_through_rosenbrocks_valley(optimizer, steps):
    params = np.array([-1.2, 1.0])
    for _ in range(steps):
        optimizer.step(params, rosenbrock(params)[1])
    np.testing.assert_allclose(params, 1, atol=0.02)


# ------------------------------------------------------------------------------- decay, freezing

LAYOUT = slots((11, True, True), (3, False, True), (20, True, True), (6, False, True))


@pytest.mark.parametrize("case", [c for c in CASES if c.torch_name], ids=lambda c: c.name)
def test_decay_spares_the_slots_that_say_so(case):
    options = {} if case.name == "Rprop" else {"weight_decay": 0.3}
    params, grads = problem()
    expected = run_torch(case, options, params, grads, layout=LAYOUT)
    ours = run(case.make(**options), params, grads, LAYOUT)
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


class AdamWInAPassOfItsOwn(AdamW):
    """A rule that does not ask for ``keep``: `step` shrinks before it."""

    def update(self, p, g, rate, t, m, v):
        super().update(p, g, rate, t, m, v)


class AdamWAsItIs(AdamW):
    """Has the rule of its base class, which decays."""


class AdamWThatSaysSo(AdamW):
    """A rule that asks for ``keep`` says so, as the one that it overrides did."""

    update_decays = True

    def update(self, p, g, rate, t, m, v, keep=1.0):
        super().update(p, g, rate, t, m, v, keep)


@pytest.mark.parametrize("kind", [AdamWInAPassOfItsOwn, AdamWAsItIs, AdamWThatSaysSo])
@pytest.mark.parametrize("layout", [None, LAYOUT])
def test_a_rule_decays_once_whether_it_asks_for_it_or_not(layout, kind):
    assert kind.update_decays is (kind is not AdamWInAPassOfItsOwn)
    params, grads = problem(np.float64)
    ours = run(kind(weight_decay=0.3), params, grads, layout)
    theirs = run(AdamW(weight_decay=0.3), params, grads, layout)
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)


@every_case
def test_decay_acts_only_where_it_may(case):
    params, grads = problem()
    plain = run(case.make(weight_decay=0.0), params, grads, LAYOUT)
    decayed = run(case.make(weight_decay=0.3), params, grads, LAYOUT)
    for slot in LAYOUT:
        same = plain[slot.slice] == decayed[slot.slice]
        assert same.all() if not slot.decay else not same.all()
    bare = run(case.make(weight_decay=0.3), params, grads)
    assert (bare[LAYOUT[1].slice] != plain[LAYOUT[1].slice]).any()


@every_option
def test_frozen_slots_stay_bit_identical(case, options):
    options = {"weight_decay": 0.1, "clip_norm": 1.0} | options
    params, grads = problem()
    optimizer = case.make(**options)
    halfway = run(optimizer, params, grads[:10])  # so that there is momentum to be held
    optimizer.state = optimizer.state | {"ages": np.full(4, 10)}
    before = optimizer.state
    frozen = [slot._replace(trainable=i != 2) for i, slot in enumerate(LAYOUT)]
    grads = grads.copy()
    grads[:, LAYOUT[2].slice] = np.nan  # nobody may look at them
    after = run(optimizer, halfway, grads[10:], frozen)
    held = LAYOUT[2].slice
    np.testing.assert_array_equal(after[held], halfway[held])
    for name in optimizer.memory:
        np.testing.assert_array_equal(optimizer.state[name][held], before[name][held])
    assert optimizer.state["ages"].tolist() == [30, 30, 10, 30]
    assert (after[LAYOUT[0].slice] != halfway[LAYOUT[0].slice]).any()
    assert np.isfinite(after).all()


@pytest.mark.parametrize("case", [c for c in CASES if c.torch_name], ids=lambda c: c.name)
def test_a_thawed_slot_starts_like_a_new_one(case):
    # Adam's corrections are for moments that started with them: without an age of its own, the
    # thawed slot would move up to six times too far
    params, grads = problem()
    frozen_while = {0: range(12), 2: range(5, 9)}
    expected = run_torch(case, {}, params, grads, layout=LAYOUT, frozen=frozen_while)
    optimizer, ours = case.make(), params.copy()
    for t, g in enumerate(grads):
        layout = [
            slot._replace(trainable=not (i in frozen_while and t in frozen_while[i]))
            for i, slot in enumerate(LAYOUT)
        ]
        optimizer.step(ours, g, layout)
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


def test_a_slot_frozen_within_its_layout_moves_no_more():
    params, grads = problem()
    optimizer, layout, g = Adam(), list(LAYOUT), grads[0]
    optimizer.step(params, g, layout)
    before = params.copy()
    layout[2] = layout[2]._replace(trainable=False)
    optimizer.step(params, g, layout)  # the very same objects
    held = layout[2].slice
    np.testing.assert_array_equal(params[held], before[held])
    assert optimizer.state["ages"].tolist() == [2, 2, 1, 2]


def test_everything_frozen_and_nothing_at_all():
    params, grads = problem()
    frozen = slots((N, True, False))
    np.testing.assert_array_equal(run(Adam(clip_norm=1.0), params, grads, frozen), params)
    Adam(clip_norm=1.0).step(np.zeros(0), np.zeros(0))


# ------------------------------------------------------------------------------------- clipping


@pytest.mark.parametrize("case", [BY_NAME["SGD"], BY_NAME["Adam"]], ids=lambda c: c.name)
@pytest.mark.parametrize("bound", [0.5, 5.0, 1e6])
def test_clipping_as_in_pytorch(case, bound):
    params, grads = problem()
    options = {"weight_decay": 0.1}  # which comes after clipping
    for name, clip in [
        ("clip_norm", lambda utils, tensors: utils.clip_grad_norm_(tensors, bound)),
        ("clip_value", lambda utils, tensors: utils.clip_grad_value_(tensors, bound)),
    ]:
        layout = [slot._replace(decay=True) for slot in LAYOUT]
        expected = run_torch(case, options, params, grads, clip=clip, layout=layout)
        ours = run(case.make(**options, **{name: bound}), params, grads)
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


def test_value_is_clipped_before_norm():
    params = np.zeros(3)
    SGD(1.0, clip_value=3.0, clip_norm=2.5).step(params, np.array([4.0, -100.0, 0.0]))
    factor = 2.5 / (sqrt(18) + 1e-6)
    np.testing.assert_allclose(params, [-3 * factor, 3 * factor, 0], rtol=1e-14)


def test_small_norms_are_clipped_with_pytorchs_margin():
    params = np.zeros(2)
    SGD(1.0, clip_norm=1e-3).step(params, np.array([-3e-3, -4e-3]))
    factor = 1e-3 / (5e-3 + 1e-6)
    np.testing.assert_allclose(params, [3e-3 * factor, 4e-3 * factor], rtol=1e-12)


def test_norm_is_that_of_the_trainable_part():
    params = np.zeros(2)
    layout = slots((1, True, True), (1, True, False))
    SGD(1.0, clip_norm=1.0).step(params, np.array([0.5, 1000.0]), layout)
    assert params.tolist() == [-0.5, 0.0]


def test_norm_beyond_the_squares_of_float32():
    params = np.zeros(2, np.float32)
    SGD(1.0, clip_norm=5.0).step(params, np.array([3e25, -4e25], np.float32))
    np.testing.assert_allclose(params, [-3, 4], rtol=1e-6)


@pytest.mark.parametrize("largest", [1e200, 1e308])
def test_norm_beyond_the_squares_of_float64(largest):
    gradient = largest * np.array([0.6, -0.8])
    for clip, step in [({"clip_norm": 5.0}, [-3, 4]), ({"clip_value": 5.0}, [-5, 5])]:
        params = np.zeros(2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            SGD(1.0, **clip).step(params, gradient)
        np.testing.assert_allclose(params, step, rtol=1e-12)


@pytest.mark.parametrize("clip", [{"clip_norm": 1.0}, {"clip_value": 1.0}])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_clipping_refuses_a_gradient_that_is_not_finite(clip, bad):
    params, grads = problem()
    optimizer = Adam(**clip)
    params = run(optimizer, params, grads[:3])
    before, state = params.copy(), optimizer.state
    grads[3, 7] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = f"cannot clip a gradient whose norm is {np.abs(bad)}"
        with raises_exactly(
            FloatingPointError, f"{optimizer!r}: {told}; parameters and state are unchanged"
        ):
            optimizer.step(params, grads[3])
    np.testing.assert_array_equal(params, before)
    np.testing.assert_equal(optimizer.state, state)


# ----------------------------------------------------------------------- vectors, dtypes, state


@every_option
def test_float32_stays_float32(case, options):
    params, grads = problem(np.float32)
    exact = run(case.make(**options), params.astype(np.float64), grads.astype(np.float64))
    optimizer = case.make(**options)
    grads.flags.writeable = False
    before = grads.copy()
    ours = run(optimizer, params, grads)
    assert ours.dtype == np.float32
    assert all(optimizer.state[name].dtype == np.float32 for name in optimizer.memory)
    np.testing.assert_array_equal(grads, before)
    moved = np.abs(exact - params).max()
    if case.name not in ("Lion", "Rprop"):  # their signs of nearly nothing differ, rightly
        np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-4 * moved)


@every_option
def test_numpy_numbers_as_hyper_parameters_change_nothing(case, options):
    # a float64 scalar among float32 arrays would make the arithmetic float64
    def numpyfied(value):
        if isinstance(value, tuple):
            return tuple(map(np.float64, value))
        return np.float64(value) if isinstance(value, float) else value

    params, grads = problem(np.float32)
    options = {"weight_decay": 0.1, "clip_norm": 3.0, "clip_value": 9.0} | options
    given = case.make(**options).get_params()
    same = case.make(**{name: numpyfied(value) for name, value in given.items()})
    np.testing.assert_array_equal(
        run(same, params, grads), run(case.make(**options), params, grads)
    )


@every_case
def test_vectors_with_strides(case):
    params, grads = problem()
    wide = np.zeros(2 * N)
    wide[::2] = params
    optimizer = case.make()
    for g in grads:
        optimizer.step(wide[::2], np.repeat(g, 2)[::2])
    np.testing.assert_array_equal(wide[::2], run(case.make(), params, grads))
    assert not wide[1::2].any()


@pytest.mark.parametrize(
    "params, grads, message",
    [
        (
            np.zeros((2, 2)),
            np.zeros((2, 2)),
            "flat_params must be a vector of float32 or float64, got shape (2, 2) of float64",
        ),
        (
            np.zeros(3, int),
            np.zeros(3),
            "flat_params must be a vector of float32 or float64, got shape (3,) of int64",
        ),
        (
            np.zeros(3, ">f8"),
            np.zeros(3),
            "flat_params must be a vector of float32 or float64, got shape (3,) of >f8",
        ),
        (
            read_only(np.zeros(3)),
            np.zeros(3),
            "flat_params must be writeable, got a read-only vector",
        ),
        (
            np.zeros(3),
            np.zeros(4),
            "flat_grads must be like flat_params, 3 of float64, got 4 of float64",
        ),
        (
            np.zeros(3),
            np.zeros(3, np.float32),
            "flat_grads must be like flat_params, 3 of float64, got 3 of float32",
        ),
    ],
)
def test_wrong_vectors_are_refused(params, grads, message):
    optimizer = SGD()
    with raises_exactly(ValueError, message):
        optimizer.step(params, grads)
    assert optimizer.state == {}


def test_state_belongs_to_one_vector():
    params, grads = problem()
    optimizer = Adam()
    run(optimizer, params, grads)
    with raises_exactly(
        ValueError,
        "Adam() holds the state of 40 float64 parameters, got 39 of float64; reset() forgets it",
    ):
        optimizer.step(params[1:], grads[0, 1:])
    with raises_exactly(
        ValueError,
        "Adam() holds the state of 40 float64 parameters, got 40 of float32; reset() forgets it",
    ):
        optimizer.step(params.astype(np.float32), grads[0].astype(np.float32))
    with raises_exactly(
        ValueError, "Adam() holds the state of a layout of 1 slots, got 4; reset() forgets it"
    ):
        optimizer.step(params, grads[0], LAYOUT)
    optimizer.reset()
    assert optimizer.state == {}
    optimizer.step(params[1:], grads[0, 1:])


@every_option
def test_reset_starts_over(case, options):
    params, grads = problem()
    optimizer = case.make(**options)
    first = run(optimizer, params, grads)
    optimizer.reset()
    np.testing.assert_array_equal(run(optimizer, params, grads), first)


@every_option
@pytest.mark.parametrize("how", ["pickle", "deepcopy", "state", "npz"])
def test_continues_bit_identically(case, options, how, tmp_path):
    params, grads = problem()
    uninterrupted = run(case.make(**options), params, grads, LAYOUT)
    optimizer = case.make(**options)
    halfway = run(optimizer, params, grads[:13], LAYOUT)
    if how == "pickle":
        other = pickle.loads(pickle.dumps(optimizer))
    elif how == "deepcopy":
        other = copy.deepcopy(optimizer)
    else:
        other = case.make(**options)
        state = optimizer.state
        if how == "npz":
            np.savez(tmp_path / "state.npz", **state)
            state = np.load(tmp_path / "state.npz", allow_pickle=False)
        other.state = state
    run(optimizer, halfway, grads[:5], LAYOUT)  # the first one goes its own way
    np.testing.assert_array_equal(run(other, halfway, grads[13:], LAYOUT), uninterrupted)


@pytest.mark.parametrize("frozen", [0, 9])
@every_case
def test_to_follow_another_is_to_take_a_copy_of_its_state(case, frozen):
    params, grads = problem()
    layout = slots((N - frozen, True, True), (frozen, False, False))
    expected = run(whole := case.make(), params, grads, layout)
    first, second, g = case.make(), case.make(), np.empty(N)
    for g[:] in grads[:9]:
        first.step(params, g, layout)
    before = first.state
    second.follow(first)
    for g[:] in grads[9:]:
        second.step(params, g, layout)
    np.testing.assert_array_equal(params, expected)
    np.testing.assert_equal(second.state, whole.state)
    np.testing.assert_equal(first.state, before)
    second.follow(case.make())
    assert second.state == {}


@every_case
def test_a_step_changes_no_setting_so_that_the_next_one_need_not_check_them(case):
    rule, params, grads = case.make(), np.ones(N), np.ones(N)
    names = settings_of(rule, Optimizer)
    before = [getattr(rule, name) for name in names]
    for _ in range(3):
        rule.step(params, grads)
    assert [getattr(rule, name) for name in names] == before
    assert {"learning_rate", "weight_decay", "clip_norm", "clip_value"} <= set(names)


def test_who_follows_has_settings_of_its_own():
    params, grads = np.ones(N), np.ones(N)
    first = SGD(momentum=0.9)
    first.step(params, grads)
    found = []
    for how in (SGD.follow, lambda follower, first: setattr(follower, "state", first.state)):
        follower, after = SGD(0.5, momentum=0.8, weight_decay=0.1), params.copy()
        how(follower, first)
        follower.step(after, grads)
        found.append(after)
    np.testing.assert_array_equal(*found)
    wrong = SGD(momentum=2.0)
    wrong.follow(first)
    with raises_exactly(
        ValueError, "SGD(momentum=2.0): momentum must be a number in [0, 1), got 2.0"
    ):
        wrong.step(params, grads)
    with raises_exactly(
        ValueError, "SGD(learning_rate=0.5): a state has the entries ages, t, got ages, t, velocity"
    ):
        SGD(0.5).follow(first)


def test_state_is_a_copy_with_plain_entries():
    params, grads = problem()
    optimizer = Adam()
    run(optimizer, params, grads[:2], LAYOUT)
    state = optimizer.state
    assert state.keys() == {"t", "ages", "m", "v"}
    assert (state["t"], state["ages"].tolist()) == (2, [2, 2, 2, 2])
    state["m"][:] = 99
    assert optimizer.state["m"].max() < 99
    optimizer.state = state
    state["m"][:] = 100
    assert (optimizer.state["m"] == 99).all()
    for wrong in ({"t": 3}, state | {"extra": 1}, {k: v for k, v in state.items() if k != "v"}):
        with raises_exactly(
            ValueError, re.compile(r"Adam\(\): a state has the entries ages, m, t, v, got .*")
        ):
            optimizer.state = wrong
    assert (optimizer.state["m"] == 99).all(), "a refused state changes nothing"


def test_state_of_the_schedule_goes_along():
    schedule = Warmup(ReduceOnPlateau(0.1, factor=0.5, patience=0), steps=2)
    optimizer = SGD(schedule, momentum=0.9)
    params, grads = problem()
    run(optimizer, params, grads[:4])
    for loss in (1.0, 2.0, 3.0):
        schedule.update(loss)
    assert optimizer.rate == 0.025
    state = optimizer.state
    assert state["schedule.reductions"] == 2
    other = SGD(Warmup(ReduceOnPlateau(0.1, factor=0.5, patience=0), steps=2), momentum=0.9)
    other.state = state
    assert other.rate == 0.025
    optimizer.reset()
    assert optimizer.rate == 0.05, "the first step of a warm-up to 0.1"
    with raises_exactly(
        ValueError,
        "SGD(momentum=0.9): a state has the entries ages, t, velocity, got ages, "
        "schedule.bad_epochs, schedule.best, schedule.reductions, t, velocity",
    ):
        SGD(momentum=0.9).state = state


def test_momentum_switched_on_and_off_between_steps():
    params, grads = problem()
    optimizer = SGD(0.1)
    p = run(optimizer, params, grads[:1])
    optimizer.set_params(momentum=0.5)
    p = run(optimizer, p, grads[1:3])
    expected = params - 0.1 * (grads[0] + grads[1] + 0.5 * grads[1] + grads[2])
    np.testing.assert_allclose(p, expected, rtol=1e-13)
    optimizer.set_params(momentum=0.0)
    np.testing.assert_allclose(run(optimizer, p, grads[3:4]), p - 0.1 * grads[3], rtol=1e-13)


# -------------------------------------------------------------------------- hyper-parameters


@every_case
def test_parameters_clone_and_print(case):
    sklearn = pytest.importorskip("sklearn")
    for options in [{}, *case.options]:
        optimizer = case.make(**options)
        params = optimizer.get_params()
        assert params.items() >= options.items()
        assert {"learning_rate", "weight_decay", "clip_norm", "clip_value"} <= params.keys()
        assert eval(repr(optimizer), vars(optimizers)).get_params() == params
        run(optimizer, *problem())
        clone = sklearn.clone(optimizer)
        assert clone.get_params() == params == optimizer.get_params()
        assert clone.state == {} != optimizer.state


def test_nested_parameters_of_a_schedule():
    sklearn = pytest.importorskip("sklearn")
    optimizer = Adam(Warmup(CosineDecay(0.1, steps=50), steps=5))
    optimizer.set_params(learning_rate__schedule__steps=20, learning_rate__steps=3)
    clone = sklearn.clone(optimizer)
    assert repr(clone) == "Adam(learning_rate=Warmup(schedule=CosineDecay(learning_rate=0.1, " \
        "steps=20), steps=3))"  # fmt: skip
    assert clone.learning_rate is not optimizer.learning_rate


@pytest.mark.parametrize(
    "name, options, expected",
    [
        *[
            (case.name, options, expected)
            for case in CASES
            for options, expected in [
                ({"learning_rate": -1.0}, "a finite number >= 0 or a schedule"),
                ({"learning_rate": np.inf}, "a finite number >= 0 or a schedule"),
                ({"learning_rate": "fast"}, "a finite number >= 0 or a schedule"),
                ({"weight_decay": -0.1}, "a finite number >= 0 or a schedule"),
                ({"weight_decay": np.nan}, "a finite number >= 0 or a schedule"),
                ({"clip_norm": 0}, "None or a positive finite number"),
                ({"clip_value": -1}, "None or a positive finite number"),
            ]
        ],
        *[
            (name, {"betas": betas}, "two numbers in [0, 1)")
            for name in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Lion")
            for betas in [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, np.nan), (0.9,), 0.9, None]
        ],
        *[
            (name, {"eps": eps}, "a positive finite number")
            for name in (
                "Adam",
                "AdamW",
                "NAdam",
                "RAdam",
                "Adamax",
                "RMSProp",
                "Adagrad",
                "Adadelta",
            )
            for eps in (0.0, -1e-8, np.nan, None)
        ],
        ("SGD", {"momentum": 1.0}, "a number in [0, 1)"),
        ("SGD", {"nesterov": True}, "False without momentum"),
        ("RMSProp", {"momentum": -0.5}, "a number in [0, 1)"),
        ("RMSProp", {"rho": 1.0}, "a number in [0, 1)"),
        ("Adadelta", {"rho": -0.1}, "a number in [0, 1)"),
        ("NAdam", {"momentum_decay": -1}, "a finite number >= 0"),
        ("Rprop", {"etas": (0.5, 0.9)}, "a number in (0, 1) and one above 1"),
        ("Rprop", {"etas": (0.0, 1.2)}, "a number in (0, 1) and one above 1"),
        ("Rprop", {"etas": 0.5}, "a number in (0, 1) and one above 1"),
        ("Rprop", {"step_sizes": (1.0, 0.5)}, "two positive finite numbers, the smaller first"),
        ("Rprop", {"step_sizes": (0.0, 1.0)}, "two positive finite numbers, the smaller first"),
    ],
)
def test_bad_hyper_parameters_are_refused_when_used(name, options, expected):
    params, grads = problem()
    before = params.copy()
    optimizer = getattr(optimizers, name)(**options)
    ((parameter, value),) = options.items()
    message = f"{name}({parameter}={value!r}): {parameter} must be {expected}, got {value!r}"
    with raises_exactly(ValueError, message):
        optimizer.step(params, grads[0])
    np.testing.assert_array_equal(params, before)
    assert optimizer.state == {}


def test_zero_is_a_learning_rate():
    params, grads = problem()
    np.testing.assert_array_equal(run(AdamW(0.0), params, grads), params)


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf, None, Schedule])
def test_bad_rates_of_a_schedule_are_refused(bad):
    params, grads = problem()
    optimizer = SGD(lambda step: 0.1 if step < 2 else bad)
    p = run(optimizer, params, grads[:2])
    before = p.copy()
    with raises_exactly(
        ValueError,
        "SGD(learning_rate=<lambda>): at step 2 the schedule must give a finite number "
        f">= 0, got {bad!r}",
    ):
        optimizer.step(p, grads[2])
    np.testing.assert_array_equal(p, before)
    assert optimizer.state["t"] == 2


def test_schedules_count_steps_from_zero():
    asked = []

    def schedule(step):
        asked.append(step)
        return 0.1

    params, grads = problem()
    run(Adam(schedule), params, grads[:4])
    assert asked == [0, 1, 2, 3] and {type(step) for step in asked} == {int}


# -------------------------------------------------------------------------- a rule of one's own


class SignDescent(Optimizer):
    memory = ("velocity",)

    def update(self, p, g, rate, t, velocity):
        velocity *= 0.5
        velocity += np.sign(g)
        p -= rate * velocity


def test_a_rule_of_ones_own_inherits_all_the_rest():
    params, grads = problem()
    optimizer = SignDescent(0.25, weight_decay=0.1, clip_norm=1.0)
    p = run(optimizer, params, grads[:1], LAYOUT)
    decayed = np.ones(N, bool)
    decayed[LAYOUT[1].slice] = decayed[LAYOUT[3].slice] = False
    scale = 1 / (np.linalg.norm(grads[0]) + 1e-6)
    expected = params - 0.25 * np.sign(grads[0] * scale + np.where(decayed, 0.1 * params, 0))
    np.testing.assert_array_equal(p, expected)
    assert optimizer.state.keys() == {"t", "ages", "velocity"}
    assert repr(optimizer) == "SignDescent(learning_rate=0.25, weight_decay=0.1, clip_norm=1.0)"


def test_a_rule_cannot_spoil_its_callers_gradient():
    class Spoiler(Optimizer):
        def update(self, p, g, rate, t):
            g *= 2

    with pytest.raises(ValueError, match="read-only"):
        Spoiler().step(np.ones(3), np.ones(3))
    with raises_exactly(NotImplementedError, "Optimizer has no update"):
        Optimizer().step(np.ones(3), np.ones(3))


# ------------------------------------------------------------------------------------- mutants


class AdamWithoutBiasCorrection(Adam):
    def update(self, p, g, rate, t, m, v):
        super().update(p, g, rate, 10**9, m, v)


class AdamWithEpsInsideTheRoot(Adam):
    def update(self, p, g, rate, t, m, v):
        beta1, beta2 = self.betas
        kernels.moving_average(m, g, beta1)
        kernels.moving_average(v, g * g, beta2)
        p -= rate * (m / (1 - beta1**t)) / np.sqrt(v / (1 - beta2**t) + self.eps)


class AdamWithEpsBeforeTheCorrection(Adam):
    def update(self, p, g, rate, t, m, v):
        kernels.adam_step(p, g, m, v, rate, *self.betas, self.eps / sqrt(1 - self.betas[1] ** t), t)


class AdamThatCountsFromZero(Adam):
    def update(self, p, g, rate, t, m, v):
        super().update(p, g, rate, t + 1, m, v)


class AdamWithDecoupledDecay(Adam):
    decoupled = True


class AdamWWithCoupledDecay(AdamW):
    decoupled = False


class SGDWithoutNesterov(SGD):
    def update(self, p, g, rate, t, velocity=None):
        kernels.sgd_step(p, g, velocity, rate, self.momentum, nesterov=False)


class SGDWithTheRateInsideTheMomentum(SGD):
    def update(self, p, g, rate, t, velocity=None):
        kernels.sgd_step(p, g * (1 - self.momentum), velocity, rate, self.momentum, nesterov=False)


class LionWithSwappedBetas(Lion):
    def update(self, p, g, rate, t, m):
        twin = Lion(betas=self.betas[::-1])
        twin.update(p, g, rate, t, m)


class NAdamWithOneMomentum(NAdam):
    def update(self, p, g, rate, t, m, v):
        beta1, beta2 = self.betas
        kernels.moving_average(m, g, beta1)
        kernels.moving_average(v, g * g, beta2)
        ahead = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
        p -= rate * ahead / (np.sqrt(v / (1 - beta2**t)) + self.eps)


class RpropThatStepsBackWithTheOldSign(Rprop):
    def update(self, p, g, rate, t, previous, size):
        super().update(p, g, rate, t, previous, size)
        previous[...] = g


MUTANTS = [
    (AdamWithoutBiasCorrection, {}),
    (AdamWithEpsInsideTheRoot, {}),
    (AdamWithEpsBeforeTheCorrection, {}),
    (AdamThatCountsFromZero, {}),
    (AdamWithDecoupledDecay, {"weight_decay": 0.1}),
    (AdamWWithCoupledDecay, {"weight_decay": 0.1}),
    (SGDWithoutNesterov, {"momentum": 0.9, "nesterov": True}),
    (SGDWithTheRateInsideTheMomentum, {"momentum": 0.9}),
    (LionWithSwappedBetas, {"learning_rate": 0.1}),
    (NAdamWithOneMomentum, {}),
    (RpropThatStepsBackWithTheOldSign, {}),
]


@pytest.mark.parametrize("mutant, options", MUTANTS, ids=lambda x: getattr(x, "__name__", ""))
def test_mutants_are_caught(mutant, options):
    case = BY_NAME[mutant.__mro__[1].__name__]
    assert disagreement(case, options) < 1e-12
    assert disagreement(case, options, mutant(**options)) > 1e-9


# ------------------------------------------------------------------------------------- L-BFGS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lbfgs_minimises_in_place(dtype):
    params = np.array([-1.2, 1.0], dtype)
    given = []

    def fun(p):
        assert p is params
        given.append(p.copy())
        return rosenbrock(p)

    result = LBFGS().minimize(fun, params)
    assert result.success and params.dtype == dtype
    np.testing.assert_allclose(params, 1, atol=1e-5 if dtype == np.float64 else 1e-3)
    np.testing.assert_array_equal(params, result.x.astype(dtype))
    assert len(given) == result.nfev > result.nit > 5


def test_lbfgs_agrees_with_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    start, ours = np.array([-1.2, 1.0]), np.array([-1.2, 1.0])
    result = LBFGS(max_iter=9, history=3).minimize(rosenbrock, ours)
    expected = optimize.minimize(
        rosenbrock, start, jac=True, method="L-BFGS-B", options={"maxiter": 9, "maxcor": 3}
    )
    assert result.nit == 9
    np.testing.assert_array_equal(ours, expected.x)


def test_lbfgs_decays_and_freezes_by_the_layout():
    # minimum of sum((p - 3)² / 2) + 0.5 / 2 sum over the decaying of p²: p = 2 there, 3 elsewhere
    def fun(p):
        return float(np.sum((p - 3) ** 2)) / 2, p - 3

    layout = slots((2, True, True), (2, False, True), (2, True, False))
    params = np.arange(6.0)
    losses = []
    optimizer = LBFGS(weight_decay=0.5, tol=1e-9)
    result = optimizer.minimize(fun, params, layout, losses.append)
    np.testing.assert_allclose(params[:4], [2, 2, 3, 3], atol=1e-8)
    assert params[4:].tolist() == [4.0, 5.0]
    loss = fun(params)[0]
    assert losses[-1] == pytest.approx(loss), "the callback hears the loss without the decay"
    assert result.fun == pytest.approx(loss + 0.25 * 8)
    bare = np.zeros(2)
    optimizer.minimize(fun, bare)
    np.testing.assert_allclose(bare, 2, atol=1e-8)
    frozen = np.ones(2)
    optimizer.minimize(fun, frozen, slots((2, True, False)))
    assert frozen.tolist() == [1.0, 1.0]


def test_lbfgs_has_converged_where_nothing_is_trainable():
    params = np.array([-1.2, 1.0])
    layout = slots((2, True, False))
    result = LBFGS(weight_decay=0.5).minimize(rosenbrock, params, layout)
    assert result.success and (result.nit, result.nfev, result.x.size) == (0, 1, 0)
    assert result.fun == rosenbrock(params)[0]
    assert params.tolist() == [-1.2, 1.0]
    with raises_exactly(FloatingPointError, "LBFGS(): the loss is nan"):
        LBFGS().minimize(lambda p: (np.nan, p), params, layout)


def test_lbfgs_decay_is_the_derivative_of_its_penalty():
    # with a wrong factor in either, the line search would still find a point with zero gradient
    seen = []

    def fun(p):
        seen.append(p.copy())
        return 0.0, np.zeros_like(p)

    params = np.array([3.0, -4.0])
    result = LBFGS(weight_decay=0.5, max_iter=1).minimize(fun, params)
    np.testing.assert_allclose(result.fun, 0.25 * np.sum(result.x**2))
    np.testing.assert_allclose(result.jac, 0.5 * result.x)


def test_lbfgs_callback_sees_the_iterate_and_may_stop():
    params = np.array([-1.2, 1.0])
    seen = []

    def callback(loss):
        assert loss == rosenbrock(params)[0]
        seen.append(params.copy())
        return len(seen) == 4

    result = LBFGS().minimize(rosenbrock, params, callback=callback)
    assert result.nit == 4
    np.testing.assert_array_equal(params, seen[-1])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_lbfgs_leaves_the_last_iterate_when_interrupted(error):
    calls, iterates = 0, []
    params = np.array([-1.2, 1.0])

    def fun(p):
        nonlocal calls
        calls += 1
        if calls == 12:
            p[:] = np.nan
            raise error
        return rosenbrock(p)

    with pytest.raises(error):
        LBFGS().minimize(fun, params, callback=lambda loss: iterates.append(params.copy()))
    np.testing.assert_array_equal(params, iterates[-1])


def test_lbfgs_refuses_a_loss_that_is_not_finite():
    params = np.ones(3)
    with raises_exactly(FloatingPointError, "LBFGS(): the loss is nan"):
        LBFGS().minimize(lambda p: (np.nan, p), params)
    assert params.tolist() == [1.0, 1.0, 1.0]


def test_lbfgs_stops_where_the_loss_is_not_a_number():
    def fun(p):  # no number beyond 2, and flat there: it would pass for a minimum
        return (np.nan, np.zeros(1)) if p[0] > 2 else (float((p[0] - 3) ** 2) / 2, p - 3)

    params, losses = np.zeros(1), []
    with raises_exactly(FloatingPointError, "LBFGS(): the loss is nan"):
        LBFGS().minimize(fun, params, callback=losses.append)
    assert 0 < params[0] < 2 and fun(params)[0] == losses[-1], "the last good iterate"


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("max_iter", 0, "an integer >= 1"),
        ("history", 0, "an integer >= 1"),
        ("max_fun", 1.5, "an integer >= 1"),
        ("tol", -1, "a finite number >= 0"),
        ("weight_decay", np.nan, "a finite number >= 0"),
    ],
)
def test_lbfgs_refuses_bad_hyper_parameters(name, value, expected):
    message = f"LBFGS({name}={value}): {name} must be {expected}, got {value}"
    with raises_exactly(ValueError, message):
        LBFGS(**{name: value}).minimize(rosenbrock, np.zeros(2))


def test_lbfgs_is_cloned_and_printed():
    sklearn = pytest.importorskip("sklearn")
    assert repr(sklearn.clone(LBFGS(max_iter=7, tol=0.1))) == "LBFGS(max_iter=7, tol=0.1)"
    with raises_exactly(
        ValueError, "flat_grads must be like flat_params, 2 of float64, got 3 of float64"
    ):
        LBFGS().minimize(lambda p: (0.0, np.zeros(3)), np.zeros(2))


def stepped(rule, *settings):
    """Parameters after a step, then after one more with each of the settings."""
    params, grads = np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.25, -1.0])
    rule.step(params, grads)
    for name, value in settings:
        setattr(rule, name, value)
        rule.step(params, grads)
    return params


class PlainDescent(Optimizer):
    """What only the class has a value for counts too, once it is set."""

    weight_decay = 0.0
    clip_norm = clip_value = None
    nesterov = False

    def __init__(self, learning_rate=0.1):
        self.learning_rate = learning_rate

    def validate(self):
        super().validate()
        self.check(isinstance(self.nesterov, bool), "nesterov", "True or False")

    def update(self, p, g, rate, t):
        p -= rate * g * (2 if self.nesterov else 1)


@pytest.mark.parametrize(
    "name, wrong, expected",
    [
        ("nesterov", "x", "True or False"),
        ("weight_decay", -1.0, "a finite number >= 0 or a schedule"),
        ("clip_norm", -1.0, "None or a positive finite number"),
    ],
)
def test_a_setting_that_only_the_class_had_is_noticed(name, wrong, expected):
    message = f"PlainDescent(): {name} must be {expected}, got {wrong!r}"
    with raises_exactly(ValueError, message):
        stepped(PlainDescent(), (name, wrong))


def test_decay_that_only_the_class_had_is_switched_on():
    plain = stepped(PlainDescent())
    decayed = stepped(PlainDescent(), ("weight_decay", 0.1))
    grads = np.array([0.5, 0.25, -1.0])
    np.testing.assert_allclose(decayed, plain - 0.1 * (grads + 0.1 * plain))


class Descends:
    def update(self, p, g, rate, t, **memory):
        p -= rate * g


class DescentWithDecay(Descends, AdamW):
    pass


def test_the_class_that_states_the_rule_says_who_decays():
    params = np.array([1.0, -2.0])
    DescentWithDecay(learning_rate=0.1, weight_decay=0.1).step(params, np.array([0.5, 0.25]))
    np.testing.assert_allclose(params, np.array([1.0, -2.0]) * 0.99 - [0.05, 0.025])


class Tagged:
    def __init_subclass__(cls, tag=None, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.tag = tag


def test_a_rule_may_have_bases_that_hear_of_subclasses():
    class TaggedAdam(Adam, Tagged, tag="mine"):
        pass

    assert TaggedAdam.tag == "mine"


# ------------------------------------------------------------------------ factors of parameters


def with_factors(*rows):
    """Slots of the sizes, decay and rate factors given."""
    layout, start = [], 0
    for size, decay, rate in rows:
        where = slice(start, start + size)
        layout.append(Slot(str(start), where, (size,), decay, True, rate))
        start += size
    return layout


RULES = [
    *(getattr(optimizers, name) for name in ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax")),
    *(optimizers.Lion, PlainDescent, DescentWithDecay),  # the last two are the user's own
]


@pytest.mark.parametrize("kind", RULES)
def test_factors_are_rates_and_decays_of_their_own(kind):
    params, grads = problem()
    rows = [(3, 1.0, 1.0), (4, 0.0, 0.1), (N - 12, 6.0, 6.0), (5, 0.5, 1.0)]

    def made(rate, decay):
        rule = kind(learning_rate=rate)
        rule.weight_decay = decay
        return rule

    found = run(made(0.01, 0.1), params, grads, with_factors(*rows))
    start = 0
    for size, decay, rate in rows:
        here = slice(start, start + size)
        expected = run(made(0.01 * rate, 0.1 * decay), params[here].copy(), grads[:, here])
        np.testing.assert_allclose(found[here], expected, rtol=1e-12)
        start += size


def test_factors_of_one_change_nothing():
    params, grads = problem()
    plain = slots((10, True, True), (N - 10, False, True))
    np.testing.assert_array_equal(
        run(Adam(0.01, weight_decay=0.1), params, grads, plain),
        run(Adam(0.01, weight_decay=0.1), params, grads, with_factors((10, 1, 1), (N - 10, 0, 1))),
    )


def test_a_layer_declares_its_factors():
    class Fast(Layer):
        def setup(self, input_shape):
            self.add_param("s", input_shape, initializers.ones, decay=2.0, rate=6.0)
            return input_shape

    (slot,) = Fast().build(3).layout
    assert (slot.decay, slot.rate) == (2.0, 6.0)

    class Wrong(Layer):
        def setup(self, input_shape):
            self.add_param("s", input_shape, initializers.ones, rate=-1.0)
            return input_shape

    with raises_exactly(ValueError, "in Wrong(): rate of s must be a finite number >= 0, got -1.0"):
        Wrong().build(3)


@every_case
def test_pieces_are_found_once(case, monkeypatch):
    calls = []
    find = Optimizer._find_pieces

    def counted(self, *arguments):
        calls.append(self)
        return find(self, *arguments)

    monkeypatch.setattr(Optimizer, "_find_pieces", counted)
    params, grads = problem()
    optimizer, g = getattr(optimizers, case.name)(), grads[0].copy()
    for _ in range(3):
        optimizer.step(params, g)
    assert len(calls) == 1
