"""scikit-learn's own test module for its MLPs, run on ours.

The installed module is executed anew while `sklearn.neural_network` offers our classes; its test
functions then become tests here, with their parametrization. Nothing of it is copied.
"""

import importlib.util
from unittest import mock

import numpy as np
import pytest
import sklearn.neural_network

import layerkit

# Tests that need a private name get it from the subclasses below, which say what is public here.
PRIVATE = {
    "test_gradient": "_loss_grad_lbfgs: loss and gradient as a function of one packed vector",
    "test_learning_rate_warmstart": "_optimizer: here optimizer_",
    "test_adaptive_learning_rate": "_optimizer: here optimizer_",
    "test_n_iter_no_change": "_no_improvement_count: epochs without improvement",
    "test_n_iter_no_change_inf": "_no_improvement_count: epochs without improvement",
}

# Tests that cannot run, and why. What they are after is asserted in the test named.
LEFT_OUT = {
    "test_fit": (
        "private state: writes fitted attributes, _coef_grads and velocities into an estimator "
        "that was never fitted; test_mlp.py::test_a_step_worked_out_by_hand sets coefs_ after a fit"
    ),
    "test_warm_start": (
        "a defect: asserts that a warm start refuses a subset of the known classes; "
        "test_mlp.py::test_warm_start_takes_a_subset_of_the_classes_and_refuses_new_ones"
    ),
    "test_mlp_partial_fit_after_fit": (
        "a defect: asserts that partial_fit raises after early stopping; "
        "test_mlp.py::test_partial_fit_after_early_stopping"
    ),
}


class PrivateNames:
    """The private names of scikit-learn's MLPs that its tests read."""

    @property
    def _optimizer(self):
        return self.optimizer_

    @property
    def _no_improvement_count(self):
        return self._convergence.waited

    def _loss_grad_lbfgs(self, packed, X, Y, sample_weight, *scratch):
        network, start = self.network_, 0
        for array in self.coefs_ + self.intercepts_:
            array[...] = packed[start : start + array.size].reshape(array.shape)
            start += array.size
        targets = Y if Y.shape[1] == 1 else Y.argmax(axis=1)
        loss = self._target.loss.forward(network.forward(X, training=True), targets)
        network.backward(self._target.loss.backward())
        decay = self.alpha / len(X)
        dense = [layer for layer in network if isinstance(layer, layerkit.Dense)]
        grads = [layer.grads["W"] + decay * layer.params["W"] for layer in dense]
        grads += [layer.grads["b"] for layer in dense]
        penalty = decay / 2 * sum(np.sum(W**2) for W in self.coefs_)
        return loss + penalty, np.concatenate([g.ravel() for g in grads])


class MLPClassifier(PrivateNames, layerkit.MLPClassifier):
    __doc__ = layerkit.MLPClassifier.__doc__


class MLPRegressor(PrivateNames, layerkit.MLPRegressor):
    __doc__ = layerkit.MLPRegressor.__doc__


def their_tests():
    spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    module = importlib.util.module_from_spec(spec)
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
    with mock.patch.multiple(sklearn.neural_network, **ours):
        spec.loader.exec_module(module)
    assert module.MLPClassifier is MLPClassifier
    return {name: test for name, test in vars(module).items() if name.startswith("test_")}


@pytest.fixture
def global_random_seed():
    return 42


THEIRS = their_tests()
globals().update({name: test for name, test in THEIRS.items() if name not in LEFT_OUT})
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs to assert, with pytest.warns


def test_the_tables_name_tests_that_exist():
    assert {*PRIVATE, *LEFT_OUT} <= THEIRS.keys()
    assert len(THEIRS) >= 43
