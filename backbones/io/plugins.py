"""Plug-ins: other packages' backbones, datasets, protocols and launchers, found by entry points. Needs no torch.

A package names a module in one of the groups below. An unusable module is reported and skipped: a broken package
never prevents the console from starting.

    [project.entry-points."ssl_console.protocols"]   module with PROTOCOLS, a sequence of ProtocolSpec
    [project.entry-points."ssl_console.datasets"]    module with CARDS, a folder; LAYOUTS for new readers
    [project.entry-points."ssl_console.backbones"]   module with CARDS, a folder
    [project.entry-points."ssl_console.launchers"]   module with LAUNCHERS, a sequence of launchers
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

PROTOCOLS = "ssl_console.protocols"
DATASETS = "ssl_console.datasets"
BACKBONES = "ssl_console.backbones"
LAUNCHERS = "ssl_console.launchers"


@dataclass(frozen=True)
class PlugInProblem:
    """Reason why a plug-in or a part of it was left out."""

    package: str
    group: str
    entry: str
    message: str

    def __str__(self) -> str:
        return f"plug-in {self.package}, {self.group} {self.entry}: {self.message}; it is left out"


@dataclass(frozen=True)
class PlugIn:
    """An imported module of another package."""

    entry: EntryPoint
    module: ModuleType

    def problem(self, message: str) -> PlugInProblem:
        return problem(self.entry, message)

    def folder(self, name: str) -> Path | None:
        """Folder that the module names, if any."""
        found = getattr(self.module, name, None)
        return Path(found) if found is not None and Path(found).is_dir() else None


@dataclass(frozen=True)
class PlugIns:
    """Usable modules of a group, and the problems of the others."""

    plug_ins: tuple[PlugIn, ...]
    problems: tuple[PlugInProblem, ...]


@cache
def find(group: str) -> PlugIns:
    """Import the modules of a group, once per process."""
    plug_ins: list[PlugIn] = []
    problems: list[PlugInProblem] = []
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        try:
            plug_ins.append(PlugIn(entry, entry.load()))
        except Exception as error:  # noqa: BLE001 - an error of another package must not stop the console
            problems.append(problem(entry, f"{type(error).__name__}: {error}"))
    return PlugIns(tuple(plug_ins), tuple(problems))


def card_folders(group: str) -> tuple[list[Path], list[PlugInProblem]]:
    """Folders of cards that the modules of a group name as `CARDS`, and problems."""
    found = find(group)
    folders = [(plug_in, plug_in.folder("CARDS")) for plug_in in found.plug_ins]
    missing = [plug_in.problem("its CARDS is not a folder") for plug_in, folder in folders if folder is None]
    return [folder for _, folder in folders if folder is not None], [*found.problems, *missing]


def problem(entry: EntryPoint, message: str) -> PlugInProblem:
    """Problem of an entry point."""
    package = entry.dist.name if entry.dist is not None else entry.value
    return PlugInProblem(package, entry.group, entry.name, message)
