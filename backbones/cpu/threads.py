"""Number of threads: of small operations, of those that follow the free cores, and thread pools whose threads each
compute on one core.

By default every thread that uses torch's parallel operations starts its own pool with a thread per core: sixteen
threads that resize images on sixteen cores start 256, which compete for the cores.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from backbones.cpu.free_cores import CoreMonitor, core_monitor

ResultT = TypeVar("ResultT")

SMALL = 12_000_000  # multiply-adds of a product; a second core of an idle machine saves 8 % of a path of this size
SMALL_IN_NUMPY = 32_000_000
"""As `SMALL`, for NumPy: threads of its OpenBLAS yield their core until all have ended, so next to other processes
small products take three to five times their processor time."""
LONG = 2_000_000_000
"""Multiply-adds that take longer than measuring the load."""
START_S = 60.0
"""Seconds that the threads of a pool may take to start."""


@contextmanager
def threads_for(work: int) -> Iterator[None]:
    """Compute on one core if products have at most `SMALL` multiply-adds (in NumPy `SMALL_IN_NUMPY`), on as many as
    usual otherwise.

    Waking other threads takes as long as such a product does, and far longer when the other cores are occupied. The
    load has no influence, as sums over samples depend on the number of threads.
    """
    usual = torch.get_num_threads()
    torch.set_num_threads(1 if work <= SMALL else usual)
    try:
        with _numpy_libraries().limit(limits=1 if work <= SMALL_IN_NUMPY else None, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(usual)


@functools.cache
def _numpy_libraries() -> ThreadpoolController:
    """Libraries of NumPy's products; finding them takes several milliseconds."""
    return ThreadpoolController()


class FollowingThreads:
    """Computations on as many cores as other processes leave free, and never on more than at first.

    Some results depend on the number of threads, by rounding, and none may depend on the load. So computations of one
    kind, which differ only in values, follow the free cores after one of them has given the same bits with both
    numbers of threads; until then, and where it did not, they use the number of threads at first.
    """

    def __init__(self, monitor: CoreMonitor | None = None) -> None:
        self._usual, self._monitor = torch.get_num_threads(), monitor
        self._threads = self._usual
        self._seen: set[Hashable] = set()
        self._equal: dict[tuple[Hashable, int], bool] = {}

    def update(self) -> None:
        """Take the number of cores that are free now. Waits for 0.1 s where the load was not measured before."""
        if self._usual > 1:
            self._threads = min(self._usual, (self._monitor or core_monitor()).free())

    def compute(self, work: Callable[[], Tensor], kind: Hashable) -> Tensor:
        """The result of `work`, the bits of which do not depend on the load. The second of a kind is compared."""
        if self._threads == self._usual:
            return work()
        if kind not in self._seen:
            self._seen.add(kind)
            return work()
        known = self._equal.get((kind, self._threads))
        if known is None:
            usual = work()
            self._equal[kind, self._threads] = _same_bits(usual, self.follow(work))
            return usual
        return self.follow(work) if known else work()

    def follow(self, work: Callable[[], ResultT]) -> ResultT:
        """The result of `work`, which for any number of threads is the same."""
        torch.set_num_threads(self._threads)
        try:
            return work()
        finally:
            torch.set_num_threads(self._usual)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))


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
