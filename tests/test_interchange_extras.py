"""What needs a library that is not installed says which, and only when it is called."""

import sys

import pytest

import layerkit.layers as nn
from layerkit import interchange

CALLS = {
    "to_onnx": ("onnx", "layerkit[onnx]"),
    "from_onnx": ("onnx", "layerkit[onnx]"),
    "to_pytorch": ("torch", "pip install torch"),
    "from_pytorch": ("torch", "pip install torch"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_missing_library_is_named(name, monkeypatch):
    module, install = CALLS[name]
    monkeypatch.setitem(sys.modules, module, None)  # importing it raises
    with pytest.raises(ImportError, match=f"needs {module}: pip install") as raised:
        getattr(interchange, name)(nn.Dense(1).build(1))
    assert install in str(raised.value)


def test_every_public_name_is_there():
    for name in interchange.__all__:
        assert getattr(interchange, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'to_tensorflow'"):
        interchange.to_tensorflow  # noqa: B018
