"""The next batches are made by threads while a step computes; decoding and resizing release Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

BatchT = TypeVar("BatchT")
AHEAD = 4


@dataclass
class Prefetched(Generic[BatchT]):
    """Batches by the number of their step. What a batch holds must depend on that number alone."""

    make: Callable[[int], BatchT]
    end: int
    """The first number that is not asked for."""
    pool: ThreadPoolExecutor
    _under_way: dict[int, Future[BatchT]] = field(default_factory=dict)

    def __call__(self, step: int) -> BatchT:
        """The batch of a step; raises what making it raised."""
        for number in range(step, min(step + AHEAD, self.end)):
            if number not in self._under_way:
                self._under_way[number] = self.pool.submit(self.make, number)
        return self._under_way.pop(step).result()


@contextmanager
def prefetched(make: Callable[[int], BatchT], end: int) -> Iterator[Prefetched[BatchT]]:
    """Make batches ahead; what is not needed any more is dropped at the end."""
    pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="batches")
    try:
        yield Prefetched(make, end, pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
