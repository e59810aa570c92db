"""Disk space of a workspace by purpose, and the removal of runs that ended long ago: selection and size."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.ownership import check_owner
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import touch_runs_folder
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import ResultStore
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_index import RunInfo

Kept = Literal["all", "best", "none"]
"""Results that stay: all, the best of each backbone on each column, or none. Newer ones stay in any case."""
SECONDS = {"h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}
CLEAN, PRUNE = "ssl-console clean --older 90d --keep-best", "ssl-console cache prune"
LOG_NAMES = ("log.", "events.")
"""Prefixes of files in a run folder that are logs or events."""


def parse_age(text: str) -> float:
    """`90d`, `12w`, `6h` in seconds. Raises ConsoleError."""
    found = re.fullmatch(r"(\d+)([hdw])", text)
    if found is None:
        raise ConsoleError(f"--older {text}: write a number with h, d or w, such as 90d")
    return int(found[1]) * SECONDS[found[2]]


def outdated_runs(
    runs: Iterable[RunInfo], results: Collection[Result], ended_before: float, keep: Kept
) -> list[RunInfo]:
    """Runs that ended before a time (seconds since the epoch) and are not to be kept, oldest first."""
    best = best_runs(results)
    ended = [run for run in runs if run.status.state.final and 0.0 < (run.status.ended or 0.0) < ended_before]
    return sorted((run for run in ended if _may_go(run, best, keep)), key=lambda run: run.status.ended or 0.0)


def best_runs(results: Iterable[Result]) -> set[str]:
    """Run with the best value of each backbone on each column and seed."""
    best: dict[tuple[str, str, str], Result] = {}
    for result in results:
        place = result.backbone, result.made_of, result.column
        other = best.get(place)
        if other is None or (result.value > other.value) == result.higher_is_better:
            best[place] = result
    return {result.run_id for result in best.values()}


def _may_go(run: RunInfo, best: Collection[str], keep: Kept) -> bool:
    if run.status.state is not RunState.DONE:
        return True
    return keep == "none" or (keep == "best" and run.run_id not in best)


@dataclass(frozen=True)
class Removed:
    """Summary of a removal."""

    runs: int
    bytes: int


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder; files that vanish in the meantime are not counted."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield Path(place, name).lstat().st_size


def remove_runs(workspace: Workspace, runs: Collection[RunInfo]) -> Removed:
    """Remove run folders, and their rows from the database first. Raises StoreError, OSError.

    A folder is hidden by one rename before its files are removed, so that no reader finds a partial run.
    """
    check_owner(workspace)
    ResultStore(workspace).remove({run.run_id for run in runs if run.status.state is RunState.DONE})
    size = 0
    for run in runs:
        hidden = run.folder.path.with_name(f".{run.run_id}.removed")
        run.folder.path.rename(hidden)
        size += size_of(hidden)
        shutil.rmtree(hidden)
    touch_runs_folder(workspace)
    return Removed(len(runs), size)


@dataclass(frozen=True)
class StorageUse:
    """Disk space of one purpose."""

    title: str
    size: int
    """Bytes."""
    freed_by: str = ""
    """Command that frees some of it; empty where nothing can be removed."""


def storage_of(workspace: Workspace) -> tuple[StorageUse, ...]:
    """Disk space by purpose. Takes a second or two with tens of thousands of runs."""
    runs, logs = _runs(workspace)
    features, decoded = size_of(workspace.features), size_of(workspace.decoded)
    supervisor = size_of(workspace.supervisor)
    return (
        StorageUse("results and predictions of runs", runs, CLEAN),
        StorageUse("logs and events of runs", logs, CLEAN),
        StorageUse("logs of the supervisor and its workers", supervisor),
        StorageUse("stored features", features, PRUNE),
        StorageUse("decoded images", decoded, f"{PRUNE} --decoded"),
        StorageUse("other caches", size_of(workspace.cache) - features - decoded),
        StorageUse("weights", size_of(workspace.weights)),
        StorageUse("results database", sum(map(_size, workspace.root.glob(f"{workspace.results.stem}*")))),
    )


def _runs(workspace: Workspace) -> tuple[int, int]:
    """Bytes of all run folders: of their logs and events, and of everything else."""
    runs = logs = 0
    for folder in workspace.run_folders():
        for name, size in _files(folder.path):
            if name.startswith(LOG_NAMES):
                logs += size
            else:
                runs += size
    return runs, logs


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Files and folders of a run folder with their sizes; files that vanish in the meantime are not counted."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                is_folder = entry.is_dir(follow_symlinks=False)
                yield entry.name, size_of(Path(entry)) if is_folder else entry.stat(follow_symlinks=False).st_size


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0
