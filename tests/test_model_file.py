"""The model file: what comes back is what was stored, and nothing else is let in."""

import dataclasses
import functools
import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cases import CASES
from errors import raises_exactly, theirs
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline

import layerkit
from layerkit import (
    BatchNorm,
    Columns,
    Dense,
    Dropout,
    Embedding,
    Layer,
    MLPClassifier,
    MLPRegressor,
    ReLU,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
    Tanh,
    archive,
    initializers,
)
from layerkit.archive import ModelFileError, Node
from layerkit.interchange import load, save, to_onnx
from layerkit.interchange.model_files import reader
from layerkit.losses import Focal, GaussianNLL, Quantile
from layerkit.optimizers import SGD, Adam
from layerkit.schedules import CosineDecay, ReduceOnPlateau, Warmup
from layerkit.training import train

X, Y = make_classification(80, 5, n_informative=4, n_redundant=0, n_classes=3, random_state=0)
VERSION_1 = Path(__file__).parent / "data" / "model_version_1.npz"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


def assert_same_network(one: Layer, other: Layer) -> None:
    assert repr(one) == repr(other)
    np.testing.assert_array_equal(one.flat_params, other.flat_params)
    assert one.layout == other.layout and one.dtype == other.dtype
    for (path, a), (other_path, b) in zip(one.walk(), other.walk(), strict=True):
        assert (path, a.name, a.trainable) == (other_path, b.name, b.trainable)
        assert (a.input_shape, a.output_shape) == (b.input_shape, b.output_shape)
        assert a.buffers.keys() == b.buffers.keys()
        for name, buffer in a.buffers.items():
            np.testing.assert_array_equal(buffer, b.buffers[name])


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_layer(case, dtype, path):
    network = case.build(dtype=dtype)
    save(network, path)
    same = load(path)
    assert_same_network(same, network)
    np.testing.assert_array_equal(same.infer(case.sample()), network.infer(case.sample()))
    y = same.forward(case.sample(), training=True)
    same.backward(np.ones_like(y))  # it can learn on


def test_an_unbuilt_network(path):
    network = Sequential([("first", Dense(3, initializer=initializers.normal(0.5, 2)))])
    save(network, path)
    same = load(path)
    assert not same.is_built and repr(same) == repr(network) and same.names == ["first"]


@dataclasses.dataclass(frozen=True)
class Steps:
    """An initializer of the user's."""

    size: float

    def __call__(self, shape, rng):
        return self.size * np.arange(np.prod(shape)).reshape(shape)


def staircase(shape, rng):
    return np.ones(shape)


class Swish(Layer):
    """A layer of the user's."""

    def __init__(self, start=None, names=("a", "b")):
        self.start = start
        self.names = names

    def setup(self, input_shape):
        self.add_param("beta", (1,), self.start or initializers.ones)
        return input_shape

    def forward(self, x, training=False):
        return x / (1 + np.exp(-self.params["beta"] * x))


PARAMETERS = [
    Dense(np.int64(3), initializer=functools.partial(initializers.orthogonal, gain=1.4)),
    Dense(3, initializer=initializers.he_uniform),
    Columns([(slice(0, 4, 2), Dense(2)), (np.array([True, False, True]), Tanh()), (-1, Tanh())]),
    Columns([([0, 2], Sequential([Dense(2), ("end", Tanh())]))]),
    layerkit.ZeroPad2D(((1, 0), (0, 2))),
]


@pytest.mark.parametrize("layer", PARAMETERS, ids=lambda layer: type(layer).__name__)
def test_hyper_parameters_keep_their_types(layer, path):
    save(layer, path)
    assert repr(load(path)) == repr(layer)


def test_names_of_features(path):
    table = pd.DataFrame(X, columns=list("abcde"))
    layers = [Columns([(["a", "d"], Dense(4)), ("b", Tanh())])]
    model = SequentialClassifier(layers, max_iter=2, n_iter_no_change=None).fit(table, Y)
    save(model, path)
    np.testing.assert_array_equal(load(path).predict(table), model.predict(table))
    assert load(path).feature_names_in_.tolist() == list("abcde")


