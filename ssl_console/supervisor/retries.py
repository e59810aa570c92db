"""Automatic retries: after running out of memory, and after an interruption."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import log2

from ssl_console.launchers.base import Launcher
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import NotPossible, request_retry
from ssl_console.workspace.run_index import RunInfo

LOG = logging.getLogger(__name__)
RECENT_S = 3600.0
"""Maximum age in seconds of an out-of-memory failure that is retried automatically: no run starts unexpectedly."""
INTERRUPTED_S = 24 * 3600.0
"""The same limit for a run that was interrupted while no supervisor was running."""
REASONS = {True: "continues from its checkpoint: its node was lost", False: "starts over: its node was lost"}
SMALLER = "ran out of memory: retried with half the batch size"


@dataclass(frozen=True)
class AutomaticRetries:
    """Retry requests as a user would make them. `limit` is the number of retries after running out of memory."""

    workspace: Workspace
    launchers: Mapping[str, Launcher]
    limit: int

    def consider(self, entry: RunInfo, now: float) -> None:
        """Queue a failed run again, if the kind of failure, its age and the settings allow it."""
        if entry.status.kind not in {"oom", "interrupted"} or entry.folder.cancel.exists():
            return
        age_s = now - (entry.status.ended or 0.0)
        if entry.status.kind == "oom" and age_s < RECENT_S:
            self._with_half_the_batch(entry)
        elif entry.status.kind == "interrupted" and age_s < INTERRUPTED_S:
            self._after_interruption(entry)

    def _with_half_the_batch(self, entry: RunInfo) -> None:
        tried = round(-log2(entry.status.batch_scale))
        if tried < self.limit:
            self._request(entry, SMALLER, 0.5 ** (tried + 1))

    def _after_interruption(self, entry: RunInfo) -> None:
        """Retry always with a checkpoint, else as often as its launcher allows."""
        kept = entry.folder.checkpoint.is_dir() and any(entry.folder.checkpoint.iterdir())
        launcher = self.launchers.get(entry.placement.launcher)
        restarts = launcher.patience().restarts if launcher else 0
        if kept or entry.status.attempt <= restarts:
            self._request(entry, REASONS[kept])

    def _request(self, entry: RunInfo, reason: str, batch_scale: float = 1.0) -> None:
        try:
            request_retry(self.workspace, entry.run_id, reason, batch_scale)
        except NotPossible as error:
            LOG.info("%s", error)
