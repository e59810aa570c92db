"""One session on a workspace, behind the command line and the terminal app.

A session opens what both of them need: settings, cards, weights, results, and requests to the supervisor. Each part
is read once, on first use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_console.system.errors import ConsoleError

if TYPE_CHECKING:
    from backbones.catalog.catalog import BackboneCatalog
    from backbones.catalog.weights_folder import WeightsFolder
    from ssl_console.analysis.badged_results import BadgeSources
    from ssl_console.analysis.comparison import Comparison
    from ssl_console.launchers.base import Launcher
    from ssl_console.operations.check_backbone import BackboneChecker
    from ssl_console.planning.candidates import LookupContext
    from ssl_console.workspace.config import Config, DevicesPerRun, Share
    from ssl_console.workspace.paths import Workspace
    from ssl_console.workspace.per_class_accuracy import NamedClassScore
    from ssl_console.workspace.pictures import Picture
    from ssl_console.workspace.predictions import RunOutputs
    from ssl_console.workspace.result import Identity, Result, ResultRecord
    from ssl_console.workspace.results_db import ResultStore
    from ssl_console.workspace.run import Placement
    from tasks.catalog.catalog import TaskCatalog
    from tasks.datasets.manifest import OnProgress


PROBLEMS_SHOWN = 3
"""Maximum number of card problems that are reported one by one; more are reported as a count."""


@dataclass
class Session:
    """A workspace in use. Files are read and folders created only when needed."""

    workspace_option: Path | None = None
    """The workspace's folder; None for the default one."""
    card_folders: tuple[Path, ...] = ()
    """Folders of further cards, each with the folders `backbones` and `tasks`."""
    readonly: bool = False
    """Whether the terminal app only shows the workspace."""
    slow: bool = False
    """Whether the terminal app is on a slow link."""
    notify: Callable[[str], None] = field(default=lambda _message: None, kw_only=True)
    """Receives warnings about cards, and the progress of checks."""
    on_reading: OnProgress = field(default=lambda _progress: None, kw_only=True)
    """Receives the progress of reading a dataset's files, which makes the dataset pending."""

    _marked: dict[str, tuple[Result, Result]] = field(default_factory=dict, init=False, repr=False)
    """Results of earlier versions by run, as stored and as shown."""
    _results: tuple[list[Result], list[Result]] | None = field(default=None, init=False, repr=False)
    """Results as stored, and with their marks."""

    @classmethod
    def of(cls, workspace: Workspace, card_folders: tuple[Path, ...] = ()) -> Session:
        session = cls(workspace.root, card_folders)
        session.workspace = workspace
        return session

    # -- the workspace and its catalogs ---------------------------------------------------------------------------

    @cached_property
    def workspace(self) -> Workspace:
        """The workspace; its folders may not exist yet. Raises ConsoleError when its path is, or is below, a file."""
        from ssl_console.workspace.ownership import check_ownership, share_if_wanted
        from ssl_console.workspace.paths import Workspace

        workspace = Workspace.find(self.workspace_option)
        root = workspace.root
        file = next((path for path in (root, *root.parents) if path.is_file()), None)
        if file is not None:
            raise ConsoleError(f"the workspace cannot be {root}: {file} is a file; choose another --workspace")
        check_ownership(workspace)
        share_if_wanted(workspace)
        return workspace

    @cached_property
    def config(self) -> Config:
        """The user's settings. Raises ConsoleError."""
        from ssl_console.workspace.config import load_config

        return load_config(self.workspace)

    @cached_property
    def data_root(self) -> Path:
        """Folder of the datasets; a relative one in the environment becomes absolute for subprocesses."""
        from ssl_console.workspace.config import DATA_VARIABLE, data_root

        root = data_root(self.workspace, self.config)
        if os.environ.get(DATA_VARIABLE) and self.config.data_root is None:
            os.environ[DATA_VARIABLE] = str(root)
        return root

    @cached_property
    def backbones(self) -> BackboneCatalog:
        """All backbone cards; problems with cards have been reported."""
        from backbones.catalog.catalog import BackboneCatalog

        folders = [self.workspace.backbones, *self._cards("backbones")]
        catalog = BackboneCatalog.load(folders, self.workspace.cache / "timm", self.weights.hub_models)
        self._report([*catalog.problems, *catalog.overrides])
        return catalog

    def reload_backbones(self) -> None:
        """Discard the backbone cards, so that they are read again on next use."""
        self.__dict__.pop("backbones", None)

    @cached_property
    def tasks(self) -> TaskCatalog:
        """All dataset, task and suite cards; problems with cards have been reported."""
        from tasks.catalog.catalog import TaskCatalog

        catalog = TaskCatalog.load([self.workspace.tasks, *self._cards("tasks")])
        self._report([*catalog.problems, *catalog.replacements])
        return catalog

    def reload_tasks(self) -> None:
        """Discard the dataset, task and suite cards, so that they are read again on next use."""
        self.__dict__.pop("tasks", None)

    @cached_property
    def weights(self) -> WeightsFolder:
        from backbones.catalog.weights_folder import WeightsFolder

        return WeightsFolder(self.workspace.weights)

    @property
    def lookup(self) -> LookupContext:
        """Lookup context of a launch's candidates."""
        from ssl_console.planning.candidates import LookupContext

        return LookupContext(self.workspace, self.data_root, self.weights, self.tasks, self.notify, self.on_reading)

    def _cards(self, kind: str) -> list[Path]:
        for folder in self.card_folders:
            if not ((folder / "backbones").is_dir() or (folder / "tasks").is_dir()):
                raise ConsoleError(f"--cards {folder}: no cards: expected a folder backbones or tasks")
        return [folder / kind for folder in self.card_folders]

    def _report(self, problems: Sequence[object]) -> None:
        if len(problems) > PROBLEMS_SHOWN:
            count = f"{len(problems):,} problems with cards (`ssl-console doctor` lists them), the first"
            self.notify(f"ssl-console: {count}: {problems[0]}")
            return
        for problem in problems:
            self.notify(f"ssl-console: {problem}")

    # -- results --------------------------------------------------------------------------------------------------

    @cached_property
    def store(self) -> ResultStore:
        from ssl_console.workspace.results_db import ResultStore

        return ResultStore(self.workspace)

    def results(self) -> list[Result]:
        """All results of the workspace. Raises StoreError when the results file cannot be read."""
        from ssl_console.planning.earlier_keys import with_unsettled_marks

        stored, shown = self.store.results(), self._results
        if shown is None or shown[0] is not stored:
            shown = stored, with_unsettled_marks(stored, self._has_files, self._marked)
            self._results = shown
        return list(shown[1])

    def _has_files(self, task: str) -> bool:
        """Whether the dataset of a task consists of files; assumed where no card states it."""
        from tasks.datasets.layouts import LAYOUTS

        card = self.tasks.datasets.get(self.lookup.dataset_of(task))
        return card is None or card.reader not in LAYOUTS or not LAYOUTS[card.reader].embedded

    @property
    def badge_sources(self) -> BadgeSources:
        """Facts of the backbones' cards about their results."""
        from ssl_console.analysis.badged_results import BadgeSources

        return BadgeSources.of(self.backbones.cards.values())

    def badged_results(self) -> list[Result]:
        """All results with their badges, as they are shown and exported. Raises StoreError."""
        return self.badge_sources.badged(self.results())

    def compare(
        self,
        first: str,
        second: str,
        results: Sequence[Result],
        columns: Sequence[tuple[str, str]] | None = None,
        margins: Mapping[str, float] | None = None,
    ) -> Comparison:
        """The comparison of two backbones, with the margins of the settings unless `margins` has others."""
        from ssl_console.analysis.comparison import compare

        sizes = {**self.config.margins, **(margins or {})}
        return compare(first, second, results, self.outputs.predictions, self.identity, columns, sizes)

    def identity(self, run_id: str) -> Identity | None:
        """Identity of a run's result; None when its record is missing or unreadable."""
        record = self.outputs.record(run_id)
        return None if record is None else record.identity

    @cached_property
    def outputs(self) -> RunOutputs:
        """Records and predictions of finished runs, each read once. Imports numpy."""
        from ssl_console.workspace.predictions import RunOutputs

        return RunOutputs(self.workspace)

    def record(self, run_id: str) -> ResultRecord | None:
        """Record of a finished run; None when the run has none. Raises ConsoleError when it cannot be read."""
        from pydantic import ValidationError

        from ssl_console.workspace.result import ResultRecord

        path = self.workspace.run(run_id).result
        try:
            return ResultRecord.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            raise ConsoleError(f"{path} cannot be read ({reason}): repeat it with `ssl-console run --force`") from error

    def class_scores(self, run_id: str) -> list[NamedClassScore]:
        """Recall on every class of the test images; empty without predictions. Raises ConsoleError for damaged ones."""
        from ssl_console.workspace.per_class_accuracy import named_class_scores

        try:
            return named_class_scores(self.workspace.run(run_id), self.data_root, self.workspace.cache)
        except ValueError as error:
            raise ConsoleError(str(error)) from error

    def pictures(self, run_id: str) -> list[Picture]:
        """Images that a finished run has written, without unreadable ones; first, one of several backbones."""
        from ssl_console.operations.patch_maps import PROTOCOL, picture_with_others
        from ssl_console.workspace.pictures import open_picture, picture_files

        opened = [open_picture(path) for path in picture_files(self.workspace.run(run_id))]
        results = self.results() if opened else []
        own = next((one for one in results if one.run_id == run_id and one.protocol_name == PROTOCOL), None)
        if own is not None:
            opened.insert(0, picture_with_others(self.workspace, results, own, save=not self.readonly))
        return [picture for picture in opened if picture is not None]

    # -- placement and checks -------------------------------------------------------------------------------------

    def placement(
        self,
        launcher: str | None = None,
        devices: tuple[str, ...] = (),
        share: Share | None = None,
        devices_per_run: DevicesPerRun | None = None,
    ) -> Placement:
        """Placement of new runs, from options and settings. Raises ConsoleError."""
        from ssl_console.launchers.registry import resolve_placement

        _ = self.launchers  # unusable plug-ins are reported once
        return resolve_placement(self.workspace, self.config, launcher, devices, share, devices_per_run)

    @cached_property
    def launchers(self) -> tuple[str, ...]:
        """Names of the installed launchers, that of the settings first; unusable plug-ins are reported."""
        from ssl_console.launchers.registry import registry

        self._report(registry().problems)
        return tuple(sorted(registry().launchers, key=lambda name: name != self.config.launcher))

    def launcher(self, placement: Placement) -> Launcher:
        """The launcher of a placement. Raises ConsoleError for one that is not installed."""
        from ssl_console.launchers.registry import open_launcher

        return open_launcher(placement.launcher, self.workspace, self.config)

    def slots(self, placement: Placement) -> int:
        """Number of concurrent runs. Raises ConsoleError for a device that does not exist."""
        from ssl_console.launchers.registry import slots_for

        return slots_for(self.workspace, self.config, placement)

    def sharing(self, launcher: str | None) -> Share | None:
        """Sharing of this machine's GPUs by runs of this launcher, from the settings; None where it has no effect."""
        from ssl_console.system.devices import all_devices, choose_devices

        if self.launcher(self.placement(launcher)).capacity() is not None:
            return None
        chosen = choose_devices(self.config.devices, all_devices())
        return self.config.share if any(device.kind == "cuda" for device in chosen) else None

    def checker(self, devices: tuple[str, ...] = ()) -> BackboneChecker:
        """Checker of backbones, on the device that would measure them, or on one of this machine where a launcher
        has devices of its own.
        """
        from ssl_console.operations.check_backbone import BackboneChecker
        from ssl_console.system.devices import all_devices, choose_devices

        device = choose_devices(devices or self.config.devices, all_devices())[0]
        return BackboneChecker(self.workspace, self.weights, device.name, notify=self.notify)

    # -- requests to the supervisor -------------------------------------------------------------------------------

    def start_supervisor(self) -> None:
        """Start a supervisor unless one is running. Raises OperationFailed."""
        from ssl_console.supervisor.client import SupervisorOptions, ensure_supervisor

        ensure_supervisor(self.workspace, SupervisorOptions.from_config(self.config))

    def cancel(self, *run_ids: str) -> None:
        """Stop active runs and remove queued ones. Raises NotPossible with every refusal, after all other requests."""
        from ssl_console.workspace.requests import request_cancel

        self._request_each(run_ids, request_cancel)

    def retry(self, *run_ids: str) -> None:
        """Queue failed or cancelled runs again, and start them. Raises NotPossible as `cancel` does."""
        from ssl_console.workspace.requests import request_retry

        self._request_each(run_ids, request_retry)
        self.start_supervisor()

    def _request_each(self, run_ids: Iterable[str], request: Callable[[Workspace, str], object]) -> None:
        from ssl_console.workspace.requests import NotPossible

        refusals = []
        for run_id in run_ids:
            try:
                request(self.workspace, run_id)
            except NotPossible as error:
                refusals.append(str(error))
        if refusals:
            raise NotPossible("; ".join(refusals))

    def set_priority(self, run_id: str, priority: int) -> None:
        """Move a queued run; higher priorities start first. Raises NotPossible."""
        from ssl_console.workspace.requests import set_priority

        set_priority(self.workspace, run_id, priority)

    def pause(self) -> None:
        from ssl_console.workspace.requests import pause

        pause(self.workspace.create())

    def resume(self) -> None:
        from ssl_console.workspace.requests import resume

        resume(self.workspace.create())
        self.start_supervisor()


