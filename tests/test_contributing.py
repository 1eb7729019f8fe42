"""The contributing guide: its map names what exists, its worked example is a layer as it asks."""

import ast
import re
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import numpy as np
import pytest
from cases import Case
from test_contract import CHECKS, ON_SOME_CASES, name_of

from layerkit.inspection.catalogue.layer_entry import LayerEntry

GUIDE = Path(__file__).parent.parent / "CONTRIBUTING.md"
PACKAGE = GUIDE.parent / "layerkit"


def blocks():
    found = re.findall(r"^ *```python\n(.*?)^ *```$", GUIDE.read_text("utf-8"), re.DOTALL | re.M)
    return [dedent(block) for block in found]


def run(block, namespace):
    """Run a block; return the value of its last line, if that is an expression."""
    *statements, last = ast.parse(block).body
    exec(compile(ast.Module(statements, []), GUIDE.name, "exec"), namespace)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), GUIDE.name, "eval"), namespace)
    return exec(compile(ast.Module([last], []), GUIDE.name, "exec"), namespace)


@pytest.fixture(scope="module")
def guide():
    """Follow the guide: the class, its report, its row, its entry, how ONNX writes it."""
    layer, check, row, entry, onnx = blocks()
    namespace = {"__name__": __name__, "Case": Case, "LayerEntry": LayerEntry}
    run(layer, namespace)
    globals()["Swish"] = namespace["Swish"]  # where pickle looks for it
    namespace["nn"] = SimpleNamespace(Swish=namespace["Swish"])
    run(check, namespace)
    namespace["row"], namespace["entry"] = run(row, namespace), run(entry, namespace)
    namespace["onnx"] = onnx
    return namespace


def test_its_map_names_files_that_exist():
    table = re.search(r"^\| you look for .*?\n\n", GUIDE.read_text("utf-8"), re.DOTALL | re.M)
    paths = re.findall(r"`([\w/*]+(?:\.py|/))`", table[0])
    assert len(paths) > 25
    assert [path for path in paths if not any(PACKAGE.glob(path))] == []


def test_its_gradients_are_right(guide):
    assert guide["report"]
    assert len(guide["report"].comparisons) == 4  # input and beta, in both modes


@pytest.mark.parametrize(
    "check",
    [
        check
        for check in CHECKS
        if check not in ON_SOME_CASES  # and needs no class that another process can import
        and check.__name__ not in ("check_repr_is_code", "check_worker_process")
    ],
    ids=name_of,
)
def test_its_row_passes_the_contract(check, guide):
    check(guide["row"])


def test_its_entry_in_the_catalogue_is_verified(guide):
    assert guide["entry"].ok, str(guide["entry"])


def test_onnx_computes_the_same(guide):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from layerkit.interchange import to_onnx
    from layerkit.interchange.onnx.writer import EMITTERS
    from layerkit.interchange.onnx_export import emits

    run(guide["onnx"], guide | {"emits": emits})
    try:
        layer = guide["row"].build(dtype=np.float32)
        session = runtime.InferenceSession(to_onnx(layer).SerializeToString())
    finally:
        del EMITTERS[guide["Swish"]]
    x = guide["row"].sample().astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"X": x})[0], layer.infer(x), rtol=1e-5)
