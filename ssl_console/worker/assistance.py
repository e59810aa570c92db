"""Helper of a run: computes features that the run's own worker extracts, and writes nothing to the run's folder.

Whatever happens to a helper, its run continues: the shards that it leaves unfinished are computed by the run's worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.run_status import RunStatus, read_status
from tasks.reporter import SilentReporter

CHECK_S = 1.0
"""Seconds between two looks at the run's status."""
IDLE_S = 20.0
"""Seconds without anything to compute after which a helper ends."""


class AssistanceOver(Exception):  # noqa: N818 - no error
    """The run needs no help any more."""


@dataclass
class Assistance(SilentReporter):
    """Reporter of a helper, which ends it with `AssistanceOver`: when the run's attempt is over, when `left` returns
    True, or after a while without anything to compute."""

    folder: RunFolder
    left: Callable[[], bool]
    attempt: int = field(init=False)
    batch_scale: float = field(init=False)
    encoded: int = 0
    _checked: float = 0.0
    _busy: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        status = self._status()
        self.attempt, self.batch_scale = status.attempt, status.batch_scale

    def advance(self, count: int = 1) -> None:
        """Count encoded images. Raises AssistanceOver."""
        self.encoded += count
        self._busy = time.monotonic()
        self._check()

    def wait(self) -> None:
        """Called while there is nothing to compute. Raises AssistanceOver."""
        self._check()
        if time.monotonic() - self._busy > IDLE_S:
            raise AssistanceOver(f"nothing was left to compute for {IDLE_S:.0f} s")

    def _check(self) -> None:
        now = time.monotonic()
        if now - self._checked < CHECK_S:
            return
        self._checked = now
        if self.left():
            raise AssistanceOver("its supervisor is gone")
        if self._status().attempt != self.attempt:
            raise AssistanceOver("another attempt has begun")

    def _status(self) -> RunStatus:
        try:
            status = read_status(self.folder, time.time())
        except FileNotFoundError:
            raise AssistanceOver("the run was removed") from None
        if status.state.final or status.cancel_requested:
            raise AssistanceOver(f"the run is {status.state}")
        return status