def test_frozen_parts_and_parts_of_a_network(path):
    network = Sequential([Dense(4), BatchNorm(), Sequential([Dense(2), Dense(2)])]).build(5)
    network[2].trainable = False
    network[2][1].trainable = True
    for part in (network, network[1:], network[2]):
        save(part, path)
        x = np.ones((2, *part.input_shape))
        np.testing.assert_array_equal(load(path).infer(x), part.infer(x))
    save(network, path)
    flags = [layer.trainable for _, layer in load(path).walk()]
    assert flags == [True, True, True, False, False, True]


def unknown(path, name):
    return (
        f"{path}: names '{name}', not known here: pass your own layers, losses, optimizers, "
        f"initializers and functions as custom_layers=[{name}]"
    )


def test_what_the_user_wrote_is_found_only_where_it_is_passed(path):
    network = Sequential([Dense(3, initializer=Steps(0.5)), Swish(staircase)]).build(2)
    save(network, path)
    ours = [Swish, Steps, staircase]
    assert_same_network(load(path, custom_layers=ours), network)
    for missing in ours:
        given = [kind for kind in ours if kind is not missing]
        with raises_exactly(ModelFileError, unknown(path, missing.__name__)):
            load(path, custom_layers=given)


def test_a_class_of_the_user_with_a_name_of_ours(path):
    own = type("Dense", (Swish,), {})
    save(Sequential([own(), Dense(2)]).build(3), path)
    same = load(path, custom_layers=[own])
    assert [type(layer) for layer in same] == [own, Dense]
    with raises_exactly(ModelFileError, unknown(path, "Dense")):
        load(path)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Dense(3, initializer=lambda s, r: np.ones(s)),
            re.compile(r"(?s).*Dense\.initializer = <function .*lambda.*"),
        ),
        (
            Sequential([Dense(2), Swish(names=[{1, 2}])]),
            "cannot store Sequential.layers[1].names[0] = {1, 2}, a set: a model "
            "file holds plain values, arrays, layers, losses, optimizers, schedules, "
            "initializers and scikit-learn's splitters",
        ),
        (
            Dense(3, use_bias=object()),
            theirs("cannot store Dense.use_bias = <object object"),
        ),
        (
            Swish(names=np.array([1j])),
            "cannot store model/params/names = array([0.+1.j]), a numpy.ndarray of complex128",
        ),
    ],
)
def test_what_cannot_be_stored_is_named_before_anything_is_written(layer, message, path):
    with raises_exactly(TypeError, message):
        save(layer, path)
    assert os.listdir(path.parent) == []


def test_weights_that_are_not_finite(path):
    network = Sequential([Dense(2), BatchNorm()]).build(3)
    network[0].params["W"][1, 1] = np.nan
    with raises_exactly(ValueError, "Sequential: layers.0.W has numbers that are not finite"):
        save(network, path)
    assert not path.exists()


def test_arguments(path):
    with raises_exactly(TypeError, "save takes a layer or an estimator of layerkit, got 3"):
        save(3, path)
    with raises_exactly(TypeError, "optimizer must be an Optimizer or None here, got True"):
        save(Dense(2), path, optimizer=True)
    with raises_exactly(TypeError, "optimizer must be True or False or None here, got Adam()"):
        save(MLPClassifier(), path, optimizer=Adam())
    save(Dense(2), path)
    with raises_exactly(TypeError, "custom_layers must be classes or functions, got 'Dense'"):
        load(path, custom_layers=["Dense"])
    with raises_exactly(
        TypeError,
        "custom_layers must be a list of classes and functions, got <class "
        "'test_model_file.Swish'>; write [Swish]",
    ):
        load(path, custom_layers=Swish)
    with raises_exactly(ValueError, "custom_layers has two different Swish"):
        load(path, custom_layers=[Swish, type("Swish", (Layer,), {})])
    with raises_exactly(ModelFileError, f"{path}: was saved without an optimizer"):
        load(path, with_optimizer=True)
    with pytest.raises(FileNotFoundError):
        load(path.with_name("none.npz"))


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("none", FileNotFoundError), ("none/deeper", FileNotFoundError), ("file", NotADirectoryError)],
)
@pytest.mark.parametrize("write", [save, to_onnx], ids=["save", "to_onnx"])
def test_a_missing_folder_is_named_and_the_file_as_it_was_given(
    tmp_path, monkeypatch, write, folder, kind
):
    if write is to_onnx:
        pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    given = f"{folder}/network.npz"
    with pytest.raises(kind) as caught:
        write(Dense(2).build(3, random_state=0), given)
    assert caught.value.filename == given
    assert f"there is no folder '{tmp_path.resolve() / folder}'" in str(caught.value)
    assert ".tmp" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


