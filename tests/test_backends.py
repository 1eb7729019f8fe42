"""Both backends: how one is chosen, what is cached, and that compiled kernels equal NumPy's."""

import gc
import importlib
import inspect
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from calls import Calls
from errors import raises_exactly
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

import layerkit
from layerkit import kernels
from layerkit.kernels import dispatch

numba = pytest.importorskip("numba")

PADDED = ((1, 1), (0, 1))


def numbers(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def positive(rng, shape, dtype):
    return (rng.random(shape) + 0.1).astype(dtype)


def activations(name, *parameters, gated=False):
    """Rows for an activation and its backward, which takes y or, if gated, x and s."""

    def forward(rng, dtype):
        return name, (3 * numbers(rng, (5, 7), dtype), *parameters)

    def backward(rng, dtype):
        x = 3 * numbers(rng, (5, 7), dtype)
        with kernels.use("numpy"):
            y = getattr(kernels, name)(x, *parameters)
        kept = (x, y[1]) if gated else (x,) if name == "softplus" else (y,)
        return f"{name}_grad", (numbers(rng, (5, 7), dtype), *kept, *parameters)

    return [forward, backward]


def optimizer(name, n_memories, *settings):
    def arguments(rng, dtype):
        p, g = numbers(rng, 100, dtype), numbers(rng, 100, dtype)
        return name, (p, g, *(positive(rng, 100, dtype) for _ in range(n_memories)), *settings)

    return [arguments]


def rmsprop(m, velocity):
    def arguments(rng, dtype):
        p, g, v = (positive(rng, 100, dtype) for _ in range(3))
        extra = [0.1 * positive(rng, 100, dtype) if used else None for used in (m, velocity)]
        return "rmsprop_step", (p, g, v + 1, *extra, 0.1, 0.9, 0.5, 1e-8)

    return [arguments]


def pooling(size, stride, padding, shape=(2, 6, 5, 3)):
    def forward(kind):
        return lambda rng, dtype: (kind, (numbers(rng, shape, dtype), size, stride, padding))

    def backward(kind):
        def arguments(rng, dtype):
            with kernels.use("numpy"):
                y = getattr(kernels, kind)(numbers(rng, shape, dtype), size, stride, padding)
            y, *argmax = y if isinstance(y, tuple) else (y,)
            grad = numbers(rng, y.shape, dtype)
            return f"{kind}_input_grad", (grad, *argmax, shape, size, stride, padding)

        return arguments

    return [part(kind) for part in (forward, backward) for kind in ("max_pool2d", "avg_pool2d")]


def normalization(name, shape):
    def forward(rng, dtype):
        c = shape[-1]
        x = 1000 + numbers(rng, shape, dtype)  # a mean far larger than the deviation
        return name, (x, numbers(rng, c, dtype), numbers(rng, c, dtype), 1e-5)

    def backward(rng, dtype):
        c = shape[-1]
        with kernels.use("numpy"):
            x, one, zero = numbers(rng, shape, dtype), np.ones(c, dtype), np.zeros(c, dtype)
            _, *kept = getattr(kernels, name)(x, one, zero, 1e-5)
        kept = [x, *kept[:2]] if name == "batch_norm" else kept  # it finds x_hat again
        grad, gamma, *out = (numbers(rng, s, dtype) for s in (shape, c, c, c))
        return f"{name}_grad", (grad, *kept, gamma, *out)

    return [forward, backward]


def attention(causal, dropped):
    lengths = np.array([4, 1, 9, 33])

    def forward(rng, dtype):
        keep = rng.random(2 * (lengths**2).sum()) < 0.7 if dropped else None
        scale = 1 / 0.7 if dropped else 1.0
        return "attention", (numbers(rng, (47, 18), dtype), lengths, 2, causal, keep, scale)

    def backward(rng, dtype):
        _, (qkv, *how) = forward(rng, dtype)
        with kernels.use("numpy"):
            kept = kernels.attention(qkv, *how)
        return "attention_grad", (numbers(rng, (47, 6), dtype), qkv, *kept, *how)

    return [forward, backward]


def cross_entropy(smoothing, k):
    def arguments(rng, dtype):
        weights = rng.random(20) * (rng.random(20) > 0.2)
        x = 5 * numbers(rng, (20, k), dtype)
        return "cross_entropy_of_labels", (x, rng.integers(0, k, 20), weights, smoothing)

    return [arguments]


def recurrent(sizes, units, *more):
    """Rows for each step loop and its backward, all arrays of numbers between -1 and 1."""
    sizes = np.array(sizes)
    n_steps, n_states = int(sizes.sum()), int(sizes.sum() + sizes[0])

    def arguments(rng, dtype, gates, *shapes):
        U = rng.uniform(-1, 1, (units, gates * units)) / np.sqrt(units)
        arrays = [rng.uniform(-1, 1, shape).astype(dtype) for shape in shapes]
        return U.astype(dtype), arrays

    def forward(name, gates, n_kept):
        def make(rng, dtype):
            shapes = [(n_steps, gates * units)] + [(n_states, units)] * n_kept
            U, (z, *states) = arguments(rng, dtype, gates, *shapes)
            bias = [U[0, :units].copy()] if name == "gru" else []
            return name, (z, U, *bias, *states, sizes, *(more if name == "simple_rnn" else ()))

        return make

    def backward(name, gates):
        def make(rng, dtype):
            kept = [(n_steps, gates * units)] + [(n_steps, units)] * 2
            kept = [(n_states, units)] if name == "simple_rnn_grad" else kept
            U, arrays = arguments(rng, dtype, gates, (n_states, units), *kept)
            return name, (*arrays, U, sizes, *(more if name == "simple_rnn_grad" else ()))

        return make

    kinds = (("simple_rnn", 1, 1), ("lstm", 4, 2), ("gru", 3, 1))
    made = [part for name, gates, n in kinds
            for part in (forward(name, gates, n), backward(f"{name}_grad", gates))]  # fmt: skip
    return made if more else made[2:]


RECTIFIED = (1, 1), ((0, 0), (0, 0)), (1, 1), 1, "auto", True  # what follows a bias in conv2d


def others(rng, dtype):
    x = numbers(rng, (300, 7), dtype)
    weights = rng.random(300) * (rng.random(300) > 0.2)
    images, kernel = numbers(rng, (5, 6, 10, 4), dtype), numbers(rng, (3, 3, 7, 4), dtype)
    few = csr_array(np.where(x > 1, x, 0))
    return [
        ("sigmoid", (5 * x,)),
        ("softplus", (5 * x,)),
        ("log_sigmoid", (5 * x,)),
        ("softmax", (5 * x,)),
        ("softmax", (5 * x, 0)),
        ("log_softmax", (5 * x,)),
        ("log_softmax", (1e4 * x,)),
        ("sum_rows", (x, np.empty(7, dtype))),
        ("add_row", (x, x[0].copy())),
        ("matmul", (x.T, x[::-1])),
        ("matmul", (few, x[:7])),
        ("matmul", (few.T, x[::-1])),
        (
            "conv2d",
            (x.reshape(5, 6, 10, 7), numbers(rng, (3, 3, 7, 4), dtype), x[0, :4], *RECTIFIED),
        ),
        ("mean_of_cells", (x.reshape(10, 30, 7),)),
        ("apply_mask", (x, rng.random(x.shape) < 0.5, 2.0)),
        ("apply_mask", (x.reshape(10, 30, 7), rng.random((10, 1, 7)) < 0.5, 2.0)),
        ("sum_of_squares", (x.ravel(),)),
        ("add_rows_at", (x, rng.integers(0, 9, 300), np.empty((10, 7), dtype))),
        ("binary_cross_entropy", (5 * x, rng.random(x.shape).astype(dtype), weights, 2.5, 0.1)),
        ("binary_cross_entropy", (20 * x[:, :1], (x[:, :1] > 0).astype(dtype), weights, 1.0, 0.0)),
        ("cross_entropy_of_softmax", (5 * x, np.abs(x) / np.abs(x).sum(1, keepdims=True), 6.0)),
        ("cross_entropy_of_sigmoid", (5 * x, rng.random(x.shape).astype(dtype), 3.0)),
        ("sgd_step", (x.ravel(), x.ravel()[::-1].copy(), None, 0.1, 0.0, False)),
        ("shrink", (x.ravel(), 0.9)),
        (
            "plus_decay",
            (x.ravel(), x.ravel()[::-1].copy(), 0.1, np.array([[0, 9], [50, 700]]), 0 * x.ravel()),
        ),
        ("moving_average", (x.ravel(), x.ravel()[::-1].copy(), 0.9)),
        ("conv2d_input_grad", (images, kernel, (5, 8, 12, 7))),
        ("conv2d_kernel_grad", (numbers(rng, (5, 8, 12, 7), dtype), images, np.empty_like(kernel))),
    ]


CASES = [
    *activations("relu"),
    *activations("leaky_relu", 0.1),
    *activations("elu", 1.3, 0.7),
    *activations("tanh"),
    *activations("gelu", gated=True),
    *activations("silu", gated=True),
    *activations("mish", gated=True),
    activations("sigmoid")[1],
    activations("softplus")[1],
    *optimizer("sgd_step", 1, 0.1, 0.9, False),
    *optimizer("sgd_step", 1, 0.1, 0.9, True),
    *optimizer("adam_step", 2, 0.1, 0.9, 0.99, 1e-8, 3),
    *optimizer("adam_step", 2, 0.1, 0.9, 0.99, 1e-8, 3, 0.7),
    *optimizer("moments_step", 2, 0.9, 0.99, 0.1, 0.2, 1e-8),
    *optimizer("adamax_step", 2, 0.1, 0.9, 0.99, 1e-8),
    *optimizer("adagrad_step", 1, 0.1, 1e-8),
    *optimizer("adadelta_step", 2, 0.1, 0.9, 1e-6),
    *optimizer("lion_step", 1, 0.1, 0.9, 0.99),
    *optimizer("lion_step", 1, 0.1, 0.9, 0.99, 0.7),
    *optimizer("rprop_step", 2, 0.5, 1.2, 0.2, 0.9),
    *(case for m in (0, 1) for velocity in (0, 1) for case in rmsprop(m, velocity)),
    *pooling((2, 2), (2, 2), ((0, 0), (0, 0))),
    *pooling((3, 2), (2, 1), PADDED),
    *pooling((2, 4), (1, 1), ((1, 0), (0, 3)), shape=(2, 1, 2, 5)),  # no window sees the last tap
    *pooling((3, 3), (3, 3), ((1, 1), (1, 1)), shape=(2, 7, 7, 3)),
    *pooling((2, 2), (2, 2), ((0, 0), (0, 0)), shape=(0, 4, 4, 3)),
    *normalization("batch_norm", (40, 5, 6)),
    *normalization("batch_norm", (3, 5000)),
    *normalization("layer_norm", (4, 5, 33)),
    *attention(causal=False, dropped=False),
    *attention(causal=True, dropped=True),
    *cross_entropy(0.0, 2),
    *cross_entropy(0.1, 11),
    *recurrent([3, 2, 2, 1], 5, False),
    *recurrent([2, 2], 4, True)[:2],
    *recurrent([1] * 4, 3, True),
    *recurrent([90] * 9 + [40] * 6 + [3] * 20, 32, False),  # in parts
    *(
        lambda rng, dtype, i=i: others(rng, dtype)[i]
        for i in range(len(others(np.random.default_rng(0), np.float64)))
    ),
]


def run(name, arguments, backend):
    """Results of a kernel, and its arguments afterwards: some work in place."""
    arguments = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    with kernels.use(backend), np.errstate(all="ignore"):
        found = getattr(kernels, name)(*arguments)
    found = found if isinstance(found, tuple) else (found,)
    return [a for a in (*found, *arguments) if isinstance(a, (np.ndarray, float))]


def title(case):
    return case(np.random.default_rng(0), np.float64)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=title)
