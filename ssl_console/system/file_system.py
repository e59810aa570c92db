"""File system features that a workspace requires: locks, renames, syncing, memory maps, hard links."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from backbones.io.file_locks import lock
from backbones.io.files import expand_user

MOST_LISTED = 40
MOST_READ = 5000
"""Maximum number of entries of a folder that are read."""


@dataclass(frozen=True)
class Inability:
    """An operation that does not work in a folder."""

    operation: str
    consequence: str
    error: OSError
    required: bool
    """Whether a workspace requires the operation."""

    def __str__(self) -> str:
        return f"{self.operation} does not work here ({self.error.strerror or self.error}): {self.consequence}"


def _lock(folder: Path) -> None:
    with (folder / "lock").open("w") as file:
        lock(file.fileno(), folder / "lock", wait=False)


def _rename(folder: Path) -> None:
    (folder / "before").write_bytes(b"new")
    (folder / "after").write_bytes(b"old")
    (folder / "before").replace(folder / "after")
    if (folder / "after").read_bytes() != b"new":
        raise OSError(0, "the old content is still there")


def _sync(folder: Path) -> None:
    with (folder / "synced").open("wb") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())


def _map(folder: Path) -> None:
    (folder / "mapped").write_bytes(b"x" * mmap.PAGESIZE)
    with (folder / "mapped").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        if view[0] != ord("x"):
            raise OSError(0, "the mapping has different content")


def _link(folder: Path) -> None:
    (folder / "first").touch()
    (folder / "second").hardlink_to(folder / "first")


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LOCKS = "two supervisors could run at the same time; choose another --workspace (NFS: mount it with local_lock=none)"
OPERATIONS: tuple[tuple[str, Callable[[Path], None], str, bool], ...] = (
    ("locking a file (flock)", _lock, LOCKS, True),
    ("replacing a file by rename", _rename, "results could be half written; choose another --workspace", True),
    ("writing to the disk (fsync)", _sync, "a power cut could lose results; choose another --workspace", True),
    ("mapping a file into memory (mmap)", _map, "features could not be read; choose another --workspace", True),
    ("making hard links", _link, "claims are made by O_EXCL instead, which is slower and as safe", False),
)


def inabilities(folder: Path) -> Iterator[Inability]:
    """Operations that do not work in an existing folder. Raises OSError when there is no space, or when nothing can be
    written there.
    """
    with tempfile.TemporaryDirectory(prefix=".ssl-console-probe-", dir=folder, ignore_cleanup_errors=True) as name:
        for operation, attempt, consequence, required in OPERATIONS:
            try:
                attempt(Path(name))
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise
                yield Inability(operation, consequence, error, required)


@dataclass(frozen=True)
class PathCompletion:
    """Completions of a path."""

    text: str
    """The path, completed as far as it is unambiguous."""
    names: tuple[str, ...] = ()
    """Matching entries, folders with a slash at the end; at most `MOST_LISTED`."""


def complete_path(text: str, within: Path | None = None) -> PathCompletion:
    """Complete the last part of a path; a folder that cannot be read has no entries. `~` is the user's home.

    With `within`, only the entries of that folder and of those below it are listed, wherever links lead.
    """
    folder, _, begun = text.rpartition("/")
    place = expand_user(f"{folder}/" if "/" in text else ".")
    if within is not None and not _is_below(place, within):
        return PathCompletion(text)
    names = sorted(_entries(place, begun))
    if not names:
        return PathCompletion(text)
    common = os.path.commonprefix(names)  # noqa: RUF071 - of names, not of paths
    return PathCompletion(f"{folder}/{common}" if "/" in text else common, tuple(names[:MOST_LISTED]))


def _is_below(place: Path, root: Path) -> bool:
    try:
        return place.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # a null character, a loop of links
        return False


def _entries(folder: Path, begun: str) -> list[str]:
    """Names with this prefix; hidden ones only if it begins with a dot, and none that a terminal cannot show."""
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST_READ:
                    break
                visible = entry.name.isprintable() and (begun.startswith(".") or not entry.name.startswith("."))
                if visible and entry.name.startswith(begun):
                    found.append(entry.name + "/" * entry.is_dir())
    except (OSError, ValueError):  # a null character
        return []
    return found
