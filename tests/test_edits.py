"""Edits of a built network: refused where they are made, or seen by all parts of the library.

The oracle of a hyper-parameter is the network that is made with it in the first place: if that has
the same arrays and shapes the edit must give what it gives, in every view; if not, the edit must be
refused and leave no trace.
"""

import copy
import io
import operator
import pickle
import re

import joblib
import numpy as np
import pytest
from cases import CASES, Case
from errors import raises_exactly
from passes import buffers_of, restore_buffers, run, snapshot_of_buffers
from sklearn.base import clone

import layerkit as lk
from layerkit import (
    LSTM,
    BatchNorm,
    Bidirectional,
    Columns,
    Concat,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    SimpleRNN,
    Tanh,
    initializers,
)
from layerkit.edits import ClosedList
from layerkit.fused import plan
from layerkit.inspection import check_gradients, trace
from layerkit.interchange import load, save, to_onnx, to_pytorch
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import SGD
from layerkit.training import train

# ---------------------------------------------------------------- every view of a network


def reloaded(network, tmp_path):
    save(network, tmp_path / "network.npz")
    return load(tmp_path / "network.npz")


def by_joblib(network):
    file = io.BytesIO()
    joblib.dump(network, file)
    file.seek(0)
    return joblib.load(file)


def views(network, x, tmp_path):
    """Outputs, derivatives and descriptions of a network as all parts of the library see it."""
    copies = {
        "pickle": pickle.loads(pickle.dumps(network)),
        "joblib": by_joblib(network),
        "deepcopy": copy.deepcopy(network),
        "file": reloaded(network, tmp_path),
    }
    seen = own_views(network, x)
    for name, twin in copies.items():
        seen |= {name: twin.infer(x), f"{name} repr": repr(twin), f"{name} layout": twin.layout}
    return seen


def own_views(network, x):
    """The same without copies."""
    network.reseed(0)
    return {
        "infer": network.infer(x),
        "forward": network.forward(x),
        "plan": plan(network).infer(x),
        "inference": run(network, x, training=False),
        "training": run(copy.deepcopy(network), x, training=True),
        "summary": str(network.summary()),
        "repr": repr(network),
        "layout": network.layout,
    }


def assert_agree(seen, expected):
    for name, value in expected.items():
        np.testing.assert_equal(seen[name], value, err_msg=name)


def assert_one_network(seen):
    """All views give the same numbers and call the network the same."""
    for name in ("forward", "plan", "pickle", "joblib", "deepcopy", "file"):
        np.testing.assert_allclose(seen[name], seen["infer"], rtol=1e-12, err_msg=name)
    for name in ("pickle", "joblib", "deepcopy", "file"):
        assert seen[f"{name} repr"] == seen["repr"], name
        assert seen[f"{name} layout"] == seen["layout"], name


PASSING = ("cache", "_forward_shape")


def state_of(network):
    return [
        (path, {k: v for k, v in vars(layer).items() if k not in PASSING}, repr(layer))
        for path, layer in network.walk()
    ]


# ---------------------------------------------------------------- hyper-parameters of every layer