def test_compiled_kernels_equal_those_in_numpy(case, dtype, rng):
    name, arguments = case(rng, dtype)
    tolerance = 2e-5 if dtype == np.float32 else 1e-10
    for ours, theirs in zip(*(run(name, arguments, b) for b in dispatch.BACKENDS), strict=True):
        assert np.shape(ours) == np.shape(theirs)
        assert getattr(ours, "dtype", None) == getattr(theirs, "dtype", None)
        assert_allclose(
            ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max(initial=0)
        )


# What compiled kernels give back to NumPy: a call of another kernel, a small product, an axis, a
# mask to broadcast; and what has no compiled version of float64.
GIVEN_BACK = {"adam_step", "matmul", "softmax", "apply_mask"}
SINGLE_ONLY = {"gelu", "mish", "log_softmax", "attention"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=title)
def test_compiled_kernels_do_not_leave_the_work_to_numpy(case, dtype, rng):
    """They would give the right numbers, only slowly."""
    (name, arguments), called = case(rng, dtype), []

    def note(frame, event, _):
        if event == "call" and Path(frame.f_code.co_filename).parent.name == "_numpy":
            called.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run(name, arguments, "numba")
    finally:
        sys.setprofile(before)
    if name.removesuffix("_grad") in SINGLE_ONLY:
        assert (name in called) is (dtype == np.float64)
    elif name not in GIVEN_BACK:
        assert name not in called


