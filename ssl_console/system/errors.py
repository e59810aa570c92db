"""Exit codes of commands, and the errors that end a command with one sentence."""

from __future__ import annotations

import errno
import os
import pwd
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of every command; those from 10 on are answers of `ladder`, `judge` and `choose`."""

    DONE = 0
    RUN_FAILED = 1
    USAGE = 2
    MISSING = 3
    REFUSED = 4
    NOT_BETTER = 10
    EQUAL = 11
    UNDECIDED = 12
    INTERRUPTED = 130


class ConsoleError(Exception):
    """Error that the user can fix. The message names the value, the place and the fix."""

    exit_code = ExitCode.USAGE


class MissingInputs(ConsoleError):  # noqa: N818 - a domain word, raised as such
    """Required weights or data are missing; the message names the command that fetches them."""

    exit_code = ExitCode.MISSING


class OperationFailed(ConsoleError):  # noqa: N818 - as above
    """The request was valid but could not be carried out: a full disk, a supervisor that does not start."""

    exit_code = ExitCode.RUN_FAILED


WAYS_OUT = {
    errno.ENOSPC: "the disk is full (or out of inodes): make room (ssl-console cache prune), then try again",
    errno.EDQUOT: "your disk quota is used up (`quota -s`): make room (ssl-console cache prune), then try again",
    errno.EFBIG: "the file size limit was exceeded (`ulimit -f`): raise it, then try again",
    errno.EROFS: "the file system is read-only: choose another --workspace",
    errno.EACCES: "permission denied: choose another --workspace, or fix the permissions",
    errno.EPERM: "permission denied: choose another --workspace, or fix the permissions",
    errno.ENOTDIR: "there is a file where a folder should be: move it away, or choose another --workspace",
    errno.ELOOP: "it is a symbolic link, which is not followed for writing: remove the link",
    errno.ENOLCK: "the file system does not support locks (NFS: is its lock service up?): choose another --workspace",
    errno.ENOTSUP: "the file system does not support this operation: choose another --workspace, on a local disk",
    errno.ESTALE: "stale file handle on the file server: mount the file system again, then try again",
    errno.EIO: "the disk or the file server failed (input/output error): see `dmesg`, then try again",
    errno.EEXIST: "there is a file where a folder should be: move it away, or choose another --workspace",
}


def format_os_error(error: OSError) -> str:
    """Message for an OSError, as one sentence."""
    what = WAYS_OUT.get(error.errno or 0, error.strerror or str(error))
    if isinstance(error, PermissionError) and (owner := other_owner(error.filename)):
        what = f"it belongs to {owner}, whose workspace this is: {what}"
    return f"{error.filename}: {what}" if error.filename else what


def other_owner(name: object) -> str | None:
    """Owner of a path, or of the folder that hides it; None for this user, and where it cannot be determined."""
    place = Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None
    while place is not None and place != place.parent:
        try:
            owner = place.stat().st_uid
        except PermissionError:
            place = place.parent
            continue
        except OSError:
            return None
        return None if owner == os.geteuid() else user_name(owner)
    return None


def user_name(uid: int) -> str:
    """Login name of a user id; the number where no such account exists."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


LEAST_BYTES, LEAST_FILES = 1 << 20, 64
"""Minimum of free bytes and files for starting a run: with less, not even its end could be recorded."""


def shortage(place: Path) -> str:
    """Why nothing can be written at `place`, and the fix; empty when writing is possible or the state is unknown."""
    try:
        found = os.statvfs(place)
    except OSError:
        return ""
    if found.f_flag & os.ST_RDONLY:
        return f"the file system of {place} is read-only: no run starts until it is writable"
    if found.f_files and found.f_favail < LEAST_FILES:  # file systems without inodes of a fixed number report none
        return (
            f"the file system of {place} has no room for more files ({found.f_favail} of {found.f_files:,} inodes are "
            "free, `df -i`): remove files there; no run starts until then"
        )
    free = found.f_bavail * found.f_frsize
    if free >= LEAST_BYTES:
        return ""
    return (
        f"the disk of {place} is full ({free // 1024} kB free): make room (`ssl-console cache prune` frees features); "
        "no run starts until then"
    )
