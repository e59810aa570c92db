"""User errors: message and exit code for each."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from ssl_console.system.errors import ConsoleError, ExitCode, format_os_error

EXIT_CODES_OF_ERRORS = (
    ("backbones.io.card_files", "CardNameError", ExitCode.USAGE),
    ("backbones.catalog.timm_info", "ResolverError", ExitCode.USAGE),
    ("backbones.io.errors", "WeightsError", ExitCode.MISSING),
    ("tasks.catalog.spec", "OverrideError", ExitCode.USAGE),
    ("tasks.catalog.protocol", "PlugInError", ExitCode.USAGE),
    ("tasks.datasets.download.fetch", "FetchError", ExitCode.MISSING),
)


@dataclass(frozen=True)
class UserError:
    """Message and exit code of a command that failed."""

    message: str
    exit_code: ExitCode


def user_error(error: Exception) -> UserError | None:
    """Message and exit code for an error; None for a bug."""
    if isinstance(error, ConsoleError):
        return UserError(str(error), error.exit_code)
    for module, name, exit_code in EXIT_CODES_OF_ERRORS:
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(error, kind):
            return UserError(str(error), exit_code)
    if isinstance(error, OSError):
        return UserError(format_os_error(error), ExitCode.RUN_FAILED)
    return None
