"""A page for every public class and function, and a table of names for every package.

What is public is in ``__all__``; the families and the line about each name are in the docstrings
of the packages, where a test keeps them complete. This file only lays out.
"""

import importlib
import inspect
import re
from functools import cache, cached_property
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from written import write

PACKAGES = {
    "estimators": "Estimators",
    "layers": "Layers",
    "losses": "Losses",
    "optimizers": "Optimizers",
    "schedules": "Schedules",
    "initializers": "Initializers",
    "training": "Training",
    "fused": "Plans",
    "inspection": "Inspection",
    "interchange": "Interchange",
    "distributed": "Many machines",
    "datasets": "Data sets",
    "kernels": "Kernels",
}
HOMELESS = {"Layer": "the base class of all layers; one of your own is a subclass"}
"""What only `layerkit` itself exports; it stands in the table of the layers."""


class Name(NamedTuple):
    """A public name and the package that it is at home in."""

    package: str
    name: str

    @property
    def path(self):
        return ".".join(filter(None, ["layerkit", self.package, self.name]))

    @property
    def thing(self):
        return getattr(importlib.import_module(self.path.rpartition(".")[0]), self.name)

    @property
    def is_class(self):
        return inspect.isclass(self.thing) and not hasattr(self.thing, "__origin__")

    @property
    def is_documented(self):
        """Whether it has a docstring of its own: constants and aliases of types have none."""
        return self.is_class or (callable(self.thing) and not hasattr(self.thing, "__origin__"))

    @property
    def importable_from_the_top(self):
        top = importlib.import_module("layerkit")
        return self.name in top.__all__ and getattr(top, self.name) is self.thing

    @property
    def link(self):
        """Return a link to its page; a number or an alias of types has none, but its value."""
        if self.is_documented:
            return f":doc:`{self.name} <{self.path}>`"
        value = re.sub(r"[a-z.]+\.", "", f"{self.name} = {self.thing}")
        return f"``{value if len(value) < 60 else self.name}``"


@cache
def public_names():
    """List every public name once, in its home."""
    names = [Name("", name) for name in HOMELESS]
    for package in PACKAGES:
        names += [
            Name(package, name) for name in importlib.import_module(f"layerkit.{package}").__all__
        ]
    return names


# ---------------------------------------------------------------- the map in a package's docstring


class Map:
    """The docstring of a package, taken apart: introduction, families, a line about each name."""

    def __init__(self, package):
        self.package = package
        module = importlib.import_module(f"layerkit.{package}")
        self.names = set(module.__all__)
        self.summary, _, text = inspect.cleandoc(module.__doc__).partition("\n")
        self.text = text

    @cached_property
    def families(self):
        """Return {family: {name: line about it}}."""
        found = {"The base class": dict(HOMELESS)} if self.package == "layers" else {}
        for before, paragraph in zip(["", *self.paragraphs], self.paragraphs, strict=False):
            for family, rows in self._rows(paragraph).items():
                found.setdefault(family or heading_in(before), {}).update(rows)
        listed = {name for rows in found.values() for name in rows}
        rest = {name: summary_of(Name(self.package, name)) for name in self.names - listed}
        return found | ({"More": rest} if rest else {})

    @cached_property
    def introduction(self):
        """Return what stands before the first row."""
        kept = []
        for paragraph in self.paragraphs:
            if self._rows(paragraph):
                break
            kept.append(paragraph)
        if kept and heading_in(kept[-1]):
            kept.pop()
        elif kept and kept[-1].endswith("::"):
            kept[-1] = kept[-1].removesuffix("::") + "."
        return "\n\n".join(kept)

    @cached_property
    def paragraphs(self):
        return [part.rstrip() for part in self.text.strip("\n").split("\n\n")]

    def _rows(self, paragraph):
        """Return {family: {name: line}}: a line is about one name, or lists those of a family."""
        found = {}
        for line in re.sub(r"\n {8,}", " ", paragraph).split("\n"):
            match = re.fullmatch(r"    (\S+(?: \S+)*?)  +(\S.*)", line)
            if match and match[1] in self.names:
                found.setdefault("", {})[match[1]] = match[2]
        return found


def heading_in(paragraph):
    """Return ``Activations`` of ``Activations::``; a sentence is no heading."""
    text = paragraph.removesuffix("::")
    return text if text != paragraph and len(text) < 50 else ""


