"""Which errors are the user's to put right, the sentence for each, and the exit code.

Errors are named, not imported: one that was raised has its module loaded already.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from ssl_console.errors import ConsoleError, ExitCode
from ssl_console.system_errors import in_words

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
        return Complaint(in_words(error), ExitCode.RUN_FAILED)
    return None