def others(value):
    """Values that one might give in place of another, good and bad ones."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, 2 * value, (value, value), (value + 1, value), None, "same"]
    if isinstance(value, float):
        return [value / 2, value + 0.25, -value - 1, None]
    if isinstance(value, str):
        return ["valid", "same", "tanh", "relu", 1, 0, initializers.zeros]
    if value is None:
        return [1, 2, "same"]
    if isinstance(value, tuple | list):
        return [value[::-1], [*value, 1], [2 * v if isinstance(v, int) else v for v in value]]
    return [initializers.zeros, None]


def edits_of(layer):
    """(path, name, value) of all hyper-parameters inside that hold no layers."""
    for path, inner in layer.walk():
        for name, value in inner.get_params(deep=False).items() if "reverse" not in path else ():
            holds_layers = any(isinstance(v, Layer) for v in pieces(value))
            of_network = name == "stateful"  # of no array; Bidirectional refuses it in every walk
            for other in [] if holds_layers or of_network else others(value):
                yield path, name, other


def pieces(value):
    if isinstance(value, list | tuple):
        return [piece for item in value for piece in pieces(item)]
    return [value]


def at(network, path):
    return dict(network.walk())[path]


def made_so(network, path, name, value, case):
    """Make the network that has this hyper-parameter from the start; None if there is none."""
    twin = copy.deepcopy(network)
    twin.trainable = True
    twin = clone(twin)
    setattr(at(twin, path), name, value)
    try:
        twin.build(case.input_shape, dtype=np.float64)
    except (ValueError, TypeError):
        return None
    same = [slot._replace(trainable=True) for slot in network.layout] == twin.layout
    shapes = [[layer.output_shape for _, layer in n.walk()] for n in (network, twin)]
    buffers = [[(k, b.shape) for k, b in buffers_of(n)] for n in (network, twin)]
    if not same or shapes[0] != shapes[1] or buffers[0] != buffers[1]:
        return None
    for (_, layer), (_, like) in zip(twin.walk(), network.walk(), strict=True):
        layer._trainable = like.trainable
    twin.flat_params[...] = network.flat_params
    restore_buffers(twin, snapshot_of_buffers(network))
    return twin


def refusal(layer, name, value, by_name):
    try:
        if by_name:
            layer.set_params(**{name: value})
        else:
            setattr(layer, name, value)
    except (ValueError, TypeError) as error:
        return error
    return None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_hyper_parameter_takes_effect_everywhere_or_is_refused(case: Case, tmp_path):
    x = case.sample()
    for k, (path, name, value) in enumerate(edits_of(case.build())):
        network = case.build()
        expected = made_so(network, path, name, value, case)
        before = state_of(network)
        target, prefix = at(network, path), "in " + at(network, path).where.split("(")[0]
        error = refusal(target, name, value, by_name=k % 2 == 1)
        if error is not None:
            handed_down = "which makes it: set" in str(error)  # a part of a block
            assert expected is None or handed_down, f"{path}.{name} = {value!r}: {error}"
            np.testing.assert_equal(state_of(network), before)
            assert isinstance(error, TypeError) or str(error).startswith(prefix), error
            continue
        assert expected is not None, f"{path}.{name} = {value!r} of {network!r} was accepted"
        seen = views(network, x, tmp_path)
        assert_agree(seen, own_views(expected, x))
        assert_one_network(seen)


SETTLED = ("input_shape", "output_shape", "dtype", "path", "name", "follower_init")


def settled(name):
    way = "Sequential(network.layers).build(input_shape, dtype=dtype) is a network with the same "
    way += "weights"
    if name == "name":
        way = 'names are given in a list, Sequential([("hidden", Dense(8)), ...])'
    return (
        f"{name} is settled when the network is built, and nobody else would hear of another: {way}"
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_build_gave_a_layer_can_only_be_read(case: Case):
    x, network = case.sample(), case.build()
    expected = network.infer(x)
    for path, layer in network.walk():
        for name in SETTLED:
            for value in ("other", None, (7,)):
                before = getattr(layer, name)
                with raises_exactly(AttributeError, f"in {layer.where}: {settled(name)}"):
                    setattr(layer, name, value)
                assert getattr(layer, name) is before, f"{path}.{name}"
    np.testing.assert_array_equal(network.infer(x), expected)


# What is no part of the function that a layer is: flags of its class, and what passes through it.
PASSES = {"cache", "state", "trainable", "needs_input_grad", "may_be_stateful", "handed_down_by"}
ABOUT_THE_CLASS = {
    "adapts",
    "gates",
    "habits",
    "n_axes",
    "n_states",
    "stateful",
    "stepwise",
    "takes_sequences",
    "threaded",
    "too_many",
    "weight_init",
}


def attributes_of(layer):
    """Names of the public data of a layer, beside its hyper-parameters and its class's flags."""
    found = {name for name in dir(layer) if name[0] != "_"} - PASSES - ABOUT_THE_CLASS
    found -= layer.get_params(deep=False).keys() | {"flat_params", "flat_grads", "rng", "layout"}
    return {name for name in found if not callable(getattr(layer, name, len))}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_that_forward_reads_is_overwritten_without_a_word(case: Case):
    x, network = case.sample(), case.build()
    expected, before = network.infer(x), state_of(network)
    for _, layer in network.walk():
        for name in attributes_of(layer):
            for value in (getattr(layer, name), None, 2.0, (7,)):
                with pytest.raises(AttributeError):
                    setattr(layer, name, value)
    np.testing.assert_equal(state_of(network), before)
    np.testing.assert_array_equal(network.infer(x), expected)


FORMULAS = [
    (lk.SELU(), "ALPHA", re.compile(r"(?s).*in SELU\(\): ALPHA = 1\.67.* is a constant of SELU.*")),
    (
        lk.AlphaDropout(0.1),
        "SATURATION",
        re.compile(r"(?s).*SATURATION = -1.75.* is a constant of AlphaDropout.*"),
    ),
    (
        lk.DepthwiseConv2D(2),
        "algorithm",
        "in DepthwiseConv2D(kernel_size=2): algorithm = 'direct' is a constant of DepthwiseConv2D",
    ),
    (
        Conv2D(3, 2),
        "geometry",
        "in Conv2D(filters=3, kernel_size=2): geometry is settled when the network is "
        "built, and nobody else would hear of another: it follows from the "
        "hyper-parameters and the shape of the input, make another layer",
    ),
    (
        lk.DepthwiseConv2D(2),
        "filters",
        "in DepthwiseConv2D(kernel_size=2): filters is settled when the network is "
        "built, and nobody else would hear of another: it follows from the "
        "hyper-parameters and the shape of the input, make another layer",
    ),
    (
        lk.InstanceNorm(),
        "groups",
        "in InstanceNorm(): groups is settled when the network is built, and nobody else "
        "would hear of another: it follows from the hyper-parameters and the shape of "
        "the input, make another layer",
    ),
    (
        BatchNorm(),
        "channels",
        "in BatchNorm(): channels is settled when the network is built, and nobody else "
        "would hear of another: it follows from the hyper-parameters and the shape of "
        "the input, make another layer",
    ),
    (
        MaxPool2D(2),
        "geometry",
        "in MaxPool2D(): geometry is settled when the network is built, and nobody else "
        "would hear of another: it follows from the hyper-parameters and the shape of "
        "the input, make another layer",
    ),
]


@pytest.mark.parametrize("layer, name, message", FORMULAS, ids=repr)
def test_what_a_formula_holds_is_refused_with_its_reason(layer, name, message):
    layer = clone(layer).build((4, 4, 2), random_state=0)
    with raises_exactly(AttributeError, message):
        setattr(layer, name, 3)


def test_a_pickle_from_before_the_geometry_was_settled_still_opens():
    layer = Conv2D(3, 2).build((4, 4, 2), random_state=0, dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 2))
    old = layer.__getstate__()
    old["geometry"] = old.pop("_geometry")
    twin = object.__new__(Conv2D)
    twin.__setstate__(old)
    np.testing.assert_array_equal(twin.infer(x), layer.infer(x))
    assert twin.geometry == layer.geometry and "geometry" not in vars(twin)


