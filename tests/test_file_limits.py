"""What `load` would refuse `save` refuses too, before anything is written, and the reverse."""

import io

import numpy as np
import pytest
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
    with pytest.raises(ValueError, match=r": layers\.\w+\.\w+ has numbers that are not finite"):
        save(model, path)
    assert not path.exists()
    with monkeypatch.context() as patched:
        patched.setattr(writer, "check_finite", lambda array, where: None)
        save(model, path)
    with pytest.raises(archive.ModelFileError, match="has numbers that are not finite"):
        load(path)
