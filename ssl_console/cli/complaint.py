"""Which errors are the user's to put right, the sentence for each, and the exit code.

Errors are named, not imported: one that was raised has its module loaded already.
"""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass

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
        return Complaint(f"{error.filename}: {what}" if error.filename else what, ExitCode.RUN_FAILED)
    return None
