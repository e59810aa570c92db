"""What the system refuses, in words: the place, what is wrong there, and the way out."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

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


def in_words(error: OSError) -> str:
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
