"""An optimizer goes on with the network that it knows, and warns before it goes on with another."""

import copy
import pickle
import warnings

import numpy as np
import pytest

from layerkit import Dense, ReLU, Sequential
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import LBFGS, SGD, Adam
from layerkit.schedules import ExponentialDecay
from layerkit.training import epochs as epochs_module
from layerkit.training import train

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = X[:, :1] - X[:, 1:2]


def network(seed=0):
    return Sequential([Dense(4), ReLU(), Dense(1)]).build(3, random_state=seed)


def learn(net, optimizer):
    return train(
        net, MeanSquaredError(), optimizer, (X, Y), epochs=2, batch_size=40, random_state=0
    )


SAME = {
    "the network itself": lambda net, opt: (net, opt),
    "a copy of the network": lambda net, opt: (copy.deepcopy(net), opt),
    "the network from a pickle": lambda net, opt: (pickle.loads(pickle.dumps(net)), opt),
    "copies of both": lambda net, opt: copy.deepcopy((net, opt)),
    "both from a pickle": lambda net, opt: pickle.loads(pickle.dumps((net, opt))),
}


@pytest.mark.parametrize("again", SAME.values(), ids=SAME)
def test_the_same_network_goes_on_with_its_moments_in_silence(again):
    net, optimizer = network(), Adam()
    learn(net, optimizer)
    moments = optimizer.state["m"]
    net, optimizer = again(net, optimizer)
    np.testing.assert_array_equal(optimizer.state["m"], moments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(net, optimizer)
    assert optimizer.steps_done == 4


@pytest.mark.parametrize(
    ("optimizer", "warned"),
    [
        (Adam(), True),
        (SGD(momentum=0.9), True),
        (SGD(ExponentialDecay(0.1, every=5)), True),
        (SGD(0.1), False),  # remembers nothing
        (LBFGS(), False),
    ],
    ids=repr,
)
def test_another_network_of_equal_size_is_warned_of_where_something_is_remembered(
    optimizer, warned
):
    learn(network(0), optimizer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learn(network(1), optimizer)
    told = [str(w.message) for w in caught if "another network" in str(w.message)]
    assert len(told) == warned
    assert all("2 steps" in message and "optimizer.reset()" in message for message in told)


def test_a_loop_of_ones_own_is_warned_at_its_first_step_on_other_parameters():
    optimizer, grads = Adam(), np.ones(3)
    mine, other = np.zeros(3), np.ones(3)
    for _ in range(2):
        optimizer.step(mine, grads)
    with pytest.warns(UserWarning, match="goes on from 2 steps with another network"):
        optimizer.step(other, grads)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step(other[:], grads)  # a view of what it knows


def test_a_reset_optimizer_starts_anew_in_silence():
    optimizer, fresh = Adam(), Adam()
    learn(network(0), optimizer)
    optimizer.reset()
    mine, other = network(1), network(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(mine, optimizer)
    learn(other, fresh)
    np.testing.assert_array_equal(mine.flat_params, other.flat_params)


def test_lbfgs_takes_the_loss_of_all_rows_in_one_call_where_a_kernel_knows_the_network(monkeypatch):
    class Layered(MeanSquaredError):  # a loss of one's own is computed layer by layer
        def value(self, *args):
            return super().value(*args)

    found = []
    value = epochs_module.Epochs.value
    monkeypatch.setattr(
        epochs_module.Epochs, "value", lambda self: found.append(value(self)) or found[-1]
    )
    by_kernel, by_layer = network(), network()
    learn(by_kernel, LBFGS())
    assert found and None not in found
    found.clear()
    train(by_layer, Layered(), LBFGS(), (X, Y), epochs=2, random_state=0)
    assert found and set(found) == {None}
    np.testing.assert_allclose(by_kernel.flat_params, by_layer.flat_params, rtol=1e-4, atol=1e-5)
