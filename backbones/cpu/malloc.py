"""Settings of the C library's allocator: freed memory is reused by later tensors.

By default glibc requests every large tensor from the system and returns it when it is freed, so that each layer's
output is cleared and mapped page by page again: a fifth of all processor time of a ResNet-50.
"""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Constants of glibc's malloc.h."""
LARGEST_KEPT = 2**30
"""Bytes; larger blocks are returned to the system when they are freed."""
MOST_KEPT = 2**31 - 1
"""Bytes that may be free at the end of the heap before they are returned."""
SET_BY_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Enable the settings for this process; return whether they apply.

    They do not if the environment configures the allocator (`SET_BY_USER`), or if the C library is not glibc.
    """
    if any(name in os.environ for name in SET_BY_USER):
        return False
    try:
        change = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    large = change(MMAP_THRESHOLD, LARGEST_KEPT) or change(MMAP_MAX, 0)  # older releases do not support this threshold
    return bool(large and change(TRIM_THRESHOLD, MOST_KEPT))
