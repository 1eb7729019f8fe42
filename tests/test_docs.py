"""The site: its Python runs and prints what it says, every name has a page, links resolve."""

import contextlib
import importlib
import importlib.util
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GENERATED = ("GRADIENTS.md", "_build", "figures", "gradients", "notebooks", "reference")
BLOCK = re.compile(r"^( *)```(\w+|\{\S+\})[^\n]*\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
NUMBER = r"-?\d+\.\d+(?:e-?\d+)?"


def pages():
    """List the sources that are written by hand."""
    return [
        page
        for page in sorted(DOCS.rglob("*.md"))
        if page.relative_to(DOCS).parts[0] not in GENERATED
    ]


def blocks(page):
    """Return the (language, text) of the page's blocks."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, dedent(text)) for _, language, text in found]


def with_python(page):
    return any(language == "python" for language, _ in blocks(page))


def name_of(page):
    return page.relative_to(DOCS).as_posix()


@pytest.fixture(scope="session")
def extensions():
    """Let the modules that write pages be imported; without Sphinx they can be."""
    sys.path.insert(0, str(DOCS / "_extensions"))
    yield
    sys.path.remove(str(DOCS / "_extensions"))


# ---------------------------------------------------------------- the code on the pages


def needs(code):
    """Return the optional libraries that a block says it needs."""
    match = re.match(r"# needs (.+)\n", code)
    return match[1].split(", ") if match else []


def run(page):
    """Run the page's Python in order; yield what a block printed and what the page says of it."""
    namespace = {"__name__": __name__}
    found = [*blocks(page), ("", "")]
    for (language, code), (following, said) in pairwise(found):
        if language != "python":
            continue
        if any(importlib.util.find_spec(library) is None for library in needs(code)):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, name_of(page), "exec"), namespace)
        yield printed.getvalue(), said if following == "text" else None


