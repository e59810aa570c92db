"""The state of the app as one value: updated by polls of the workspace and by actions of the user. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from backbones.io.files import make_private_folder, write_atomically
from ssl_console.analysis.filter_query import Filterable, Value
from ssl_console.operations.downloads import DownloadItem, DownloadProgress
from ssl_console.tui.data.catalog import Catalog, Suite
from ssl_console.tui.data.devices import DeviceView
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView
from tasks.datasets.manifest import ReadingProgress

FIRST = "demo"
"""The suite for an empty workspace: its data are generated locally, and it takes minutes."""
Runs = Mapping[str, RunView]
"""Runs by id."""
ORDER: Mapping[RunState, int] = {
    RunState.RUNNING: 0,
    RunState.STARTING: 1,
    RunState.QUEUED: 2,
    RunState.FAILED: 3,
    RunState.CANCELLED: 4,
    RunState.DONE: 5,
}


def opening_suite(catalogue: Catalog, results: Sequence[Result], runs: Iterable[RunView]) -> str:
    """The suite that contains the newest measurement; of several, the one with the most measured tasks.

    Empty if no suite contains it: then all tasks are shown.
    """
    dated = [(result.finished, (result.task, result.variant)) for result in results if result.source == "mine"]
    dated += [(run.created, (run.task, run.variant)) for run in runs]
    if not dated:
        return FIRST if FIRST in catalogue.suite else ""
    measured = {column for _, column in dated}
    newest = max(dated)[1]
    fitting = [suite for suite in catalogue.suites if newest in suite.columns]

    def worth(suite: Suite) -> tuple[int, int]:
        return len(measured.intersection(suite.columns)), -len(suite.columns)

    best = max(fitting, key=worth, default=None)
    return best.name if best else ""


Pair = tuple[str, str]
"""Backbone and task."""
Extent = Literal["none", "some", "all"]


@dataclass(frozen=True)
class PairSelection:
    """The ticked pairs."""

    pairs: frozenset[Pair] = frozenset()

    def has(self, backbone: str, task: str) -> bool:
        """Whether this one is ticked."""
        return (backbone, task) in self.pairs

    def toggle(self, pairs: Iterable[Pair]) -> PairSelection:
        """Tick all of these, or untick them if all are ticked."""
        toggled = frozenset(pairs)
        if toggled <= self.pairs:
            return replace(self, pairs=self.pairs - toggled)
        return replace(self, pairs=self.pairs | toggled)

    def add(self, pairs: Iterable[Pair]) -> PairSelection:
        """Tick all of these."""
        return replace(self, pairs=self.pairs | frozenset(pairs))

    @cached_property
    def by_backbone(self) -> Mapping[str, frozenset[str]]:
        """The ticked tasks of every backbone that has any."""
        return _grouped(self.pairs)

    @cached_property
    def by_task(self) -> Mapping[str, frozenset[str]]:
        """The ticked backbones of every task that has any."""
        return _grouped((task, backbone) for backbone, task in self.pairs)

    def ordered(self, backbones: Iterable[str], tasks: Iterable[str]) -> list[Pair]:
        """The ticked pairs in the order of these names; ticks of unknown names are omitted."""
        columns = list(tasks)
        return [(backbone, task) for backbone in backbones for task in columns if (backbone, task) in self.pairs]


def _grouped(pairs: Iterable[Pair]) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for first, second in pairs:
        found.setdefault(first, set()).add(second)
    return {first: frozenset(seconds) for first, seconds in found.items()}


def extent(ticked: frozenset[str], shown: frozenset[str]) -> Extent:
    """Whether none, some or all of the shown names are ticked."""
    count = len(ticked & shown)
    return "none" if not count else "all" if count == len(shown) else "some"


@dataclass(frozen=True)
class SupervisorStatus:
    """The process that owns the queue."""

    alive: bool = False
    paused: bool = False


@dataclass(frozen=True)
class StateUpdate:
    """Changes of the workspace between two polls."""

    runs: tuple[RunView, ...] = ()
    gone: tuple[str, ...] = ()
    results: tuple[Result, ...] | None = None
    """All results, when the file changed."""
    devices: tuple[DeviceView, ...] | None = None
    supervisor: SupervisorStatus | None = None
    problem: str | None = None
    """File that cannot be read, and why; empty once it can be read again."""
    reading: Mapping[str, ReadingProgress] | None = None
    """The datasets whose files are being read, when they or their progress changed."""
    downloads: Mapping[DownloadItem, DownloadProgress] | None = None
    """Weights and data, when their progress changed."""

    @property
    def empty(self) -> bool:
        """Whether nothing has changed."""
        return self == StateUpdate()


@dataclass(frozen=True)
class AppState:
    """Everything that the screens show."""

    catalogue: Catalog = field(default_factory=Catalog)
    runs: Runs = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    devices: tuple[DeviceView, ...] = ()
    supervisor: SupervisorStatus = field(default_factory=SupervisorStatus)
    problem: str = ""
    stale: Mapping[Pair, str] = field(default_factory=dict)
    reading: Mapping[str, ReadingProgress] = field(default_factory=dict)
    """The datasets that are pending: their files are being read."""
    downloads: Mapping[DownloadItem, DownloadProgress] = field(default_factory=dict)
    """Weights and data requested since the console was started."""
    selection: PairSelection = field(default_factory=PairSelection)
    marked: tuple[str, ...] = ()
    """Backbones marked for Compare, in the order of marking."""
    ranking_filter: str = ""
    """The filter of Rankings and Compare."""
    suite: str | None = None
    """Chosen by the user, and shown in Plan and Rankings; None for everything."""
    opening: str | None = None
    """The suite that Plan opens on while none has been chosen; empty after a choice, None until it is known."""

    @property
    def planned_suite(self) -> str | None:
        """The suite that Plan shows: the chosen one, else the one that it opens on; None for all tasks."""
        return self.suite or self.opening or None

    def opened(self) -> AppState:
        """The state with the suite that Plan opens on."""
        if self.opening is not None:
            return self
        return replace(self, opening=opening_suite(self.catalogue, self.results, self.runs.values()))

    def after(self, update: StateUpdate) -> AppState:
        """The state after an update."""
        return replace(
            self,
            runs=changed(self.runs, update.runs, update.gone) if update.runs or update.gone else self.runs,
            results=self.results if update.results is None else update.results,
            devices=self.devices if update.devices is None else update.devices,
            supervisor=self.supervisor if update.supervisor is None else update.supervisor,
            reading=self.reading if update.reading is None else update.reading,
            downloads=self.downloads if update.downloads is None else update.downloads,
            problem=self.problem if update.problem is None else update.problem,
        )

    def with_mark_toggled(self, backbone: str) -> AppState:
        """Mark a backbone for Compare, or unmark it."""
        if backbone in self.marked:
            return replace(self, marked=tuple(name for name in self.marked if name != backbone))
        return replace(self, marked=(*self.marked, backbone))

    @cached_property
    def results_by_run(self) -> Mapping[str, Result]:
        """Own results by run."""
        return {result.run_id: result for result in self.results}

    @cached_property
    def tally(self) -> Tally:
        """Number of runs in each state."""
        return Tally.of(self.runs.values())


@dataclass(frozen=True)
class Preferences:
    """Choices of the user that persist between sessions."""

    suite: str | None = None
    """Name of the suite; empty for all tasks, None before anything has been chosen."""
    theme: str = ""
    views: Mapping[str, JsonValue] = field(default_factory=dict)
    """Saved views of the rankings, by name."""


def read_preferences(path: Path) -> Preferences:
    """Read the preferences; a missing or invalid file is treated as empty."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return Preferences()
    if not isinstance(content, dict):
        return Preferences()
    suite, theme, views = content.get("suite"), content.get("theme"), content.get("views")
    return Preferences(
        suite if isinstance(suite, str) else None,
        theme if isinstance(theme, str) else "",
        views if isinstance(views, dict) else {},
    )


