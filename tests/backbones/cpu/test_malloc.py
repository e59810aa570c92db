"""Freed memory of a process is retained for its next tensors, if the C library supports it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from backbones.cpu.malloc import SET_BY_USER

GLIBC = platform.libc_ver()[0] == "glibc"
TENSORS = """
import resource, sys
import numpy as np
from backbones.cpu.malloc import keep_freed_memory
kept = sys.argv[1] == "kept" and keep_freed_memory()
np.ones(10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(10_000_000)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def freed_ten_times(how: str, **environment: str) -> tuple[bool, int]:
    """Whether memory is retained, and how many pages were mapped for ten arrays of 80 MB, one after the other."""
    inherited = {name: value for name, value in os.environ.items() if name not in SET_BY_USER}
    command = [sys.executable, "-c", TENSORS, how]
    ran = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True)
    kept, faults = ran.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(not GLIBC, reason="another C library")
def test_freed_memory_is_used_again_instead_of_mapped_again() -> None:
    _, usual = freed_ten_times("usual")
    kept, faults = freed_ten_times("kept")
    assert kept
    assert faults < usual / 4


def test_what_the_environment_says_of_allocation_is_left_alone() -> None:
    kept, _ = freed_ten_times("kept", MALLOC_TRIM_THRESHOLD_="100000")
    assert not kept