IN_PLACE = ("_step", "moving_average", "add_row", "sum_rows", "add_rows_at", "conv2d_kernel_grad")
IN_PLACE += ("shrink", "plus_decay")
IN_PLACE += tuple(kind + end for kind in ("simple_rnn", "lstm", "gru") for end in ("", "_grad"))


@pytest.mark.parametrize("case", [c for c in CASES if not title(c).endswith(IN_PLACE)], ids=title)
def test_read_only_fortran_and_strided_arrays_give_the_same(case, rng):
    name, arguments = case(rng, np.float32)
    expected = run(name, arguments, "numba")

    def awkward(a):
        if not isinstance(a, np.ndarray) or a.ndim < 2:
            return a
        a = np.repeat(np.asfortranarray(a), 2, axis=-1)[..., ::2]
        a.flags.writeable = False
        return a

    with kernels.use("numba"):
        found = getattr(kernels, name)(*map(awkward, arguments))
    for ours, theirs in zip(
        found if isinstance(found, tuple) else (found,), expected, strict=False
    ):
        assert_array_equal(ours, theirs)


ELEMENTWISE = ["relu", "tanh", "sigmoid", "softplus", "gelu", "silu", "mish"]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_float32_polynomials_are_exact_to_a_few_units_in_the_last_place(name):
    x = np.concatenate([np.linspace(-80, 80, 40_001), np.logspace(-30, 0, 500)]).astype("f")
    x = np.concatenate([x, -x])
    ours, exact = run(name, (x,), "numba")[0], run(name, (x.astype(float),), "numpy")[0]
    normal = np.abs(exact) > 1e-37
    # GELU's tail is exp(-x² / 2), which multiplies the rounding of x² by itself
    allowed = 1e-6 + (1.2e-7 * np.minimum(x, 0) ** 2 / 2 if name == "gelu" else 0)
    assert (np.abs(ours - exact) <= allowed * np.abs(exact))[normal].all()
    assert (np.abs(ours) <= 1e-36)[~normal].all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gates_of_recurrent_layers_are_exact_to_a_few_units_in_the_last_place(dtype):
    """They have functions of their own; without weights a step shows nothing else."""
    magnitudes = np.concatenate([np.linspace(0, 80, 4001), np.logspace(-30, 0, 500)])
    x = np.concatenate([magnitudes, -magnitudes]).astype(dtype)
    n, one_step, exact = len(x), np.array([len(x)]), x.astype(float)
    gates = {}
    with kernels.use("numba"):
        h = np.zeros((2 * n, 1), dtype)
        kernels.simple_rnn(x[:, np.newaxis].copy(), np.zeros((1, 1), dtype), h, one_step, False)
        gates["state"] = h[n:, 0]
        z, (h, c) = np.repeat(x, 4).reshape(n, 4), np.zeros((2, 2 * n, 1), dtype)
        kernels.lstm(z, np.zeros((1, 4), dtype), h, c, one_step)
        gates |= zip(("input", "forget", "candidate", "output"), z.T, strict=True)
        z, h = np.repeat(x, 3).reshape(n, 3), np.zeros((2 * n, 1), dtype)
        kernels.gru(z, np.zeros((1, 3), dtype), np.zeros(1, dtype), h, one_step)
        gates |= zip(("reset", "update", "mixed"), z.T, strict=True)
    for name, found in gates.items():
        is_tanh = name in ("state", "candidate", "mixed")
        expected = np.tanh(exact) if is_tanh else 1 / (1 + np.exp(-exact))
        assert_allclose(found, expected, rtol=8 * np.finfo(dtype).eps, atol=0, err_msg=name)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nan_and_infinities_pass(name):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
    assert_allclose(run(name, (x,), "numba")[0], run(name, (x,), "numpy")[0], rtol=1e-6)
    assert np.isnan(run(name, (x,), "numba")[0][0])


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "sigmoid", "tanh"])
def test_nan_in_a_gradient_passes_even_where_the_slope_is_zero(name):
    more = {"leaky_relu": (0.0,), "elu": (0.0, 1.0)}.get(name, ())
    grad, y = np.full(4, np.nan, np.float32), np.array([-1, 0, 1, 2], np.float32)
    assert np.isnan(run(f"{name}_grad", (grad, y, *more), "numba")[0]).all()


