"""Memory from step to step."""

import os
import platform
import subprocess
import sys

import pytest

# The process's own address space, which only glibc gives back: how many faults its pages cost is
# also up to the kernel, which takes pages away from any process when the machine is short of them.
STEPS = """
import os
import numpy as np
import layerkit

def mapped():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")

layerkit.Dense(1).build(1)
for step in range(6):
    arrays = [np.ones(9_000_000, np.uint8) for _ in range(3)]
    held = mapped()
    del arrays
    print(held, mapped())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's heap")
def test_large_arrays_of_a_step_leave_their_memory_to_the_next():
    # Dask sets MALLOC_TRIM_THRESHOLD_ in a process that starts workers, for all that follow it.
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    output = subprocess.check_output([sys.executable, "-c", STEPS], text=True, env=plain)
    held, kept = zip(*(map(int, line.split()) for line in output.splitlines()), strict=True)
    assert kept == held  # nothing goes back when it is freed ...
    assert max(held) < held[2] + 9_000_000  # ... and once it is laid out, no step needs more
