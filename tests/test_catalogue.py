"""The catalogue of gradients: complete, green, readable, and the page that is made of it."""

import ast
import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from errors import raises_exactly

import layerkit.layers
import layerkit.losses
from layerkit.inspection import gradient_catalogue
from layerkit.inspection.catalogue.entry import FORMULAS, KINKS, RANGES, SYMPY, TORCH
from layerkit.inspection.catalogue.formula import Formula
from layerkit.inspection.catalogue.latex import expression
from layerkit.inspection.catalogue.rendering import groups, remarks
from layerkit.layers.activations import Elementwise
from layerkit.losses import Loss

PAGE = Path(__file__).parent.parent / "docs" / "GRADIENTS.md"
CATALOGUE = gradient_catalogue()
PUBLIC = [*layerkit.layers.__all__, *(set(layerkit.losses.__all__) - {"Loss"})]


def wrong_sigmoid():
    """A page with an error in it."""
    entry = CATALOGUE["Sigmoid"]
    formulas = entry.formulas.replace("(1 - y)", "(1 + y)")
    return dataclasses.replace(entry, formulas=formulas)


# ---------------------------------------------------------------- complete and green


def test_every_public_layer_and_loss_has_an_entry():
    covered = {entry.subject.__name__ for entry in CATALOGUE.values()}
    assert covered == set(PUBLIC), "add an entry to layerkit/inspection/catalogue/entries/"
    assert all(name in CATALOGUE for name in PUBLIC)


@pytest.mark.parametrize("name", CATALOGUE)
def test_entry_is_verified(name):
    entry = CATALOGUE[name]
    assert entry.ok, str(entry)
    done = {check.method for check in entry.record.checks if check.ok}
    assert done >= {FORMULAS, "central differences"}
    if issubclass(entry.subject, (Elementwise, Loss)):
        assert SYMPY in done or "SymPy" in entry.record.absent
    if entry.torch:
        assert TORCH in done or "PyTorch" in entry.record.absent
    assert (KINKS in done) == bool(entry.kinks)
    assert (RANGES in done) == bool(entry.ranges)


def test_every_elementwise_layer_states_its_ranges():
    for entry in CATALOGUE.values():
        if issubclass(entry.subject, Elementwise):
            assert entry.ranges.keys() == {"y", "dy/dx"}, entry.name


def test_the_catalogue_is_a_mapping():
    assert CATALOGUE.ok and bool(CATALOGUE) and CATALOGUE.failures == []
    assert len(CATALOGUE) == len(list(CATALOGUE)) >= len(PUBLIC)
    with raises_exactly(
        KeyError, "\"no entry 'Sigmod'; did you mean Sigmoid, HardSigmoid, Softsign?\""
    ):
        CATALOGUE["Sigmod"]


