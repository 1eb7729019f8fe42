"""Numba's start under layerkit: less is loaded, and nobody else's Numba notices."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import layerkit

pytest.importorskip("numba")

ONE_KERNEL = """
import sys
import numpy as np
from layerkit import kernels
assert kernels.relu(np.array([-1, 2], np.float32)).tolist() == [0, 2]
"""
OWN_CODE = """
import numba

@numba.njit
def solve(a, b):
    inverse = np.linalg.inv(np.dot(a, a))
    found = [np.dot(inverse, b), np.empty(3)]
    found.append(found[0] + 1)
    return found

a, b = np.diag([1.0, 2.0, 4.0]), np.array([1.0, 4.0, 16.0])
for _ in range(3):
    first, _, last = solve(a, b)
    assert np.allclose(first, 1) and np.allclose(last, 2)
print("scipy.linalg" in sys.modules)
"""


def fresh(code, **variables):
    return subprocess.check_output(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        text=True,
        cwd=Path(layerkit.__file__).parents[1],
    )


@pytest.mark.parametrize("in_notebook, level", [(False, "WARNING"), (True, "INFO")])
def test_compiling_is_told_once_and_in_a_notebook_outside_its_outputs(
    in_notebook, level, caplog, monkeypatch
):
    from layerkit.kernels._numba.compile import Listener

    if in_notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    else:
        monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    dispatcher = types.SimpleNamespace(py_func=layerkit.kernels.warmup, _cache=None)
    event = types.SimpleNamespace(data={"dispatcher": dispatcher})
    listener = Listener()
    listener.seconds = 1e3
    with caplog.at_level("INFO", logger="layerkit"):
        for _ in range(2):
            listener.on_start(event)
            listener.on_end(event)
    assert [record.levelname for record in caplog.records] == [level]


def test_a_kernel_loads_nothing_of_scipy():
    assert fresh(ONE_KERNEL + "print('scipy.linalg' in sys.modules)") == "False\n"


def test_products_and_lists_in_other_peoples_compiled_code_work_on():
    assert fresh(ONE_KERNEL + OWN_CODE) == "True\n"


def test_a_numba_with_other_insides_starts_in_its_own_way():
    other = """
from numba.np import arraymath, linalg

del linalg.ensure_blas
"""
    assert fresh(other + ONE_KERNEL + "print('scipy.linalg' in sys.modules)") == "True\n"
