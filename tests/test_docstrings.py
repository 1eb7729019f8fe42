"""Every public docstring is complete and agrees with its signature (numpydoc's own checks)."""

import ast
import importlib
import inspect
import re
from typing import NamedTuple

import pytest

validation = pytest.importorskip("numpydoc.validate")
docscrape = pytest.importorskip("numpydoc.docscrape")

ROOMS = (
    "layers",
    "losses",
    "optimizers",
    "schedules",
    "fused",
    "initializers",
    "training",
    "inspection",
    "interchange",
    "distributed",
    "estimators",
    "datasets",
    "kernels",
)

# All checks that numpydoc knows are made but for these:
# https://numpydoc.readthedocs.io/en/latest/validation.html
NOT_ASKED = {
    "ES01",  # more than a summary: not where one line says it all
    "PR08",  # a capital first in a description: it may be a symbol of the formula, "a, at least 0"
    "RT02",  # results without names: "X : ndarray" says more
    "SA01",  # a See Also: only where it helps
    "SS05",  # a verb first: takes every word that ends in s for a verb, "Losses of …"
}
# The kernels share their names: the docstring of the package explains each once, see below.
# Their summary may be the formula itself, "max(x, 0)".
NOT_ASKED_OF_KERNELS = {*NOT_ASKED, "EX01", "PR01", "PR07", "RT01", "SS02"}
# The example of a class shows its methods.
NOT_ASKED_OF_METHODS = {*NOT_ASKED, "EX01"}
# Parameters and results, where one line says everything.
SECTIONS = {"PR01", "RT01", "YD01"}
# What the library hands out is met in the examples of the functions that return it; the
# parameters of its constructor are its attributes.
NOT_ASKED_OF_RESULTS = {*NOT_ASKED, "EX01", "PR01"}


class Documented(NamedTuple):
    """A public class, function or method with a docstring of its own."""

    path: str
    thing: object
    not_asked: set[str]

    @property
    def doc(self):
        return docscrape.NumpyDocString(inspect.getdoc(self.thing))

    @property
    def signature(self):
        return inspect.signature(self.thing).parameters


def public_objects():
    """List all that is public in layerkit and its packages, each once."""
    found = []
    names = [
        (module, name)
        for module in (importlib.import_module(f"layerkit.{room}") for room in ROOMS)
        for name in module.__all__
    ]
    names += [(importlib.import_module("layerkit"), name) for name in ("Layer", "ModelFileError")]
    public = {id(getattr(module, name)) for module, name in names}
    for module, name in names:
        thing, path = getattr(module, name), f"{module.__name__}.{name}"
        if not getattr(thing, "__module__", "").startswith("layerkit"):
            continue  # an alias of a type
        if inspect.isclass(thing):
            found += [Documented(path, thing, not_asked_of(thing))]
            found += methods_of(thing, public)
        elif callable(thing):
            is_kernel = module.__name__ == "layerkit.kernels"
            found += [Documented(path, thing, NOT_ASKED_OF_KERNELS if is_kernel else NOT_ASKED)]
    by_object = {id(inspect.unwrap(documented.thing)): documented for documented in found}
    return list(by_object.values())


def not_asked_of(kind):
    attributes = docscrape.NumpyDocString(inspect.getdoc(kind))
    is_result = attributes["Attributes"] and not attributes["Parameters"]
    is_result = is_result or issubclass(kind, Exception)
    return NOT_ASKED_OF_RESULTS if is_result else NOT_ASKED


def methods_of(kind, public):
    """List the methods that have a docstring: those without are explained in a base class."""
    for base in kind.__mro__:
        if not base.__module__.startswith("layerkit") or (base is not kind and id(base) in public):
            continue
        for name, method in vars(base).items():
            method = getattr(method, "__func__", method)  # of class methods
            method = getattr(method, "fn", method)  # of scikit-learn's available_if
            if name.startswith("_") or getattr(kind, name, None) is None:
                continue
            is_property = isinstance(method, property)
            if not is_property and not (inspect.isfunction(method) and "." in method.__qualname__):
                continue
            above = [getattr(parent, name, None) for parent in base.__mro__[1:]]
            is_override = any(inspect.getdoc(one) for one in above if one is not None)
            if not method.__doc__ and is_override:
                continue
            arguments = [] if is_property else [*inspect.signature(method).parameters][1:]
            one_line_is_enough = (
                is_override or arguments in ([], ["state"]) or id(base) not in public
            )
            brief = one_line_is_enough and "\n" not in (method.__doc__ or "")
            not_asked = NOT_ASKED_OF_METHODS | SECTIONS if brief else NOT_ASKED_OF_METHODS
            yield Documented(f"{base.__module__}.{base.__name__}.{name}", method, not_asked)


