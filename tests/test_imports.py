"""Imports run one way, every name has one home, and `import layerkit` costs NumPy only."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import layerkit

PACKAGE = Path(layerkit.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES: dict[str, Path] = {}
for file in FILES:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    MODULES[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
SYNTAX = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}

# Every room with the rooms that it may import from; itself always.
MAY_IMPORT = {
    "version": set(),
    "archive": set(),
    "kernels": set(),
    "parameters": set(),
    "datasets": set(),
    "other_libraries": set(),
    "seeds": {"parameters"},
    "sequences": set(),
    "shapes": {"parameters"},
    "initializers": {"parameters", "shapes"},
    "guards": {"sequences", "shapes"},
    "edits": set(),
    "building": {"edits", "shapes"},
    "tree": {"building", "edits", "initializers", "parameters", "seeds", "shapes"},
    "tables": set(),
    "warning": set(),
    "summary": {"shapes", "tables"},
}
BELOW = set(MAY_IMPORT)
MAY_IMPORT["layer"] = BELOW
MAY_IMPORT["layers"] = {*BELOW, "layer"}
MAY_IMPORT["losses"] = {"kernels", "parameters", "sequences"}
MAY_IMPORT["schedules"] = {"parameters"}
MAY_IMPORT["optimizers"] = {*MAY_IMPORT["schedules"], "kernels", "other_libraries"}
MAY_IMPORT["optimizers"] |= {"schedules", "shapes", "warning"}
MAY_IMPORT["fused"] = {*MAY_IMPORT["layers"], "layers"}
MAY_IMPORT["training"] = {*MAY_IMPORT["fused"], "fused", "losses", "optimizers", "schedules"}
MAY_IMPORT["inspection"] = {*MAY_IMPORT["training"], "training"}
MAY_IMPORT["distributed"] = {*MAY_IMPORT["training"], "training"}
MAY_IMPORT["estimators"] = {*MAY_IMPORT["distributed"], "distributed"}
MAY_IMPORT["interchange"] = {*MAY_IMPORT["estimators"], "estimators"}
MAY_IMPORT["demo"] = set(MAY_IMPORT)
MAY_IMPORT["__init__"] = set(MAY_IMPORT) - {"demo"}
MAY_IMPORT["__main__"] = {"demo", "kernels"}

LATE = {
    "scipy",
    "sklearn",
    "matplotlib",
    "numba",
    "tqdm",
    "torch",
    "pandas",
    "onnx",
    "joblib",
    "dask",
    "distributed",
    "mpi4py",
}


def room(module: str) -> str:
    """Return the first part below layerkit: layerkit.layers.dense lives in layers."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of all that is imported, in functions and for type checkers too.

    The name is "" for a module as a whole, which ``from layerkit import kernels`` is as well.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import: {ast.unparse(node)}"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole, "") if whole in MODULES else (node.module or "", alias.name)


def imported_from_layerkit(tree: ast.AST) -> list[tuple[str, str]]:
    return [(module, name) for module, name in imports(tree) if module.split(".")[0] == "layerkit"]


def defined_in(tree: ast.AST) -> set[str]:
    """Return the names that a module gives a value itself, so without those that it imports."""
    found, waiting = set(), [tree]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif not isinstance(node, ast.Lambda):
                waiting.append(node)
    return found


def is_visible(importer: str, module: str, name: str) -> bool:
    """Whether everything with a leading underscore stands in a package that the importer is in."""
    path = f"{module}.{name}".strip(".").split(".")
    for i, part in enumerate(path):
        if part.startswith("_") and not part.startswith("__"):
            # A private name belongs to the package of the file that it stands in.
            at_home = i == len(path) - 1 and bool(name) and MODULES[module].stem != "__init__"
            package = ".".join(path[: i - 1] if at_home else path[:i])
            if not f"{importer}.".startswith(f"{package}."):
                return False
    return True


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module):
    rooms = {room(name) for name, _ in imported_from_layerkit(SYNTAX[module])} & set(MAY_IMPORT)
    assert rooms <= MAY_IMPORT[room(module)] | {room(module)}


