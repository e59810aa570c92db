"""Files that are whole or absent: temporary name, fsync, rename."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

Bytes = bytes | memoryview


def write_durably(path: Path, chunks: Iterable[Bytes]) -> None:
    """Write `chunks` one after another to `path`, which appears only when all of them are on the disk.

    Plain writes on purpose: an array's own `tofile` loses the error number when the disk is full, and a memory map
    dies of SIGBUS then. The caller holds the entry's lock, so the temporary name needs no randomness. Raises OSError
    that names `path`.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        with open(unfinished, "wb", opener=_private) as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