# ---------------------------------------------------------------- optimizer and streams


@pytest.mark.parametrize(
    "optimizer",
    [Adam(Warmup(ReduceOnPlateau(0.1, patience=0), 3)), SGD(CosineDecay(0.1, 20), momentum=0.9)],
    ids=repr,
)
def test_training_goes_on_with_optimizer_and_streams(optimizer, path):
    from layerkit.losses import CategoricalCrossEntropy

    def learn(network, optimizer):
        """One seedless epoch after another: the streams are the network's."""
        for _ in range(2):
            train(network, CategoricalCrossEntropy(), optimizer, (X, Y), epochs=1, shuffle=False)

    network = Sequential([Dense(8), Dropout(0.4), Dense(3)]).build(5, random_state=0)
    learn(network, optimizer)
    save(network, path, optimizer=optimizer, random_streams=True)
    same, its_optimizer = load(path, with_optimizer=True)
    assert repr(its_optimizer) == repr(optimizer)
    learn(network, optimizer)
    learn(same, its_optimizer)
    np.testing.assert_array_equal(same.flat_params, network.flat_params)


def test_partial_fit_goes_on(path):
    for make in (
        lambda: SequentialClassifier([Dense(4)], random_state=0),
        lambda: MLPClassifier((4,), random_state=0),
    ):
        model = make().partial_fit(X, Y, classes=[0, 1, 2])
        save(model, path, optimizer=True, random_streams=True)
        same = load(path)
        for each in (model, same):
            each.partial_fit(X, Y)
        np.testing.assert_array_equal(same.network_.flat_params, model.network_.flat_params)
        save(model, path)
        assert "m" not in load(path).optimizer_.state


# ---------------------------------------------------------------- estimators