@pytest.mark.parametrize("kind", [layerkit.SimpleRNN, layerkit.GRU, layerkit.LSTM])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinities_pass_through_steps(kind, dtype):
    x = np.zeros((3, 4, 2), dtype)
    x[0, 1], x[1, 1, 0], x[1, 2, 1] = np.nan, 1e30, -1e30
    layer = kind(3, return_sequences=True).build((4, 2), random_state=0, dtype=dtype)
    results = []
    for backend in dispatch.BACKENDS:
        with kernels.use(backend):
            results.append((layer.forward(x), layer.backward(np.ones((3, 4, 3)))))
    for ours, theirs in zip(*results, strict=True):
        assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    y = results[1][0]
    assert np.isnan(y[0, 1:]).all() and np.isfinite(y[0, 0]).all() and np.isfinite(y[1:]).all()


def test_nan_wins_in_max_pooling():
    x = np.zeros((1, 2, 2, 1), np.float32)
    for cell in np.ndindex(2, 2):
        with_nan = x.copy()
        with_nan[0, *cell, 0] = np.nan
        assert np.isnan(run("max_pool2d", (with_nan, (2, 2), (2, 2)), "numba")[0]).all()


def test_what_kernels_call_may_be_called_from_python():
    exponential = importlib.import_module("layerkit.kernels._numba.exponential")
    assert exponential.exp(np.float32(0)) == 1  # and does not crash, for whoever debugs it


