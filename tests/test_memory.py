"""Memory from step to step."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import numpy as np
import layerkit

layerkit.Dense(1).build(1)
for step in range(22):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(9_000_000, np.uint8) for _ in range(3)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's heap")
def test_large_arrays_of_a_step_leave_their_memory_to_the_next():
    command = [sys.executable, "-c", STEPS]
    pages = 20 * 3 * 9_000_000 // 4096
    # The least of a few: a machine that is short of memory takes pages away from any process.
    faults = min(int(subprocess.check_output(command, text=True)) for _ in range(3))
    assert faults < pages / 20
