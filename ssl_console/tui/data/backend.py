"""What the screens ask of the core, and nothing more: the seam behind which files, processes and devices lie.

Everything here may touch the disk, so screens call it from worker threads only; the answers are plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from backbones.inspection.proposal import Inspection
from ssl_console.operations.add_backbone import BackboneOptions
from ssl_console.operations.checkpoints.record import WatchedTraining
from ssl_console.planning.disk_usage import Disk
from ssl_console.planning.plan import Plan
from ssl_console.tui.data.catalog import Catalog
from ssl_console.tui.data.state import Pair, Preferences, StateUpdate
from ssl_console.workspace.events import Curve
from ssl_console.workspace.pictures import Picture
from ssl_console.workspace.result import ResultRecord

if TYPE_CHECKING:
    from ssl_console.workspace.predictions import Arrays


@dataclass(frozen=True)
class LaunchRequest:
    """What the user picked to be measured."""

    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...] = (0,)
    preset: str | None = None
    suite: str | None = None
    again: bool = False


@dataclass(frozen=True)
class EventLine:
    """One event of a run, for reading."""

    time: float
    kind: str
    text: str


@dataclass(frozen=True)
class RunFiles:
    """What a run's newest attempt has written."""

    log: Path | None = None
    events: tuple[EventLine, ...] = ()
    """The last ones."""


class Backend(Protocol):
    """The core, as the screens see it. Every method may raise `ssl_console.system.errors.ConsoleError`."""

    @property
    def root(self) -> Path:
        """The workspace's folder."""
        ...

    def preferences(self) -> Preferences:
        """What was chosen last in this workspace's console."""
        ...

    def save_preferences(self, preferences: Preferences) -> None:
        """Keep that for the next start."""
        ...

    def catalogue(self) -> Catalog:
        """Backbones, tasks and suites, and which weights and data are there."""
        ...

    def news(self) -> StateUpdate:
        """What changed since the last call. One thread calls this."""
        ...

    def stale(self, pairs: Sequence[Pair], suite: str | None) -> Mapping[Pair, str]:
        """Of these measured pairs, those whose result is out of date, and why."""
        ...

    def plan(self, order: LaunchRequest) -> Plan:
        """What a launch would do."""
        ...

    def disk(self, plan: Plan) -> Disk:
        """What it would leave on the disk, and what is free there."""
        ...

    def submit(self, plan: Plan) -> int:
        """Start what the plan says; how many runs that were."""
        ...

    def command(self, order: LaunchRequest) -> str:
        """The command line that does the same."""
        ...

    def cancel(self, run_id: str) -> None:
        """Stop a run, or take it out of the queue."""
        ...

    def retry(self, run_id: str) -> None:
        """Run it again."""
        ...

    def set_paused(self, paused: bool) -> None:
        """Start nothing more, or go on."""
        ...

    def set_priority(self, run_id: str, priority: int) -> None:
        """Another place in the queue."""
        ...

    def dump_stack(self, run_id: str) -> None:
        """Have the worker write its stacks to the log."""
        ...

    def files(self, run_id: str) -> RunFiles:
        """Where the run's log is, and its events for reading."""
        ...

    def record(self, run_id: str) -> ResultRecord | None:
        """Everything about a finished run; None when it has left no result."""
        ...

    def per_class(self, run_id: str) -> Sequence[tuple[str, float, int]]:
        """Name, percent recognised and number of test images of every class; empty where that is not known."""
        ...

    def pictures(self, run_id: str) -> Sequence[Picture]:
        """What a finished run left to look at."""
        ...

    def predictions(self, run_id: str) -> Arrays | None:
        """Per-sample outputs of a finished run; None when it left none."""
        ...

    def repeat_command(self, run_id: str) -> str:
        """The command line that measures exactly this again."""
        ...

    def curves(self, run_id: str) -> Mapping[str, Curve]:
        """The metrics of a finished or running run."""
        ...

    def trainings(self) -> Sequence[WatchedTraining]:
        """The trainings that are or were watched."""
        ...

    def check_backbone(self, said: BackboneOptions) -> None:
        """What can be told of a checkpoint at once, without opening it."""
        ...

    def inspect_backbone(self, said: BackboneOptions) -> Inspection:
        """Look into a checkpoint; takes seconds."""
        ...

    def add_backbone(self, said: BackboneOptions, found: Inspection) -> str:
        """Write its card; the card's name."""
        ...
