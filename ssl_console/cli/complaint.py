"""Which errors are the user's to put right, the sentence for each, and the exit code.

Errors are named, not imported: one that was raised has its module loaded already.
"""

from __future__ import annotations

import errno
import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path

from ssl_console.errors import ConsoleError, ExitCode

KNOWN = (
    ("backbones.cardfile", "CardNameError", ExitCode.USAGE),
    ("backbones.resolver", "ResolverError", ExitCode.USAGE),
    ("backbones.errors", "WeightsError", ExitCode.MISSING),
    ("tasks.overrides", "OverrideError", ExitCode.USAGE),
    ("tasks.protocol", "PlugInError", ExitCode.USAGE),
    ("tasks.datasets.fetch", "FetchError", ExitCode.MISSING),
    ("ssl_console.requests", "NotPossible", ExitCode.USAGE),
    ("ssl_console.store", "StoreError", ExitCode.RUN_FAILED),
)
WAYS_OUT = {
    errno.ENOSPC: "the disk is full: make room (ssl-console cache prune), then do it again",
    errno.EDQUOT: "your disk quota is used up: make room (ssl-console cache prune), then do it again",
    errno.EROFS: "the file system is read-only: choose another --workspace",
    errno.EACCES: "permission denied: choose another --workspace, or mend the permissions",
    errno.EPERM: "permission denied: choose another --workspace, or mend the permissions",
    errno.ENOTDIR: "there is a file where a folder should be: move it away, or choose another --workspace",
    errno.EEXIST: "there is a file where a folder should be: move it away, or choose another --workspace",
}


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


@dataclass(frozen=True)
class Complaint:
    """How a command ends that could not do what was asked."""

    sentence: str
    exit_code: ExitCode


def complaint(error: Exception) -> Complaint | None:
    """What to say about an error; None for one that is a fault of the program."""
    if isinstance(error, ConsoleError):
        return Complaint(str(error), error.exit_code)
    for module, name, exit_code in KNOWN:
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(error, kind):
            return Complaint(str(error), exit_code)
    if isinstance(error, OSError):
        what = WAYS_OUT.get(error.errno or 0, error.strerror or str(error))
        if isinstance(error, PermissionError) and (owner := other_owner(error.filename)):
            what = f"it belongs to {owner}, whose workspace this is: {what}"
        return Complaint(f"{error.filename}: {what}" if error.filename else what, ExitCode.RUN_FAILED)
    return None
