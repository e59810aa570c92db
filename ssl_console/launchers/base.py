"""Launcher interface of local processes, cluster jobs, and the launchers of plug-ins.

The supervisor queries the capabilities of a launcher and never its identity:

- `capacity`: whether its workers use the slots of this machine's devices, or have slots of their own, and how many;
- `batches`: which queued runs share a worker, and why others have to wait;
- `patience`: how long silence is normal, and how long a worker may take to react to a cancellation;
- `adopt`: which workers of an earlier supervisor still exist;
- `submit`, `hand_over`, `drain`, `snapshot`, `stop`, `show_stacks`: the lifecycle of a worker.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from ssl_console.system.device import Device
from ssl_console.system.machine_checks import Check
from ssl_console.workspace.config import Config
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.run import Attempt, JobState
from ssl_console.workspace.run_index import RunInfo

JobEnd = Literal["refused", "cancelled", "taken", "memory", "ended", "unknown"]
"""How a job ended: rejected; cancelled with the cluster's own commands; its node lost (preempted, or the node
failed); its memory limit exceeded; its process ended; not in the cluster's records.
"""


@dataclass(frozen=True)
class Resources:
    """Resources of a worker on a device of this machine."""

    slot: str
    device: Device
    threads: int
    """Processor cores for its own use."""


@dataclass(frozen=True)
class Batch:
    """Queued runs that one worker executes, in this order."""

    run_ids: tuple[str, ...]
    request: object = None
    """Resource request on their behalf, of the launcher's own type."""


@dataclass(frozen=True)
class Batching:
    """Queued runs as batches, in the order in which they start."""

    batches: tuple[Batch, ...]
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Why the other runs cannot be started, by run id."""


@dataclass(frozen=True)
class Capacity:
    """Slots that a launcher with a queue of its own offers."""

    workers: int
    """Workers, queued or running, at a time."""
    full_reason: str
    """Why further runs wait when the capacity is reached."""


@dataclass(frozen=True)
class Patience:
    """Normal silence and delay of a launcher's workers."""

    stall_factor: float = 1.0
    """Multiple of the setting `stall_s` for which a worker may be silent."""
    cancel_s: float = 0.0
    """Seconds in which a worker may end a cancelled run by itself before it is stopped."""
    look_every_s: float = 0.1
    """Seconds between two checks of the files of its workers."""
    restarts: int = 0
    """Number of automatic retries of a run without a checkpoint after its worker was interrupted; a run with a
    checkpoint is always retried.
    """


@dataclass(frozen=True)
class Worker:
    """A worker as reported by its launcher."""

    name: str
    """The launcher's own name for it, never reused."""
    pid: int | None = None
    """None while unknown, or when the worker is on another machine."""
    gone: bool = False
    """Whether it has ended."""
    exit_code: int | None = None
    """Exit code of a worker that has ended, where it is known; negative for a signal."""
    job: JobState | None = None
    """State of a worker that is a cluster job."""
    fate: JobEnd | None = None
    """How a job ended."""
    words: str = ""
    """One clause on how a job ended, in the launcher's own wording."""
    advice: str = ""
    """What to change before a retry."""
    log: Path | None = None
    """File of output outside of runs, e.g. why it did not start."""


@dataclass(frozen=True)
class AdoptedWorker:
    """A worker that an earlier supervisor started."""

    name: str
    run_ids: tuple[str, ...]
    """The run that it executes and those that follow, as far as the launcher has recorded them."""


class Launcher(ABC):
    """Starts, observes and stops workers. A launcher is a subclass; methods with a body are defaults."""

    name: ClassVar[str]
    """Name in settings, in specifications, and for `--launcher`."""
    summary: ClassVar[str]
    """Description of its workers, e.g. `processes of this machine`."""
    device_hint: ClassVar[str] = ""
    """For a launcher with slots of its own: where the devices of its workers are configured."""

    @classmethod
    @abstractmethod
    def open(cls, workspace: Workspace, config: Config) -> Launcher:
        """Create the launcher of a workspace. Starts nothing: planner and doctor open it too. Raises ValueError
        for unusable settings.
        """

    # -- for planner, doctor and log viewer ------------------------------------------------------------

    def capacity(self) -> Capacity | None:
        """Slots of its own, one per worker for its lifetime; None if its workers use the slots of this machine's
        devices.
        """
        return None

    def patience(self) -> Patience:
        """Normal silence and delay."""
        return Patience()

    def checks(self, suites: Collection[str]) -> Iterator[Check]:  # noqa: ARG002 - of the interface
        """Checks of the doctor; `suites` are the names of all suites."""
        yield from ()

    def output(self, folder: RunFolder) -> Path | None:  # noqa: ARG002 - of the interface
        """File of output outside of the run by the worker of a run's newest attempt; None if the launcher has no
        such file.
        """
        return None

    # -- for the supervisor ----------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """Why it starts no workers at the moment, or why their state is unknown."""
        return ""

    def summarise(self, jobs: Sequence[JobState]) -> str:  # noqa: ARG002 - of the interface
        """Short summary of its workers, for a launcher with slots of its own."""
        return ""

    def batches(self, queued: Sequence[RunInfo]) -> Batching:
        """Groups of runs that share a worker; each has one of its own unless the launcher decides otherwise.

        `queued` is in the order in which runs are to start.
        """
        return Batching(tuple(Batch((entry.run_id,)) for entry in queued))

    @abstractmethod
    def submit(self, batch: Batch, resources: Resources | None = None) -> str:
        """Start a worker for these runs and return its name. Raises OSError when it cannot be started.

        `resources` is None for a worker with a slot of its own.
        """

    @abstractmethod
    def adopt(self, under_way: Mapping[str, Attempt]) -> Iterator[AdoptedWorker]:
        """Find the workers that an earlier supervisor started, and observe them from now on.

        `under_way` contains the active attempts of runs placed on this launcher, by run id.
        """

    def hand_over(self, worker: str, run_id: str) -> bool:  # noqa: ARG002 - of the interface
        """Assign one more run to a worker; False when it accepts no more."""
        return False

    def drain(self, worker: str) -> None:  # noqa: B027 - a default
        """Assign no more runs to this worker: it exits after its present one."""

    @abstractmethod
    def snapshot(self) -> dict[str, Worker]:
        """All workers by name; an ended one is contained once."""

    @abstractmethod
    def stop(self, worker: str, *, force: bool = False) -> None:
        """Stop a worker and all its child processes: by SIGTERM or its equivalent, or at once."""

    def show_stacks(self, worker: str) -> None:  # noqa: B027 - a default
        """Have the worker write the stacks of its threads to its log; no effect where that is not possible."""

    def remove_old_files(self, now: float) -> None:  # noqa: B027 - a default
        """Remove output of workers outside of runs that is no longer needed. `now` is in seconds since the epoch."""
