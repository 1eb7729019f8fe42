"""What stands around forward, backward and infer, and how little of it is in the way."""

import os
import pickle
import sys
import traceback

import numpy as np
import pytest
from errors import raises_exactly

import layerkit
from layerkit import Dense, Layer, ReLU, Sequential, kernels


class Fails(Layer):
    def forward(self, x, training=False):
        raise FloatingPointError("forward")

    def infer(self, x):
        raise FloatingPointError("infer")


def fails_backward():
    class Fails(Layer):
        def forward(self, x, training=False):
            return x

        def backward(self, grad_output):
            raise FloatingPointError("backward")

    layer = Fails().build(2)
    layer.forward(np.ones((1, 2)))
    return layer


@pytest.mark.parametrize(
    "layer, method",
    [(Fails().build(2), "forward"), (fails_backward(), "backward"), (Fails().build(2), "infer")],
)
def test_a_traceback_shows_the_layers_line_right_below_the_guard(layer, method):
    with pytest.raises(FloatingPointError) as caught:
        getattr(layer, method)(np.ones((1, 2)))
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [os.path.basename(frame.filename) for frame in frames] == [
        "test_guards.py",
        "guards.py",
        "test_guards.py",
    ]
    assert frames[-1].name == method


def files_entered(call):
    """Files of layerkit in which a function is called."""
    root, seen = os.path.dirname(layerkit.__file__), set()

    def hook(frame, event, argument):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(root):
            seen.add(os.path.relpath(path, root))

    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        call()
    finally:
        sys.setprofile(before)
    return seen


def test_few_files_are_entered_from_forward_to_the_arithmetic():
    x = np.ones((3, 4), np.float32)
    with kernels.use("numpy"):
        dense = Dense(2).build(4, random_state=0)
        assert len(files_entered(lambda: dense.forward(x, training=True))) <= 5
        chain = [Dense(3).build(4), ReLU().build(3), Dense(2).build(3)]
        for layer, came_in in zip(chain, (x, x[:, :3], x[:, :3]), strict=True):
            entered = files_entered(lambda do=layer.forward, came_in=came_in: do(came_in))
            assert not {"layer.py", "tree.py"} & entered


def test_what_a_built_layer_holds_are_plain_attributes_that_no_pickle_takes_along():
    network = Sequential([Dense(2), ReLU()]).build(3, random_state=0)
    network.forward(np.ones((1, 3)))
    layer = network[0]
    state = vars(layer)
    assert state["_shown_params"] is layer.params and state["_shown_grads"] is layer.grads
    assert state["cache"] is layer.cache
    assert not {"_shown_params", "_shown_grads", "cache"} & set(layer.__getstate__())
    same = pickle.loads(pickle.dumps(layer))
    assert same.params["W"].base is same.flat_params
    with raises_exactly(
        TypeError,
        "params does not support item assignment: write into the array, "
        "self.params['W'][...] = value",
    ):
        layer.params["W"] = np.ones((3, 2))
    layer.clear_cache()
    with raises_exactly(
        RuntimeError, "in layers.0 Dense(units=2): backward needs a forward before it"
    ):
        _ = layer.cache


def test_building_anew_hands_out_new_views_only():
    layer = Dense(2).build(3, random_state=0)
    before = layer.params
    layer.build(3, random_state=1, rebuild=True)
    assert layer.params is not before
    assert layer.params["W"].base is layer.flat_params
    assert before["W"].base is not layer.flat_params


def test_a_backward_that_fails_to_cache_is_told_so():
    class Forgetful(Layer):
        def forward(self, x, training=False):
            if training:
                self.cache = x
            return x * x

        def backward(self, grad_output):
            return 2 * grad_output * self.cache

    layer = Forgetful().build(1)
    layer.forward([[3.0]], training=True)
    assert layer.backward([[1.0]]).tolist() == [[6.0]]
    layer.forward([[3.0]])
    with raises_exactly(RuntimeError, "in Forgetful(): backward needs a forward before it"):
        layer.backward([[1.0]])


def test_a_forward_from_a_mixin_is_guarded_where_it_calls_the_layers():
    class Doubling:
        def forward(self, x, training=False):
            return 2 * super().forward(x, training)

    class Doubled(Doubling, Dense):
        pass

    layer = Doubled(2).build(3, random_state=0)
    assert layer.forward([[1.0, 2.0, 3.0]]).dtype == np.float32
    with raises_exactly(ValueError, "in Doubled(units=2): expects (n_samples, 3), got (1, 2)"):
        layer.forward(np.ones((1, 2)))
    assert layer.backward(np.ones((1, 2))).shape == (1, 3)


def test_two_bases_bring_a_forward_and_a_backward_that_are_both_guarded():
    class Forward(Layer):
        def forward(self, x, training=False):
            return x

    class Backward(Layer):
        def backward(self, grad_output):
            return grad_output

    class Both(Forward, Backward):
        pass

    layer, seen = Both().build(1), []
    with layer.observed(lambda _, direction, *arrays: seen.append(direction)):
        layer.backward(layer.forward([[1.0]]))
    assert seen == ["forward", "backward"]
