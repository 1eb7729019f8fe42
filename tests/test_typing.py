"""What editors see: types behind every import, and signatures that fit on the screen."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

import layerkit

ROOT = Path(__file__).parent.parent
PACKAGES = ["", "estimators", "inspection", "interchange", "layers", "losses", "optimizers"]
PACKAGES += ["schedules", "training"]

SCRIPT = """
import numpy as np
from typing import assert_type

import layerkit
from layerkit import Dense, Dropout, MLPClassifier, ReLU, Sequential, SequentialClassifier
from layerkit import TabularRegressor, check_gradients
from layerkit.inspection import GradientCheck, HealthReport, health, trace
from layerkit.losses import CategoricalCrossEntropy
from layerkit.optimizers import Adam
from layerkit.training import History, train

X, y = np.zeros((10, 3)), np.arange(10) % 2
model = SequentialClassifier([Dense(8), ReLU(), Dropout(0.2)], max_iter=3)
assert_type(model, SequentialClassifier)
assert_type(model.fit(X, y), SequentialClassifier)
assert_type(model.max_iter, int)
assert_type(MLPClassifier((8,), dropout=0.2), MLPClassifier)
assert_type(TabularRegressor(), TabularRegressor)
assert_type(layerkit.losses.Huber(), layerkit.losses.Huber)
net = Sequential([Dense(8), ReLU(), Dense(2)])
history = train(net, CategoricalCrossEntropy(), Adam(1e-3), (X, y), epochs=1)
assert_type(history, History)
assert_type(check_gradients(net, (3,)), GradientCheck)
assert_type(health(net, X, y), HealthReport)
"""
WRONG = """
from layerkit import Conv2D

Conv2D(8, 3, paddings="same")
"""


def checked(checker, cache, tmp_path, text):
    """Run a type checker on a user's script, far from the repository if layerkit is installed."""
    if find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    (tmp_path / "script.py").write_text(text, encoding="utf-8")
    options = {
        "mypy": ["--cache-dir", str(cache), "--python-executable", sys.executable],
        "basedpyright": ["--level", "error", "--pythonpath", sys.executable],
    }
    settings = f'[tool.basedpyright]\ntypeCheckingMode = "standard"\n{extra_path()}'
    (tmp_path / "pyproject.toml").write_text(settings + SKLEARN_HAS_NO_TYPES, encoding="utf-8")
    command = [sys.executable, "-m", checker, *options[checker], "script.py"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment())


SKLEARN_HAS_NO_TYPES = """
[tool.mypy]
disable_error_code = ["import-untyped"]
[[tool.mypy.overrides]]
module = ["sklearn.*", "scipy.*"]
follow_imports = "skip"
ignore_missing_imports = true
"""


def is_installed():
    try:
        return bool(distribution("layerkit"))
    except PackageNotFoundError:
        return False


def extra_path():
    return "" if is_installed() else f'extraPaths = ["{ROOT.as_posix()}"]\n'


def environment():
    return os.environ if is_installed() else {**os.environ, "MYPYPATH": str(ROOT)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where mypy keeps what it knows of the libraries and of us, for the next script."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_a_users_script_has_its_types(checker, cache, tmp_path):
    done = checked(checker, cache, tmp_path, SCRIPT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_a_parameter_that_does_not_exist_is_underlined(checker, cache, tmp_path):
    done = checked(checker, cache, tmp_path, WRONG)
    assert done.returncode == 1
    assert "paddings" in done.stdout


def test_an_editable_install_is_a_path_that_checkers_follow():
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert "[editable_wheel]\nmode = compat" in text
    assert (ROOT / "layerkit" / "py.typed").exists()


def is_exception(thing):
    return inspect.isclass(thing) and issubclass(thing, BaseException)


def signatures():
    """List (name, signature) of every public function, class and method of our own."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(f"layerkit.{package}".rstrip("."))
        for name in module.__all__:
            thing = getattr(module, name)
            members = inspect.getmembers(thing) if inspect.isclass(thing) else []
            for inner, member in [("", thing), *members]:
                public = not inner.startswith("_") and not inner.endswith("_request")
                home = str(getattr(member, "__module__", ""))
                ours = callable(member) and home.startswith("layerkit")
                if public and ours and not is_exception(member):
                    found[f"{package}.{name}.{inner}"] = inspect.signature(member)
    return found


def test_signatures_in_help_name_types_as_we_wrote_them():
    found = signatures()
    assert len(found) > 200
    unreadable = [name for name, signature in found.items() if "numpy._typing" in str(signature)]
    assert not unreadable
    longest = max(
        (len(str(parameter.annotation)), name)
        for name, signature in found.items()
        for parameter in signature.parameters.values()
    )
    assert longest < (100, ""), longest


def test_every_name_that_is_found_late_is_imported_for_checkers():
    source = Path(layerkit.__file__).read_text(encoding="utf-8")
    block = source.partition("\nif TYPE_CHECKING:")[2].partition("\n_packages = ")[0]
    imported = set(re.findall(r"\w+", block))
    assert {*layerkit._elsewhere, *layerkit._packages} <= imported