TWO = (X, Y % 2)
ESTIMATORS = {
    "labels": (SequentialClassifier([Dense(4), ReLU()]), X, Y),
    "words": (MLPClassifier((4,)), X, np.array(["x", "yy", "zzz"])[Y]),
    "objects": (MLPClassifier((4,)), X, np.array(["x", "yy", "zzz"], object)[Y]),
    "two classes": (MLPClassifier((4,), early_stopping=True), *TWO),
    "sgd": (MLPClassifier((4,), solver="sgd", learning_rate="adaptive"), *TWO),
    "lbfgs": (MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs"), *TWO),
    "poisson": (MLPRegressor(loss="poisson", hidden_layer_sizes=(4,)), *TWO),
    "layer classes": (MLPClassifier((4, 4), activation=[Tanh, layerkit.GELU()]), X, Y),
    "multilabel": (SequentialClassifier([Dense(4)]), X, np.c_[Y == 1, Y == 2].astype(int)),
    "several outputs": (SequentialClassifier([Dense(4)], loss=Focal(gamma=1.5)), X, np.c_[Y, Y]),
    "MLP of several": (MLPRegressor(hidden_layer_sizes=(4,)), X, np.c_[Y, Y, Y]),
    "class weight": (SequentialClassifier([], class_weight={0: 1, 1: 2.5, 2: np.float32(1)}), X, Y),
    "dtype": (SequentialClassifier([], dtype=np.float32), X, Y),
    "uncertain": (SequentialRegressor([Dense(4)], loss=GaussianNLL()), X, Y),
    "quantiles": (SequentialRegressor([], loss=Quantile([0.1, 0.9]), batch_size=20), X, Y),
    "generator": (SequentialRegressor([], random_state=np.random.default_rng(0)), X, Y),
    "old stream": (SequentialRegressor([], random_state=np.random.RandomState(0)), X, Y),
    "one class": (MLPClassifier((2,)), X, np.ones(len(X))),
    "forever": (MLPClassifier((2,), n_iter_no_change=np.inf), X, Y),
}


def without_addresses(model):
    return re.sub("0x[0-9A-F]+", "", repr(model))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_kind_of_estimator(name, path):
    made, X, y = ESTIMATORS[name]
    model = clone(made).set_params(max_iter=3).fit(X, y)
    save(model, path)
    same = load(path)
    assert type(same) is type(model)
    assert without_addresses(same) == without_addresses(model)
    for method in ("predict", "predict_proba", "decision_function", "transform"):
        if hasattr(model, method):
            np.testing.assert_array_equal(getattr(same, method)(X), getattr(model, method)(X))
    assert same.score(X, y) == model.score(X, y)
    assert str(same.history_.rows) == str(model.history_.rows)  # NaN is not itself
    fitted = {n for n in vars(model) if n.endswith("_") or n in ("_target", "_seed", "_built_for")}
    assert fitted <= set(vars(same))
    assert same.n_iter_ == model.n_iter_ and same.best_iter_ == model.best_iter_
    save(same, path.with_name("again.npz"))
    assert path.read_bytes() == path.with_name("again.npz").read_bytes()
    same.set_params(warm_start=True).fit(X, y)


def test_an_estimator_before_fit_and_with_frozen_layers(path):
    frozen = Dense(4).build(5, random_state=0)
    frozen.trainable = False
    model = SequentialClassifier([frozen, Dense(3)], max_iter=2, n_iter_no_change=None)
    save(model, path)
    same = load(path)
    assert not hasattr(same, "network_")
    np.testing.assert_array_equal(same.layers[0].flat_params, frozen.flat_params)
    same.fit(X, Y)
    np.testing.assert_allclose(same.network_[0].params["W"], frozen.params["W"], rtol=1e-6)


def test_a_subclass_and_what_it_cannot_hold(path):
    own = type("Mine", (MLPClassifier,), {"__init__": MLPClassifier.__init__})
    save(
        own((3,), max_iter=1).set_params(n_iter_no_change=np.inf).fit(X, Y), path
    ) if False else None
    save(own((3,)), path)
    assert type(load(path, custom_layers=[own])) is own
    with raises_exactly(ModelFileError, unknown(path, "Mine")):
        load(path)
    splitter = type("Mine", (GroupShuffleSplit,), {"__init__": GroupShuffleSplit.__init__})
    model = MLPClassifier(early_stopping=splitter())
    with raises_exactly(
        TypeError,
        "cannot store MLPClassifier.early_stopping = Mine(n_splits=5, random_state=None, "
        "test_size=None, train_size=None), a Mine: a model file holds plain values, "
        "arrays, layers, losses, optimizers, schedules, initializers and scikit-learn's "
        "splitters",
    ):
        save(model, path)


def test_a_whole_pipeline_is_not_ours(path):
    with raises_exactly(
        TypeError,
        "save takes a layer or an estimator of layerkit, got "
        "Pipeline(steps=[('mlpclassifier', MLPClassifier())])",
    ):
        save(make_pipeline(MLPClassifier()), path)


# ---------------------------------------------------------------- the file


def test_numpy_reads_it_and_so_does_a_human(path):
    network = Sequential([Dense(2), BatchNorm()]).build(3, random_state=0)
    save(network, path)
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["model/built/params"], network.flat_params)
        tree = json.loads(arrays["tree.json"])
    assert tree["format"] == "layerkit model" and tree["version"] == 1
    assert tree["model"]["$layer"]["params"]["layers"][0]["$layer"]["class"] == ["Dense", False]


MANY = archive.MOST_MEMBERS + 5
SCALARS = [np.int64(-3), np.uint8(7), np.bool_(True), np.float16(0.1), np.float32(np.nan)]
SCALARS += [np.longdouble(1) / 3, np.str_("é"), np.str_(""), np.float64(-0.0)]


def test_more_scalars_than_members(path):
    last = [*SCALARS, 1]
    archive.write(path, [np.int64(1)] * archive.MOST_SCALARS + last)
    same = archive.read(path)[archive.MOST_SCALARS :]
    assert [(type(s), repr(s)) for s in same] == [(type(s), repr(s)) for s in last]
    with zipfile.ZipFile(path) as file:
        assert len(file.namelist()) <= archive.MOST_SCALARS + 2


