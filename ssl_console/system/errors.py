"""What a command can end with, and the errors that end it in one sentence."""

from __future__ import annotations

import errno
import os
import pwd
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    RUN_FAILED = 1
    USAGE = 2
    MISSING = 3
    REFUSED = 4
    INTERRUPTED = 130


class ConsoleError(Exception):
    """Something the user can put right. The message names the value, the place and the way out."""

    exit_code = ExitCode.USAGE


class MissingInputs(ConsoleError):  # noqa: N818 - a domain word, raised as such
    """Weights or data that are needed are not there; the message says which command gets them."""

    exit_code = ExitCode.MISSING


class OperationFailed(ConsoleError):  # noqa: N818 - as above
    """The request was understood but could not be carried out: a full disk, a supervisor that does not start."""

    exit_code = ExitCode.RUN_FAILED


WAYS_OUT = {
    errno.ENOSPC: "the disk is full: make room (ssl-console cache prune), then do it again",
    errno.EDQUOT: "your disk quota is used up: make room (ssl-console cache prune), then do it again",
    errno.EFBIG: "a file may not grow so large (`ulimit -f`): allow it, then do it again",
    errno.EROFS: "the file system is read-only: choose another --workspace",
    errno.EACCES: "permission denied: choose another --workspace, or mend the permissions",
    errno.EPERM: "permission denied: choose another --workspace, or mend the permissions",
    errno.ENOTDIR: "there is a file where a folder should be: move it away, or choose another --workspace",
    errno.EEXIST: "there is a file where a folder should be: move it away, or choose another --workspace",
}


def format_os_error(error: OSError) -> str:
    """One sentence."""
    what = WAYS_OUT.get(error.errno or 0, error.strerror or str(error))
    if isinstance(error, PermissionError) and (owner := other_owner(error.filename)):
        what = f"it belongs to {owner}, whose workspace this is: {what}"
    return f"{error.filename}: {what}" if error.filename else what


def other_owner(name: object) -> str | None:
    """Who a path, or the folder that hides it, belongs to; None for our own, and where that cannot be told."""
    place = Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None
    while place is not None and place != place.parent:
        try:
            owner = place.stat().st_uid
        except PermissionError:
            place = place.parent
            continue
        except OSError:
            return None
        return None if owner == os.geteuid() else _user_name(owner)
    return None


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


LEAST_BYTES = 1 << 20
"""With less free than this no run is begun: it could not even say how it ended."""


def shortage(place: Path) -> str:
    """Why nothing can be written at `place`, and the way out; empty when it can, or when that cannot be said."""
    try:
        found = os.statvfs(place)
    except OSError:
        return ""
    if found.f_flag & os.ST_RDONLY:
        return f"the file system of {place} is read-only: nothing is started until it can be written"
    free = found.f_bavail * found.f_frsize
    if free >= LEAST_BYTES:
        return ""
    return (
        f"the disk of {place} is full ({free // 1024} kB free): make room (`ssl-console cache prune` frees features); "
        "nothing is started until then"
    )
