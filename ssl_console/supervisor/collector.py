"""Collection of results from run folders into the database, which only the supervisor writes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.results_db import ResultStore, StoreError, rebuild
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_index import RunInfo

LOG = logging.getLogger(__name__)
TRY_AGAIN_S = 5.0
REST = 4.0
"""Writing the whole file takes longer the larger it is: it uses at most a fifth of the time."""


@dataclass
class Collector:
    """Collector of results: adds those that are not in the database yet, in one transaction."""

    workspace: Workspace
    problem: str = ""
    """Reason why results cannot be written at the moment."""
    _store: ResultStore = field(init=False)
    _stored: set[str] = field(default_factory=set)
    _pending: dict[str, Result] = field(default_factory=dict)
    _try_at: float = 0.0

    def __post_init__(self) -> None:
        self._store = ResultStore(self.workspace)

    def open(self, learn: Callable[[Iterable[Result]], object] = list) -> None:
        """Read the database, rebuilding it from the run folders if necessary; `learn` gets the results, one by one.

        Raises StoreError for a newer version's.
        """
        try:
            learn(self._noted())
        except StoreError as error:
            self._rebuild(error)
            learn(self._noted())

    def _noted(self) -> Iterator[Result]:
        self._stored = set()
        for result in self._store.stream():
            self._stored.add(result.run_id)
            yield result

    def note(self, changed: Iterable[RunInfo]) -> list[Result]:
        """Queue the new results among these runs and return them."""
        found = []
        for entry in changed:
            if entry.status.state is RunState.DONE and entry.run_id not in self._stored:
                try:
                    record = ResultRecord.model_validate_json(entry.folder.result.read_bytes())
                except (OSError, ValidationError) as error:
                    LOG.error("%s cannot be read: %s", entry.folder.result, error)
                    continue
                found.append(record.result)
        self._pending |= {result.run_id: result for result in found}
        return found

    def write(self, now: float) -> None:
        """Write the queued results to the database; on failure they are written later.

        Results that arrive faster than the file can be written are written together.
        """
        if not self._pending or 0 < self._try_at - now <= TRY_AGAIN_S:
            return
        begun = time.monotonic()
        try:
            self._add()
        except (StoreError, OSError) as error:
            self.problem = (
                f"{self.workspace.results} cannot be written: {error}; writing is retried, and no result is lost"
            )
            self._try_at = now + TRY_AGAIN_S
            LOG.error("%s", self.problem)
            return
        self._stored |= self._pending.keys()
        self._pending.clear()
        self._try_at = now + REST * (time.monotonic() - begun)
        self.problem = ""

    def _add(self) -> None:
        try:
            self._store.add(self._pending.values())
        except StoreError as error:
            self._rebuild(error)

    def _rebuild(self, error: StoreError) -> None:
        """Rebuild the database from the run folders, which are authoritative; the old file is set aside."""
        LOG.warning("%s", error)
        LOG.warning("rebuilt with %d results", rebuild(self.workspace))

    @property
    def behind(self) -> bool:
        """Whether results wait to be written."""
        return bool(self._pending)
