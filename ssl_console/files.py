"""Files that are whole or absent: a rewrite goes to a temporary file beside it, is synced, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, or leave it as it was. Raises `OSError` (disk full, read-only) that names `path`."""
    with _written_beside(path, content) as temporary:
        temporary.replace(path)
    sync_folder(path.parent)


def create_exclusively(path: Path, content: bytes) -> bool:
    """Write `path` whole unless it exists already; say whether this call made it. Raises `OSError` that names it."""
    with _written_beside(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    sync_folder(path.parent)
    return True


@contextmanager
def _written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """A synced temporary file in the folder of `path`, gone afterwards unless it was renamed."""
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        error.filename = str(path)  # a failing write names no file at all, and the temporary one says nothing to people
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_folder(folder: Path) -> Path:
    """Create `folder`, and those of its parents that are missing, for this user alone."""
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return folder