def test_no_circle_between_files():
    graph = {name: {m for m, _ in imported_from_layerkit(SYNTAX[name])} for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", MODULES)
def test_a_private_name_stays_in_its_package(module):
    seen = imported_from_layerkit(SYNTAX[module])
    assert [f"{m}.{n}" for m, n in seen if not is_visible(module, m, n)] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_name_is_imported_from_its_home(module):
    """A package may hand out what its ``__all__`` names; a file hands out what it defines."""
    elsewhere = []
    for home, name in imported_from_layerkit(SYNTAX[module]):
        if not name or name == "*" or module == "layerkit":
            continue
        is_door = MODULES[home].stem == "__init__" and name in names_of_door(home)
        if not is_door and name not in defined_in(SYNTAX[home]):
            elsewhere.append(f"{home}.{name}")
    assert elsewhere == []


def names_of_door(package: str) -> list[str]:
    return getattr(sys.modules.get(package) or __import__(package, fromlist=["_"]), "__all__", [])


def test_the_gradient_check_needs_the_contract_only():
    module = "layerkit.inspection.gradient_check"
    rooms = {room(name) for name, _ in imported_from_layerkit(SYNTAX[module])}
    assert rooms <= {"inspection", "layer", "losses", "parameters", "seeds", "sequences", "shapes"}


def test_what_is_forbidden_would_be_seen():
    tree = ast.parse(
        "from typing import TYPE_CHECKING\n"
        "import layerkit.training\n"
        "from layerkit import estimators\n"
        "if TYPE_CHECKING:\n    from layerkit.losses import Loss\n"
        "def late():\n    import layerkit.kernels\n"
        "class Eager:\n    from layerkit.layer import Layer\n"
    )
    rooms = {room(name) for name, _ in imported_from_layerkit(tree)}
    assert rooms == {"training", "estimators", "losses", "kernels", "layer"}
    assert defined_in(ast.parse("import a\nif a:\n    b = c = 1\ndef d(e):\n    f = 1")) == {
        "b",
        "c",
        "d",
    }


@pytest.mark.parametrize(
    "importer, module, name, visible",
    [
        ("layerkit.losses.margin", "layerkit.losses.loss", "_mean", True),
        ("layerkit.estimators.base", "layerkit.losses.loss", "_mean", False),
        ("layerkit.kernels.dispatch", "layerkit.kernels._numpy.sums", "add_row", True),
        ("layerkit.layers.dense", "layerkit.kernels._numpy.sums", "add_row", False),
        ("layerkit.layers.pooling", "layerkit.layers._windows", "slide", True),
        ("layerkit.fused", "layerkit.layers._windows", "slide", False),
        ("layerkit.fused", "layerkit", "__version__", True),
    ],
)
def test_what_is_private_is_seen(importer, module, name, visible, monkeypatch):
    monkeypatch.setitem(MODULES, module, Path("file.py"))
    assert is_visible(importer, module, name) is visible


def test_importing_layerkit_costs_numpy_only():
    script = "import sys, layerkit; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "numpy" in loaded.stdout.split()
    assert not LATE & set(loaded.stdout.split())


SMALL_FIT = """
import sys, warnings
from {home} import MLPClassifier
warnings.simplefilter("ignore")
MLPClassifier(max_iter=2).fit([[0, 1], [1, 0]] * 30, [0, 1] * 30).predict([[0, 1]])
print(*sys.modules)
"""


def test_a_small_fit_loads_what_it_uses():
    """Nothing that scikit-learn's own does not, and no room of ours that it never enters."""
    kernels = {**os.environ, "LAYERKIT_KERNELS": "numpy"}
    ours, theirs = (
        set(subprocess.check_output([sys.executable, "-c", code], env=kernels, text=True).split())
        for code in (SMALL_FIT.format(home=home) for home in ("layerkit", "sklearn.neural_network"))
    )
    more = {name for name in ours - theirs if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name for name in more if not name.startswith(("layerkit", "sklearn.callback"))} == set()
    unused = ("demo", "inspection", "interchange", "estimators.sequential", "estimators.tabular")
    assert not {f"layerkit.{name}" for name in unused} & ours


def test_packages_are_there_without_an_import_of_their_own():
    packages = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    script = f"import layerkit; print(*[getattr(layerkit, name).__name__ for name in {packages}])"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == [f"layerkit.{name}" for name in packages]
    assert {*packages, "datasets", "initializers"} <= set(dir(layerkit))


UNLISTED = """
import layerkit
for name in {packages}:
    package = getattr(layerkit, name)
    print(*{{*getattr(package, "__all__", ())}} - {{*dir(package)}})
"""


def test_public_names_are_listed_before_they_are_loaded():
    """So that an editor or a notebook completes them."""
    script = UNLISTED.format(packages=[path.parent.name for path in PACKAGE.glob("*/__init__.py")])
    assert subprocess.check_output([sys.executable, "-c", script], text=True).split() == []
