"""The backend of the terminal app on this machine: a session, and a poller that watches its workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from backbones.io.card_files import CardNameError
from ssl_console.analysis.published import all_published
from ssl_console.operations.downloads import DownloadItem, DownloadProgress, DownloadQueue
from ssl_console.operations.launch import (
    Grid,
    LaunchOptions,
    disk_of_plan,
    plan_launch,
    plan_unchecked,
    run_command,
)
from ssl_console.operations.session import Session
from ssl_console.planning.candidates import data_advice, is_data_fetchable, is_fetchable, weights_advice
from ssl_console.planning.disk_usage import Disk
from ssl_console.planning.plan import Blocker, Plan
from ssl_console.planning.submit import submit_runs
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.data.backend import LaunchRequest, RunFiles
from ssl_console.tui.data.catalog import BackboneEntry, Catalog, Suite, TaskEntry
from ssl_console.tui.data.poller import WorkspacePoller
from ssl_console.tui.data.state import Pair, Preferences, StateUpdate, read_preferences, write_preferences
from ssl_console.workspace.events import Curve
from ssl_console.workspace.run import Placement
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.manifest import ReadingProgress, known_manifest
from tasks.datasets.presence import presence

PREFERENCES = "console.json"


@dataclass
class LocalBackend:
    """Backend on a session of this machine."""

    session: Session
    _reading: dict[str, ReadingProgress] = field(default_factory=dict)
    """Reading progress by dataset; replaced as a whole, by the planning thread."""
    _reported: dict[str, ReadingProgress] = field(default_factory=dict)
    _downloads: Mapping[DownloadItem, DownloadProgress] = field(default_factory=dict)
    """Downloads as last reported."""
    activity: str = ""
    """Activity on which planning waits."""

    def __post_init__(self) -> None:
        self.session.on_reading = self._note_reading
        self.session.notify = self._note_activity

    def _note_activity(self, sentence: str) -> None:
        self.activity = sentence

    def _note_reading(self, progress: ReadingProgress) -> None:
        self._reading = {**self._reading, progress.name: progress}

    @cached_property
    def _poller(self) -> WorkspacePoller:
        return WorkspacePoller(self.session)

    def preferences(self) -> Preferences:
        """The preferences stored in this workspace."""
        return read_preferences(self.session.workspace.root / PREFERENCES)

    def save_preferences(self, preferences: Preferences) -> None:
        """Store the preferences for the next start."""
        write_preferences(self.session.workspace.root / PREFERENCES, preferences)

    # -- catalog --------------------------------------------------------------------------------------------------

    def catalogue(self) -> Catalog:
        """Backbones, tasks and suites, with the weights and data that are missing."""
        all_published()  # read here, in a thread, so that the rankings need not wait for it
        backbones, tasks = self.session.backbones, self.session.tasks
        return Catalog(
            tuple(map(self._backbone_entry, backbones.cards)),
            tuple(self._task_entries()),
            tuple(map(self._suite, tasks.suites)),
            tuple(map(str, (*backbones.problems, *tasks.problems))),
        )

    def _backbone_entry(self, name: str) -> BackboneEntry:
        card = self.session.backbones.cards[name]
        state = self.session.weights.state(card)
        if state.status == "present":
            return BackboneEntry(card)
        reason = f"its weights are {state.status}"
        advice = f"{reason}: {weights_advice(card, state)}"
        return BackboneEntry(card, Blocker("weights", name, advice, reason, is_fetchable(card)))

    def _task_entries(self) -> list[TaskEntry]:
        """All tasks, also those of the user's task cards, grouped by protocol."""
        tasks = self.session.tasks
        missing = {name: self._missing_data(name) for name in tasks.datasets}
        entries = []
        for name in tasks.task_names:
            spec = tasks.resolve(name)
            dataset = tasks.datasets[spec.dataset]
            entries.append(TaskEntry(name, spec.protocol, dataset, missing[spec.dataset], spec.variant))
        order = {name: number for number, name in enumerate(PROTOCOLS)}
        return sorted(entries, key=lambda entry: (order[entry.protocol], entry.name))

    def _missing_data(self, name: str) -> Blocker | None:
        card = self.session.tasks.datasets[name]
        state = presence(card, self.session.data_root)
        if state.status == "present":
            return None
        reason = f"its data are {state.status}"
        advice = f"{reason}: {data_advice(card, state)}"
        return Blocker("data", name, advice, reason, is_data_fetchable(card), card.download_megabytes)

    def _suite(self, name: str) -> Suite:
        tasks, backbones = self.session.tasks, self.session.backbones
        card, specs = tasks.suites[name], tasks.select(suite=name)
        suited = [one.name for one in backbones.select(card.backbones)] if card.backbones else []
        own = [name for name in backbones.cards if name.startswith("own/") and name not in suited]
        names = (*suited, *own) if suited else ()  # the user's own are offered under every suite
        columns = tuple((spec.name, spec.variant) for spec in specs)
        return Suite(name, card.title, tuple(spec.name for spec in specs), names, columns)

    # -- runs -----------------------------------------------------------------------------------------------------

    def poll(self) -> StateUpdate:
        """Everything that has changed since the last call."""
        update, reading, downloads = self._poller.poll(), self._reading, self._download_queue.progress
        if reading != self._reported:
            self._reported = reading
            update = replace(update, reading=reading)
        if downloads != self._downloads:
            self._downloads = downloads
            update = replace(update, downloads=downloads)
        return update

    def files(self, run_id: str) -> RunFiles:
        """The log and the last events of a run."""
        return self._poller.files(run_id)

    def curves(self, run_id: str) -> Mapping[str, Curve]:
        """The metrics of a run."""
        return self._poller.curves(run_id)

    def dump_stack(self, run_id: str) -> None:
        """Have the worker write the stacks of its threads to the log."""
        self._poller.dump_stack(run_id)

    # -- launching ------------------------------------------------------------------------------------------------

    def plan(self, request: LaunchRequest) -> Plan:
        """Preview of a launch; unchecked backbones are checked.

        Datasets whose files have to be read are pending meanwhile.
        """
        self.activity = ""
        try:
            return plan_launch(self.session, self._grids(request), self._options(request), self._poller.results)
        finally:
            self._reading = {}

    def stale(self, pairs: Sequence[Pair], suite: str | None) -> Mapping[Pair, str]:
        """Pairs with an out-of-date result, and the reasons. Pairs whose data have changed since they were last read
        are omitted: reading takes long, and is part of planning.
        """
        tasks, cache = self.session.tasks, self.session.workspace.cache
        known = {
            name
            for name, card in tasks.datasets.items()
            if known_manifest(card, self.session.data_root, cache) is not None
        }
        request = LaunchRequest(tuple(pair for pair in pairs if tasks.resolve(pair[1]).dataset in known), suite=suite)
        plan = plan_unchecked(self.session, self._grids(request), self._options(request), self._poller.results)
        stale = (run for run in plan.runs if run.status == "stale")
        return {(run.candidate.backbone.name, run.candidate.task.name): run.reason for run in stale}

    def disk(self, plan: Plan) -> Disk:
        """The disk space that the plan needs, and the free space."""
        return disk_of_plan(self.session, plan, self._poller.results)

    @cached_property
    def _download_queue(self) -> DownloadQueue:
        return DownloadQueue.of(self.session)

    def fetch(self, items: Sequence[DownloadItem]) -> int:
        """Download weights and data one after another; the number of those that were not queued yet."""
        return self._download_queue.add(items)

    def submit(self, plan: Plan, request: LaunchRequest | None = None) -> int:
        """Queue the plan's new runs and start a supervisor; the number of runs."""
        placement = self._placement(request) if request else self.session.placement()
        submitted = submit_runs(self.session.workspace, plan.to_run, placement)
        self.session.start_supervisor()
        return len(submitted.run_ids)

    def command(self, request: LaunchRequest) -> str:
        """The command line of the same launch; one line for each group of backbones with the same tasks."""
        suite = request.suite
        of_suite = {spec.name for spec in self.session.tasks.select(suite=suite)} if suite else set()
        return "\n".join(
            run_command(
                self.session.workspace.root,
                backbones,
                tasks,
                self._options(request),
                suite=suite if set(tasks) == of_suite else None,
                preset=request.preset,
                launcher=request.launcher if request.launcher != self.session.config.launcher else None,
            )
            for backbones, tasks in _rectangles(request.pairs)
        )

    def _options(self, request: LaunchRequest) -> LaunchOptions:
        return LaunchOptions(request.seeds, self._placement(request), again=request.again, override=request.override)

    def _placement(self, request: LaunchRequest) -> Placement:
        return self.session.placement(request.launcher, share=request.share, devices_per_run=request.devices_per_run)

    def _grids(self, request: LaunchRequest) -> list[Grid]:
        """The cards and specifications of the selected pairs. Raises ConsoleError for unknown names."""
        tasks, preset = self.session.tasks, request.preset
        try:
            specs = {name: tasks.resolve(name, preset) for name in dict.fromkeys(task for _, task in request.pairs)}
            if request.suite:
                specs |= {spec.name: spec for spec in tasks.select(suite=request.suite, preset=preset)}
            return [
                ([self.session.backbones.get(name) for name in backbones], [specs[name] for name in names])
                for backbones, names in _rectangles(request.pairs)
            ]
        except CardNameError as error:
            raise ConsoleError(str(error)) from error


def _rectangles(pairs: Sequence[Pair]) -> list[tuple[list[str], tuple[str, ...]]]:
    """The pairs as groups of backbones that have the same tasks: a selection need not be a rectangle."""
    tasks: dict[str, list[str]] = {}
    for backbone, task in pairs:
        tasks.setdefault(backbone, []).append(task)
    groups: dict[tuple[str, ...], list[str]] = {}
    for backbone, names in tasks.items():
        groups.setdefault(tuple(names), []).append(backbone)
    return [(backbones, names) for names, backbones in groups.items()]