@pytest.mark.parametrize("name", SETTLED)
@pytest.mark.parametrize("path", ["", "layers.0"], ids=["root", "part"])
def test_what_build_settles_is_refused_with_the_way_to_do_it(name, path):
    network = Sequential([Dense(3), ReLU()]).build(4, random_state=0)
    layer = at(network, path)
    with raises_exactly(AttributeError, f"in {layer.where}: {settled(name)}"):
        setattr(layer, name, (5,))


def test_the_way_to_do_it_keeps_the_weights():
    network = Sequential([Dense(3), ReLU(), Dense(1)]).build(4, random_state=0)
    other = Sequential(network.layers).build((4,), dtype=np.float64)
    assert other.dtype == np.float64 and network.dtype == np.float32
    np.testing.assert_array_equal(other.flat_params, network.flat_params)


@pytest.mark.parametrize(
    "values",
    [None, "1", [], (7.0,), np.zeros(14), np.zeros((15, 1)), np.zeros(15, complex), [None] * 15],
    ids=["None", "text", "empty", "one", "short", "column", "complex", "objects"],
)
def test_flat_params_takes_a_number_for_each(values):
    network = Dense(3).build(4, random_state=0)
    before = network.flat_params.copy()
    with raises_exactly(
        ValueError, re.compile(r"in Dense\(units=3\): flat_params takes \(15,\) numbers, got .*")
    ):
        network.flat_params = values
    np.testing.assert_array_equal(network.flat_params, before)


@pytest.mark.parametrize("values", [0, np.arange(15), list(range(15)), np.float32(2.5)], ids=str)
def test_flat_params_are_written_in_place(values):
    network = Dense(3).build(4, random_state=0)
    vector = network.flat_params
    network.flat_params = values
    np.testing.assert_array_equal(vector, np.broadcast_to(values, 15))
    network.flat_params *= 2
    np.testing.assert_array_equal(vector, 2 * np.broadcast_to(values, 15))
    assert network.flat_params is vector


CHANGEABLE = [
    (lambda: Dropout(0.5), "rate", 0.25),
    (lambda: lk.GaussianNoise(0.5), "stddev", 0.25),
    (lambda: lk.LeakyReLU(0.1), "negative_slope", 0.5),
    (lambda: lk.ELU(1.0), "alpha", 2.0),
    (lambda: BatchNorm(), "momentum", 0.5),
    (lambda: lk.LayerNorm(), "eps", 0.1),
    (lambda: Dense(3), "initializer", initializers.zeros),
    (lambda: Bidirectional(SimpleRNN(2)), "layer__activation", "relu"),
]


@pytest.mark.parametrize("make, name, value", CHANGEABLE)
def test_what_leaves_the_arrays_alone_may_change(make, name, value, tmp_path):
    shape = (5, 3) if "layer__" in name else (3,)
    x = np.random.default_rng(0).normal(size=(6, *shape))
    network = Sequential([make(), Tanh()]).build(shape, 0, dtype=np.float64)
    (called,) = network.names[:1]
    network.set_params(**{f"layers__{called}__{name}": value})
    expected = Sequential([make().set_params(**{name: value}), Tanh()])
    expected.build(shape, 0, dtype=np.float64).flat_params[...] = network.flat_params
    assert_agree(views(network, x, tmp_path), views(expected, x, tmp_path))


# ---------------------------------------------------------------- structure


def mlp():
    net = Sequential(
        [Dense(5), BatchNorm(), LeakyReLU(), ("drop", Dropout(0.1)), ("out", Dense(2))]
    )
    return net.build(4, random_state=0, dtype=np.float64)


def convolutional():
    net = Sequential([Conv2D(3, kernel_size=3), ReLU(), MaxPool2D(2), Flatten(), Dense(2)])
    return net.build((8, 8, 1), random_state=0, dtype=np.float64)


def branched():
    table = Columns([([0, 1], Dense(3)), (np.array([2, 3]), Residual(Dense(2)))])
    return Sequential([table, Concat([Dense(2), Tanh()]), Residual(Dense(7), Dense(7))]).build(
        4, random_state=0, dtype=np.float64
    )


def recurrent():
    return Sequential([Bidirectional(LSTM(3)), Dense(2)]).build((5, 2), random_state=0, dtype=float)


def set_item(key, value):
    def edit(network):
        network.layers[key] = value

    return edit


def delete(key):
    def edit(network):
        del network.layers[key]

    return edit


def assign(path, name, value):
    return lambda network: setattr(at(network, path), name, value)


def params(**named):
    return lambda network: network.set_params(**named)


