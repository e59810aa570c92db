"""Automatic retries: after running out of memory, and after an interruption."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import log2

from ssl_console.launchers.base import Launcher
from ssl_console.system.device import gigabytes, holders_text
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import NotPossible, request_retry
from ssl_console.workspace.run import Backoff, MemoryShortage
from ssl_console.workspace.run_index import RunInfo

LOG = logging.getLogger(__name__)
RECENT_S = 3600.0
"""Maximum age in seconds of an out-of-memory failure that is retried automatically: no run starts unexpectedly."""
INTERRUPTED_S = 24 * 3600.0
"""The same limit for a run that was interrupted while no supervisor was running."""
REASONS = {True: "continues from its checkpoint: its node was lost", False: "starts over: its node was lost"}
SMALLER = "ran out of memory: retried with half the batch size"
WHOLE_CARD = 0.95
"""Fraction of a device's memory that one process can use."""
FIRST_WAIT_S, LONGEST_WAIT_S, MOST_WAITS = 60.0, 900.0, 6
"""Wait in seconds after other processes left too little memory, doubled each time; and the number of such attempts."""


@dataclass(frozen=True)
class AutomaticRetries:
    """Retry requests as a user would make them. `limit` is the number of retries after running out of memory."""

    workspace: Workspace
    launchers: Mapping[str, Launcher]
    limit: int

    def consider(self, entry: RunInfo, now: float, own_pids: Collection[int] = ()) -> None:
        """Queue a failed run again, if the kind of failure, its age and the settings allow it.

        `own_pids` are the processes of this workspace's other workers.
        """
        if entry.status.kind not in {"oom", "interrupted"} or entry.folder.cancel.exists():
            return
        age_s = now - (entry.status.ended or 0.0)
        if entry.status.kind == "oom" and age_s < RECENT_S:
            shortage = entry.status.end.shortage if entry.status.end else None
            if shortage is not None and self._on_this_machine(entry) and is_of_others(shortage, own_pids):
                self._when_others_leave(entry, shortage, now)
            else:
                self._with_half_the_batch(entry)
        elif entry.status.kind == "interrupted" and age_s < INTERRUPTED_S:
            self._after_interruption(entry)

    def _with_half_the_batch(self, entry: RunInfo) -> None:
        tried = round(-log2(entry.status.batch_scale))
        if tried < self.limit:
            self._request(entry, SMALLER, 0.5 ** (tried + 1))

    def _on_this_machine(self, entry: RunInfo) -> bool:
        launcher = self.launchers.get(entry.placement.launcher)
        return launcher is not None and launcher.capacity() is None

    def _when_others_leave(self, entry: RunInfo, shortage: MemoryShortage, now: float) -> None:
        """Retry unchanged, later, and when the memory that was too little is free."""
        number = (entry.status.backoff.number if entry.status.backoff else 0) + 1
        if not self.limit or number > MOST_WAITS:
            return
        until = now + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (number - 1))
        whose = holders_text(process for process in shortage.reading.processes if not process.ours)
        reason = (
            f"memory of {shortage.device} ran out because of {whose or 'other processes'}: tried again after "
            f"{time.strftime('%H:%M', time.localtime(until))}, when {gigabytes(shortage.need_mb)} GB are free"
        )
        backoff = Backoff(number=number, until=until, need_mb=shortage.need_mb)
        self._request(entry, reason, entry.status.batch_scale, backoff)

    def _after_interruption(self, entry: RunInfo) -> None:
        """Retry always with a checkpoint, else as often as its launcher allows."""
        kept = entry.folder.checkpoint.is_dir() and any(entry.folder.checkpoint.iterdir())
        launcher = self.launchers.get(entry.placement.launcher)
        restarts = launcher.patience().restarts if launcher else 0
        if kept or entry.status.attempt <= restarts:
            self._request(entry, REASONS[kept])

    def _request(self, entry: RunInfo, reason: str, batch_scale: float = 1.0, backoff: Backoff | None = None) -> None:
        try:
            request_retry(self.workspace, entry.run_id, reason, batch_scale, backoff=backoff)
        except NotPossible as error:
            LOG.info("%s", error)


def is_of_others(shortage: MemoryShortage, own_pids: Collection[int]) -> bool:
    """Whether the attempt would have fitted without the processes of other users and workspaces.

    Memory that no listed process holds belongs to others: in a container the driver lists none of its processes.
    """
    reading = shortage.reading
    ours = [process for process in reading.processes if not process.ours and process.pid in own_pids]
    ours_mb = sum(process.memory_mb or 0.0 for process in ours)
    return shortage.need_mb + ours_mb <= WHOLE_CARD * reading.memory_total_mb
