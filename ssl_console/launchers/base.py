"""How the supervisor gets workers: the interface behind which local processes and cluster jobs are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ssl_console.system.device import Device
from ssl_console.workspace.config import JobRequest
from ssl_console.workspace.run import Attempt, JobState

JobEnd = Literal["refused", "cancelled", "taken", "memory", "ended", "unknown"]
"""What became of a job: it was never accepted; somebody else cancelled it; it lost its node (preempted, or the node
failed); it went over its memory limit; it ended by itself; nobody knows any more."""


@dataclass(frozen=True)
class Resources:
    """What a worker gets."""

    slot: str
    device: Device
    threads: int
    """Processor cores that it may use for itself."""
    request: JobRequest | None = None
    """What a job asks for; None on this machine."""


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
    job: JobState | None = None
    """Of a worker that is a cluster's job."""
    fate: JobEnd | None = None
    """Of a job that is gone."""
    words: str = ""
    """Of a job that is gone: what the cluster says."""
    log: Path | None = None
    """What it wrote outside of runs: why it did not start, say."""


class Launcher(Protocol):
    """Starts, watches and ends workers."""

    def submit(self, run_ids: Sequence[str], resources: Resources) -> str:
        """Start a worker that begins with these runs; its name. Raises OSError when none can be started."""

    def adopt(self, attempt: Attempt) -> str | None:
        """Watch and end, from now on, a worker that an earlier supervisor started; None when it is not this
        launcher's, or its machine cannot be asked."""

    def hand_over(self, worker: str, run_id: str) -> bool:
        """Give one more run to a worker; False when it takes no more."""

    def drain(self, worker: str) -> None:
        """No more runs for this worker: it leaves after the one that it has."""

    def snapshot(self) -> dict[str, Worker]:
        """All workers, by name; one that is gone is told once."""

    def stop(self, worker: str, *, force: bool = False) -> None:
        """End a worker and all its child processes: politely, or at once."""

    def show_stacks(self, worker: str) -> None:
        """Have the worker write where its threads stand to its log; of no effect where that is not possible."""