def same(printed, said):
    """Compare but for the last digits of numbers, which depend on the machine."""
    ours, theirs = (" ".join(text.split()) for text in (printed, said))
    assert re.sub(NUMBER, "#", ours) == re.sub(NUMBER, "#", theirs)
    numbers = [[float(n) for n in re.findall(NUMBER, text)] for text in (ours, theirs)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.02, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("page", [*filter(with_python, pages())], ids=name_of)
def test_the_python_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    for printed, said in run(page):
        if said is not None:
            same(printed, said)
    close_figures()


def close_figures():
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def test_the_first_code_on_the_home_page_is_short():
    code = next(text for language, text in blocks(DOCS / "index.md") if language == "python")
    lines = [line for line in code.splitlines() if line.strip()]
    assert len([line for line in lines if " import " not in line]) <= 10


# ---------------------------------------------------------------- every name has a page


def test_every_package_of_the_map_is_in_the_reference(extensions):
    reference = importlib.import_module("reference_pages")
    layerkit = importlib.import_module("layerkit")
    packages = {name.partition(".")[2] for name in re.findall(r"layerkit\.\w+", layerkit.__doc__)}
    assert packages == set(reference.PACKAGES)


def test_every_public_name_has_a_line_in_the_table_of_its_package_and_a_page(extensions):
    reference = importlib.import_module("reference_pages")
    files = reference.files()
    for package in ("", *reference.PACKAGES):
        module = importlib.import_module(f"layerkit.{package}".rstrip("."))
        homes = [package, *reference.PACKAGES] if not package else [package]
        for name in module.__all__:
            if not reference.Name(package, name).is_documented:  # a number, an alias of types
                assert f"``{name}" in files[f"{package}.rst"]
                continue
            paths = [".".join(filter(None, ("layerkit", home, name))) for home in homes]
            path = next((path for path in paths if f"{path}.rst" in files), None)
            assert path, f"{name} of {module.__name__} has no page"
            table = files[f"{package or path.split('.')[1].lower()}.rst"] if package else ""
            assert not package or f"<{path}>" in table


@pytest.mark.slow  # verifies every entry
def test_every_layer_and_loss_has_a_page_in_the_catalogue(extensions):
    gradients = importlib.import_module("gradient_pages")
    files = gradients.files()
    named = gradients.pages_of()
    for package in ("layers", "losses"):
        for name in importlib.import_module(f"layerkit.{package}").__all__:
            if name != "Loss":
                assert all(f"{page}.md" in files for page, _ in named[name])
    assert "WRONG" not in "".join(files.values())
    for said in ("central differences", "complex step", "Notation"):
        assert said in files["index.md"]  # how all is verified


# ---------------------------------------------------------------- the built site


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.ids = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in ("img", "script", "iframe", "source") and found.get("src"):
            self.loads.append(found["src"])
        if tag == "link" and found.get("href") and found.get("rel") != "canonical":
            self.loads.append(found["href"])


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Build the site, warnings being errors; or take the one that LAYERKIT_SITE names."""
    for library in ("sphinx", "pydata_sphinx_theme", "numpydoc", "myst_nb", "sphinx_design"):
        pytest.importorskip(library)
    if "LAYERKIT_SITE" in os.environ:
        return Path(os.environ["LAYERKIT_SITE"]).resolve()
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(DOCS), str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.slow
def test_links_of_the_built_site_resolve_and_nothing_comes_from_the_network(site):
    parsed = {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    broken = []
    for path, page in parsed.items():
        broken += [f"{path.name} loads {url}" for url in page.loads if urlsplit(url).netloc]
        for url in [*page.links, *page.loads]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            ids = parsed[target].ids if target in parsed else {unquote(parts.fragment)}
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in ids):
                broken.append(f"{path.relative_to(site)}: {url}")
    assert not broken, "\n".join(broken[:50])


@pytest.mark.slow
def test_what_notebooks_and_the_changelog_say_in_markdown_is_set(site):
    lesson = site / "notebooks" / "05_derivatives_of_layers_and_losses.html"
    assert lesson.read_text(encoding="utf-8").count("<table") >= 2
    changelog = (site / "changelog.html").read_text(encoding="utf-8")
    assert changelog.count("<details") == changelog.count("</details>") > 2
    assert "### " not in changelog


@pytest.mark.slow
def test_mathjax_is_part_of_the_built_site(site):
    page = (site / "gradients" / "Conv2D.html").read_text(encoding="utf-8")
    assert 'src="../_static/mathjax/tex-chtml.js' in page
    assert (site / "_static" / "mathjax" / "tex-chtml.js").stat().st_size > 100_000
    assert [*(site / "_static" / "mathjax").rglob("*.woff")]


def clicks(site, wanted):
    """Return how many links lead from the home page to one for which ``wanted`` is true."""
    seen, front = set(), {(site / "index.html").resolve()}
    for distance in range(4):
        if any(wanted(path.read_text(encoding="utf-8")) for path in front):
            return distance
        seen |= front
        links = {(path.parent / urlsplit(url).path) for path in front for url in Page(path).links}
        front = {path.resolve() for path in links if path.suffix == ".html"} - seen
        front = {path for path in front if path.exists()}
    return None


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["MLPClassifier", "make_pipeline", "dropout", "class_weight", "highlight-python"],
        ["Gradients of Conv2D", "Gradient of the kernel W", "Proof"],
        ["Gradients of CategoricalCrossEntropy", "dv/dy_pred = p - t"],
        ["<h1>Estimators", "X_val", "early_stopping", "n_iter_no_change"],
        ["<h1>Any loss", "Cauchy", "derivative"],
        ["to_onnx", "onnxruntime"],
        ["Conv2D", "MaxPool2D", "Residual", "channels last"],
        ["vanishing gradient", "HealthMonitor", "<h1>Watching training"],
        ["dL/dw1 = dL/dz dz/dw1"],
        ["Square", "check_gradients", "should be 2 x"],
        ["<h1>1 · Why understand backprop", "the gradient vanishes"],
    ],
    ids=[
        "dropout and class weights in a pipeline",
        "the gradient of Conv2D's kernel, proved",
        "softmax with cross-entropy",
        "early stopping",
        "my own loss",
        "export to ONNX",
        "train on images",
        "why does it not learn",
        "backprop step by step",
        "my own layer, checked",
        "why gradients vanish",
    ],
)
def test_what_people_look_for_is_at_most_three_clicks_away(words, site):
    found = clicks(site, lambda page: all(word in page for word in words))
    assert found is not None
    assert found <= 3
