"""The Python in the README runs as printed."""

import re
import runpy
from pathlib import Path
from textwrap import dedent

import pytest

from layerkit.inspection import check_gradients

ROOT = Path(__file__).parent.parent


def run_examples(name, namespace, fence="python"):
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(rf"^ *```{fence}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        exec(compile(dedent(block), name, "exec"), namespace)


def test_documented_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    namespace = {"__name__": __name__}
    run_examples("README.md", namespace)
    assert namespace["digits_score"] > 0.9
    assert namespace["mlp_score"] > 0.85
    assert namespace["diabetes_score"] > 0.4
    below = [(namespace["scaled"] < namespace[name]).mean() for name in ("low", "middle", "high")]
    assert below == pytest.approx([0.1, 0.5, 0.9], abs=0.03)
    assert namespace["accuracy"] > 0.9
    assert namespace["same"]
    assert check_gradients(namespace["Swish"](), (5,))


def test_the_onnx_example_runs(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": __name__}
    for line in (
        "from sklearn.datasets import load_diabetes",
        "from sklearn.pipeline import make_pipeline",
        "from sklearn.preprocessing import StandardScaler",
        "from layerkit import Dense, ReLU, SequentialClassifier",
    ):
        exec(line, namespace)
    run_examples("README.md", namespace, fence="py")  # a block of its own: it needs an extra
    expected = namespace["pipeline"].predict(namespace["X"])
    assert (namespace["label"] == expected).mean() > 0.99  # float32 may decide a tie differently


def test_the_table_of_speeds_is_that_of_the_committed_results():
    made = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "| training step, " in readme
    assert made["updated"](readme, made["read"](made["RESULTS"])) == readme
