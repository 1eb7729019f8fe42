"""The Python in the README runs as printed."""

import importlib
import re
import runpy
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parent.parent


def run_examples(name, namespace, fence="python"):
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(rf"^ *```{fence}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        exec(compile(dedent(block), name, "exec"), namespace)


README = ROOT / "README.md"


def test_the_first_example_prints_the_scores_it_says(capsys):
    run_examples("README.md", {"__name__": __name__})
    said = re.search(r"```text\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    for ours, printed in zip(said.splitlines(), capsys.readouterr().out.splitlines(), strict=True):
        assert ours.split()[0] == printed.split()[0]
        assert float(printed.split()[1]) == pytest.approx(float(ours.split()[1]), abs=0.012)


def test_the_readme_is_read_within_minutes():
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) < 900
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1].splitlines()
    assert len([line for line in code if line and " import " not in line]) <= 10
    first = text.partition("## ")[0]
    assert first.count("![A health report]") == 1


def test_links_of_the_readme_resolve():
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert len(links) > 15
    assert not [link for link in links if not (ROOT / link).exists()]


def test_readme_and_site_show_the_same_example():
    home = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    blocks = r"```(?:python|text)\n.*?```"
    ours, theirs = (re.findall(blocks, text, re.DOTALL) for text in (README.read_text(), home))
    assert ours == theirs[: len(ours)]


def test_the_sentence_about_fits_repeats_the_means_on_the_page_about_speed():
    page = (ROOT / "docs" / "guide" / "speed.md").read_text(encoding="utf-8")
    rows, _, means = page.partition("their time / ours")[2].partition("geometric mean")
    numba, alone = re.findall(r"\d\.\d", means)[:2]
    sentence = " ".join(README.read_text(encoding="utf-8").split())
    count = len(re.findall(r"^\| [^*]", rows, re.MULTILINE))
    assert f"Over {count} kinds of fits, scikit-learn's MLPs take {alone} times as long" in sentence
    assert f"NumPy alone and {numba} times as long with Numba" in sentence


def test_the_tables_are_those_of_the_committed_results():
    speeds = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))
    page = speeds["PAGE"].read_text(encoding="utf-8")
    assert "| training step, " in page
    assert speeds["updated"](page, speeds["read"](speeds["RESULTS"])) == page
    scores = importlib.import_module("benchmarks.scores")
    readme = README.read_text(encoding="utf-8")
    assert "| digits, accuracy |" in readme
    assert scores.updated(readme, scores.read()) == readme