def test_many_numpy_integers_of_the_user(path):
    columns = list(np.arange(MANY))
    network = Sequential([Columns([(columns, BatchNorm())]), Dense(1)]).build(MANY, random_state=0)
    save(network, path)
    assert_same_network(load(path), network)
    weights = dict(zip(columns, np.linspace(0, 1, MANY), strict=True))
    save(MLPClassifier(class_weight=weights), path)
    assert load(path).class_weight == weights


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([np.ones(1)] * archive.MOST_MEMBERS, "too many arrays: 10000, at most 9999"),
        (
            [0] * archive.MOST_VALUES,
            "too much beside its arrays: 1200189 bytes and about 400013 values of JSON, "
            "at most 16777216 and 400000",
        ),
    ],
    ids=["arrays", "values"],
)
def test_what_would_not_load_is_not_saved(tree, message, path):
    save(Dense(2).build(3), path)
    before = path.read_bytes()
    with raises_exactly(ModelFileError, message):
        save(Swish(names=tree), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: [value],
        lambda value: (value,),
        lambda value: {"a": value},
        lambda value: {1: value},
        lambda value: Node("slice", value),
    ],
    ids=["list", "tuple", "dict", "dict of numbers", "node"],
)
def test_depth_is_counted_alike_on_writing_and_on_reading(wrap, path):
    tree = 0
    for _ in range(archive.DEEPEST):
        tree = wrap(tree)
    archive.write(path, tree)
    assert repr(archive.read(path)) == repr(tree)
    with raises_exactly(
        TypeError, re.compile(r"cannot store what is nested more than 120 levels deep, in .*")
    ):
        archive.write(path, wrap(tree))


def test_networks_in_tuples(path):
    network = Tanh()
    for _ in range(28):
        network = Sequential((network,))
    save(network.build(3), path)
    assert [name for name, _ in load(path).walk()] == [name for name, _ in network.walk()]


def test_equal_models_give_equal_files(path):
    contents = []
    for _ in range(2):
        save(Sequential([Dense(4), Dropout()]).build(3, random_state=1), path, random_streams=True)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


