"""Number of threads: of small operations, and thread pools whose threads each compute on one core.

By default every thread that uses torch's parallel operations starts its own pool with a thread per core: sixteen
threads that resize images on sixteen cores start 256, which compete for the cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

SMALL = 12_000_000  # multiply-adds of a product; a second core of an idle machine saves 8 % of a path of this size
START_S = 60.0
"""Seconds that the threads of a pool may take to start."""


def usable_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads_for(work: int) -> Iterator[None]:
    """Compute on one core if products have at most `SMALL` multiply-adds, on as many as usual otherwise.

    Waking other threads takes as long as such a product does, and far longer when the other cores are occupied.
    """
    usual = torch.get_num_threads()
    torch.set_num_threads(1 if work <= SMALL else usual)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def one_core_threads(count: int, name: str) -> ThreadPoolExecutor:
    """A pool of `count` started threads whose tensor operations use one core each.

    torch stores the number for new threads globally, so it is restored once these have started.
    """
    usual, started = torch.get_num_threads(), threading.Barrier(count)
    pool = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=_take_one_core, initargs=(started,))
    try:
        for start in [pool.submit(lambda: None) for _ in range(count)]:
            start.result()
    except BaseException:
        started.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        torch.set_num_threads(usual)
    return pool


def _take_one_core(started: threading.Barrier) -> None:
    torch.get_num_threads()  # otherwise the first operation would reset the number of all threads
    torch.set_num_threads(1)
    started.wait(START_S)