def test_the_code_is_where_the_entry_says():
    for entry in CATALOGUE.values():
        file, line = entry.code.split(":")
        text = (PAGE.parent.parent / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
        assert text.startswith(f"class {entry.subject.__name__}("), entry.code


# ---------------------------------------------------------------- how it looks


class Tags(HTMLParser):
    """Checks that tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def parsed(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags.text


def braces_match(latex):
    plain = re.sub(r"\\[{}]", "", latex)
    depth = 0
    for character in plain:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    return depth == 0 and latex.count(r"\left") - latex.count(r"\leftarrow") == latex.count(
        r"\right"
    )


def test_the_table_shows_every_entry_and_its_verdict():
    page = str(CATALOGUE)
    assert "all verified" in page.splitlines()[0]
    for name in CATALOGUE:
        assert re.search(rf"^{re.escape(name[:22])}.* verified$", page, re.MULTILINE), name
    assert max(map(len, page.splitlines())) <= 120


def test_an_entry_prints_formulas_ranges_source_and_record():
    page = str(CATALOGUE["Sigmoid"])
    for part in (
        "dy/dx = y * (1 - y)",
        "(0, 1/4]",
        "Nature 323",
        "layerkit/layers/activations.py:",
        "central differences  ok",
        "verified, on Sigmoid():",
    ):
        assert part in page
    assert "at x = -3: 0 on the left" in " ".join(str(CATALOGUE["HardSwish"]).split())


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_text_of_an_entry_has_every_formula_and_remark_in_its_column(name):
    """A formula begins in column 22, what does not fit goes on four further in."""
    entry = CATALOGUE[name]
    first, second, nothing, *rest = str(entry).splitlines()
    assert (first, second, nothing) == (f"{name}  ({entry.code})", entry.computes, "")
    end = rest.index("")
    found, title = {}, ""
    for line in rest[:end]:
        assert len(line) <= 100
        title, text = line[:22].strip() or title, line[22:]
        lines = found.setdefault(title, [])
        if text.startswith("    ") and not line[:22].strip():
            assert text[4] != " "
            lines[-1] += f" {text[4:]}"
        else:
            assert text[0] != " "
            lines.append(text)
    texts = {title: [f.text.split() for f in own] for title, own in groups(entry).items()}
    said = {title: remark.split() for title, remark in remarks(entry).items()}
    assert list(found) == [*texts, *said]
    assert {title: [line.split() for line in found[title]] for title in texts} == texts
    assert {title: " ".join(found[title]).split() for title in said} == said
    assert rest[end + 1] == f"verified, on {entry.example!r}:"
    assert all(line[:2] == "  " and len(line) <= 100 for line in rest[end + 2 :])


def test_html_is_well_formed_and_says_the_verdict_in_words():
    page = parsed(CATALOGUE._repr_html_())
    assert page.count("✓ verified") == len(CATALOGUE)
    assert r"\frac{\partial L}{\partial W} &= x^\top\,G" in page
    for entry in CATALOGUE.values():
        page = parsed(entry._repr_html_())
        assert entry.computes in page and page.count("$") % 2 == 0
    red = parsed(wrong_sigmoid()._repr_html_())
    assert "✗ WRONG" in red


def scripts_are_single(latex):
    """Whether nothing has two indices or two exponents, which MathJax and GitHub refuse."""
    while "{" in (flat := re.sub(r"\\[a-zA-Z]+ ?|\{[^{}]*\}", "x", latex)):
        latex = flat
    return not re.search(r"_x?\w\^?\w?_|\^\w_?\w?\^", flat)


def test_every_formula_has_balanced_latex_and_single_scripts():
    for entry in CATALOGUE.values():
        for line in [*entry.lines, *entry.inference_lines]:
            assert braces_match(line.latex), line.latex
            assert scripts_are_single(line.latex), line.latex
    assert not scripts_are_single("h_1_{nj}")
    assert not scripts_are_single("D^{(1)}_{nj}^{2}")


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("1 / (1 + exp(-x))", r"\frac{1}{1 + e^{-x}}"),
        ("alpha * (exp(x) - 1)", r"\alpha\,(e^{x} - 1)"),
        ("alpha * exp(x) - 1", r"\alpha\,e^{x} - 1"),
        ("(-x)**2 - x**2", r"(-x)^{2} - x^{2}"),
        ("a - (b - c)", "a - (b - c)"),
        ("a - (b + c) * 2", r"a - (b + c) \cdot 2"),
        ("-x**2 / 2", r"-\frac{x^{2}}{2}"),
        ("-a * b / c - d", r"-\frac{a\,b}{c} - d"),
        ("a * (-b) - (-c)", "a\\,(-b) - (-c)"),
        ("sqrt(mean[i](x[i]) + eps)", r"\sqrt{\mathrm{mean}_{i} (x_{i}) + \epsilon}"),
        ("2 * 3 * x", r"2 \cdot 3 x"),
        ("(a + b)**2", "(a + b)^{2}"),
        ("G @ W.T", r"G\,W^\top"),
        ("(x @ W).T", r"(x\,W)^\top"),
        ("sum[j](a[j]) * b[i]", r"\left(\sum_{j} a_{j}\right)\,b_{i}"),
        ("sum[j](a[j] + b[i])", r"\sum_{j} (a_{j} + b_{i})"),
        ("b[f] + sum[i, j](x[i, 2*j])", r"b_{f} + \sum_{i,\,j} x_{i,\,2 j}"),
        ("abs(x) + sqrt(x) * log(x + 1)", r"\left\lvert x \right\rvert + \sqrt{x}\,\log(x + 1)"),
        ("x if x > 0 else a", r"\begin{cases} x & \text{if } x > 0 \\ a & \text{else} \end{cases}"),
        ("[i == j] - [u // s == p]", r"\delta_{ij} - [\,\lfloor u / s \rfloor = p\,]"),
        ("(dL/dz[n, j]) * J1[n, j, i]", r"\frac{\partial L}{\partial z_{nj}}\,J^{(1)}_{nji}"),
        ("h1[n, j]**2 + f1", "h_{1,nj}^{2} + f_1"),
        ("x_hat * gamma + 1e-12", r"\hat{x}\,\gamma + 10^{-12}"),
    ],
)
def test_latex_of_an_expression(text, latex):
    assert expression(ast.parse(text, mode="eval").body) == latex


# ---------------------------------------------------------------- the notation


def test_indices_mean_what_einsum_means(rng):
    x, W = rng.standard_normal((4, 3)), rng.standard_normal((3, 2))
    names = {"x": x, "W": W}
    np.testing.assert_allclose(
        Formula("y[n, j] = sum[i](x[n, i] * W[i, j])").evaluate(names), x @ W
    )
    np.testing.assert_allclose(Formula("m[i] = mean[n](x[n, i])").evaluate(names), x.mean(0))
    np.testing.assert_allclose(Formula("m[n] = max[i](x[n, i])").evaluate(names), x.max(1))
    np.testing.assert_allclose(
        Formula("s[n] = sum[k < 2](x[n, k + 1])").evaluate(names), x[:, 1:].sum(1)
    )
    np.testing.assert_allclose(Formula("y = x.T @ x").evaluate(names), x.T @ x)
    np.testing.assert_allclose(
        Formula("d[i] = sum[n](x[n, i] * [n == i])").evaluate(names), x[:3].diagonal()
    )


def test_outside_of_an_array_is_zero():
    shifted = Formula("y[i] = x[i - 1] + x[i + 1]").evaluate({"x": np.array([1.0, 2.0, 4.0])}, (3,))
    assert shifted.tolist() == [2.0, 5.0, 2.0]


def test_entries_of_a_jacobian_that_no_index_reaches_are_zero():
    jacobian = Formula("dy[n, i]/dx[n, j] = a[i, j]").evaluate({"a": np.ones((2, 2))}, (3, 2, 3, 2))
    np.testing.assert_allclose(jacobian, np.einsum("nm,ij->nimj", np.eye(3), np.ones((2, 2))))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("y[n] = x[n, i]", "'i' stands for nothing"),
        (
            "y[n] = x[n, i] * sum[i](x[n, i])",
            "an index of 'y[n] = x[n, i] * sum[i](x[n, i])' is neither on the left nor summed over",
        ),
        ("y[n] = z * x[n, 0]", "'z' stands for nothing"),
        ("y[k] = 1", "nothing says how far 'k' runs in 'y[k] = 1'"),
        ("y[n] = sum[i > 2](x[n, i])", "a bound must read i < k, not i > 2"),
        ("y = x.real", "cannot read 'x.real'"),
    ],
)
def test_what_cannot_be_read_is_said(text, complaint):
    with raises_exactly(ValueError, complaint):
        Formula(text).evaluate({"x": np.ones((2, 3))})


# ---------------------------------------------------------------- the page


def test_the_committed_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == CATALOGUE.to_markdown(), (
        'write it anew: python -c "from layerkit.inspection import gradient_catalogue; '
        "gradient_catalogue().to_markdown('docs/GRADIENTS.md')\""
    )


def test_the_page_avoids_what_github_cannot_set():
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```math\n(.*?)\n```", page, re.DOTALL)
    inline = re.findall(r"\$`(.*?)`\$", page)
    assert len(blocks) > 2 * len(CATALOGUE) and len(inline) > 50
    rest = re.sub(r"```.*?```|\$`.*?`\$", "", page, flags=re.DOTALL)
    assert "$" not in rest and "\\" not in rest  # all mathematics stands where it is left alone
    for latex in blocks + inline:
        assert "operatorname" not in latex and "$" not in latex and braces_match(latex)
    headings = {
        re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-")
        for h in re.findall(r"^### (.*)$", page, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#(.*?)\)", page)) == headings
    for file in re.findall(r"\]\((\.\./layerkit/.*?)\)", page):
        assert (PAGE.parent / file).is_file()


def test_a_red_entry_shows_on_the_page():
    catalogue = gradient_catalogue()
    wrong = wrong_sigmoid()
    catalogue.families = {"Activations": [wrong]}
    assert "**WRONG: formulas**" in catalogue.to_markdown()


# ---------------------------------------------------------------- optional libraries


@pytest.mark.slow  # verifies every entry
def test_without_sympy_and_torch_the_record_says_so_and_the_page_is_the_same(monkeypatch, tmp_path):
    for module in ("sympy", "torch"):
        monkeypatch.setitem(sys.modules, module, None)
    catalogue = gradient_catalogue()
    record = str(catalogue["Sigmoid"].record)
    assert "SymPy not installed" in record and "PyTorch not installed" in record
    assert catalogue["Sigmoid"].ok
    assert "not installed: PyTorch, SymPy" in str(catalogue)
    assert not wrong_sigmoid().ok
    page = catalogue.to_markdown(tmp_path / "page.md")
    assert page == CATALOGUE.to_markdown() == (tmp_path / "page.md").read_text(encoding="utf-8")


def test_looking_up_formulas_imports_no_optional_library():
    program = (
        "import sys; from layerkit.inspection import gradient_catalogue\n"
        "gradient_catalogue()['Dense'].lines\n"
        "print([m for m in ('sympy', 'torch', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"