STRUCTURE = [
    (mlp, lambda n: n.layers.pop()),
    (mlp, lambda n: n.layers.append(ReLU())),
    (mlp, lambda n: n.layers.insert(1, ReLU())),
    (mlp, lambda n: n.layers.extend([ReLU()])),
    (mlp, lambda n: n.layers.remove(n.layers[1])),
    (mlp, lambda n: n.layers.reverse()),
    (mlp, lambda n: n.layers.clear()),
    (mlp, lambda n: n.layers.sort(key=str)),
    (mlp, lambda n: n.layers.__iadd__([ReLU()])),
    (mlp, lambda n: n.layers.__imul__(2)),
    (mlp, set_item(0, Dense(5))),
    (mlp, set_item(0, mlp().layers[0])),
    (mlp, set_item(-1, Dense(2))),
    (mlp, set_item(slice(1, 3), [])),
    (mlp, set_item(slice(None), mlp().layers)),
    (mlp, delete(1)),
    (mlp, delete(slice(1, 3))),
    (mlp, assign("", "layers", [])),
    (mlp, assign("", "layers", [Dense(2)])),
    (mlp, lambda n: setattr(n, "layers", n.layers[:-1])),
    (mlp, lambda n: setattr(n, "layers", [*n.layers, ReLU()])),
    (mlp, lambda n: setattr(n, "layers", n.layers[::-1])),
    (mlp, lambda n: setattr(n, "layers", mlp().layers)),
    (mlp, params(layers=[Dense(2)])),
    (mlp, params(layers__dense_1=Dense(5))),
    (mlp, params(layers__out=Dense(2))),
    (mlp, params(layers__dense_1=mlp()[0])),
    (mlp, params(layers__drop__rate=0.3, layers__dense_1__units=6)),
    (mlp, params(layers__drop__rate=0.3, layers__dense_1__use_bias=False)),
    (mlp, params(layers__drop__rate=0.3, layers__dense_9__units=6)),
    (mlp, params(layers__drop__rate=0.3, layers__leaky_relu_1__negative_slope="steep")),
    (mlp, assign("layers.0", "units", 6)),
    (mlp, assign("layers.0", "use_bias", False)),
    (mlp, lambda n: setattr(n[:2][0], "units", 6)),
    (mlp, lambda n: n[:2].layers.append(ReLU())),
    (mlp, lambda n: setattr(n[:2], "layers", [Dense(5)])),
    (convolutional, params(layers__conv2d_1__stride=2)),
    (convolutional, params(layers__conv2d_1__padding="same")),
    (convolutional, params(layers__conv2d_1__filters=4)),
    (convolutional, params(layers__conv2d_1__kernel_size=2)),
    (convolutional, params(layers__conv2d_1__groups=3)),
    (convolutional, params(layers__max_pool2d_1__pool_size=3)),
    (convolutional, assign("layers.2", "stride", 1)),
    (convolutional, set_item(0, convolutional().layers[0])),
    (branched, assign("layers.2", "body", Dense(7))),
    (branched, assign("layers.2", "body", branched()[2].body)),
    (branched, assign("layers.2", "shortcut", None)),
    (branched, assign("layers.1", "branches", [Dense(2), Tanh()])),
    (branched, assign("layers.1", "axis", 1.5)),
    (branched, lambda n: n[1].branches.append(Tanh())),
    (branched, lambda n: n[1].branches.reverse()),
    (branched, lambda n: setattr(n[1], "branches", n[1].branches[::-1])),
    (branched, assign("layers.0", "routes", [])),
    (branched, lambda n: n[0].routes.pop()),
    (branched, lambda n: n[0].routes[0][0].append(3)),
    (branched, lambda n: n[0].routes[1][0].__setitem__(0, 1)),
    (branched, params(layers__columns_1__routes__0=Dense(3))),
    (branched, params(layers__residual_1__body__units=6)),
    (recurrent, params(layers__bidirectional_1__layer__units=6)),
    (recurrent, params(layers__bidirectional_1__layer__return_sequences=True)),
    (recurrent, params(layers__bidirectional_1__layer=LSTM(3))),
    (recurrent, assign("layers.0", "layer", LSTM(3))),
]


def input_of(network):
    return np.random.default_rng(5).normal(size=(6, *network.input_shape))


@pytest.mark.parametrize("make, edit", STRUCTURE, ids=range(len(STRUCTURE)))
def test_structure_is_refused_with_a_way_to_do_it(make, edit, tmp_path):
    network = make()
    x, fast = input_of(network), plan(network)
    before, state = views(network, x, tmp_path), state_of(network)
    with pytest.raises((TypeError, ValueError)) as caught:
        edit(network)
    np.testing.assert_equal(state_of(network), state)
    seen = views(network, x, tmp_path)
    assert_agree(seen, before)
    assert_one_network(seen)
    np.testing.assert_array_equal(fast.infer(x), before["plan"])
    told = str(caught.value)
    ways = ("build(input_shape)", "sklearn.base.clone(network)", "must be", "read-only", "valid")
    assert any(way in told for way in ways), told


def test_lists_and_arrays_that_the_caller_keeps_are_none_of_the_networks():
    layers, mask = [Dense(3), ReLU()], np.array([True, False, True])
    network = Sequential(layers).build(3, random_state=0)
    table = Columns([(mask, Tanh())]).build(3)
    layers.append(Dense(2))
    layers[0] = Dense(7)
    mask[1] = True
    assert len(network) == 2 and network.output_shape == (3,)
    assert pickle.loads(pickle.dumps(table)).routes[0][0].tolist() == [True, False, True]
    assert table.routes[0][0].tolist() == [True, False, True]


def test_before_build_everything_may_change_and_after_it_lists_still_read_as_lists():
    network = Sequential([Dense(3), ReLU()])
    network.layers.append(Dense(2))
    network.layers[0].units = 5
    network.layers = [*network.layers, Tanh()]
    network.build(4)
    assert network.layers == list(network.layers) and isinstance(network.layers, list)
    assert type(network.layers) is ClosedList and type(network.layers[:2]) is list
    assert repr(network.layers) == repr(list(network.layers))
    assert type(clone(network).layers) is list and not clone(network).is_built
    twin = clone(network).set_params(layers__dense_1__units=9, layers__dense_2=Dense(1))
    assert [layer.output_shape for layer in twin.build(4)] == [(9,), (9,), (1,), (1,)]


class Configured(Layer):
    """Has a dict of numbers, on which its array depends."""

    def __init__(self, numbers):
        self.numbers = numbers

    def setup(self, input_shape):
        self.add_param("w", (self.numbers["n"],), initializers.ones)
        return input_shape

    def forward(self, x, training=False):
        return x * self.params["w"].sum() * self.numbers["factors"][0]

    def backward(self, grad_output):
        gain = self.params["w"].sum() * self.numbers["factors"][0]
        self.grads["w"].fill(0)
        return grad_output * gain