MATCHES_SHOWN = 4


def resolve_run(name: str, run_ids: Iterable[str]) -> str:
    """The run with this id or unique prefix.

    Raises UnknownName with suggestions, ConsoleError for an ambiguous prefix.
    """
    ids = sorted(run_ids)
    if name in ids:
        return name
    matches = [run_id for run_id in ids if name and run_id.startswith(name)]
    if len(matches) > 1:
        more = f" and {len(matches) - MATCHES_SHOWN} more" if len(matches) > MATCHES_SHOWN else ""
        shown = ", ".join(matches[:MATCHES_SHOWN])
        raise ConsoleError(f"{name!r} matches {shown}{more}: give more of the id")
    if not matches:
        from backbones.io.card_files import UnknownName, suggest

        raise UnknownName("run", name, suggest(name, ids))
    return matches[0]


def resolve_runs(names: Iterable[str], run_ids: Iterable[str]) -> tuple[str, ...]:
    """Several runs, each once. Raises as `resolve_run` does."""
    ids = tuple(run_ids)
    return tuple(dict.fromkeys(resolve_run(name, ids) for name in names))


def resolve_backbone(name: str, backbones: Iterable[str]) -> str:
    """The name, if it is one of these backbones. Raises UnknownName with suggestions."""
    names = tuple(backbones)
    if name not in names:
        from backbones.io.card_files import UnknownName, suggest

        raise UnknownName("measured backbone", name, suggest(name, names))
    return name
