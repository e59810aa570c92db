"""What one command works with: the workspace and what is read from it, each thing once and only when needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_console.cli.output import say
from ssl_console.errors import ConsoleError

if TYPE_CHECKING:
    from backbones.catalog import BackboneCatalog
    from backbones.weights import WeightsFolder
    from ssl_console.config import Config
    from ssl_console.examinations import Practice
    from ssl_console.result import Result
    from ssl_console.supervision import SupervisorOptions
    from ssl_console.workspace import Workspace
    from tasks.catalog import TaskCatalog


@dataclass
class Session:
    """One command line's surroundings. Nothing is read, and no folder is made, before it is asked for."""

    workspace_option: Path | None = None
    card_folders: tuple[Path, ...] = ()
    readonly: bool = False
    """The terminal app is opened to look only."""
    slow: bool = False
    """And for a slow link: fewer and smaller changes."""

    @cached_property
    def workspace(self) -> Workspace:
        """The workspace; its folders may not exist yet. Raises ConsoleError when it cannot be a folder."""
        from ssl_console.workspace import Workspace

        found = Workspace.find(self.workspace_option)
        file = next((place for place in (found.root, *found.root.parents) if place.is_file()), None)
        if file is not None:
            raise ConsoleError(f"the workspace cannot be {found.root}: {file} is a file; choose another --workspace")
        return found

    @cached_property
    def config(self) -> Config:
        """The user's settings. Raises ConsoleError."""
        from ssl_console.config import load_config

        return load_config(self.workspace)

    @cached_property
    def data_root(self) -> Path:
        """The folder of the datasets; processes that are started from here understand it alike."""
        from ssl_console.config import DATA_VARIABLE, data_root

        found = data_root(self.workspace, self.config)
        os.environ[DATA_VARIABLE] = str(found)
        return found

    @cached_property
    def backbones(self) -> BackboneCatalog:
        """All backbone cards; broken ones have been reported."""
        from backbones.catalog import BackboneCatalog

        folders = [self.workspace.backbones, *self._cards("backbones")]
        catalog = BackboneCatalog.load(folders, self.workspace.cache / "timm")
        _report([*catalog.problems, *catalog.overrides])
        return catalog

    @cached_property
    def tasks(self) -> TaskCatalog:
        """All dataset, task and suite cards; broken ones have been reported."""
        from tasks.catalog import TaskCatalog

        catalog = TaskCatalog.load([self.workspace.tasks, *self._cards("tasks")])
        _report([*catalog.problems, *catalog.replacements])
        return catalog

    @cached_property
    def weights(self) -> WeightsFolder:
        """The weights folder."""
        from backbones.weights import WeightsFolder

        return WeightsFolder(self.workspace.weights)

    def practice(self, devices: tuple[str, ...] = ()) -> Practice:
        """How backbones are examined before they are measured, on the device that would measure them; for runs that a
        cluster carries out, on one of this machine.
        """
        from ssl_console.devices import all_devices, choose_devices
        from ssl_console.examinations import Practice
        from ssl_console.placement import SLURM

        here = () if devices == (SLURM,) else devices
        device = choose_devices(here or self.config.devices, all_devices())[0]
        return Practice(self.workspace, self.weights, device.name, tell=say)

    def results(self) -> list[Result]:
        """All results of the workspace. Raises StoreError when the database cannot be read."""
        from ssl_console.store import ResultStore

        return ResultStore(self.workspace).results()

    def slots(self, devices: tuple[str, ...] = ()) -> int:
        """How many runs go on at a time. Raises ConsoleError for a device that is not there."""
        from ssl_console.placement import slots_for

        return slots_for(self.config, devices)

    def supervisor_options(self) -> SupervisorOptions:
        """How a supervisor is to be started that is not there yet. It opens devices that runs name by itself."""
        from ssl_console.supervision import SupervisorOptions

        return SupervisorOptions.from_config(self.config)

    def _cards(self, kind: str) -> list[Path]:
        for folder in self.card_folders:
            if not ((folder / "backbones").is_dir() or (folder / "tasks").is_dir()):
                raise ConsoleError(f"--cards {folder}: no cards there: it should hold the folders backbones or tasks")
        return [folder / kind for folder in self.card_folders]


def _report(problems: Sequence[object], tell: Callable[[str], None] = say) -> None:
    for problem in problems:
        tell(f"ssl-console: {problem}")