class Keeping(Layer):
    """Has its layer in a dict."""

    def __init__(self, parts):
        self.parts = parts

    def children(self):
        return [("parts.only", self.parts["only"])]

    def setup(self, input_shape):
        return self.parts["only"].declare(input_shape)

    def forward(self, x, training=False):
        return self.parts["only"].forward(x, training)

    def backward(self, grad_output):
        return self.parts["only"].backward(grad_output)


def test_a_dict_of_a_built_layer_is_closed_and_another_may_be_assigned():
    numbers = {"n": 3, "factors": [2.0]}
    network = Sequential([Configured(numbers), Keeping({"only": Dense(2)})])
    network.build(4, random_state=0)
    x = input_of(network)
    before = network.infer(x)
    numbers["n"] = 7
    numbers["factors"].append(1)
    for change in (
        lambda: network[0].numbers.update(n=4),
        lambda: network[0].numbers.__setitem__("n", 3),
        lambda: network[0].numbers["factors"].append(1),
        lambda: network[0].numbers.pop("n"),
    ):
        with pytest.raises(TypeError, match=r"a built layer keeps the values .* assign others"):
            change()
    with pytest.raises(TypeError, match="a built network keeps its layers"):
        network[1].parts["only"] = Dense(3)
    with pytest.raises(ValueError, match="built with numbers="):
        network[0].numbers = {"n": 4, "factors": [2.0]}
    np.testing.assert_array_equal(network.infer(x), before)
    network[0].numbers = {"n": 3, "factors": [4.0]}
    np.testing.assert_array_equal(network.infer(x), 2 * before)
    file = io.BytesIO()
    save(network, file)
    file.seek(0)
    for copied in (
        load(file, custom_layers=[Configured, Keeping]),
        pickle.loads(pickle.dumps(network)),
        copy.deepcopy(network),
        Sequential([*network.layers]).build(4),
    ):
        np.testing.assert_array_equal(copied.infer(x), network.infer(x))
    new = clone(network)
    new[0].numbers["n"] = 5
    assert new.build(4)[0].params["w"].shape == (5,)


def test_a_chain_is_no_list_and_a_hyper_parameter_is_not_deleted():
    network, new = mlp(), Sequential([Dense(3)])
    for change in (lambda: operator.delitem(network, 0), lambda: operator.setitem(new, 0, ReLU())):
        with raises_exactly(
            TypeError,
            "in Sequential: layers are not put in the place of others; make another network of "
            "them, where those that are built keep their weights: "
            "Sequential([*network.layers[:-1], Dense(2)])",
        ):
            change()
    with raises_exactly(
        AttributeError, "in layers.0 Dense(units=5): units is part of the layer, assign it"
    ):
        del network[0].units
    del new[0].units
    with pytest.raises(AttributeError, match="units"):
        del new[0].units
    new[0].units = 4
    assert new.build(2).output_shape == (4,)


def test_a_class_that_keeps_its_parameters_as_a_dataclass_does_is_watched_too():
    from dataclasses import dataclass

    @dataclass(eq=False, repr=False)
    class Scaled(Layer):
        factor: float = 2.0
        units: int = 3

        def setup(self, input_shape):
            self.add_param("w", (self.units,), initializers.ones)
            return input_shape

        def forward(self, x, training=False):
            return self.factor * x

        def backward(self, grad_output):
            self.grads["w"].fill(0)
            return self.factor * grad_output

    layer = Scaled().build(2)
    layer.factor = 5.0
    assert layer.infer([[1.0, 2.0]]).tolist() == [[5.0, 10.0]]
    with raises_exactly(
        ValueError,
        "in Scaled(factor=5.0): built with units=3, on which its shapes and arrays "
        "depend; for units=4 make another network, of sklearn.base.clone(network) for "
        "instance, which is not built and draws new weights when it is",
    ):
        layer.units = 4
    assert Scaled().units == Scaled.units == 3 and Scaled(4.0).factor == 4.0

    class Plain(Scaled):
        factor = 7.0

        def __init__(self, factor=None, units=2):
            self.units = units
            if factor is not None:
                self.factor = factor

    assert Plain().build(2).infer([[1.0, 1.0]]).tolist() == [[7.0, 7.0]]
    layer = Plain(3.0).build(2)
    layer.factor = 4.0
    assert layer.infer([[1.0, 1.0]]).tolist() == [[4.0, 4.0]]
    with raises_exactly(
        ValueError,
        "in Plain(factor=4.0): built with units=2, on which its shapes and arrays "
        "depend; for units=5 make another network, of sklearn.base.clone(network) for "
        "instance, which is not built and draws new weights when it is",
    ):
        layer.units = 5
    assert Plain.factor == 7.0 and Plain().factor == 7.0


def test_a_setup_that_assigns_its_own_parameters_still_may():
    class Settling(Layer):
        def __init__(self, units=None, gain=1.0):
            self.units = units
            self.gain = gain

        def setup(self, input_shape):
            self.units = self.units or input_shape[-1]
            return (self.units,)

        def forward(self, x, training=False):
            return self.gain * x

    layer = Settling().build(3)
    layer.gain = 2.0
    assert layer.units == 3 and layer.infer([[1.0, 1, 1]]).tolist() == [[2.0, 2, 2]]
    with raises_exactly(
        ValueError,
        "in Settling(units=3, gain=2.0): built with units=3, on which its shapes and "
        "arrays depend; for units=2 make another network, of sklearn.base.clone(network) "
        "for instance, which is not built and draws new weights when it is",
    ):
        layer.units = 2
    assert layer.build(4, rebuild=True).units == 3


