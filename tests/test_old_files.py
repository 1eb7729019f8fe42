"""Files that layerkit 0.1.0 wrote open, and what is in them predicts and learns as it did."""

import warnings

import joblib
import numpy as np
import old_files
import pytest
from cases import CASES
from loss_cases import CASES as LOSSES
from old_files import FOLDER, X, images

from layerkit import kernels
from layerkit.interchange import TRUSTED_TYPES, load

SAVED = ["SequentialClassifier", "SequentialRegressor", "MLPClassifier", "MLPRegressor"]
KNOWN = dict(np.load(FOLDER / "predictions.npz"))


def assert_same(found, name):
    """Equal but for the rounding of another machine's kernels; labels are equal."""
    known = KNOWN[name]
    assert found.dtype == known.dtype and found.shape == known.shape
    if known.dtype.kind == "f":
        np.testing.assert_allclose(found, known, rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_array_equal(found, known)


def forget_moments(network, optimizer):
    optimizer.reset()


def move_the_streams(network, optimizer):
    for _, layer in network.walk():
        layer.rng.random(7)


@pytest.mark.parametrize("harm", [None, forget_moments, move_the_streams])
def test_a_network_and_its_optimizer(harm):
    network, optimizer = load(FOLDER / "network.npz", with_optimizer=True)
    assert repr(network) == repr(old_files.network())
    assert_same(network.infer(images()), "network")
    # A step on with the moments and the random streams there, and the kernels of then. Adam turns
    # the last digits of a small gradient, which are those of the processor, into a whole step: so
    # this is less close, and what a loss of either would do shows that it is close enough.
    if harm:
        harm(network, optimizer)
    with kernels.use("numpy"):
        old_files.learn_a_step(network, optimizer)
    off = np.abs(network.infer(images()) - KNOWN["network a step on"]).max()
    assert (off > 0.01) if harm else (off < 0.001)


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_estimator(name):
    estimator, y = load(FOLDER / f"{name}.npz"), old_files.estimators()[name][1]
    assert_same(estimator.predict(X), name)
    estimator.partial_fit(X, y)
    assert np.isfinite(estimator.network_.flat_params).all()


@pytest.fixture(scope="module")
def pickled():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn: of another version
        return joblib.load(FOLDER / "estimators.joblib")


@pytest.fixture(scope="module")
def from_skops():
    skops = pytest.importorskip("skops.io")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return skops.load(FOLDER / "estimators.skops", trusted=TRUSTED_TYPES)


@pytest.mark.parametrize("name", old_files.estimators())
def test_pickled_estimators(name, pickled):
    check_estimator(name, pickled[name])


@pytest.mark.parametrize("name", old_files.estimators())
def test_estimators_from_skops(name, from_skops):
    check_estimator(name, from_skops[name])


def check_estimator(name, estimator):
    assert_same(estimator.predict(X), name)
    if hasattr(estimator, "partial_fit"):
        estimator.partial_fit(X, old_files.estimators()[name][1])
    assert np.isfinite(estimator.network_.flat_params).all()


@pytest.fixture(scope="module")
def parts():
    return joblib.load(FOLDER / "parts.joblib")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pickled_layers(case, parts):
    if case.id in parts["layers"]:  # and no new one
        assert_same(parts["layers"][case.id].infer(case.sample()), f"layer {case.id}")


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_pickled_losses(case, parts):
    if case.name in parts["losses"]:
        loss = parts["losses"][case.name]
        assert repr(loss) == repr(case.loss())
        assert_same(np.array(loss.forward(*case.data())), f"loss {case.name}")


def test_pickled_optimizers_learn(parts):
    network = old_files.network().build((6, 6, 1), random_state=0)
    for optimizer in parts["optimizers"]:
        before = network.flat_params.copy()
        old_files.learn_a_step(network, optimizer)
        assert (network.flat_params != before).any()


def test_a_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes((FOLDER / "checkpoint.npz").read_bytes())
    assert_same(old_files.run(path, epochs=4, resume=True).infer(X), "trained")