def write_preferences(path: Path, preferences: Preferences) -> None:
    """Write the preferences, if the folder is writable."""
    with suppress(OSError):
        make_private_folder(path.parent)
        write_atomically(path, json.dumps(asdict(preferences)).encode())


def filterable(run: RunView) -> Filterable:
    """The words and fields that a filter of runs is matched against."""
    fields: dict[str, Value] = {
        "run": run.run_id,
        "backbone": run.backbone,
        "task": run.task,
        "seed": run.seed,
        "state": run.state.value,
        "kind": run.status.kind,
        "device": run.places or None,
        "job": run.job.place if run.job else None,
        "phase": run.progress.phase or None,
    }
    return Filterable(f"{run.backbone} {run.task} {run.run_id}", fields)


def changed(runs: Runs, updates: Iterable[RunView], gone: Iterable[str] = ()) -> Runs:
    """The runs after a poll of the files."""
    lost = set(gone)
    remaining = {run_id: run for run_id, run in runs.items() if run_id not in lost}
    return {**remaining, **{run.run_id: run for run in updates}}


def in_order(runs: Iterable[RunView]) -> list[RunView]:
    """Running ones first, then queued ones in the order of their start, then ended ones, newest first."""
    return sorted(runs, key=_order)


def _order(run: RunView) -> tuple[int, float, float, str]:
    group = min(ORDER[run.state], 3)
    if run.state.final:
        return group, 0.0, -(run.status.ended or run.created), run.run_id
    return group, -run.priority if run.state is RunState.QUEUED else 0.0, run.created, run.run_id


@dataclass(frozen=True)
class Tally:
    """Number of runs in each state."""

    running: int = 0
    waiting: int = 0
    failed: int = 0
    done: int = 0

    @classmethod
    def of(cls, runs: Iterable[RunView]) -> Tally:
        """Counts of these runs."""
        states = [run.state for run in runs]
        return cls(
            running=states.count(RunState.RUNNING) + states.count(RunState.STARTING),
            waiting=states.count(RunState.QUEUED),
            failed=states.count(RunState.FAILED),
            done=states.count(RunState.DONE),
        )

    @property
    def text(self) -> str:
        """`2 running, 5 waiting, 1 failed`, without zero counts."""
        counts = ((self.running, "running"), (self.waiting, "waiting"), (self.failed, "failed"), (self.done, "done"))
        return ", ".join(f"{count} {word}" for count, word in counts if count) or "no runs"
