"""The interface between the screens and the workspace. It hides files, processes and devices. Every method may read
the disk, so screens call it only from worker threads; results are plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ssl_console.planning.disk_usage import Disk
from ssl_console.planning.plan import Plan
from ssl_console.tui.data.catalog import Catalog
from ssl_console.tui.data.state import Pair, Preferences, StateUpdate
from ssl_console.workspace.config import DevicesPerRun, Share
from ssl_console.workspace.events import Curve

if TYPE_CHECKING:
    from ssl_console.operations.downloads import DownloadItem
    from ssl_console.operations.session import Session


@dataclass(frozen=True)
class LaunchRequest:
    """Runs selected by the user for launch."""

    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...] = (0,)
    preset: str | None = None
    suite: str | None = None
    again: bool = False
    """Whether finished runs are repeated."""
    override: bool = False
    """Whether backbones that fail their checks are measured, with a warning on every result."""
    launcher: str | None = None
    """Name of the launcher; None for that of the settings."""
    share: Share | None = None
    """Sharing of GPUs; None for that of the settings."""
    devices_per_run: DevicesPerRun | None = None
    """Maximum number of devices that compute the features of one run together; None for that of the settings."""


@dataclass(frozen=True)
class EventLine:
    """One formatted event of a run."""

    time: float
    kind: str
    text: str


@dataclass(frozen=True)
class RunFiles:
    """Output of a run's newest attempt."""

    log: Path | None = None
    events: tuple[EventLine, ...] = ()
    """The last events."""


class Backend(Protocol):
    """The workspace as the screens see it. Every method may raise `ssl_console.system.errors.ConsoleError`."""

    @property
    def session(self) -> Session:
        """The session: requests to the supervisor, records of results, cards."""
        ...

    def preferences(self) -> Preferences:
        """The preferences stored in this workspace."""
        ...

    def save_preferences(self, preferences: Preferences) -> None:
        """Store the preferences for the next start."""
        ...

    def catalogue(self) -> Catalog:
        """Backbones, tasks and suites, with the weights and data that are missing."""
        ...

    def poll(self) -> StateUpdate:
        """Everything that has changed since the last call. Called by one thread."""
        ...

    def files(self, run_id: str) -> RunFiles:
        """The log and the last events of a run."""
        ...

    def curves(self, run_id: str) -> Mapping[str, Curve]:
        """The metrics of a finished or running run."""
        ...

    def dump_stack(self, run_id: str) -> None:
        """Have the worker write the stacks of its threads to the log."""
        ...

    def plan(self, request: LaunchRequest) -> Plan:
        """Preview of a launch."""
        ...

    def stale(self, pairs: Sequence[Pair], suite: str | None) -> Mapping[Pair, str]:
        """Pairs with an out-of-date result, and the reasons."""
        ...

    def disk(self, plan: Plan) -> Disk:
        """The disk space that the plan needs, and the free space."""
        ...

    @property
    def activity(self) -> str:
        """Activity on which planning waits, e.g. the check of a backbone; empty if unknown."""
        ...

    def fetch(self, items: Sequence[DownloadItem]) -> int:
        """Download weights and data one after another; the number of those that were not queued yet.

        Their progress is part of updates.
        """
        ...

    def submit(self, plan: Plan, request: LaunchRequest | None = None) -> int:
        """Start the plan's new runs as requested, or by the settings; the number of runs."""
        ...

    def command(self, request: LaunchRequest) -> str:
        """Equivalent command line of the launch."""
        ...
