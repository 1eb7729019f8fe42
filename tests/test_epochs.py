"""Whole epochs in one call: what training batch by batch gives, up to rounding."""

import ast
import gc
import importlib
import inspect
import os
import pkgutil
import platform
import re
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pytest
from errors import raises_exactly, warns_exactly

from layerkit import (
    ELU,
    GELU,
    SELU,
    BatchNorm,
    Dense,
    Dropout,
    Identity,
    LeakyReLU,
    Mish,
    MLPRegressor,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    kernels,
)
from layerkit.estimators.mlp.losses import HalfPoissonDeviance
from layerkit.kernels import parts
from layerkit.kernels._numpy import threads
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
)
from layerkit.optimizers import LBFGS, SGD, Adam, AdamW
from layerkit.training import DivergenceWarning, train
from layerkit.training.epochs import Epochs
from layerkit.training.run import Run

RNG = np.random.default_rng(0)
X = RNG.standard_normal((70, 5))
LABELS, NUMBERS = RNG.integers(0, 3, 70), RNG.standard_normal((70, 3))
WEIGHTS = np.where(np.arange(70) < 20, 0.0, RNG.uniform(0.5, 2, 70))


@pytest.fixture(autouse=True, params=["numpy", "numba"])
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba")
    with kernels.use(request.param):
        yield request.param


class Watching:
    """A callback that wants to see each batch, so that none is hidden in a kernel."""

    def __call__(self, state):
        pass

    def on_batch(self, state):
        pass


BODIES = {
    "plain": lambda: [Dense(8), Tanh(), Dense(6, use_bias=False), ReLU()],
    "nothing hidden": lambda: [],
    "dropout": lambda: [Dense(8), ReLU(), Dropout(0.25), Dense(6), Dropout(1 / 3)],
    # A bias before BatchNorm has a gradient of nothing but rounding, which Adam makes large.
    "normalized": lambda: [Dense(8, use_bias=False), BatchNorm(), Sigmoid()],
    "dropout first": lambda: [Dropout(0.5), BatchNorm(), Dense(4), Identity()],
    "one unit": lambda: [Dense(1), ReLU(), Dense(4)],
    "rectified": lambda: [ReLU(), Dense(8), ReLU(), ReLU(), Dense(6, use_bias=False), ReLU()],
    **{
        kind.__name__: lambda kind=kind: [Dense(7), kind(), kind(), Dense(4)]
        for kind in (ELU, GELU, SELU, LeakyReLU, Mish, SiLU, Softplus)
    },
}
LOSSES = {
    "classes": (lambda: CategoricalCrossEntropy(label_smoothing=0.1), LABELS),
    "binary": (
        lambda: BinaryCrossEntropy(pos_weight=2.0, label_smoothing=0.1),
        (NUMBERS > 0).astype(float),
    ),
    "squares": (MeanSquaredError, NUMBERS),
    "absolute": (MeanAbsoluteError, NUMBERS),
    "huber": (lambda: Huber(0.5), NUMBERS),
    "poisson": (HalfPoissonDeviance, np.abs(NUMBERS)),
}
OPTIMIZERS = {
    "descent": lambda: SGD(0.05),
    "decaying descent": lambda: SGD(0.05, weight_decay=0.1),
    "momentum": lambda: SGD(0.05, momentum=0.9),
    "decaying momentum": lambda: SGD(0.05, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda: SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda: Adam(lambda t: 0.01 / (1 + t), weight_decay=0.1),
    "adamw": lambda: AdamW(0.01, weight_decay=0.5),
}
CASES = [(body, "classes", "adam") for body in BODIES]
CASES += [("plain", loss, "adam") for loss in LOSSES]
CASES += [("plain", "classes", optimizer) for optimizer in OPTIMIZERS]


def trained(body, loss, optimizer, dtype, weight, callbacks=(), epochs=3):
    made, y = LOSSES[loss]
    network = Sequential([*BODIES[body](), Dense(3)]).build(5, random_state=1, dtype=dtype)
    y = y if loss == "classes" else y.astype(dtype)
    data = (X.astype(dtype), y) if weight is None else (X.astype(dtype), y, weight)
    history = train(
        network,
        made(),
        OPTIMIZERS[optimizer](),
        data,
        epochs=epochs,
        batch_size=16,
        random_state=0,
        callbacks=callbacks,
        shuffle=weight is None,
    )
    buffers = [b for _, layer in network.walk() for b in layer.buffers.values()]
    return np.concatenate([network.flat_params, *buffers]), history["loss"]


@pytest.fixture
def calls(monkeypatch):
    """How many epochs were computed at once."""
    seen, compute = [], Epochs.compute

    def counted(self, most=1):
        losses = compute(self, most)
        seen.extend(losses or ())
        return losses

    monkeypatch.setattr(Epochs, "compute", counted)
    return seen


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("body", "loss", "optimizer"), CASES)
def test_an_epoch_at_once_is_an_epoch_batch_by_batch(body, loss, optimizer, dtype, weight, calls):
    at_once = trained(body, loss, optimizer, dtype, weight)
    assert len(calls) == 3
    one_by_one = trained(body, loss, optimizer, dtype, weight, [Watching()])
    assert len(calls) == 3
    tol = 1e-9 if dtype == np.float64 else 2e-4
    for ours, theirs in zip(at_once, one_by_one, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tol, atol=tol)
    for ours, again in zip(at_once, trained(body, loss, optimizer, dtype, weight), strict=True):
        np.testing.assert_array_equal(ours, again)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_that_is_not_finite_is_the_last(loss, calls):
    made, y = LOSSES[loss]
    for callbacks in ([], [Watching()]):
        network = Sequential([Dense(3)]).build(5, random_state=1, dtype=np.float64)
        network.flat_params[:] = 1e300
        before = network.flat_params.copy()
        with warns_exactly(
            DivergenceWarning,
            re.compile(
                r"training diverged in epoch 1: the loss is .*, first in the output of "
                r"layers\.0 Dense\(units=3\); the network has the weights it started from\. A "
                r"smaller learning_rate, clip_norm or scaled inputs usually cure this"
            ),
        ):
            train(
                network, made(), SGD(1.0), (X * 1e30, y), epochs=2, batch_size=16, random_state=0,
                callbacks=callbacks,
            )  # fmt: skip
        np.testing.assert_array_equal(network.flat_params, before)
    assert not calls


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="SSE's control word")
@pytest.mark.parametrize("callbacks", [[], [Watching()]], ids=["at once", "batch by batch"])
def test_steps_flush_subnormal_numbers_and_leave_the_thread_as_it_was(callbacks, backend):
    if backend == "numpy":
        pytest.skip("NumPy does not touch the control word")
    tiny = np.finfo(np.float64).tiny
    network = Sequential([Dense(3, use_bias=False)]).build(5, random_state=1, dtype=np.float64)
    network.flat_params[:] = 0
    optimizer, data = SGD(1.0, momentum=0.5), (X, np.zeros((70, 3)))
    train(network, MeanSquaredError(), optimizer, data, epochs=1)
    optimizer.state = optimizer.state | {"velocity": np.full(15, tiny / 4)}
    # The gradient of weights of 0 is 0 here, so that the velocity is halved with every step.
    train(network, MeanSquaredError(), optimizer, data, epochs=1, callbacks=callbacks)
    assert not optimizer.state["velocity"].any()
    assert (np.full(3, tiny) / 4).all()


