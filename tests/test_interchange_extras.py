"""What needs a library that is not installed says which, and only when it is called."""

import sys

import pytest
from errors import raises_exactly

import layerkit.layers as nn
from layerkit import MLPClassifier, interchange
from layerkit.inspection import TrainingCurveDisplay


def dense():
    return nn.Dense(1).build(1)


def pipeline():
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pytest.importorskip("onnx")  # which is asked for first
    return make_pipeline(StandardScaler(), MLPClassifier(2, max_iter=1)).fit([[0.0], [1]], [0, 1])


CALLS = {
    "a layer to ONNX": (lambda: interchange.to_onnx(dense()), "this", "onnx", "'layerkit[onnx]'"),
    "a Pipeline to ONNX": (
        lambda: interchange.to_onnx(pipeline(), [[0.0]]),
        *("this", "skl2onnx", "'layerkit[onnx]'"),
    ),
    "from ONNX": (lambda: interchange.from_onnx(b""), "this", "onnx", "'layerkit[onnx]'"),
    "to PyTorch": (lambda: interchange.to_pytorch(dense()), "this", "torch", "torch"),
    "from PyTorch": (lambda: interchange.from_pytorch(dense()), "this", "torch", "torch"),
    "a picture": (
        lambda: TrainingCurveDisplay([2.0, 1.0]).plot(),
        *("TrainingCurveDisplay.plot", "matplotlib", "'layerkit[plot]'"),
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", CALLS)
def test_a_missing_library_is_named(name, monkeypatch):
    call, what, module, install = CALLS[name]
    for loaded in [m for m in sys.modules if m == module or m.startswith(f"{module}.")]:
        monkeypatch.setitem(sys.modules, loaded, None)  # importing it raises
    monkeypatch.setitem(sys.modules, module, None)
    with raises_exactly(ImportError, f"{what} needs {module}: pip install {install}"):
        call()


def test_every_public_name_is_there():
    for name in interchange.__all__:
        assert getattr(interchange, name) is not None
    with raises_exactly(
        AttributeError, "module 'layerkit.interchange' has no attribute 'to_tensorflow'"
    ):
        interchange.to_tensorflow  # noqa: B018
