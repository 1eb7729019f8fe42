"""What `load` would refuse `save` refuses too, before anything is written, and the reverse."""

import hashlib
import io
import json
import tracemalloc
from zipfile import ZipFile

import numpy as np
import pytest
from errors import raises_exactly
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning

from layerkit import (
    BatchNorm,
    Columns,
    Conv2D,
    Dense,
    Dropout,
    MLPClassifier,
    Sequential,
    SequentialClassifier,
    Tanh,
    archive,
)
from layerkit.interchange import load, save
from layerkit.interchange.model_files import reader, writer

X, Y = make_classification(20, 3, n_informative=3, n_redundant=0, random_state=0)


def tanhs(n):
    return [Tanh() for _ in range(n)]


def nested(n):
    network = Tanh()
    for _ in range(n):
        network = Sequential([network])
    return network


def fitted(n):
    model = SequentialClassifier(tanhs(n), max_iter=1, n_iter_no_change=None, random_state=0)
    return model.fit(X, Y)


# A limit, a small value for it, sizes of a model around that, and the model.
LIMITS = {
    "layers, built": ("MOST_LAYERS", 6, range(3, 9), lambda n: Sequential(tanhs(n)).build(2)),
    "layers in all": ("MOST_LAYERS_IN_ALL", 6, range(3, 9), lambda n: Sequential(tanhs(n))),
    "layers of an estimator": (
        "MOST_LAYERS_IN_ALL",
        6,
        range(4, 9),
        lambda n: SequentialClassifier(tanhs(n)),
    ),
    "layers, twice": ("MOST_LAYERS_IN_ALL", 12, range(3, 8), fitted),
    "width": ("LARGEST_WIDTH", 10, range(8, 13), lambda n: Dense(2).build(n)),
    "width of all": (
        "LARGEST_WIDTH",
        10,
        range(2, 7),
        lambda n: Sequential([Dense(n), Dense(2)]).build(n),
    ),
    "sample": ("LARGEST_SAMPLE", 30, range(4, 8), lambda n: Conv2D(1, 1).build((n, n, 1))),
    "arrays": (
        "MOST_MEMBERS",
        10,
        range(2, 8),
        lambda n: Sequential([BatchNorm() for _ in range(n)]).build(2),
    ),
    "depth": ("DEEPEST", 40, range(7, 13), nested),
    "values": ("MOST_VALUES", 60, range(1, 60, 3), lambda n: Columns([(list(range(n)), Tanh())])),
    "text": ("LARGEST_TREE", 600, range(1, 600, 40), lambda n: Columns([(["x" * n], Tanh())])),
}


def written(model):
    file = io.BytesIO()
    save(model, file)
    return file.getvalue()


@pytest.mark.parametrize("case", LIMITS)
def test_a_limit_is_the_same_on_saving_and_on_loading(case, monkeypatch, tmp_path):
    name, value, sizes, make = LIMITS[case]
    models = [make(n) for n in sizes]
    files = [written(model) for model in models]
    for module in (archive, reader, writer):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, value)
    path, passed = tmp_path / "model.npz", []
    path.write_bytes(b"before")
    for model, content in zip(models, files, strict=True):
        try:
            same = load(io.BytesIO(content))
        except ValueError:  # ModelFileError is one
            with pytest.raises((ValueError, TypeError), match=r"too \w+|more than"):
                save(model, path)
            assert path.read_bytes() == b"before"
            passed.append(False)
        else:
            assert repr(same) == repr(model)
            assert written(model) == content
            passed.append(True)
    assert passed == sorted(passed, reverse=True) and {*passed} == {True, False}


# ---------------------------------------------------------------- arrays that are not finite


def network():
    return Sequential([Dense(2), BatchNorm(), Dropout(0.5)]).build(3, random_state=0)


def of_network(change):
    model = network()
    change(model)
    return model


def of_estimator(change):
    model = MLPClassifier(4, solver="sgd", batch_norm=True, max_iter=1, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, Y)
    change(model.network_)
    return model