@pytest.mark.parametrize("network", [Dense, lambda units: Sequential([Dense(units)])])
def test_a_network_that_is_one_layer_learns(network):
    X = np.eye(4)
    net = network(1).build(4, random_state=0, dtype=np.float64)
    history = train(net, MeanSquaredError(), Adam(0.1), (X, X[:, :1]), epochs=30, random_state=0)
    assert history["loss"][-1] < 0.2 * history["loss"][0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("loss", "body"),
    [
        *[(loss, "rectified") for loss in LOSSES],
        *[("classes", body) for body in ("plain", "dropout", "normalized", "one unit")],
    ],
)
def test_a_search_at_once_has_the_function_of_a_search_layer_by_layer(
    loss, body, dtype, monkeypatch
):
    made, y = LOSSES[loss]
    y = y if loss == "classes" else y.astype(dtype)
    values, gradients = [], []

    class Once(LBFGS):
        def minimize(self, fun, flat_params, layout, callback):
            value, grads = fun(flat_params.copy())
            values.append(value), gradients.append(grads.copy())

    def train_once():
        network = Sequential([*BODIES[body](), Dense(3)]).build(5, random_state=1, dtype=dtype)
        data = (X.astype(dtype), y, WEIGHTS)
        train(network, made(), Once(), data, epochs=1, random_state=0)
        return np.concatenate([[], *[b for _, la in network.walk() for b in la.buffers.values()]])

    compute, seen = Epochs.value, []
    monkeypatch.setattr(Epochs, "value", lambda self: seen.append(compute(self)) or seen[-1])
    statistics = train_once()
    assert seen == values
    monkeypatch.setattr(Epochs, "value", lambda self: None)
    tol = 1e-10 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(statistics, train_once(), rtol=tol, atol=tol)
    np.testing.assert_allclose(*values, rtol=tol)
    np.testing.assert_allclose(*gradients, rtol=tol, atol=tol)


