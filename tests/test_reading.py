"""The way from a call to its arithmetic is short: how many files one reads on it."""

import sys
from pathlib import Path

import numpy as np
import pytest

import layerkit
from layerkit import Dense, ReLU, Sequential, kernels
from layerkit.losses import CategoricalCrossEntropy
from layerkit.optimizers import Adam
from layerkit.training import train

PACKAGE = Path(layerkit.__file__).parent
X = np.random.default_rng(0).standard_normal((32, 20)).astype(np.float32)
Y = np.arange(32) % 3


@pytest.fixture(autouse=True)
def numpy_kernels():
    with kernels.use("numpy"):
        yield


def files_entered(call):
    """Return the files of the package in which a call of ours ran a function."""
    files = set()

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            files.add(path.relative_to(PACKAGE).as_posix())

    call()  # so that late imports are over
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return sorted(files)


def network():
    return Sequential([Dense(8), ReLU(), Dense(3)]).build(20, random_state=0)


def test_a_dense_layer_is_five_files_from_its_product():
    layer = Dense(8).build(20, random_state=0)
    entered = files_entered(lambda: layer.forward(X, training=True))
    assert "layers/dense.py" in entered
    assert len(entered) <= 5, entered


def test_three_layers_are_seven_files():
    net = network()
    assert len(entered := files_entered(lambda: net.forward(X, training=True))) <= 7, entered


@pytest.mark.parametrize(
    ("epochs", "most"), [(1, 18), (5, 23)], ids=["a step", "epochs of one call each"]
)
def test_a_training_step_is_eighteen_files_and_five_more_where_an_epoch_is_one_call(epochs, most):
    net, optimizer = network(), Adam()

    def steps():
        train(net, CategoricalCrossEntropy(), optimizer, (X, Y), epochs=epochs, batch_size=32)

    assert len(entered := files_entered(steps)) <= most, entered
