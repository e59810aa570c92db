"""How the supervisor gets workers: the interface of local processes, cluster jobs, and the launchers of plug-ins.

The supervisor asks a launcher what it can do and never which one it is:

- `capacity`: whether its workers take the slots of this machine's devices, or have slots of their own, and how many;
- `batches`: which queued runs share a worker, and why others have to wait;
- `patience`: how long silence is normal, and how long a worker has to notice a cancellation by itself;
- `adopt`: which workers of an earlier supervisor still exist;
- `submit`, `hand_over`, `drain`, `snapshot`, `stop`, `show_stacks`: the life of a worker.
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
"""How a job ended: it was not accepted; it was cancelled with the cluster's own commands; it lost its node (preempted,
or the node failed); it exceeded its memory limit; its process ended; the cluster has no record of it."""


@dataclass(frozen=True)
class Resources:
    """What a worker on a device of this machine gets."""

    slot: str
    device: Device
    threads: int
    """Processor cores that it may use for itself."""


@dataclass(frozen=True)
class Batch:
    """Queued runs that one worker carries out, in this order."""

    run_ids: tuple[str, ...]
    request: object = None
    """What the launcher asks for on their behalf, of a type of its own."""


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
    """Why further runs wait once that many exist."""


@dataclass(frozen=True)
class Patience:
    """How long silence and delay are normal."""

    stall_factor: float = 1.0
    """Multiple of the setting `stall_s` for which a worker may be silent."""
    cancel_s: float = 0.0
    """Seconds in which a worker may end a cancelled run by itself before it is stopped."""
    look_every_s: float = 0.1
    """Seconds between two looks at the files of its workers."""
    restarts: int = 0
    """How often a run without a checkpoint is queued again by itself after its worker was interrupted; one with a
    checkpoint always is."""


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
    """Exit code of a worker that has ended, where it is known; negative for a signal."""
    job: JobState | None = None
    """State of a worker that is a cluster's job."""
    fate: JobEnd | None = None
    """How a job ended."""
    words: str = ""
    """One clause on how a job ended, in the launcher's words."""
    advice: str = ""
    """What to change before the run is tried again."""
    log: Path | None = None
    """What it wrote outside of runs, e.g. why it did not start."""


@dataclass(frozen=True)
class AdoptedWorker:
    """A worker that an earlier supervisor started."""

    name: str
    run_ids: tuple[str, ...]
    """The run that it carries out and those that follow, as far as the launcher has recorded them."""


class Launcher(ABC):
    """Starts, observes and stops workers. A launcher is a subclass; methods with a body are defaults."""

    name: ClassVar[str]
    """Its name in settings, in specifications, and for `--launcher`."""
    summary: ClassVar[str]
    """What its workers are, e.g. `processes of this machine`."""
    device_hint: ClassVar[str] = ""
    """For a launcher with slots of its own: where the devices of its workers are set."""

    @classmethod
    @abstractmethod
    def open(cls, workspace: Workspace, config: Config) -> Launcher:
        """The launcher of a workspace. Starts nothing: planner and doctor open it too. Raises ValueError for settings
        that it cannot use.
        """

    # -- questions of planner, doctor and log viewer ------------------------------------------------------------

    def capacity(self) -> Capacity | None:
        """Slots of its own, one for each worker as long as it exists; None if its workers take the slots of this
        machine's devices.
        """
        return None

    def patience(self) -> Patience:
        """How long silence and delay are normal."""
        return Patience()

    def checks(self, suites: Collection[str]) -> Iterator[Check]:  # noqa: ARG002 - of the interface
        """Checks of the doctor; `suites` are the names of all suites."""
        yield from ()

    def output(self, folder: RunFolder) -> Path | None:  # noqa: ARG002 - of the interface
        """What the worker of a run's newest attempt wrote outside of the run; None if the launcher has no such file."""
        return None

    # -- questions of the supervisor ----------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """Why it starts no workers at the moment, or why their state is not known."""
        return ""

    def summarise(self, jobs: Sequence[JobState]) -> str:  # noqa: ARG002 - of the interface
        """Its workers in a few words, for a launcher with slots of its own."""
        return ""

    def batches(self, queued: Sequence[RunInfo]) -> Batching:
        """Which of these runs share a worker; each has one of its own unless the launcher decides otherwise.

        `queued` is in the order in which runs are to start.
        """
        return Batching(tuple(Batch((entry.run_id,)) for entry in queued))

    @abstractmethod
    def submit(self, batch: Batch, resources: Resources | None = None) -> str:
        """Start a worker that begins with these runs; its name. Raises OSError when it cannot be started.

        `resources` is None for a worker with a slot of its own.
        """

    @abstractmethod
    def adopt(self, under_way: Mapping[str, Attempt]) -> Iterator[AdoptedWorker]:
        """Find the workers that an earlier supervisor started, and observe them from now on.

        `under_way` holds the attempts, by run id, of the runs placed on this launcher that have begun and not ended.
        """

    def hand_over(self, worker: str, run_id: str) -> bool:  # noqa: ARG002 - of the interface
        """Give one more run to a worker; False when it takes no more."""
        return False

    def drain(self, worker: str) -> None:  # noqa: B027 - a default
        """Give no more runs to this worker: it leaves after its present one."""

    @abstractmethod
    def snapshot(self) -> dict[str, Worker]:
        """All workers, by name; one that has ended is contained once."""

    @abstractmethod
    def stop(self, worker: str, *, force: bool = False) -> None:
        """Stop a worker and all its child processes: by SIGTERM or its equivalent, or at once."""

    def show_stacks(self, worker: str) -> None:  # noqa: B027 - a default
        """Have the worker write the stacks of its threads to its log; without effect where that is not possible."""

    def remove_old_files(self, now: float) -> None:  # noqa: B027 - a default
        """Remove what workers left outside of runs and is no longer of use. `now` is in seconds since the epoch."""