def test_a_rate_that_a_callback_changes_acts_from_the_next_epoch():
    X, y = np.random.default_rng(0).normal(size=(40, 4)), np.zeros((40, 2))
    network, rates = mlp(), []

    def anneal(state):
        network["drop"].rate = 0.5 / state.epoch
        rates.append(network["drop"].rate)

    train(network, MeanSquaredError(), SGD(0.1), (X, y), epochs=3, callbacks=[anneal])
    assert rates == [0.5, 0.25, 0.5 / 3] and network["drop"].rate == 0.5 / 3


def test_both_directions_hear_of_it_at_once():
    net = Sequential([Bidirectional(SimpleRNN(2))]).build((5, 2), random_state=0)
    net[0].layer.activation = "relu"
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    y = net.infer(x)
    made_so = Sequential([Bidirectional(SimpleRNN(2, activation="relu"))]).build((5, 2))
    made_so.flat_params[...] = net.flat_params
    np.testing.assert_array_equal(y, made_so.infer(x))


def test_arrays_by_name_are_copied_as_a_dict():
    layer = Dense(2).build(3, random_state=0)
    for copied in (copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))):
        twin = copied(layer.params)
        assert type(twin) is dict
        np.testing.assert_array_equal(twin["W"], layer.params["W"])


def test_adopting_weights_leaves_the_networks_of_the_parts_alone():
    old = mlp()
    before = old.flat_params.copy()
    new = Sequential([old, Dense(1)])
    new.adopt(4, np.float64, np.ones(len(before) + 3))
    np.testing.assert_array_equal(old.flat_params, before)
    assert np.shares_memory(old[0].params["W"], old.flat_params) and new[0] is not old


def test_an_edit_keeps_arrays_and_statistics_where_they_are():
    network = trained()
    arrays = {**network[1].params, **network[1].buffers}
    values = {name: array.copy() for name, array in arrays.items()}
    network[1].momentum = 0.3
    for name, array in {**network[1].params, **network[1].buffers}.items():
        assert array is arrays[name]
        np.testing.assert_array_equal(array, values[name])


def test_no_backward_follows_an_edit():
    network = mlp()
    network.forward(np.ones((3, 4)), training=True)
    network["drop"].rate = 0.2
    with raises_exactly(
        RuntimeError, "in layers.drop Dropout(rate=0.2): backward needs a forward before it"
    ):
        network["drop"].backward(np.ones((3, 5)))


# ---------------------------------------------------------------- other networks of the same parts


def trained():
    network = mlp()
    X = np.random.default_rng(1).normal(size=(60, 4))
    train(network, MeanSquaredError(), SGD(0.1), (X, X[:, :2]), epochs=2, random_state=0)
    return network


def first(network, i=0):
    return network.chain[i]


REBUILT = [
    # what is made of a trained network, and where its layers 0, 1, ... stand in that
    ("new head", lambda n: Sequential([*n.layers[:-1], Dense(3)]), {0: "layers.0", 1: "layers.1"}),
    ("by iterating", lambda n: Sequential([*list(n)[:-1], Dense(3)]), {0: "layers.0"}),
    ("by adding lists", lambda n: Sequential(n.layers[:-1] + [Dense(3)]), {0: "layers.0"}),  # noqa: RUF005
    ("appended", lambda n: Sequential([*n.layers, ReLU(), Dense(1)]), {4: "layers.out"}),
    ("removed", lambda n: Sequential([n[0], *n.layers[2:]]), {0: "layers.0", 4: "layers.out"}),
    ("replaced", lambda n: Sequential([n[0], n[1], Tanh(), n["out"]]), {4: "layers.3"}),
    ("slice", lambda n: Sequential([n[:2], Dense(3)]), {0: "layers.0.layers.dense_1"}),
    ("whole", lambda n: Sequential([n, Dense(3)]), {0: "layers.0.layers.0", 4: None}),
    ("named", lambda n: Sequential([("body", n[:3]), ("head", Dense(1))]), {0: None}),
    ("reordered", lambda n: Sequential([n[1].__class__(), n[0], n[1]]), {0: "layers.1"}),
    ("Residual", lambda n: Sequential([Residual(n[:2], Dense(5)), Dense(1)]), {0: None, 1: None}),
    ("shortcut", lambda n: Residual(Dense(5), n[:2]), {0: None}),
    ("Concat", lambda n: Concat([n, Dense(2)]), {0: "branches.0.layers.0", 4: None}),
    ("Columns", lambda n: Columns([([0, 1, 2, 3], n), (0, Dense(1))]), {0: None, 1: None}),
    ("deep", lambda n: Sequential([Residual(Sequential([n[0], Dense(4)]))]), {0: None}),
]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name, make, where", REBUILT, ids=[row[0] for row in REBUILT])
def test_build_keeps_what_is_built(name, make, where, frozen, tmp_path):
    old = trained()
    old[:2].trainable = not frozen
    x = input_of(old)
    before, vector = views(old, x, tmp_path), old.flat_params
    new = make(old).build(4, random_state=3)
    assert new.dtype == np.float64  # that of the weights, not the default
    for i in where:
        (kept,) = [
            layer
            for _, layer in new.walk()
            if type(layer) is type(old[i])
            and all(np.array_equal(layer.params[k], v) for k, v in old[i].params.items())
            and all(np.array_equal(layer.buffers[k], b) for k, b in old[i].buffers.items())
        ]
        assert kept is not old[i] and kept.trainable == old[i].trainable
        assert where[i] is None or kept.path == where[i]
        for view, of_old in zip(kept.params.values(), old[i].params.values(), strict=True):
            assert np.shares_memory(view, new.flat_params)
            assert not np.shares_memory(view, of_old)
    drawn = [layer.params["W"] for _, layer in new.walk() if "W" in layer.params]
    assert all(W.any() for W in drawn)
    assert_one_network(views(new, x, tmp_path))
    # All of it learns, but for what is frozen, and nothing of the old network changes.
    history = train(
        new, MeanSquaredError(), SGD(0.1), (x, np.ones((6, *new.output_shape))), epochs=3
    )
    assert len(history) == 3
    for slot in new.layout:
        assert (new.flat_grads[slot.slice] != 0).any() == slot.trainable or "4" in slot.path
    assert old.flat_params is vector
    assert_agree(views(old, x, tmp_path), before)
    assert_one_network(views(new, x, tmp_path))
    assert check_gradients(new, x=x)
    train(old, MeanSquaredError(), SGD(0.1), (x, x[:, :2]), epochs=1)


