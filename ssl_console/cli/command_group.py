"""The command group: options with several values, and exceptions turned into messages and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_args

import typer
from typer.core import TyperGroup

from ssl_console.cli.output.stdout import leave_closed_pipe, say
from ssl_console.system.errors import ConsoleError, ExitCode, format_os_error

EXIT_CODES = (
    "Exit codes: 0 all done, 1 some run failed or a check did not hold, 2 wrong usage or unknown name, "
    "3 weights or data missing, 4 refused by the doctor, 130 interrupted."
)
Choice = TypeVar("Choice", str, str | None)
WHOLE = 1000
"""Characters; longer than the first sentence of any help text."""
ANSWER_CODES = (
    "Exit codes: 0 better (judge) or settled (ladder, choose), 10 not better, 11 practically equal, 12 undecided: more "
    "data are needed; 1 some run failed, 2 wrong usage or unknown name, 3 weights or data missing, 4 refused by the "
    "doctor, 130 interrupted."
)
MULTI_VALUE_COMMANDS = frozenset({"plan", "run", "rank", "budget", "watch", "ladder", "judge", "choose", "multiverse"})
MULTI_VALUE_OPTIONS = frozenset({"-b", "--backbone", "-t", "--task", "--seed", "--set", "--test-also", "--rung"})
EXIT_CODES_OF_ERRORS = (
    ("backbones.io.card_files", "CardNameError", ExitCode.USAGE),
    ("backbones.catalog.timm_info", "ResolverError", ExitCode.USAGE),
    ("backbones.io.errors", "WeightsError", ExitCode.MISSING),
    ("tasks.catalog.spec", "OverrideError", ExitCode.USAGE),
    ("tasks.catalog.protocol", "PlugInError", ExitCode.USAGE),
    ("tasks.datasets.download.fetch", "FetchError", ExitCode.MISSING),
)


class CommandGroup(TyperGroup):
    """Command group whose user errors end in a message instead of a traceback."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - as above
        """List the commands, each with its whole first sentence, wrapped where necessary."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        shown = [(name, command) for name, command in found if command is not None and not command.hidden]
        if shown:
            with formatter.section("Commands"):
                formatter.write_dl([(name, command.get_short_help_str(limit=WHOLE)) for name, command in shown])

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401 - typer's classes are private
        """Run a command; user errors end it with a message and an exit code."""
        try:
            return cast("object", super().invoke(ctx))
        except KeyboardInterrupt as error:
            raise typer.Exit(ExitCode.INTERRUPTED) from error
        except BrokenPipeError as error:
            leave_closed_pipe()
            raise typer.Exit(ExitCode.RUN_FAILED) from error
        except Exception as error:  # a process edge: user errors become messages, anything else is a bug
            failure = user_error(error)
            if failure is None:
                raise
            say(f"ssl-console: {failure.message}")
            raise typer.Exit(failure.exit_code) from error


def expand_options(arguments: Sequence[str]) -> list[str]:
    """Expand `-b one two` to `-b one -b two`: an option with several values may be followed by all of them."""
    command = next((place for place, word in enumerate(arguments) if word in MULTI_VALUE_COMMANDS), len(arguments))
    words, option, values = list(arguments[: command + 1]), "", 0
    for word in arguments[command + 1 :]:
        if word.startswith("-") and word != "-":
            option, values = (word if word in MULTI_VALUE_OPTIONS else ""), 0
        elif option:
            words.extend([option] if values else [])
            values += 1
        words.append(word)
    return words


def one_of(option: str, value: Choice, literal: object) -> Choice:
    """Return `value` if the Literal type has it, or if it is None. Raises ConsoleError."""
    if value is not None and value not in get_args(literal):
        raise ConsoleError(f"{option} {value}: choose {', '.join(get_args(literal))}")
    return value


def margins(settings: Iterable[str]) -> dict[str, float]:
    """`accuracy=0.5` texts as a dictionary. Raises ConsoleError."""
    found: dict[str, float] = {}
    for setting in settings:
        metric, _, size = setting.partition("=")
        try:
            found[metric] = float(size)
        except ValueError:
            found[metric] = 0.0
        if not metric or not found[metric] > 0:
            raise ConsoleError(f"--margin {setting}: write METRIC=SIZE with a size above 0, e.g. accuracy=0.5")
    return found


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