def value_of_many_rows(weights):
    """Loss and gradient of more rows than a block has, and some left over."""
    found = []

    class Once(LBFGS):
        def minimize(self, fun, flat_params, layout, callback):
            found.extend(np.array(part) for part in fun(flat_params.copy()))

    network = Sequential([Dense(300), Tanh(), Dense(3)])
    network.build(5, random_state=1, dtype=np.float64)
    data = np.tile(X, (30, 1)), np.tile(LABELS, 30), *([] if weights is None else [weights])
    train(network, CategoricalCrossEntropy(), Once(), data, epochs=1)
    return found


@pytest.mark.parametrize("n_processors", [1, 3])
@pytest.mark.parametrize("weights", [None, np.tile(WEIGHTS, 30)], ids=["equal", "weighted"])
def test_blocks_of_rows_add_up_to_all_rows(weights, n_processors, monkeypatch):
    monkeypatch.setattr(parts, "n_processors", lambda: n_processors)
    found = value_of_many_rows(weights)
    monkeypatch.setattr(Epochs, "value", lambda self: None)
    for ours, theirs in zip(found, value_of_many_rows(weights), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-14)


def test_blocks_of_rows_add_up_to_the_same_bits_whoever_computes_them(monkeypatch):
    monkeypatch.setattr(parts, "n_processors", lambda: 3)

    def value(n_threads):
        monkeypatch.setattr(threads, "spared_threads", lambda: n_threads)
        return value_of_many_rows(None)

    for ours, theirs in zip(value(1), value(3), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("units", [64, 450], ids=["rows shared", "parameters shared too"])
def test_threads_share_large_batches(units, monkeypatch, backend):
    """With the same bits in every run, whoever does which part."""

    def trained(threads, callbacks=()):
        monkeypatch.setattr(parts, "n_processors", lambda: threads)
        network = Sequential([Dense(units), Tanh(), Dense(units), ReLU(), Dense(3)])
        network.build(5, random_state=1, dtype=np.float64)
        data = np.tile(X, (20, 1)), np.tile(LABELS, 20), np.tile(np.maximum(WEIGHTS, 0.1), 20)
        history = train(
            network, CategoricalCrossEntropy(), SGD(0.1, momentum=0.9, weight_decay=0.01), data,
            epochs=2, batch_size=600, callbacks=callbacks, random_state=0,
        )  # fmt: skip
        return network.flat_params, network.flat_grads, history["loss"]

    shared = trained(3)
    for again, ours in zip(trained(3), shared, strict=True):
        np.testing.assert_array_equal(again, ours)
    for others in (trained(1), trained(3, [Watching()])):
        for ours, theirs in zip(shared, others, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_numpy_has_the_bits_of_training_batch_by_batch():
    with kernels.use("numpy"):
        for loss, optimizer in (("classes", "adam"), ("binary", "adamw"), ("classes", "descent")):
            at_once = trained("plain", loss, optimizer, np.float32, None)
            one_by_one = trained("plain", loss, optimizer, np.float32, None, [Watching()])
            np.testing.assert_array_equal(at_once[0], one_by_one[0])


def test_a_search_whose_loss_is_not_finite_says_so():
    network = Sequential([Dense(3)]).build(5, random_state=1, dtype=np.float64)
    network.flat_params[:] = 1e300
    with warns_exactly(
        DivergenceWarning,
        "training diverged in epoch 1: LBFGS(): the loss is nan; the network has the "
        "weights it started from. A smaller learning_rate, clip_norm or scaled inputs "
        "usually cure this",
    ):
        train(network, MeanSquaredError(), LBFGS(), (X * 1e30, NUMBERS), epochs=2)
    assert (network.flat_params == 1e300).all()


def test_kernels_are_part_of_those_that_call_them():
    """Else the last bits would depend on which copy of the called one was loaded first.

    Products alone have but one: BLAS's.
    """
    Dispatcher = pytest.importorskip("numba.core.dispatcher").Dispatcher

    from layerkit.kernels import _numba

    found = [
        importlib.import_module(f"{_numba.__name__}.{module.name}")
        for module in pkgutil.iter_modules(_numba.__path__)
    ]
    kernels = {
        kernel: f"{module.__name__}.{name}"
        for module in found
        for name, kernel in vars(module).items()
        if isinstance(kernel, Dispatcher)
    }
    apart = []
    for kernel, name in kernels.items():
        function = kernel.py_func
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        for call in [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]:
            called = function.__globals__.get(getattr(call, "id", ""))
            if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name):
                home = function.__globals__.get(call.value.id)
                called = getattr(home, call.attr, None) if inspect.ismodule(home) else None
            if isinstance(called, Dispatcher) and not called.targetoptions.get("forceinline"):
                apart.append(f"{name} calls {called.__name__}")
    assert len(kernels) > 100
    assert [entry for entry in apart if not entry.endswith(" multiply_in_parts")] == []


TWO_NETWORKS = """
import hashlib
import numpy as np
from layerkit import BatchNorm, Dense, Dropout, Sequential, Tanh, kernels
from layerkit.losses import BinaryCrossEntropy, CategoricalCrossEntropy
from layerkit.optimizers import SGD, Adam
from layerkit.training import train

kernels.use("numba")
rng = np.random.default_rng(0)
X = rng.standard_normal((700, 20)).astype(np.float32)
y, t = rng.integers(3, size=700), (X[:, :1] > 0).astype(np.float32)
body = lambda out: Sequential([Dense(24), BatchNorm(), Tanh(), Dropout(0.2), Dense(out)])
for network, loss, optimizer, target in (
    (body(3), CategoricalCrossEntropy(), Adam(0.01), y),
    (body(1), BinaryCrossEntropy(), SGD(0.05, momentum=0.9), t),
):
    train(network, loss, optimizer, (X, target), epochs=5, random_state=0)
    print(hashlib.sha256(network.flat_params).hexdigest())
"""


@pytest.mark.slow
def test_code_from_the_cache_has_the_bits_of_code_compiled_here(tmp_path):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    compiled, cached = (
        subprocess.run(
            [sys.executable, "-c", TWO_NETWORKS],
            env=env,
            check=True,
            capture_output=True,
            text=True,
        )
        for _ in range(2)
    )
    assert "compiling" in compiled.stderr and "compiling" not in cached.stderr
    assert compiled.stdout == cached.stdout


CHANGES = {
    "of the loss": lambda loss, X, y, weight: setattr(loss, "delta", 0.1),
    "of targets": lambda loss, X, y, weight: np.multiply(y, 2, out=y),
    "of weights": lambda loss, X, y, weight: np.copyto(weight, np.arange(70)),
    "of rows": lambda loss, X, y, weight: np.divide(X, 2, out=X),
}


@pytest.mark.parametrize(
    "dtypes", [(np.float64, np.float64), (np.float32, np.int8)], ids=["kept", "converted"]
)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_in_place_between_epochs_counts(change, dtypes, calls):
    learned = []
    for watching in ([], [Watching()]):
        loss, X_now, weight = Huber(0.5), X.astype(dtypes[0]), np.ones(70)
        y = (3 * NUMBERS).astype(dtypes[1])

        def between(state, given=(loss, X_now, y, weight)):
            if state.epoch == 2:
                CHANGES[change](*given)

        network = Sequential([Dense(4), Tanh(), Dense(3)]).build(5, random_state=1, dtype=float)
        history = train(
            network, loss, SGD(0.1), (X_now, y, weight), epochs=4, batch_size=16, random_state=0,
            callbacks=[between, *watching],
        )  # fmt: skip
        learned.append([*network.flat_params, *history["loss"]])
    assert len(calls) == 4
    np.testing.assert_allclose(*learned, rtol=1e-9, atol=1e-9)


def test_a_target_that_becomes_invalid_between_epochs_is_refused(calls):
    labels = LABELS.copy()
    network = Sequential([Dense(3)]).build(5, random_state=1)
    with raises_exactly(
        ValueError, "CategoricalCrossEntropy(): y_true must be labels from 0 to 2, got 7"
    ):
        train(
            network, CategoricalCrossEntropy(), SGD(0.1), (X, labels), epochs=4, random_state=0,
            callbacks=[lambda state: labels.fill(7)],
        )  # fmt: skip
    assert len(calls) == 1


@pytest.mark.parametrize("loss", [MeanSquaredError, MeanAbsoluteError, Huber])
@pytest.mark.filterwarnings("error")
def test_a_target_that_the_dtype_cannot_hold_is_refused(loss):
    y = np.where(np.arange(70)[:, np.newaxis] == 3, 1e300, NUMBERS)
    network = Sequential([Dense(3)]).build(5, random_state=1, dtype=np.float32)
    with raises_exactly(ValueError, f"{loss()}: y_true must be what float32 can hold, got 1e+300"):
        train(network, loss(), SGD(0.1), (X, y), epochs=4, random_state=0)


@pytest.mark.filterwarnings("error")
def test_weights_whose_sum_overflows_are_refused():
    network = Sequential([Dense(3)]).build(5, random_state=1)
    data = X, NUMBERS, np.full(70, 1e307)
    with raises_exactly(
        ValueError,
        "the sum of sample_weight is more than float64 can hold; weights count relative "
        "to their mean, so divide them by their maximum",
    ):
        train(network, MeanSquaredError(), SGD(0.1), data, epochs=4, random_state=0)


STOPPING = {
    "converges": {"tol": 0.02, "n_iter_no_change": 3},
    "runs on": {"max_iter": 23},
    "unshuffled": {"shuffle": False, "max_iter": 12},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "max_iter": 9},
    "diverges": {"solver": "sgd", "learning_rate_init": 8e3, "nesterovs_momentum": False},
    "validates": {"early_stopping": True, "n_iter_no_change": 2},
}