def summary_of(name):
    """Return the first line of its docstring, or its value."""
    if not name.is_documented:
        return name.link
    return inspect.getdoc(name.thing).partition("\n")[0].rstrip(".")


# ---------------------------------------------------------------- pages


def title(text, line="="):
    return f"{text}\n{line * len(text)}\n"


def table(rows):
    """Return a table of names, each a link to its page, with what is said about it."""
    lines = [".. list-table::", "   :class: names", "   :widths: 30 70", ""]
    for name, about in rows.items():
        about = about.replace("|", "\\|")  # no substitution
        lines += [f"   * - {name.link}", f"     - {about}"]
    return "\n".join([*lines, ""])


def package_page(package):
    about = Map(package)
    parts = [title(PACKAGES[package]), f"``layerkit.{package}``: {about.summary}", ""]
    if about.introduction and package != "kernels":
        parts += [about.introduction, ""]
    families = {
        family: {
            Name("" if name in HOMELESS else package, name): line for name, line in rows.items()
        }
        for family, rows in about.families.items()
    }
    if package == "kernels":
        parts += kernels_in_lines(about)
    else:
        for family, rows in families.items():
            parts += [title(family[0].upper() + family[1:], "-")] if family else []
            parts += [table(rows)]
    parts += [".. toctree::", "   :hidden:", ""]
    listed = [name for rows in families.values() for name in rows if name.is_documented]
    parts += [f"   {name.name} <{name.path}>" for name in listed]
    return "\n".join([*parts, ""])


def kernels_in_lines(about):
    """Yield the docstring's paragraphs, its rows as tables; names that are many share a row."""
    names = "|".join(sorted(about.names, key=len, reverse=True))
    for paragraph in about.paragraphs:
        rows = re.findall(r"^    (\w+)  +(\S.*)", re.sub(r"\n {8,}", " ", paragraph), re.MULTILINE)
        if heading_in(paragraph):
            yield title(heading_in(paragraph), "-")
        elif not rows:
            yield re.sub(r"::$", ".", paragraph) + "\n"
        elif all(name in about.names for name, _ in rows):
            yield table({Name("kernels", name): line for name, line in rows})
        else:
            yield ".. list-table::\n   :widths: 24 76\n"
            for family, line in rows:
                linked = re.sub(rf"\b({names})\b", lambda m: Name("kernels", m[1]).link, line)
                yield f"   * - {family}\n     - {linked}"
            yield ""


def index_page():
    parts = [
        title("API reference"),
        "Every public class and function has a page here: what it computes, its parameters, "
        "shapes, formulas, an example. Layers, estimators and what checks gradients can be "
        "imported from ``layerkit`` itself, everything from its package.",
        "",
        ".. list-table::",
        "   :class: names",
        "   :widths: 22 78",
        "",
    ]
    for package, heading in PACKAGES.items():
        parts += [f"   * - :doc:`{heading} <{package}>`", f"     - {Map(package).summary}"]
    parts += [
        "",
        "Formulas with their proofs are in the :doc:`catalogue of gradients </gradients/index>`.",
        "",
        ".. toctree::",
        "   :hidden:",
        "",
        *[f"   {heading} <{package}>" for package, heading in PACKAGES.items()],
    ]
    return "\n".join([*parts, ""])


def defined_in(thing):
    """Return the file and the link to its listing by `sphinx.ext.viewcode`."""
    thing = inspect.unwrap(thing)
    module = thing.__module__
    file = "/".join(module.split(".")) + ".py"
    if Path(inspect.getsourcefile(thing)).name == "__init__.py":
        file = file.removesuffix(".py") + "/__init__.py"
    return file, f"../_modules/{module.replace('.', '/')}.html#{thing.__qualname__}"


def facts(name, catalogue):
    """Return the line above a docstring: how to import it, its formulas, where it is defined."""
    home = "layerkit" if name.importable_from_the_top else f"layerkit.{name.package}"
    found = [f"``from {home} import {name.name}``"]
    found += [f":doc:`{label} </gradients/{page}>`" for page, label in catalogue]
    line = " · ".join([*found, "defined in |source|"])
    file, link = defined_in(name.thing)
    replaced = f'.. |source| raw:: html\n\n   <a href="{link}">{file}</a>\n'
    return f".. container:: facts\n\n   {line}\n\n{replaced}"


