"""What one command works with: the workspace and what is read from it, each thing once and only when needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from backbones.io.card_files import UnknownName, suggest
from ssl_console.system.errors import ConsoleError

if TYPE_CHECKING:
    from backbones.catalog.catalog import BackboneCatalog
    from backbones.catalog.weights_folder import WeightsFolder
    from ssl_console.launchers.base import Launcher
    from ssl_console.operations.check_backbone import BackboneChecker
    from ssl_console.supervisor.client import SupervisorOptions
    from ssl_console.workspace.config import Config
    from ssl_console.workspace.paths import Workspace
    from ssl_console.workspace.result import Result
    from ssl_console.workspace.run import Placement
    from tasks.catalog.catalog import TaskCatalog


@dataclass
class Session:
    """One command line's surroundings. Nothing is read, and no folder is made, before it is asked for."""

    workspace_option: Path | None = None
    card_folders: tuple[Path, ...] = ()
    readonly: bool = False
    """The terminal app is opened to look only."""
    slow: bool = False
    """And for a slow link: fewer and smaller changes."""
    notify: Callable[[str], None] = field(kw_only=True)
    """Receives warnings about cards, and the progress of checks."""

    @cached_property
    def workspace(self) -> Workspace:
        """The workspace; its folders may not exist yet. Raises ConsoleError when it cannot be a folder."""
        from ssl_console.workspace.paths import Workspace

        found = Workspace.find(self.workspace_option)
        file = next((place for place in (found.root, *found.root.parents) if place.is_file()), None)
        if file is not None:
            raise ConsoleError(f"the workspace cannot be {found.root}: {file} is a file; choose another --workspace")
        return found

    @cached_property
    def config(self) -> Config:
        """The user's settings. Raises ConsoleError."""
        from ssl_console.workspace.config import load_config

        return load_config(self.workspace)

    @cached_property
    def data_root(self) -> Path:
        """The folder of the datasets; processes that are started from here understand it alike."""
        from ssl_console.workspace.config import DATA_VARIABLE, data_root

        found = data_root(self.workspace, self.config)
        os.environ[DATA_VARIABLE] = str(found)
        return found

    @cached_property
    def backbones(self) -> BackboneCatalog:
        """All backbone cards; broken ones have been reported."""
        from backbones.catalog.catalog import BackboneCatalog

        folders = [self.workspace.backbones, *self._cards("backbones")]
        catalog = BackboneCatalog.load(folders, self.workspace.cache / "timm")
        self._report([*catalog.problems, *catalog.overrides])
        return catalog

    @cached_property
    def tasks(self) -> TaskCatalog:
        """All dataset, task and suite cards; broken ones have been reported."""
        from tasks.catalog.catalog import TaskCatalog

        catalog = TaskCatalog.load([self.workspace.tasks, *self._cards("tasks")])
        self._report([*catalog.problems, *catalog.replacements])
        return catalog

    @cached_property
    def weights(self) -> WeightsFolder:
        """The weights folder."""
        from backbones.catalog.weights_folder import WeightsFolder

        return WeightsFolder(self.workspace.weights)

    def placement(self, launcher: str | None = None, devices: tuple[str, ...] = ()) -> Placement:
        """Where new runs are carried out, from options and settings. Raises ConsoleError."""
        from ssl_console.launchers.placement import resolve_placement
        from ssl_console.launchers.registry import registry

        self._report(registry().problems)
        return resolve_placement(self.workspace, self.config, launcher, devices)

    def launcher(self, placement: Placement) -> Launcher:
        """The launcher of a placement. Raises ConsoleError for one that is not installed."""
        from ssl_console.launchers.registry import open_launcher

        return open_launcher(placement.launcher, self.workspace, self.config)

    def practice(self, devices: tuple[str, ...] = ()) -> BackboneChecker:
        """How backbones are examined before they are measured: on the device that would measure them, or on one of this
        machine where a launcher has devices of its own.
        """
        from ssl_console.operations.check_backbone import BackboneChecker
        from ssl_console.system.devices import all_devices, choose_devices

        device = choose_devices(devices or self.config.devices, all_devices())[0]
        return BackboneChecker(self.workspace, self.weights, device.name, tell=self.notify)

    def results(self) -> list[Result]:
        """All results of the workspace. Raises StoreError when the database cannot be read."""
        from ssl_console.workspace.results_db import ResultStore

        return ResultStore(self.workspace).results()

    def slots(self, placement: Placement) -> int:
        """The number of runs carried out at a time. Raises ConsoleError for a device that does not exist."""
        from ssl_console.launchers.placement import slots_for

        return slots_for(self.workspace, self.config, placement)

    def supervisor_options(self) -> SupervisorOptions:
        """How a supervisor is to be started that is not there yet. It opens devices that runs name by itself."""
        from ssl_console.supervisor.client import SupervisorOptions

        return SupervisorOptions.from_config(self.config)

    def _cards(self, kind: str) -> list[Path]:
        for folder in self.card_folders:
            if not ((folder / "backbones").is_dir() or (folder / "tasks").is_dir()):
                raise ConsoleError(f"--cards {folder}: no cards there: it should hold the folders backbones or tasks")
        return [folder / kind for folder in self.card_folders]

    def _report(self, problems: Sequence[object]) -> None:
        for problem in problems:
            self.notify(f"ssl-console: {problem}")


SHOWN = 4


def resolve_run(name: str, run_ids: Iterable[str]) -> str:
    """The run that an id, or the unambiguous beginning of one, means.

    Raises UnknownName with suggestions, ConsoleError when several runs begin like that.
    """
    known = sorted(run_ids)
    if name in known:
        return name
    found = [run_id for run_id in known if name and run_id.startswith(name)]
    if len(found) > 1:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ConsoleError(f"{name!r} is the beginning of {', '.join(found[:SHOWN])}{more}: give more of the id")
    if not found:
        raise UnknownName("run", name, suggest(name, known))
    return found[0]


def resolve_runs(names: Iterable[str], run_ids: Iterable[str]) -> tuple[str, ...]:
    """Several of them, each once. Raises as `resolve_run` does, before any is acted upon."""
    known = tuple(run_ids)
    return tuple(dict.fromkeys(resolve_run(name, known) for name in names))


def resolve_backbone(name: str, known: Iterable[str]) -> str:
    """The backbone of this name, of those known. Raises UnknownName with suggestions."""
    names = tuple(known)
    if name not in names:
        raise UnknownName("measured backbone", name, suggest(name, names))
    return name