@pytest.mark.parametrize("options", STOPPING.values(), ids=list(STOPPING))
@pytest.mark.filterwarnings("ignore")
def test_epochs_that_go_by_unseen_are_those_that_are_seen(options, calls):
    def fitted(*callbacks):
        mlp = MLPRegressor(
            hidden_layer_sizes=(6,), **{"random_state": 3, "max_iter": 60, **options}
        )
        if callbacks:
            mlp.set_callbacks(*callbacks)
        mlp.fit(X, 10 * NUMBERS)
        return np.concatenate([w.ravel() for w in mlp.coefs_]), mlp.history_

    (unseen, history), (seen, of_seen) = fitted(), fitted(lambda state: None)
    np.testing.assert_array_equal(unseen, seen)
    for name in ("epoch", "loss", "learning_rate"):
        np.testing.assert_array_equal(history[name], of_seen[name])
    assert history.stopped == of_seen.stopped


def test_patience_counts_epochs_that_go_by_unseen(monkeypatch):
    def stopped(seen):
        if seen:
            monkeypatch.setattr(Run, "epochs_unseen", lambda self: 1)
        network = Sequential([Dense(6), ReLU(), Dense(3)]).build(5, random_state=1)
        history = train(
            network, CategoricalCrossEntropy(), Adam(0.03), (X, LABELS), epochs=400,
            patience=3, tol=1e-3, random_state=0,
        )  # fmt: skip
        return network.flat_params, len(history), history.stopped

    unseen, seen = stopped(False), stopped(True)
    np.testing.assert_array_equal(unseen[0], seen[0])
    assert unseen[1:] == seen[1:]
    assert 4 < unseen[1] < 400