def test_all_bytes_are_on_the_disk_before_a_file_takes_its_place(path, monkeypatch):
    """A machine that stops in between leaves the old file or the new one, never a part of it."""
    done, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        found = os.fstat(descriptor)
        done.append(found.st_size if stat.S_ISREG(found.st_mode) else "folder")
        fsync(descriptor)

    def replaced(*names):
        done.append("replaced")
        replace(*names)

    monkeypatch.setattr("layerkit.archive.os.fsync", synced)
    monkeypatch.setattr("layerkit.archive.os.replace", replaced)
    save(Dense(3).build(2), path)
    assert done[:2] == [path.stat().st_size, "replaced"]
    assert done[2:] in (["folder"], [])  # which some systems cannot


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    save(Dense(2).build(3), path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("layerkit.archive.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        save(Dense(5).build(3), path)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_keeps_its_permissions(mode, path):
    save(Dense(2), path)
    path.chmod(mode)
    save(Dense(3), path)
    assert path.stat().st_mode & 0o777 == mode and load(path).units == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_pipe_is_written_to_not_replaced(tmp_path):
    pipe, target = tmp_path / "pipe", tmp_path / "copy.npz"
    os.mkfifo(pipe)
    with open(target, "wb") as copy, subprocess.Popen(["cat", pipe], stdout=copy) as reader:
        save(Dense(2), pipe)
        assert reader.wait(60) == 0
    assert pipe.is_fifo() and load(target).units == 2


@pytest.mark.parametrize("name", ["n" * 251 + ".npz", "ä" * 120 + ".npz", "[a].npz"])
def test_a_name_as_long_as_can_be(name, tmp_path):
    path = tmp_path / name
    save(Dense(2), path)
    for beginning in (archive._temporary(path), archive._temporary(path.with_name("other.npz"))):
        path.with_name(f"{beginning}0a1b2c3d.tmp").touch()
    archive.remove_leftovers(path)
    assert sorted(os.listdir(tmp_path)) == sorted([name, ".other.npz.0a1b2c3d.tmp"])
    assert load(path).units == 2


def test_a_file_of_version_1_loads():
    """Written on 2026-11-24 by the first layerkit that had a model file."""
    model = load(VERSION_1)
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.feature_names_in_.tolist() == ["x", "y"]
    assert len(model.history_) == model.n_iter_ == 3
    table = pd.DataFrame({"x": [-2.0, 0.0, 2.0], "y": [0.0, 1.0, -1.0]})
    expected = [0.5258329, 0.70119365, 0.2891324]
    np.testing.assert_allclose(model.predict_proba(table)[:, 1], expected, rtol=1e-5)


def test_older_versions_are_migrated_and_newer_ones_refused(monkeypatch, path):
    tree = archive.read(VERSION_1)
    archive.write(path, tree | {"version": 2, "layerkit": "9.9"})
    with raises_exactly(
        ModelFileError,
        f"{path}: written by layerkit 9.9 in version 2 of the format; layerkit "
        f"{layerkit.__version__} reads up to 1: upgrade it",
    ):
        load(path)
    monkeypatch.setattr(reader, "VERSION", 3)
    steps = {n: lambda tree, n=n: tree | {"version": n + 1, f"to {n + 1}": True} for n in (1, 2)}
    monkeypatch.setattr(reader, "MIGRATIONS", steps)
    assert load(VERSION_1).n_iter_ == 3
    assert reader._migrated(tree).keys() - tree.keys() == {"to 2", "to 3"}
    for version in (0, -1, "1", None, True):
        archive.write(path, tree | {"version": version})
        with raises_exactly(ModelFileError, f"{path}: {version} is no version of the format"):
            load(path)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1], "not a model file"),
        ({"format": "layerkit checkpoint", "version": 1}, "not a model file"),
        (
            {"model": Node("object", [["system", False], {}, None])},
            "names 'system', which is not known here",
        ),
        ({"model": Node("named", ["Dense", False])}, "holds no network and no estimator"),
        ({"model": Node("pickle", "c")}, "holds a 'pickle', which is nothing of ours"),
        ({"model": 3}, "holds no network and no estimator"),
        (
            {"model": Node("object", [["MLPClassifier", False], {}, None])},
            "names 'MLPClassifier', which is not known here",
        ),
        (
            {"model": Node("layer", {"class": ["Dense", False], "params": {"build": 1}})},
            "Dense has no parameter build",
        ),
        (
            {"model": Node("layer", {"class": ["os.system", True], "params": {}})},
            "names 'os.system', which is not known here",
        ),
        ({"model": Node("layer", {"class": ["zeros", False], "params": {}})}, "zeros is no class"),
        (
            {"model": Node("generator", {"bit_generator": "__doc__"})},
            "a random stream of an unknown kind",
        ),
    ],
)
def test_forged_trees(tree, message, path):
    base = {"format": "layerkit model", "version": 1, "estimator": False, "optimizer": None}
    archive.write(path, base | tree if isinstance(tree, dict) else tree)
    with raises_exactly(ModelFileError, f"{path}: {message}"):
        load(path)


def of(name, *rest):
    return [name, False], *rest


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node("object", [*of("ReLU", {}, {"x": 1})]), "ReLU has no state"),
        (Node("object", [*of("zeros", {}, None)]), "zeros is no class"),
        (Node("object", [*of("Adam", {"lr": 1}, None)]), "Adam has no parameter lr"),
        (Node("object", [*of("nothing", {}, None)]), "names 'nothing', which is not known here"),
        (Node("object", [["Dense", True], {}, None]), "names 'Dense', which is not known here"),
        (Node("held", [*of("Dense", {})]), "Dense is not held by an estimator"),
        (Node("held", [*of("zeros", {})]), "zeros is not held by an estimator"),
        (Node("held", [*of("MLPClassifier", {})]), "MLPClassifier is not held by an estimator"),
        (Node("held", [*of("Numbers", {"_x": 1})]), "Numbers has no attribute _x"),
        (Node("held", [*of("Numbers", {"encode": 1})]), "Numbers has no attribute encode"),
        (Node("partial", [3, [], {}]), "a partial of what is no function"),
        (Node("layer", {"class": ["Adam", False], "params": {}}), "Adam is no layer"),
        (Node("layer", {"class": ["Dense", False], "params": {"x": 1}}),
         "Dense has no parameter x"),
        (Node("estimator", [*of("MLPClassifier", {}, {"x": 1})]),
         "MLPClassifier has no fitted attribute x"),
        (Node("estimator", [*of("MLPClassifier", {}, {"coefs_": 1})]),
         "MLPClassifier has no fitted attribute coefs_"),
        (Node("generator", {"bit_generator": "Dice"}), "a random stream of an unknown kind"),
        (Node("random_state", {"bit_generator": "Dice", "state": {}}),
         "a random stream of an unknown kind"),
        (Node("history", {"columns": {}, "n_rows": 1}), "a history with rows that are nowhere"),
        (Node("history", {"columns": {}, "n_rows": -1}), "a history with rows that are nowhere"),
        (Node("stone", 1), "holds a 'stone', which is nothing of ours"),
    ],
)  # fmt: skip
def test_a_reader_says_what_it_refuses_by_its_name(node, message):
    with pytest.raises(ModelFileError, match=f"^{re.escape(message)}$"):
        reader.Reader(reader.Registry(), estimators=True).decode({"inside": [node]})