PUBLIC = public_objects()


@pytest.mark.parametrize("documented", PUBLIC, ids=lambda documented: documented.path)
def test_docstring_is_complete(documented):
    errors = validation.validate(documented.path)["errors"]
    assert not [f"{code}: {text}" for code, text in errors if code not in documented.not_asked]


@pytest.mark.parametrize(
    "documented",
    [one for one in PUBLIC if callable(one.thing) and one.doc["Parameters"]],
    ids=lambda documented: documented.path,
)
def test_documented_defaults_are_the_real_ones(documented):
    signature = documented.signature
    for names, kind, _ in documented.doc["Parameters"]:
        for name in names.replace("*", "").split(", "):
            check_default(name, kind, signature[name].default)


def check_default(name, kind, default):
    stated = re.search(r"default=(.+)$", kind)
    if default is inspect.Parameter.empty:
        assert not stated and "optional" not in kind, f"{name} has no default"
    elif stated:
        written = default.__name__ if isinstance(default, type) else repr(default)
        assert stated[1] == written or ast.literal_eval(stated[1]) == default, name
    else:
        assert default is None and kind.endswith("optional"), f"{name}: default={default!r}"


@pytest.mark.parametrize("room", ROOMS)
def test_the_docstring_of_a_package_is_a_map(room):
    """A line for each public name, and no line for a name that is not there."""
    package = importlib.import_module(f"layerkit.{room}")
    if room == "kernels":  # so many, and so alike, that a line holds a family
        assert set(package.__all__) <= set(re.findall(r"\w+", package.__doc__))
    else:
        assert sorted(first_words(package)) == sorted(package.__all__)


def test_help_of_layerkit_is_a_map():
    layerkit = importlib.import_module("layerkit")
    named = set(re.findall(r"[\w.]+", layerkit.__doc__))
    assert set(layerkit.__all__) <= named
    assert {name for name in named if name.startswith("layerkit.")} == {
        f"layerkit.{room}" for room in ROOMS
    }


def first_words(package):
    """What the indented lines of a docstring begin with, where there is a column after it."""
    return re.findall(r"^    (\w+)  +\S", package.__doc__, re.MULTILINE)


@pytest.mark.parametrize(
    "documented",
    [one for one in PUBLIC if one.path.startswith("layerkit.kernels.")],
    ids=lambda documented: documented.path,
)
def test_arguments_of_kernels_are_explained_once(documented):
    """By the function, at the head of its file for a family, or for all in the package."""
    package = importlib.import_module("layerkit.kernels")
    family = importlib.import_module(documented.thing.__module__)
    told = f"{package.__doc__}\n{family.__doc__}"
    common = {name for code in re.findall(r"``([\w, ]+)``", told) for name in code.split(", ")}
    listed = re.findall(r"^    (\w+(?:, \w+)*)  +\S", told, re.MULTILINE)
    names = common | {name for line in listed for name in line.split(", ")}
    own = {name for names, _, _ in documented.doc["Parameters"] for name in names.split(", ")}
    assert set(documented.signature) <= names | own


@pytest.mark.parametrize("name", importlib.import_module("layerkit.layers").__all__)
def test_a_layer_states_its_shapes_and_its_backward_formula(name):
    notes = notes_of(f"layerkit.layers.{name}")
    assert "Input" in notes
    assert "Backward" in notes


@pytest.mark.parametrize("name", importlib.import_module("layerkit.losses").__all__)
def test_a_loss_states_its_formulas(name):
    notes = notes_of(f"layerkit.losses.{name}")
    formulas = ("forward", "backward") if name == "Loss" else ("value", "backward", "inverse link")
    assert all(f"- {formula}: " in notes for formula in formulas)


def notes_of(path):
    (documented,) = [one for one in PUBLIC if one.path == path]
    return "\n".join(documented.doc["Notes"])
