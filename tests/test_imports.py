"""Imports run one way, and `import layerkit` costs NumPy only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import layerkit

PACKAGE = Path(layerkit.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Every room with the rooms that it may import from; itself always, and names within a function.
MAY_IMPORT = {
    "archive": set(),
    "kernels": set(),
    "initializers": set(),
    "parameters": set(),
    "datasets": set(),
    "seeds": {"parameters"},
    "tree": {"parameters", "seeds"},
    "layer": {"initializers", "parameters", "seeds", "tree"},
    "summary": {"layer"},
    "layers": {"kernels", "initializers", "layer"},
    "losses": {"kernels", "parameters"},
    "schedules": {"parameters"},
    "optimizers": {"kernels", "layer", "parameters", "schedules"},
}
MAY_IMPORT["training"] = {"archive", "layer", "layers", "losses", "optimizers", "schedules"}
MAY_IMPORT["inspection"] = {*MAY_IMPORT["training"], "kernels", "parameters", "training"}
MAY_IMPORT["interchange"] = {*MAY_IMPORT["inspection"], "initializers"}
MAY_IMPORT["estimators"] = {*MAY_IMPORT["inspection"], "inspection", "interchange", "seeds"}
MAY_IMPORT["demo"] = set(MAY_IMPORT)
MAY_IMPORT["__init__"] = set(MAY_IMPORT) - {"demo"}
MAY_IMPORT["__main__"] = {"demo"}

LATE = {"scipy", "sklearn", "matplotlib", "numba", "tqdm", "torch", "pandas", "onnx", "joblib"}


def room(module: str) -> str:
    """Return the first part below layerkit: layerkit.layers.dense lives in layers."""
    return module.split(".")[1] if "." in module else "__init__"


def imported_on_load(path: Path) -> set[str]:
    """Return what a module imports when it is loaded, so without functions and type checking."""
    found = set()
    waiting = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif not isinstance(node, ast.FunctionDef) and not is_type_checking(node):
            waiting += ast.iter_child_nodes(node)
    return found


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def rooms_imported_by(path: Path) -> set[str]:
    names = {name for name in imported_on_load(path) if name.startswith("layerkit.")}
    return {room(name) for name in names} & set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    home = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert rooms_imported_by(path) <= MAY_IMPORT[home] | {home}


def test_the_gradient_check_needs_the_contract_only():
    assert rooms_imported_by(PACKAGE / "inspection" / "gradient_check.py") <= {
        "inspection",
        "layer",
    }


def test_a_forbidden_import_would_be_seen(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        "from typing import TYPE_CHECKING\n"
        "import layerkit.training\n"
        "from layerkit import estimators\n"
        "if TYPE_CHECKING:\n    from layerkit.losses import Loss\n"
        "def late():\n    import layerkit.kernels\n"
        "class Eager:\n    from layerkit.layer import Layer\n"
    )
    assert rooms_imported_by(module) == {"training", "estimators", "layer"}


def test_importing_layerkit_costs_numpy_only():
    script = "import sys, layerkit; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "numpy" in loaded.stdout.split()
    assert not LATE & set(loaded.stdout.split())


def test_packages_are_there_without_an_import_of_their_own():
    packages = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    script = f"import layerkit; print(*[getattr(layerkit, name).__name__ for name in {packages}])"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == [f"layerkit.{name}" for name in packages]
    assert {*packages, "datasets", "initializers"} <= set(dir(layerkit))