NOT_FINITE = {
    "first weight": lambda n: n[0].params["W"].__setitem__((0, 0), np.nan),
    "last parameter": lambda n: n.flat_params.__setitem__(-1, np.inf),
    "mean": lambda n: n[1].buffers["running_mean"].__setitem__(0, -np.inf),
    "variance": lambda n: n[1].buffers["running_var"].__setitem__(-1, np.nan),
}


@pytest.mark.parametrize("make", [of_network, of_estimator])
@pytest.mark.parametrize("what", NOT_FINITE)
def test_arrays_that_are_not_finite_go_neither_out_nor_in(what, make, monkeypatch, tmp_path):
    model, path = make(NOT_FINITE[what]), tmp_path / "model.npz"
    with pytest.raises(ValueError, match=r": layers\.\w+\.\w+ has numbers that are not finite$"):
        save(model, path)
    assert not path.exists()
    with monkeypatch.context() as patched:
        patched.setattr(writer, "check_finite", lambda array, where: None)
        save(model, path)
    with pytest.raises(archive.ModelFileError, match=r"has numbers that are not finite$"):
        load(path)


# ---------------------------------------------------------------- what a forged file claims


def forged(content, change):
    """The file with the table of its arrays changed, sealed as ours are."""
    with ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    tree = json.loads(members[archive.TREE])
    found = [one["$array"] for one in nodes_of(tree) if one.keys() == {"$array"}]
    change(found[0])  # name, dtype, shape, digest
    members[archive.TREE] = json.dumps(tree).encode()
    made = io.BytesIO()
    with ZipFile(made, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
        digest = hashlib.sha256(members[archive.TREE]).hexdigest()
        file.comment = archive.SEAL + digest.encode()
    return made


def nodes_of(tree):
    if isinstance(tree, dict):
        yield tree
    for inner in tree.values() if isinstance(tree, dict) else tree if type(tree) is list else ():
        yield from nodes_of(inner)


CLAIMS = {
    "more than there is": (
        lambda a: a[2].__setitem__(0, 10**9),
        "BytesIO: model/built/params.npy must have 4000000000 bytes, but is smaller",
    ),
    "one number more": (
        lambda a: a[2].__setitem__(0, a[2][0] + 1),
        "BytesIO: model/built/params.npy: must be <f4 (9,), is ((8,), False, dtype('float32'))",
    ),
    "one number less": (
        lambda a: a[2].__setitem__(0, a[2][0] - 1),
        "BytesIO: model/built/params.npy: must be <f4 (7,), is ((8,), False, dtype('float32'))",
    ),
    "a negative axis": (
        lambda a: a[2].__setitem__(0, -1),
        "BytesIO: model/built/params.npy: [-1] is no shape",
    ),
    "half an axis": (
        lambda a: a[2].__setitem__(0, 1.5),
        "BytesIO: model/built/params.npy: [1.5] is no shape",
    ),
    "no list": (lambda a: a.__setitem__(2, "4"), "BytesIO: model/built/params.npy: 4 is no shape"),
    "wider numbers": (
        lambda a: a.__setitem__(1, "<f8"),
        "BytesIO: model/built/params.npy: must be <f8 (8,), is ((8,), False, dtype('float32'))",
    ),
    "objects": (
        lambda a: a.__setitem__(1, "|O"),
        "BytesIO: model/built/params.npy: an array of |O is not for here",
    ),
    "another member": (lambda a: a.__setitem__(0, "none"), "BytesIO: damaged: none.npy is missing"),
    "another digest": (
        lambda a: a.__setitem__(3, "0" * 64),
        "BytesIO: damaged: model/built/params.npy is not what was written",
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_is_checked_before_memory_is_taken(claim):
    change, message = CLAIMS[claim]
    content = written(Dense(2).build(3, random_state=0))
    load(forged(content, lambda array: None))  # the forger's file is one of ours
    file = forged(content, change)
    tracemalloc.start()
    try:
        with raises_exactly(archive.ModelFileError, message):
            load(file)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
