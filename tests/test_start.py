"""Numba's start under layerkit: less is loaded, and nobody else's Numba notices."""

import os
import subprocess
import sys
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
