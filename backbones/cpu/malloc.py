"""The C library's memory: what a process frees, it keeps for its next tensors.

By default glibc asks the system for every large tensor anew and gives it back when it is freed, so that each layer's
output is cleared and mapped page by page again: a fifth of all processor time of a ResNet-50.
"""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Numbers of glibc's malloc.h."""
LARGEST_KEPT = 2**30
"""Bytes; what is larger goes back to the system when it is freed."""
MOST_KEPT = 2**31 - 1
"""Bytes that may be free at the end of the heap before they go back."""
SET_BY_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """From now on in this process; whether it does.

    It does not where the environment says how to allocate (`SET_BY_USER`), nor with another C library than glibc.
    """
    if any(name in os.environ for name in SET_BY_USER):
        return False
    try:
        change = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    large = change(MMAP_THRESHOLD, LARGEST_KEPT) or change(MMAP_MAX, 0)  # older releases take no such threshold
    return bool(large and change(TRIM_THRESHOLD, MOST_KEPT))
