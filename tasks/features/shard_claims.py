"""Claims: several processes compute different shards of the same entries, each shard one process at a time.

A claim is a locked file beside the shards. The lock ends with its holder: the kernel releases it when the process dies,
and a file server when the holder's machine does, so no claim has to be judged by a process number, a clock or a
heartbeat, and a dead process's shard can be claimed at once. A holder that lives but makes no progress (suspended,
hanging) loses its shard after a while: shards are complete or absent and named by their content, so computing one twice
is wasteful but harmless.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from backbones.io.file_locks import POLL_S, exclusive_now
from tasks.features.manifest import SHARDS
from tasks.features.shards import Bounds
from tasks.features.unfinished_entry import UnfinishedEntry, split_columns
from tasks.reporter import Reporter

AnyFloats = npt.NDArray[np.floating]


@dataclass
class SharedShards:
    """The missing shards of entries that are extracted in one pass, shared with other processes."""

    entries: Sequence[UnfinishedEntry]
    """All of one split, in order of their columns."""
    reporter: Reporter
    patience_s: float
    """Seconds without a finished shard after which claimed ones are computed by this process too; at least three times
    the duration of its own slowest shard."""
    own_rows: int = 0
    """Number of rows that this process has computed."""
    _held: dict[Bounds, ExitStack] = field(default_factory=dict)
    """Locks of the claimed shards, by rows."""
    _computing: set[Bounds] = field(default_factory=set)
    """Claimed shards that `claimable` has returned."""
    _reserved: list[Bounds] = field(default_factory=list)
    """Claimed shards that `claimable` returns next."""
    _finished: float = field(default_factory=time.monotonic)
    """Time of the last finished shard on the monotonic clock."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Give up the claims on shards that were not finished."""
        for bounds in list(self._held):
            self._release(bounds)

    @property
    def missing(self) -> set[Bounds]:
        """Rows of all shards that are not finished."""
        return {bounds for entry in self.entries for bounds in entry.missing}

    def claimable(self) -> Iterator[Bounds]:
        """Rows of missing shards, each claimed when it is asked for; ends when other processes hold all of them."""
        self.refresh()
        while bounds := self._reserved.pop(0) if self._reserved else self._next_claim():
            self.refresh()
            if bounds in self.missing:
                self._computing.add(bounds)
                yield bounds
            else:
                self._release(bounds)

    def store(self, start: int, rows: AnyFloats) -> None:
        """Write the rows [m, d] of a claimed shard, and release the claim."""
        for entry, part in zip(self.entries, split_columns(rows, self.entries), strict=True):
            entry.write(start, part)
        self.own_rows += len(rows)
        self._note_finished(own=True)
        self._release((start, start + len(rows)))

    def refresh(self) -> bool:
        """Report the shards that other processes have finished as progress; return whether there are any."""
        before = self.missing
        for entry in self.entries:
            entry.refresh()
        found = before - self.missing
        if found:
            self.reporter.advance(sum(stop - start for start, stop in found - self._computing))
            self._note_finished()
        return bool(found)

    def reserve(self) -> bool:
        """Claim a shard for `claimable`; False if other processes hold all that are missing."""
        free = self._next_claim()
        self._reserved += [free] if free else []
        return bool(self._reserved)

    def wait(self) -> None:
        """Wait until nothing is missing or `claimable` has a shard: one that its holder has given up, or one that is
        overdue."""
        while self.missing and not self.reserve():
            if self.refresh():
                continue
            if time.monotonic() - self._finished > self.patience_s:
                self._take_over()
                return
            time.sleep(POLL_S)

    def _next_claim(self) -> Bounds | None:
        return next((one for one in sorted(self.missing - self._held.keys()) if self._claimed(one)), None)

    def _claimed(self, bounds: Bounds) -> bool:
        with ExitStack() as stack:
            path = self.entries[0].folder / SHARDS / f"claim-{bounds[0]:09d}"
            if not stack.enter_context(exclusive_now(path)):
                return False
            self._held[bounds] = stack.pop_all()
        return True

    def _take_over(self) -> None:
        """Reserve the shards of other processes without their claims."""
        self._reserved = sorted(self.missing)
        self._held |= {bounds: ExitStack() for bounds in self._reserved}

    def _release(self, bounds: Bounds) -> None:
        self._held.pop(bounds).close()

    def _note_finished(self, *, own: bool = False) -> None:
        now = time.monotonic()
        if own:
            self.patience_s = max(self.patience_s, 3 * (now - self._finished))
        self._finished = now
