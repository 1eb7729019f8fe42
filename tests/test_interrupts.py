"""Ctrl-C at any moment: what was learned is kept, and the interrupt goes on its way."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from errors import raises_exactly
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate

from layerkit import (
    BatchNorm,
    Dense,
    MLPClassifier,
    MLPRegressor,
    ReLU,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
)
from layerkit.interchange import load, save
from layerkit.losses import CategoricalCrossEntropy
from layerkit.optimizers import LBFGS, Adam
from layerkit.training import train
from layerkit.training.epochs import Epochs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
Y = (X[:, 0] > 0).astype(int)


class CtrlC:
    """Raises at a moment of an epoch: before or after its first batch, or at its end."""

    def __init__(self, moment, epoch):
        self.moment, self.epoch = moment, epoch
        self.weights = self.ends = None

    def interrupt(self, state, moment, epoch):
        if (moment, epoch) == (self.moment, self.epoch):
            self.weights = state.network.flat_params.copy()
            raise KeyboardInterrupt

    def before_batch(self, state):
        self.interrupt(state, "before", state.epoch + 1)

    def on_batch(self, state):
        self.interrupt(state, "after", state.epoch + 1)

    def __call__(self, state):
        self.interrupt(state, "end", state.epoch)

    def on_end(self, state):
        self.ends = state.epoch


MOMENTS = [("before", 1), ("after", 1), ("end", 1), ("before", 3), ("after", 3), ("end", 3)]


def network():
    return Sequential([Dense(8), BatchNorm(), ReLU(), Dense(2)])


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("moment, epoch", MOMENTS)
def test_train_keeps_the_weights_and_hands_out_the_record(moment, epoch, validated):
    net, ctrl_c = network(), CtrlC(moment, epoch)
    validation = {"validation_data": (X[:20], Y[:20])} if validated else {}
    with pytest.raises(KeyboardInterrupt) as caught:
        train(
            net,
            CategoricalCrossEntropy(),
            Adam(0.05),
            (X, Y),
            epochs=9,
            random_state=0,
            callbacks=[ctrl_c],
            **validation,
        )
    whole = epoch if moment == "end" else epoch - 1
    history = caught.value.history
    assert len(history) == whole
    assert history.stopped == f"interrupted in epoch {whole + 1}"
    assert caught.value.__notes__ == [
        f"training was interrupted in epoch {whole + 1}; what was learned is kept"
    ]
    if validated and whole:  # the best epoch's
        assert history.best_epoch is not None
        losses = history["validation_loss"]
        now = CategoricalCrossEntropy().forward(net.infer(X[:20]), Y[:20])
        assert now == pytest.approx(losses.min())
    else:
        np.testing.assert_array_equal(net.flat_params, ctrl_c.weights)
    assert ctrl_c.ends == whole
    assert net.needs_input_grad and np.isfinite(net.infer(X)).all()
    with raises_exactly(RuntimeError, "in Sequential: backward needs a forward before it"):
        net.backward(np.zeros((90, 2)))
    train(net, CategoricalCrossEntropy(), Adam(0.05), (X, Y), epochs=1)  # goes on


def interrupted_after(steps):
    """`Epochs._program_for`, whose programs are interrupted after so many steps of the run."""
    program_for = Epochs._program_for

    def interrupted_program(self, rule):
        program = program_for(self, rule)

        def few(order, bounds, words, drawn, numbers, losses):
            left = steps - self.run.state.step
            done = program(order, bounds[:left], words, drawn, numbers[:left], losses[:left])
            if left < len(bounds):
                raise KeyboardInterrupt
            return done

        return few

    return interrupted_program


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 3, 4, 11])  # of 3 an epoch
def test_epochs_that_share_a_call_are_kept_as_far_as_they_came(steps, validated, monkeypatch):
    def run(optimizer, epochs):
        net = Sequential([Dense(8), ReLU(), Dense(2)]).build(4, random_state=0)
        validation = {"validation_data": (X[:20], Y[:20])} if validated else {}
        return train(
            net,
            CategoricalCrossEntropy(),
            optimizer,
            (X, Y),
            epochs=epochs,
            batch_size=30,
            random_state=0,
            **validation,
        )

    optimizer, epochs = Adam(0.05), steps // 3
    with monkeypatch.context() as patch:
        patch.setattr(Epochs, "_program_for", interrupted_after(steps))
        with pytest.raises(KeyboardInterrupt) as caught:
            run(optimizer, 2000)
    history = caught.value.history
    assert history.stopped == f"interrupted in epoch {epochs + 1}"
    assert optimizer.steps_done == steps
    assert len(history) == epochs
    if epochs:
        assert history["loss"].tolist() == run(Adam(0.05), epochs)["loss"].tolist()


def test_an_interrupt_when_all_is_over_hands_out_the_record_too():
    class Late:
        def __call__(self, state):
            pass

        def on_end(self, state):
            raise KeyboardInterrupt

    model = SequentialClassifier([Dense(8)], max_iter=3).set_callbacks(Late())
    with pytest.raises(KeyboardInterrupt) as caught:
        model.fit(X, Y)
    assert (len(caught.value.history), caught.value.history.stopped) == (3, "")
    assert model.predict(X).shape == Y.shape


def test_lbfgs_keeps_the_last_iterate():
    net, ctrl_c = network(), CtrlC("end", 3)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(net, CategoricalCrossEntropy(), LBFGS(), (X, Y), epochs=9, callbacks=[ctrl_c])
    assert len(caught.value.history) == 3
    np.testing.assert_array_equal(net.flat_params, ctrl_c.weights)


def test_before_training_there_is_nothing_to_keep():
    class Data:
        def __iter__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        train(network(), CategoricalCrossEntropy(), Adam(), Data(), epochs=1)
    assert not hasattr(caught.value, "history")


def sequential(kind, **how):
    return kind([Dense(8), ReLU()], max_iter=9, random_state=0, **how)


def mlp(kind, **how):
    return kind(hidden_layer_sizes=(8,), max_iter=9, random_state=0, **how)


ESTIMATORS = {
    "SequentialClassifier": lambda: sequential(SequentialClassifier),
    "SequentialRegressor": lambda: sequential(SequentialRegressor),
    "with early stopping": lambda: sequential(SequentialClassifier, early_stopping=True),
    "with L-BFGS": lambda: sequential(SequentialClassifier, optimizer="lbfgs"),
    "warm": lambda: sequential(SequentialClassifier, warm_start=True),
    "MLPClassifier": lambda: mlp(MLPClassifier),
    "MLPRegressor": lambda: mlp(MLPRegressor, early_stopping=True),
    "MLPClassifier, sgd": lambda: mlp(MLPClassifier, solver="sgd", learning_rate="adaptive"),
    "MLPClassifier, lbfgs": lambda: mlp(MLPClassifier, solver="lbfgs"),
}


@pytest.mark.parametrize("moment, epoch", [("after", 1), ("end", 1), ("end", 3)])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_is_fitted_with_what_it_learned(name, moment, epoch, tmp_path):
    if "lbfgs" in name.lower().replace("-", "") and moment != "end":
        pytest.skip("has no batches")
    model, ctrl_c = ESTIMATORS[name](), CtrlC(moment, epoch)
    plain = clone(model)
    model.set_callbacks(ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    whole = epoch if moment == "end" else epoch - 1
    assert len(model.history_) == model.n_iter_ == len(model.loss_curve_) == whole
    assert model.history_.stopped.startswith("interrupted")
    if not model.early_stopping:
        np.testing.assert_array_equal(model.network_.flat_params, ctrl_c.weights)
    assert model.predict(X).shape == (90,) and np.isfinite(model.score(X, Y))
    fitted = plain.fit(X, Y)
    assert {*vars(fitted)} - {"_skl_callbacks"} == {*vars(model)} - {"_skl_callbacks"}
    save(model, tmp_path / "model.npz")
    model.set_callbacks()
    for twin in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model.npz")):
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    if "bfgs" not in name.lower():
        model.partial_fit(X, Y)
        assert len(model.history_) == whole + 1
    model.refit(X, Y)
    model.fit(X, Y)
    if "warm" not in name:
        np.testing.assert_array_equal(model.network_.flat_params, fitted.network_.flat_params)


def test_partial_fit_and_refit_and_a_second_fit_let_it_out():
    model = sequential(SequentialClassifier).fit(X, Y)
    before = model.network_.flat_params.copy()
    ctrl_c = CtrlC("after", 1)
    model.set_callbacks(ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, Y)
    np.testing.assert_array_equal(model.network_.flat_params, ctrl_c.weights)
    assert not np.array_equal(ctrl_c.weights, before)
    for learn in (model.refit, model.fit):
        with pytest.raises(KeyboardInterrupt):
            learn(X, Y)
        np.testing.assert_array_equal(model.network_.flat_params, ctrl_c.weights)


SEARCHES = {
    "GridSearchCV": lambda model: GridSearchCV(model, {"max_iter": [2, 3]}, cv=2).fit(X, Y),
    "cross_val_score": lambda model: cross_val_score(model, X, Y, cv=3),
    "cross_validate": lambda model: cross_validate(model, X, Y, cv=3, error_score=0.0),
    "bagging": lambda model: BaggingClassifier(model, n_estimators=3).fit(X, Y),
    "a loop": lambda model: [clone(model).fit(X, Y) for _ in range(3)],
}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("kind", ["Sequential", "MLP"])
def test_what_stands_around_the_fit_ends_too(search, kind):
    starts = []

    def ctrl_c(state):
        starts.append(state.epoch)
        raise KeyboardInterrupt

    model = sequential(SequentialClassifier) if kind == "Sequential" else mlp(MLPClassifier)
    with pytest.raises(KeyboardInterrupt):
        SEARCHES[search](model.set_callbacks(ctrl_c))
    assert starts == [1]


def test_another_error_still_leaves_the_estimator_as_it_was():
    model = sequential(SequentialClassifier).fit(X, Y)
    before = model.network_.flat_params.copy()

    def fail(state):
        raise RuntimeError("full")

    model.set_callbacks(fail)
    with pytest.raises(RuntimeError, match="full"):
        model.partial_fit(X, Y)
    np.testing.assert_array_equal(model.network_.flat_params, before)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_the_key_itself():
    """A real SIGINT in the midst of a search: one line says what is kept, the search is over."""
    code = """
    import numpy as np, os, signal, threading
    from sklearn.model_selection import cross_val_score
    from layerkit import Dense, SequentialClassifier
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    X = np.random.default_rng(0).normal(size=(2000, 20)); y = (X[:, 0] > 0).astype(int)
    fits = []
    def note(state):
        if state.epoch == 1:
            fits.append(1)
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    model = SequentialClassifier([Dense(50)], max_iter=10**6, n_iter_no_change=None)
    try:
        cross_val_score(model.set_callbacks(note), X, y, cv=5)
    except KeyboardInterrupt as interrupt:
        print(len(fits), interrupt.__notes__[0], len(interrupt.history) > 0)
    model.set_callbacks()
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "LAYERKIT_KERNELS": "numpy"},
    )
    assert signal.SIGINT and ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("1 training was interrupted in epoch "), ran.stdout
    assert ran.stdout.strip().endswith("what was learned is kept True")