def test_what_is_kept_may_be_cast_and_what_is_not_is_drawn_as_ever():
    old = mlp()
    new = Sequential([*old.layers[:-1], Dense(3)]).build(4, random_state=7, dtype=np.float32)
    assert new.dtype == np.float32
    np.testing.assert_array_equal(new[0].params["W"], old[0].params["W"].astype(np.float32))
    fresh = Sequential([Dense(5), BatchNorm(), LeakyReLU(), Dropout(0.1), Dense(3)])
    fresh.build(4, random_state=7)
    np.testing.assert_array_equal(new[4].params["W"], fresh[4].params["W"])
    anew = Sequential([*old.layers[:-1], Dense(3)]).build(4, random_state=7, rebuild=True)
    assert anew.dtype == np.float32
    np.testing.assert_array_equal(anew[0].params["W"], fresh[0].params["W"])
    assert not np.array_equal(anew[0].params["W"], old[0].params["W"])


@pytest.mark.parametrize(
    "make, shape, told",
    [
        (
            lambda: Sequential([Dense(3).build(4), Dense(2)]),
            5,
            ("layers.0 Dense(units=3)", "4", "5", "W", (4, 3), (5, 3)),
        ),
        (
            lambda: Sequential([mlp(), Dense(2)]),
            6,
            ("layers.0.layers.0 Dense(units=5)", "4", "6", "W", (4, 5), (6, 5)),
        ),
        (
            lambda: Sequential([Dense(9), *mlp().layers]),
            4,
            ("layers.1 Dense(units=5)", "4", "9", "W", (4, 5), (9, 5)),
        ),
        (
            lambda: Residual(Dense(4).build(4), Dense(4)),
            3,
            ("body Dense(units=4)", "4", "3", "W", (4, 4), (3, 4)),
        ),
        (
            lambda: Sequential([convolutional()]),
            (8, 8, 3),
            (
                "layers.0.layers.0 Conv2D(filters=3, kernel_size=3)",
                "8, 8, 1",
                "8, 8, 3",
                "W",
                (3, 3, 1, 3),
                (3, 3, 3, 3),
            ),
        ),
        (
            lambda: Sequential([convolutional()]),
            (9, 12, 1),
            ("layers.0.layers.4 Dense(units=2)", "27", "45", "W", (27, 2), (45, 2)),
        ),
        (
            lambda: Sequential([recurrent()]),
            (5, 3),
            ("layers.0.layers.0.layer LSTM(units=3)", "5, 2", "5, 3", "W", (2, 12), (3, 12)),
        ),
        (
            lambda: Sequential([BatchNorm().build(4)]),
            (4, 2),
            ("layers.0 BatchNorm()", "4", "4, 2", "gamma", (4,), (2,)),
        ),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_another_input_than_it_was_built_for_is_refused(make, shape, told, frozen):
    network = make()
    built = [layer for _, layer in network.walk() if layer.is_built]
    for layer in built:
        layer.trainable = not frozen
    states = [dict(vars(layer)) for layer in built]
    shown = repr(network)
    layer, had, gets, name, has, needs = told
    with raises_exactly(
        ValueError,
        f"in {layer}: keeps its weights, as it is built already, for (n_samples, {had}), but gets "
        f"(n_samples, {gets}): {name} has shape {has} and would need {needs}",
    ):
        network.build(shape)
    assert not network.is_built and repr(network) == shown
    np.testing.assert_equal([vars(layer) for layer in built], states)


def test_sizes_that_the_weights_do_not_depend_on_may_change():
    body = Sequential([Conv2D(3, kernel_size=3), ReLU(), lk.GlobalAvgPool2D()])
    body.build((8, 8, 1), random_state=0)
    new = Sequential([body, Dense(2)]).build((12, 10, 1))
    x = np.random.default_rng(0).normal(size=(2, 12, 10, 1))
    by_hand = clone(body).build((12, 10, 1))
    by_hand.flat_params[...] = body.flat_params
    np.testing.assert_allclose(new[:1].infer(x), by_hand.infer(x), rtol=1e-6)
    steps = Sequential([recurrent(), Dense(1)]).build((None, 2))
    assert steps.infer(np.ones((1, 9, 2))).shape == (1, 1)


def test_a_layer_that_two_networks_were_given_is_two_layers_once_both_are_built():
    shared = Dense(3)
    a, b = Sequential([shared]), Sequential([shared, Dense(2)])
    a.build(4, random_state=0)
    b.build(4, random_state=1)
    assert a[0] is shared and b[0] is not shared
    np.testing.assert_array_equal(a[0].params["W"], b[0].params["W"])
    b.flat_params[...] = 0
    assert a[0].params["W"].any() and np.shares_memory(a[0].params["W"], a.flat_params)


def test_a_container_that_hides_its_layers_is_told_so():
    class Hiding(Layer):
        def __init__(self, layer):
            self.holder = {layer}

        def children(self):
            return [("layer", next(iter(self.holder)))]

        def setup(self, input_shape):
            return next(iter(self.holder)).declare(input_shape)

    with raises_exactly(
        RuntimeError,
        "in Dense(units=3): already built, in another network perhaps, and no copy can "
        "be put in its place: a container keeps its layers in attributes or lists of them",
    ):
        Hiding(Dense(3).build(4)).build(4)


def test_trace_and_exchange_see_the_rebuilt_network(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    torch = pytest.importorskip("torch")
    old = trained()
    new = Sequential([*old.layers[:-1], Tanh(), ("scores", Dense(3))]).build(4, random_state=0)
    new["scores"].params["b"][...] = [1, 2, 3]
    x = input_of(old)
    expected = new.infer(x)
    to_onnx(new, tmp_path / "new.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "new.onnx")
    (got,) = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    with torch.no_grad():
        given = to_pytorch(new).eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(given, expected, rtol=1e-9)
    told = str(trace(new, x[:2], expected[:2] + 1, MeanSquaredError()))
    assert "scores" in told


# ---------------------------------------------------------------- habits in layers of one's own


class Scale(Layer):
    def setup(self, input_shape):
        self.add_param("w", (1,), initializers.ones)
        return input_shape

    def forward(self, x, training=False):
        self.cache = x
        return x * self.params["w"]

    def backward(self, grad_output):
        self.grads["w"] = (grad_output * self.cache).sum()
        return grad_output * self.params["w"]


class SetsParams(Scale):
    def forward(self, x, training=False):
        self.params["w"] = np.ones(1)
        return x


class SetsBuffers(Scale):
    def setup(self, input_shape):
        self.add_buffer("seen", np.zeros(1))
        return super().setup(input_shape)

    def forward(self, x, training=False):
        self.buffers["seen"] = x.mean()
        return x


class UndeclaredBuffer(Scale):
    def forward(self, x, training=False):
        self.buffers["seen"] = x.mean()
        return x


class Undeclared(Scale):
    def backward(self, grad_output):
        self.grads["v"] = 0.0
        return grad_output


def returning(value):
    class Returns(Scale):
        def setup(self, input_shape):
            super().setup(input_shape)
            return value

    return Returns()


@pytest.mark.parametrize(
    "make, kind, told",
    [
        (
            Scale,
            TypeError,
            "grads does not support item assignment: write into the array, "
            "self.grads['w'][...] = value",
        ),
        (
            SetsParams,
            TypeError,
            "params does not support item assignment: write into the array, "
            "self.params['w'][...] = value",
        ),
        (
            SetsBuffers,
            TypeError,
            "buffers does not support item assignment: write into the array, "
            "self.buffers['seen'][...] = value",
        ),
        (
            UndeclaredBuffer,
            TypeError,
            "buffers does not support item assignment: declare it with "
            "self.add_buffer('seen', array) in setup",
        ),
        (
            Undeclared,
            TypeError,
            "grads does not support item assignment: declare it with self.add_param('v', "
            "shape, initializer) in setup",
        ),
        (
            lambda: returning(None),
            TypeError,
            "in Returns(): setup must return the shape of the output without the batch "
            "axis, a tuple such as input_shape, got None: end it with a return",
        ),
        (
            lambda: returning(3),
            TypeError,
            "in Returns(): setup must return the shape of the output without the batch "
            "axis, a tuple such as input_shape, got 3: end it with a return",
        ),
    ],
)
def test_habits_in_a_layer_of_ones_own_are_shown_the_right_line(make, kind, told):
    def use(layer):
        layer.build(2)
        layer.backward(layer.forward(np.ones((3, 2)), training=True))

    with raises_exactly(kind, told):
        use(make())


IN_THE_ARRAY = "write into the array, self.{}['W'][...] = value"
IN_ITS_ARRAYS = "write into its arrays, self.{}[name][...] = value"
DECLARE = "declare it with self.add_param('V', shape, initializer) in setup"


@pytest.mark.parametrize(
    "change, way",
    [
        (lambda params: params.pop("W"), IN_THE_ARRAY),
        (lambda params: params.update(W=1), IN_ITS_ARRAYS),
        (lambda params: params.clear(), IN_ITS_ARRAYS),
        (lambda params: params.popitem(), IN_ITS_ARRAYS),
        (lambda params: params.setdefault("V", 1), DECLARE),
        (lambda params: params.__delitem__("W"), IN_THE_ARRAY),
        (lambda params: params.__ior__({"W": 1}), IN_ITS_ARRAYS),
    ],
)
@pytest.mark.parametrize("kind", ["params", "grads"])
def test_the_arrays_of_a_layer_stay_in_their_mapping(change, way, kind):
    layer = Dense(2).build(3)
    message = f"{kind} does not support item assignment: {way.format(kind)}"
    with raises_exactly(TypeError, message):
        change(getattr(layer, kind))
    assert list(getattr(layer, kind)) == ["W", "b"]


@pytest.mark.parametrize("built", [False, True], ids=["not built", "built"])
@pytest.mark.parametrize(
    "method, arguments",
    [("add_param", ("more", (2,), initializers.zeros)), ("add_buffer", ("more", np.zeros(2)))],
    ids=["add_param", "add_buffer"],
)
def test_arrays_are_declared_in_setup_only(method, arguments, built, tmp_path):
    """Else a file would hold what no layer declares once it is read."""
    network = Sequential([Dense(3)])
    if built:
        network.build(4, random_state=0)
    message = f"{method} belongs into setup, which build calls before it makes the arrays"
    with raises_exactly(TypeError, f"in {network[0].where}: {message}"):
        getattr(network[0], method)(*arguments)
    if not built:
        network.build(4, random_state=0)
    lk.interchange.save(network, tmp_path / "model")
    found = lk.interchange.load(tmp_path / "model").infer(np.eye(4))
    np.testing.assert_array_equal(found, network.infer(np.eye(4)))
