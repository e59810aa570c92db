"""Atomic files: content is written to a temporary file in the same folder, synced, then renamed.

Locks are in `backbones.io.file_locks`.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import platformdirs

if TYPE_CHECKING:
    import numpy.typing as npt

WORKSPACE_VARIABLE = "SSL_CONSOLE_WORKSPACE"


@dataclass
class _Modes:
    """Permissions of files and folders that this process creates in a workspace."""

    folder: int = 0o700
    file: int = 0o600


MODES = _Modes()


def share_with_group() -> None:
    """Give the group read access to files that this process creates later, as the owner of the workspace shares it."""
    MODES.folder, MODES.file = 0o750, 0o640
    os.umask(os.umask(0o077) & ~0o050)


def write_if_possible(path: Path, content: bytes) -> None:
    """Write a small file that can be recomputed, without syncing; ignore a read-only or full disk."""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _written_beside(path, content, synced=False) as temporary:
            temporary.replace(path)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, or leave it unchanged. Raises `OSError` (disk full, read-only) that names `path`."""
    with _written_beside(path, content) as temporary:
        temporary.replace(path)
    sync_folder(path.parent)


def create_exclusively(path: Path, content: bytes) -> bool:
    """Write `path` unless it exists; return whether this call created it. Raises `OSError` that names it."""
    with _written_beside(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if not _rename_exclusively(temporary, path):
                return False
    sync_folder(path.parent)
    return True


NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)
"""Error codes of file systems without hard links: exFAT, SMB, gcsfuse, sshfs."""
CLAIM_S = 2.0
"""Seconds after which a claim without its file belongs to a dead process."""


def _rename_exclusively(temporary: Path, path: Path) -> bool:
    """Rename to `path` unless it exists, on a file system without links: a claim created with O_EXCL decides."""
    claim = path.with_name(f".{path.name}.claim")
    until = time.monotonic() + CLAIM_S
    while not _made(claim):
        if path.exists():
            return False
        if time.monotonic() > until:
            claim.unlink(missing_ok=True)
        time.sleep(0.01)
    try:
        if path.exists():
            return False
        temporary.rename(path)
        return True
    finally:
        claim.unlink(missing_ok=True)


def _made(claim: Path) -> bool:
    try:
        os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODES.file))
    except FileExistsError:
        return False
    return True


def open_own(path: Path, flags: int) -> int:
    """Open a file that this program writes: never through a symbolic link, and relative to its opened folder.

    Raises OSError that names `path`; ELOOP for a link.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.open(path.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, MODES.file, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        error.filename = str(path)
        raise


def own_opener(path: str, flags: int) -> int:
    """`open_own` as `opener` of the built-in `open`."""
    return open_own(Path(path), flags)


def no_follow_opener(path: str, flags: int) -> int:
    """Opener for files that others may read: never through a symbolic link, with permissions by the umask."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def touch_own(path: Path) -> None:
    """Create a file of this program, or set its times to now; never through a symbolic link. Raises OSError."""
    descriptor = open_own(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _written_beside(path: Path, content: bytes, *, synced: bool = True) -> Iterator[Path]:
    """A temporary file in the folder of `path`, removed afterwards unless it was renamed."""
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, MODES.file)
            file.write(content)
            file.flush()
            if synced:
                os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        error.filename = str(path)  # a failing write names no file, and the temporary name does not help users
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # some file systems cannot sync folders
            error.filename = str(folder)
            raise
    finally:
        os.close(descriptor)


def expand_user(path: str | Path) -> Path:
    """The path with `~` and `~name` replaced by a home folder; unchanged where there is none, so that it is not found.

    `Path.expanduser` raises RuntimeError there, and paths come from cards and user input.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111


def make_private_folder(folder: Path) -> Path:
    """Create `folder`, and those of its parents that are missing, for this user alone."""
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=MODES.folder, exist_ok=True)
    return folder


Bytes = bytes | memoryview


def write_durably(path: Path, chunks: Iterable[Bytes]) -> None:
    """Write `chunks` one after another to `path`, which appears only when all of them are on disk.

    Uses plain writes: an array's own `tofile` loses the error number when the disk is full, and a memory map is then
    killed by SIGBUS. The caller holds the entry's lock, so the temporary name needs no randomness. Raises OSError that
    names `path`.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        with open(unfinished, "wb", opener=own_opener) as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException as error:  # no unfinished file is left, even by an interruption
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    sync_folder(path.parent)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that becomes `path` when the block succeeds. Raises OSError that names `path`, and then removes the
    partial file.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb", opener=own_opener) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)  # a partial file would occupy space on a full disk
    sync_folder(path.parent)


@contextmanager
def written_elsewhere(path: Path) -> Iterator[Path]:
    """Path of a file of the same name in a private temporary folder, which replaces `path` when the block succeeds.

    For libraries that write to a path: other users cannot create a symbolic link in the folder (0700).
    """
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        partial = Path(folder, path.name)
        yield partial
        partial.replace(path)


def write_array(path: Path, values: npt.NDArray[Any]) -> None:
    """Write an array of any shape as a `.npy`. Raises OSError with its number, which numpy's own function loses."""
    import numpy as np  # noqa: PLC0415 - the console writes no arrays and starts without it

    whole = np.ascontiguousarray(values)
    with whole_file(path) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(whole))
        file.write(whole.reshape(-1).view(np.uint8).data)


def workspace_folder(given: Path | str | None = None) -> Path:
    """`given`, else the environment variable, else the platform's user data folder.

    Raises RuntimeError for a user without a home folder.
    """
    chosen = given or os.environ.get(WORKSPACE_VARIABLE) or platformdirs.user_data_path("ssl-console")
    return Path(chosen).expanduser().absolute()
