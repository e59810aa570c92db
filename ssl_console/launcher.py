"""How the supervisor gets workers: the interface behind which local processes and cluster jobs are alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ssl_console.device import Device
from ssl_console.run import Attempt


@dataclass(frozen=True)
class Resources:
    """What a worker gets."""

    slot: str
    device: Device
    threads: int
    """Processor cores that it may use for itself."""


@dataclass(frozen=True)
class Worker:
    """A worker as its launcher sees it."""

    name: str
    """The launcher's own name for it, never used again."""
    pid: int | None = None
    """None while it is not known, or when the worker is on another machine."""
    gone: bool = False
    """Whether it has ended."""
    exit_code: int | None = None
    """Of one that is gone, where that is known; negative for a signal."""
    pending: str = ""
    """Why it has not begun yet, where somebody else decides that (a cluster's queue)."""
    log: Path | None = None
    """What it wrote outside of runs: why it did not start, say."""


class Launcher(Protocol):
    """Starts, watches and ends workers."""

    def submit(self, run_id: str, resources: Resources) -> str:
        """Start a worker that begins with this run; its name. Raises OSError when none can be started."""

    def adopt(self, attempt: Attempt) -> str | None:
        """Watch and end, from now on, a worker that an earlier supervisor started; None when it is not this
        launcher's, or its machine cannot be asked."""

    def hand_over(self, worker: str, run_id: str) -> bool:
        """Give one more run to a worker; False when it takes no more."""

    def dismiss(self, worker: str) -> None:
        """No more runs for this worker: it leaves after the one that it has."""

    def snapshot(self) -> dict[str, Worker]:
        """All workers, by name; one that is gone is told once."""

    def stop(self, worker: str, *, force: bool = False) -> None:
        """End a worker and all its child processes: politely, or at once."""

    def show_stacks(self, worker: str) -> None:
        """Have the worker write where its threads stand to its log; of no effect where that is not possible."""