@pytest.mark.filterwarnings("ignore")
def test_short_epochs_share_a_call(monkeypatch):
    sizes, compute = [], Epochs.compute

    def counted(self, most=1):
        losses = compute(self, most)
        sizes.append(len(losses))
        return losses

    monkeypatch.setattr(Epochs, "compute", counted)
    mlp = MLPRegressor(hidden_layer_sizes=(6,), max_iter=40, n_iter_no_change=100, random_state=3)
    mlp.fit(X, NUMBERS)
    assert sizes == [40]
    assert min(mlp.history_["seconds"]) > 0


def test_a_compiled_program_keeps_alive_what_it_reads_and_writes(backend):
    if backend == "numpy" or not kernels.takes_epochs(np.float32, 4, 64):
        pytest.skip("only compiled programs hold addresses")

    def vector():
        return np.ones(96, np.float32)

    layers = np.array([[kernels.DENSE, 8, 8, 0, 32, 0, 64, 0, 0, 64, -1]])
    arrays = {
        "X": np.ones((4, 8), np.float32), "labels": np.zeros(4, np.int64),
        "targets": np.ones((4, 8), np.float32), "weights": np.ones(4), "params": vector(),
        "grads": vector(), "running": vector(), "memory": np.ones((2, 96), np.float32),
    }  # fmt: skip
    X, labels, targets, weights, params, grads, running, memory = arrays.values()
    program = kernels.epoch_program(
        X, labels, targets, weights, layers, np.ones((1, 2)), params, grads, running,
        kernels.SQUARED_ERROR, (0.0, 0.0), True, kernels.MOMENTS, np.array([[0, 96, 1]]),
        memory, vector(), 4,
    )  # fmt: skip
    watched = {name: weakref.ref(array) for name, array in arrays.items()}
    del X, labels, targets, weights, params, grads, running, memory, arrays
    gc.collect()
    assert [name for name, array in watched.items() if array() is None] == []
    assert callable(program)
