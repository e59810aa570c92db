"""Number of threads: of small operations, and thread pools whose threads each compute on one core.

By default every thread that uses torch's parallel operations starts its own pool with a thread per core: sixteen
threads that resize images on sixteen cores start 256, which compete for the cores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from backbones.cpu.free_cores import CoreMonitor, core_monitor

SMALL = 12_000_000  # multiply-adds of a product; a second core of an idle machine saves 8 % of a path of this size
START_S = 60.0
"""Seconds that the threads of a pool may take to start."""


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


@contextmanager
def following_threads(monitor: CoreMonitor | None = None) -> Iterator[Callable[[], None]]:
    """Compute on as many cores as other processes leave free, and never on more than now.

    The number is updated by each call of the function that the context returns. For operations whose results do not
    depend on it: with fewer cores than threads, every operation waits for the thread that shares its core.
    """
    usual, monitor = torch.get_num_threads(), monitor or core_monitor()

    def follow() -> None:
        if usual > 1:
            torch.set_num_threads(min(usual, monitor.free()))

    follow()
    try:
        yield follow
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
    except BaseException:  # otherwise the started threads would wait for the others
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