def forged(path, change):
    """Change the tree of a small network's file, sealed as ours are."""
    network = Sequential([Dense(2), BatchNorm()]).build(3, random_state=0)
    save(network, path)
    tree = archive.read(path)
    change(tree["model"].value)
    archive.write(path, tree)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m["params"]["layers"][0].value["params"].update(units=10**12),
            "layers.0.W must be (3, 1000000000000), is (3, 2)",
        ),
        (
            lambda m: m["built"].update(input_shape=(10**12,)),
            "describes no model: ValueError: the network: too large for a model file: at most "
            "2000 layers, whose inputs' last axes add up to at most 16777216",
        ),
        (
            lambda m: m["built"].update(input_shape=(2**20,)),
            "layers.0.W must be (1048576, 2), is (3, 2)",
        ),
        (
            lambda m: m["built"]["buffers"].popitem(),
            "the file has no layers.1.running_var of shape (2,)",
        ),
        (lambda m: m["built"]["buffers"].update(extra=np.ones(1)), "no layer has a buffer extra"),
        (
            lambda m: m["built"]["layout"].append(["more", [1]]),
            "the file has parameters that no layer declares",
        ),
        (
            lambda m: m["built"].update(params=np.full(10, np.nan, np.float32)),
            "describes no model: ValueError: params has numbers that are not finite",
        ),
        (
            lambda m: m["built"].update(params=np.ones(3, np.float32)),
            "describes no model: ValueError: could not broadcast input array from shape (3,) "
            "into shape (12,)",
        ),
        (lambda m: m["built"].update(dtype="<f8"), "params are float32, not float64"),
        (
            lambda m: m["built"].update(dtype="O"),
            "describes no model: ValueError: dtype must be float32 or float64, got 'O'",
        ),
        (lambda m: m.update({"class": ["Layer", False]}), "names 'Layer', which is not known here"),
    ],
)
def test_sizes_are_checked_before_memory_is_taken(change, message, path):
    forged(path, change)
    with raises_exactly(ModelFileError, f"{path}: {message}"):
        load(path)


def test_attributes_of_an_estimator(path):
    save(MLPClassifier((2,), max_iter=1, n_iter_no_change=np.inf, solver="sgd"), path)
    for name in ("predict", "__class__", "_from_raw", "coefs_", "fit", "_x_"):
        tree = archive.read(path)
        tree["model"].value[2][name] = 1
        archive.write(path, tree)
        message = f"{path}: MLPClassifier has no fitted attribute {name}"
        with raises_exactly(ModelFileError, message):
            load(path)
        save(MLPClassifier((2,)), path)


def test_compressed_members_are_refused(path):
    save(Dense(2).build(3), path)
    with zipfile.ZipFile(path) as old:
        members, comment = {name: old.read(name) for name in old.namelist()}, old.comment
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, content)
        new.comment = comment
    with raises_exactly(
        ModelFileError, f"{path}: not a layerkit file: a member is compressed or encrypted"
    ):
        load(path)


def test_a_network_is_loaded_without_scikit_learn(path):
    save(Sequential([Dense(2), Embedding(3, 2)]), path)
    script = (
        "import sys, layerkit.interchange as i; i.load(sys.argv[1]);"
        "assert not {'sklearn', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True)
    assert layerkit.ModelFileError is ModelFileError is layerkit.interchange.ModelFileError