def test_a_loss_shows_nan_logits():
    logits, labels = np.array([[0, np.nan], [1, 2]], np.float32), np.array([0, 1])
    loss, gradient, *_ = run("cross_entropy_of_labels", (logits, labels, np.ones(2), 0.0), "numba")
    assert np.isnan(loss) and np.isnan(gradient[0]).all() and np.isfinite(gradient[1]).all()


def test_a_seed_means_the_same_in_both_backends():
    def weights(backend):
        with kernels.use(backend):
            net = layerkit.Sequential(
                [layerkit.Dense(16), layerkit.ReLU(), layerkit.Dropout(0.3), layerkit.Dense(3)]
            ).build(8, random_state=0)
            x, y = np.random.default_rng(0).standard_normal((50, 8)), np.arange(50) % 3
            layerkit.training.train(
                net,
                layerkit.losses.CategoricalCrossEntropy(),
                layerkit.optimizers.Adam(),
                (x, y),
                epochs=3,
                random_state=1,
            )
            return net.flat_params

    importlib.import_module("layerkit.training")
    assert_allclose(weights("numpy"), weights("numba"), rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- choosing


def test_use_switches_and_a_with_block_switches_back():
    before = kernels.backend()
    with kernels.use("numpy"):
        assert kernels.backend() == "numpy"
        with kernels.use("numba"):
            assert kernels.backend() == "numba"
        assert kernels.backend() == "numpy"
    assert kernels.backend() == before


def test_a_switch_reaches_kernels_that_have_run_before(monkeypatch):
    monkeypatch.setattr(dispatch, "twin", lambda reference: lambda x: "compiled")
    x = np.ones(2)
    for backend in ("numpy", "numba", "numpy"):
        with kernels.use(backend):
            found = kernels.relu(x)
        assert isinstance(found, np.ndarray) == (backend == "numpy")


def test_an_unknown_backend_is_refused_and_nothing_changes():
    before = kernels.backend()
    with raises_exactly(ValueError, 'backend must be "numpy" or "numba", got \'cuda\''):
        kernels.use("cuda")
    assert kernels.backend() == before


def fresh(code, **variables):
    """Run code in a new process."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        cwd=Path(layerkit.__file__).parents[1],
        check=False,
    )


def test_the_environment_variable_chooses():
    done = fresh("from layerkit import kernels; print(kernels.backend())", LAYERKIT_KERNELS="numpy")
    assert done.stdout == "numpy\n"
    done = fresh("from layerkit import kernels; kernels.backend()", LAYERKIT_KERNELS="fast")
    assert 'LAYERKIT_KERNELS must be "numpy" or "numba"' in done.stderr


def test_without_numba_the_default_is_numpy_and_asking_for_it_says_how_to_get_it():
    hide = "import sys; sys.modules['numba'] = None; from layerkit import kernels; "
    done = fresh(hide + "kernels.use('numba')", LAYERKIT_KERNELS="")
    assert "pip install 'layerkit[fast]'" in done.stderr


def test_dispatch_costs_next_to_nothing():
    def nothing(a, b):
        return None

    kernel = dispatch.compiled(nothing)
    with kernels.use("numpy"):
        kernel(1, 2)  # finds out which function that is
        with Calls() as calls:
            kernel(1, 2)
    assert calls.count == 3  # the kernel itself, the look whether the work is small, `nothing`


COMPILED = [
    name
    for name in kernels.__all__
    if getattr(getattr(kernels, name), "__code__", None) is dispatch.compiled(run).__code__
]


@pytest.mark.parametrize("name", COMPILED)
def test_both_versions_of_a_kernel_take_the_same_arguments(name):
    kernel = getattr(kernels, name)
    compiled = dispatch.twin(dispatch.in_numpy(kernel))
    compiled = getattr(compiled, "py_func", compiled)
    assert [*inspect.signature(compiled).parameters] == [*inspect.signature(kernel).parameters]


def test_every_compiled_kernel_is_in_the_table():
    of_networks = {"perceptron", "perceptron_grad", "epoch_program", "takes_epochs"}
    assert set(COMPILED) - {title(case) for case in CASES} == of_networks  # whose files sweep them


COMPILED_MODULES = sorted(p.stem for p in Path(kernels.__file__).parent.glob("_numba/[!_]*.py"))


@pytest.mark.parametrize("name", COMPILED_MODULES)
def test_parts_of_kernels_are_called_by_kernels_only(name):
    """Python would run them as they are, number by number, and nothing but the time would tell."""
    from layerkit.kernels._numba.compile import Part

    module = importlib.import_module(f"layerkit.kernels._numba.{name}")
    parts = {name for name, value in vars(module).items() if isinstance(value, Part)}
    plain = [f for f in vars(module).values() if inspect.isfunction(f)]
    called = {f.__name__ for f in plain if parts & {*f.__code__.co_names}}
    of_overloads = {"_choose_sigmoid", "_choose_tanh"}  # which give a part to who compiles
    assert called <= of_overloads


IN_THE_TABLE = {title(case) for case in CASES} - {"matmul"}  # which is, from a million products on


@pytest.mark.parametrize("name", [name for name in COMPILED if name in IN_THE_TABLE])
def test_a_compiled_kernel_does_not_leave_the_work_to_numpy(name, rng):
    """Some rows it may leave: for float32 and usual shapes it is there."""
    from layerkit.kernels._numba.blas import addresses

    if addresses(np.dtype(np.float32)) is None:
        pytest.skip("the matrix products of this NumPy cannot be called by kernels")
    code, entered = dispatch.in_numpy(getattr(kernels, name)).__code__, []
    calls = [case(rng, np.float32)[1] for case in CASES if title(case) == name]
    for arguments in calls:
        seen = set()
        before = sys.getprofile()
        sys.setprofile(lambda frame, *_, seen=seen: seen.add(frame.f_code))
        try:
            run(name, arguments, "numba")
        finally:
            sys.setprofile(before)
        entered.append(code in seen)
    assert not all(entered)


# ---------------------------------------------------------------- the cache on disk

ONE_KERNEL = """
import numpy as np
from layerkit import kernels
kernels.use("numba")
print(kernels.relu(np.array([-1, 2], "f")).tolist())
"""


def test_compiled_code_is_cached_and_found_again(tmp_path):
    for _ in range(2):
        assert fresh(ONE_KERNEL, NUMBA_CACHE_DIR=str(tmp_path)).stdout == "[0.0, 2.0]\n"
        files = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.relu_loop-*.nbc")}
        assert len(files) == 1
    code = ONE_KERNEL + "from layerkit.kernels._numba.activations import relu_loop\n"
    code += "print(sum(relu_loop.stats.cache_hits.values()))"
    assert fresh(code, NUMBA_CACHE_DIR=str(tmp_path)).stdout.endswith("1\n")


def test_compiled_code_is_void_when_a_module_that_it_may_inline_changes(tmp_path):
    package = tmp_path / "layerkit"
    shutil.copytree(Path(layerkit.__file__).parent, package)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + ONE_KERNEL
    code += "from layerkit.kernels._numba.activations import relu_loop\n"
    code += "print(relu_loop.py_func.__code__.co_filename)\n"
    code += "print(sum(relu_loop.stats.cache_hits.values()))"
    own = package / "kernels" / "_numba"
    hits = []
    for changed in (None, None, own / "exponential.py", own / "threads.py"):
        if changed is not None:
            changed.write_text(changed.read_text() + "# changed\n")
        file, found = fresh(code, NUMBA_CACHE_DIR=str(tmp_path / "cache")).stdout.split()[-2:]
        assert Path(file).parent == own
        hits.append(int(found))
    assert hits == [0, 1, 0, 0]


def test_a_process_finds_what_another_compiled_for_parts(tmp_path):
    code = """
import numpy as np
from layerkit import kernels
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    with kernels.use("numba"):
        kernels.relu(np.ones(300_000, "f"))
print(any("in_parts" in e.data["dispatcher"].__name__ for _, e in recorder.buffer))
"""
    cache = {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "2"}
    assert [fresh(code, **cache).stdout for _ in range(2)] == ["True\n", "False\n"]


def test_arguments_of_compiled_kernels_may_be_named():
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    with kernels.use("numba"):
        expected = kernels.elu(x, 1.5, 0.5)
        assert_array_equal(kernels.elu(x, scale=0.5, alpha=1.5), expected)


def test_a_cache_that_cannot_be_written_or_read_is_done_without(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    done = fresh(ONE_KERNEL, NUMBA_CACHE_DIR=str(blocked / "below"))
    assert done.stdout == "[0.0, 2.0]\n", done.stderr

    fresh(ONE_KERNEL, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    for file in (tmp_path / "cache").rglob("*.nb?"):
        file.write_bytes(b"garbage")
    done = fresh(ONE_KERNEL, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.stdout == "[0.0, 2.0]\n", done.stderr


def test_after_a_warmup_nothing_is_compiled():
    code = """
from layerkit import kernels
kernels.use("numba")
kernels.warmup()
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    kernels.warmup()
print(len(recorder.buffer))
"""
    assert fresh(code).stdout == "0\n"


STEPS = """
import gc
import numpy as np
from numba.core.dispatcher import Dispatcher
import scipy.sparse as sp
from layerkit import MLPClassifier, MLPRegressor, Sequential, kernels, losses, optimizers
from layerkit.layers import *

def compiled():
    # Loading from the cache counts too: whether there is one must not matter.
    kinds = [d for d in gc.get_objects() if isinstance(d, Dispatcher)]
    return {(d.py_func.__module__, d.__name__): len(d.overloads) for d in kinds}

kernels.use("numba")
kernels.warmup()
before = compiled()
table = [Dense(8), LayerNorm(), GELU(), Dense(8), BatchNorm(), ReLU(), Dropout(0.5), Dense(8)]
table += [Tanh(), Dense(8), SiLU(), Dense(8), Sigmoid(), Dense(3)]
images = [Conv2D(8, 3, padding="same"), BatchNorm(), ReLU(), MaxPool2D(2), Conv2D(8, 3)]
images += [AvgPool2D(2), DepthwiseConv2D(2), GlobalAvgPool2D(), Dense(3)]
steps = [SimpleRNN(8, return_sequences=True), LSTM(8, return_sequences=True), GRU(8), Dense(3)]
rules = [optimizers.SGD(), optimizers.SGD(momentum=0.9), optimizers.AdamW(), optimizers.RMSProp()]
rules += [optimizers.Adam(weight_decay=0.1)]
few = 16
for shape, layers, many in [  # the parts of a large batch are computed at once
    ((8,), table, 25_000), ((12, 12, 1), images, 512), ((5, 4), steps, 5_000),
    ((600,), [Dense(600), ReLU(), Dense(3)], 500),
]:
    network = Sequential(layers).build(shape, random_state=0)
    for n, loss, y in [
        (few, losses.CategoricalCrossEntropy(), np.zeros(few, int)),
        (few, losses.BinaryCrossEntropy(), np.ones((few, 3))),
        (few, losses.MeanSquaredError(), np.ones((few, 3))),
        (many, losses.CategoricalCrossEntropy(), np.zeros(many, int)),
    ]:
        x = np.ones((n, *shape), np.float32)
        loss.forward(network.forward(x, training=True), y)
        network.backward(loss.backward())
    for rule in rules:
        rule.reset()
        rule.step(network.flat_params, network.flat_grads, network.layout)
rows = np.random.default_rng(0).normal(size=(400, 20)).astype(np.float32)
for X in (rows, sp.csr_array(rows), sp.csc_array(rows)):
    for solver in ("adam", "sgd", "lbfgs"):
        for kind in (MLPClassifier, MLPRegressor):
            kind(solver=solver, max_iter=3).fit(X, rows[:, 0] > 0)
print([name for name, n in compiled().items() if n > before.get(name, 0)])
"""


def test_after_a_warmup_common_networks_compile_nothing():
    done = fresh(STEPS)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_processes_may_share_a_cache(tmp_path):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    several = [
        subprocess.Popen([sys.executable, "-c", ONE_KERNEL], env=env, stdout=-1, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0] for process in several] == ["[0.0, 2.0]\n"] * 3


def test_compiling_says_so_once(caplog):
    from layerkit.kernels._numba.compile import Listener, jit

    listener = Listener()
    dispatcher = jit(lambda x: x)
    dispatcher.py_func.__module__ = "layerkit.kernels._numba.something"
    event = numba.core.event.Event("numba:compile", 0, {"dispatcher": dispatcher})
    with caplog.at_level(logging.WARNING, "layerkit"):
        for _ in range(3):
            listener.on_start(event)
            listener.started -= 2  # seconds ago
            listener.on_end(event)
    assert [r.getMessage().startswith("layerkit: compiling kernels, ") for r in caplog.records] == [
        True
    ]


@pytest.mark.parametrize("collects", [True, False])
def test_no_garbage_is_sought_while_compiling_and_then_as_before(collects):
    from layerkit.kernels._numba.compile import Listener, jit

    listener, seen = Listener(), []
    event = numba.core.event.Event("numba:compile", 0, {"dispatcher": jit(lambda x: x)})
    was = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        for happens in (listener.on_start, listener.on_start, listener.on_end, listener.on_end):
            happens(event)  # a kernel, and one that it calls
            seen.append(gc.isenabled())
        assert seen == [False, False, False, collects]
        with pytest.raises(numba.TypingError):
            jit(lambda x: x.missing)(1)
        assert gc.isenabled() is collects
    finally:
        (gc.enable if was else gc.disable)()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("filters", [1, 3, 4, 7, 8, 9, 16, 17, 40])
@pytest.mark.parametrize(("groups", "channels"), [(2, 1), (2, 3), (3, 4), (5, 2)])
def test_groups_of_as_many_filters_as_lanes_and_one_more_or_less(groups, channels, filters, dtype):
    rng = np.random.default_rng(0)
    x = numbers(rng, (7, 9, 8, groups * channels), dtype)
    kernel = numbers(rng, (3, 2, channels, groups * filters), dtype)
    grad = numbers(rng, (7, 4, 7, groups * filters), dtype)
    rest = (2, 1), ((0, 0), (0, 0)), (1, 1), groups

    def results(backend):
        of_kernel = np.empty_like(kernel)
        with kernels.use(backend):
            y = kernels.conv2d(x, kernel, None, *rest)
            of_x = kernels.conv2d_input_grad(grad, kernel, x.shape, *rest)
            kernels.conv2d_kernel_grad(x, grad, of_kernel, *rest)
        return y, of_x, of_kernel

    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    for found, expected in zip(results("numba"), results("numpy"), strict=True):
        assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
