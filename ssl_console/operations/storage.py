"""Disk space of a workspace by purpose, with the command that frees it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ssl_console.operations.clean import size_of
from ssl_console.workspace.paths import Workspace

CLEAN, PRUNE = "ssl-console clean --older 90d --keep-best", "ssl-console cache prune"
LOG_NAMES = ("log.", "events.")
"""Prefixes of files in a run folder that are logs or events."""


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
