"""The catalogue of gradients: a page for each layer and loss, formulas set, proofs shown.

Formulas, remarks and figures come from `layerkit.inspection.gradient_catalogue`; the record on a
page is that of the machine that built it.
"""

import re
from functools import cache
from pathlib import Path

from written import write

from layerkit.inspection import gradient_catalogue

WORDS = {"x": "the input x", "y_pred": "the prediction", "b": "the bias b", "W": "the weights W"}
KERNEL = {"W": "the kernel W", "W_depth": "the depthwise kernel", "W_point": "the 1 × 1 kernel"}
METHODS = {
    "formulas": "The formulas, evaluated as they are written, against `forward` and `backward`",
    "central differences": "`backward` against central differences of `forward`",
    "complex step": "Differentiated by a complex step",
    "slopes at kinks": "The slopes on both sides of every kink",
    "ranges": "The ranges that are stated",
    "SymPy": "Differentiated by SymPy, at 40 digits",
    "PyTorch": "PyTorch's result for the same numbers",
}
VERDICTS = {True: "agrees", False: "**WRONG**", None: "not done"}


@cache
def catalogue():
    return gradient_catalogue()


def page_name(name):
    """``Focal (binary)`` is on the page Focal-binary."""
    return re.sub(r"[^\w]+", "-", name.replace("=True", "")).strip("-")


def pages_of():
    """Return {name of a class: [(page, text of a link to it)]}."""
    found = {}
    for entry in catalogue().values():
        own = entry.name == entry.subject.__name__
        label = "formulas and proof" if own else f"of {entry.name}"
        found.setdefault(entry.subject.__name__, []).append((page_name(entry.name), label))
    return found


def sections():
    """Return {name: what `to_markdown` says about it}, in the notation of MyST."""
    text = catalogue().to_markdown()
    found = {}
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        name, _, body = re.sub(r"^## .*\Z", "", part, flags=re.MULTILINE).partition("\n")
        found[name] = in_myst(body)
    return found


def introduction():
    """Return what the page of `to_markdown` says before its list: how all is verified."""
    text = catalogue().to_markdown().partition("\n- Linear")[0]
    return in_myst(re.search(r"Each\s+formula\b.*", text, re.DOTALL)[0])


def in_myst(text):
    text = re.sub(r"\$`(.*?)`\$", r"{math}`\1`", text, flags=re.DOTALL)
    return re.sub(r"^```math$", "```{math}", text, flags=re.MULTILINE)


def broken(formula):
    """Return a formula that is wider than the page with a line for every term."""
    if len(formula) < 170 or r"\begin" in formula:
        return formula
    depth, found = 0, ""
    for part in re.split(r"([()\[\]{}]| [+-] )", formula):
        depth += (part in list("([{")) - (part in list(")]}"))
        is_between_terms = part in (" + ", " - ") and depth == 0
        found += rf" \\ & \quad {{}}{part}" if is_between_terms else part
    return found


def block(lines):
    rows = " \\\\\n".join(broken(line.latex) for line in lines)
    return f"```{{math}}\n\\begin{{aligned}}\n{rows}\n\\end{{aligned}}\n```\n"


def groups(lines):
    """Yield each gradient with the definitions that precede it."""
    pending = []
    for line in lines:
        pending.append(line)
        if "/" in line.name:
            yield line.name.split("/d")[1], pending
            pending = []


def entry_page(entry, family, section):
    home = "losses" if "oss" in family else "layers"
    reference = f"/reference/layerkit.{home}.{entry.subject.__name__}"
    remarks = re.findall(r"^- (?!Verified)(.*)$", section, flags=re.MULTILINE)
    words = WORDS | (KERNEL if family == "Convolution" else {})
    yield f"# Gradients of {entry.name}\n"
    yield f"{entry.computes}\n"
    yield f"{{.facts}}\n{{doc}}`API page <{reference}>` · {family} · [proof](#proof)\n"
    yield f"## What it computes\n\n{block(entry.forward)}"
    if remarks:
        yield "\n".join(f"- {remark}" for remark in remarks) + "\n"
    if entry.partials:
        yield f"## Partial derivatives\n\n{block(entry.partials)}"
    for of, lines in groups(entry.gradients):
        yield f"## Gradient of {words.get(of, of)}\n\n{block(lines)}"
    if entry.inference_lines:
        yield f"## In inference\n\n{block(entry.inference_lines)}"
    yield from proof(entry)
    yield "## As text\n"
    yield "What is evaluated, line by line:\n"
    written = [line.text for line in entry.lines]
    if entry.inference_lines:
        written += ["# in inference", *[line.text for line in entry.inference_lines]]
    yield "```text\n" + "\n".join(written) + "\n```\n"


def proof(entry):
    yield "## Proof\n"
    yield f"Verified on `{entry.example!r}`, when this page was built:\n"
    yield "| | | largest error | allowed |\n|---|---|---|---|"
    for check in entry.record.checks:
        error, allowed = (
            ("", "") if not check.bound else (f"{check.error:.0e}", f"{check.bound:.0e}")
        )
        what = METHODS.get(check.method, check.method)
        note = f" ({check.note})" if check.note else ""
        if check.method == "PyTorch":
            absent = " (not installed where this page was built; the tests compare it)"
            note = f": `{entry.torch}`" + (absent if check.ok is None else "")
        what = (what + note).replace("|", "&#124;")
        yield f"| {what} | {VERDICTS[check.ok]} | {error} | {allowed} |"
    yield ""
    yield "To repeat it:\n"
    yield "```python\nfrom layerkit.inspection import gradient_catalogue\n"
    yield f"print(gradient_catalogue()[{entry.name!r}])\n```\n"


def index():
    yield "# Catalogue of gradients\n"
    yield "What every layer and every loss computes, its partial derivatives, its gradients, and"
    yield "the proof of each. A page for each:\n"
    for family, entries in catalogue().families.items():
        links = ", ".join(f"[{entry.name}]({page_name(entry.name)}.md)" for entry in entries)
        yield f"**{family}**: {links}\n"
    yield f":::{{dropdown}} How they are verified, and the notation\n{introduction()}\n:::\n"
    for family, entries in catalogue().families.items():
        yield f"```{{toctree}}\n:hidden:\n:caption: {family}\n"
        for entry in entries:
            yield f"{entry.name} <{page_name(entry.name)}>"
        yield "```\n"


def files():
    """Return every generated page: {file name: text}."""
    text = sections()
    pages = {"index.md": "\n".join(index())}
    for family, entries in catalogue().families.items():
        for entry in entries:
            body = entry_page(entry, family, text[entry.name])
            pages[f"{page_name(entry.name)}.md"] = "\n".join(body)
    return pages


def generate(app):
    write(Path(app.srcdir) / "gradients", files())


def setup(app):
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