def page(name, catalogue=()):
    parts = [title(name.name), facts(name, catalogue)]
    module = name.path.rpartition(".")[0]
    parts.append(f".. currentmodule:: {module}\n")
    if not name.is_class:
        parts.append(f".. autofunction:: {name.name}\n")
    else:
        parts.append(f".. autoclass:: {name.name}\n")
        parts += methods(name)
    return "\n".join(parts)


def methods(name):
    """Yield the methods with a docstring of their own, and where the others are explained."""
    public = {id(other.thing): other for other in public_names() if other.is_class}
    own, bases = {}, []
    for base in name.thing.__mro__:
        if base is not name.thing and id(base) in public:
            bases.append(public[id(base)])
        elif base.__module__.startswith("layerkit") and not bases:
            own |= {key: value for key, value in documented(base) if key not in own}
    inherited = {key for base in bases for key in dir(base.thing)}
    own = {key: value for key, value in own.items() if key not in inherited}
    if own:
        yield "   .. rubric:: Methods and properties\n"
    for key, kind in own.items():
        yield f"   .. {kind}:: {key}\n"
    if bases:
        links = ", ".join(f":doc:`{base.name} <{base.path}>`" for base in bases)
        yield f"The other methods and attributes are those of {links}.\n"


def documented(kind):
    for key, value in vars(kind).items():
        value = getattr(value, "fn", value)  # of scikit-learn's available_if
        value = getattr(value, "__func__", value)
        if key.startswith("_") or not getattr(value, "__doc__", None):
            continue
        if isinstance(value, property):
            yield key, "autoproperty"
        elif inspect.isfunction(value):
            yield key, "automethod"


def files():
    """Return every generated page: {file name: text}."""
    from gradient_pages import pages_of

    pages = {"index.rst": index_page()}
    pages |= {f"{package}.rst": package_page(package) for package in PACKAGES}
    catalogue = pages_of()
    for name in filter(attrgetter("is_documented"), public_names()):
        entries = catalogue.get(name.name, ()) if name.package in ("layers", "losses") else ()
        pages[f"{name.path}.rst"] = page(name, entries)
    return pages


# ---------------------------------------------------------------- Sphinx


def generate(app):
    write(Path(app.srcdir) / "reference", files())


def escape_stars(app, what, name, thing, options, lines):
    """Keep docutils from taking the star of ``(n_samples, *input_shape)`` for emphasis."""
    lines[:] = [re.sub(r"(?<=, )\*(?=\w+_shape)", r"\\*", line) for line in lines]


def plain_defaults(app, what, name, thing, options, signature, returns):
    """Write ``numpy.float32`` for the class, and dots for what a dataclass makes anew."""
    if signature is None:
        return None
    return re.sub(r"<class '([\w.]+)'>", r"\1", signature).replace("<factory>", "..."), returns


def resolve(app, env, node, target):
    """Find `layerkit.Dense`, or `Dense`, in the home of that name; a method; a package."""
    last = node.get("reftarget", "").removeprefix("layerkit.").split("(")[0]
    if last in PACKAGES:
        return make_reference(app, node, f"reference/{last}", "", target)
    for name in public_names():
        if last in (name.name, name.path.removeprefix("layerkit.")):
            page = name.path if name.is_documented else name.package
            return make_reference(app, node, f"reference/{page}", "", target)
    owner, _, attribute = last.rpartition(".")
    owners = [owner.rpartition(".")[2], (node.get("py:class") or "").rpartition(".")[2]]
    for name in public_names():
        if name.is_class and name.name in owners and hasattr(name.thing, attribute):
            base = explained_by(name, attribute)
            anchor = f"{base.path}.{attribute}"
            known = anchor in env.get_domain("py").objects
            page = f"reference/{base.path}"
            return make_reference(app, node, page, anchor if known else "", target)
    return None


def explained_by(name, attribute):
    """Return the class on whose page a method stands: the most general one that has it."""
    public = {id(other.thing): other for other in public_names() if other.is_class}
    bases = [public[id(base)] for base in name.thing.__mro__ if id(base) in public]
    return [base for base in bases if hasattr(base.thing, attribute)][-1]


def make_reference(app, node, docname, anchor, content):
    from sphinx.util.nodes import make_refnode

    return make_refnode(app.builder, node["refdoc"], docname, anchor, content)


def setup(app):
    app.connect("builder-inited", generate)
    app.connect("autodoc-process-docstring", escape_stars, priority=1)  # before numpydoc
    app.connect("autodoc-process-signature", plain_defaults)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
