"""What a command can end with, and the errors that end it in one sentence."""

from __future__ import annotations

from enum import IntEnum


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
