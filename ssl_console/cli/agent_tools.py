"""Tools of the server for agents: names, arguments, and the command line that each one runs.

Reading tools are always offered; `run` and `cancel` only with a budget. Every tool is a command with `--json`, so an
agent and a user get the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["string", "strings", "integers", "number", "flag"]
Value = object
"""A value of JSON."""


class ArgumentError(ValueError):
    """An argument of a tool that is missing, unknown or of another kind."""


@dataclass(frozen=True)
class Argument:
    """One argument of a tool."""

    name: str
    kind: Kind
    help: str
    option: str = ""
    """Option of the command line; empty: a positional argument."""
    required: bool = False

    @property
    def schema(self) -> dict[str, object]:
        """JSON schema."""
        items: dict[Kind, dict[str, object]] = {
            "string": {"type": "string"},
            "strings": {"type": "array", "items": {"type": "string"}},
            "integers": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "number": {"type": "number"},
            "flag": {"type": "boolean"},
        }
        return {**items[self.kind], "description": self.help}

    def words(self, value: Value) -> list[str]:
        """Words of the command line. Raises ArgumentError for another kind of value."""
        match self.kind, value:
            case "string", str():
                given: list[object] = [value]
            case "number", int() | float() if not isinstance(value, bool):
                given = [value]
            case "strings", list() if all(isinstance(one, str) for one in value):
                given = list(value)
            case "integers", list() if all(isinstance(one, int) and not isinstance(one, bool) for one in value):
                given = list(value)
            case "flag", bool():
                return [self.option] if value else []
            case _:
                raise ArgumentError(f"{self.name}: {value!r} is not of type {self.schema['type']}")
        return [f"{self.option}={one}" if self.option else str(one) for one in given]


@dataclass(frozen=True)
class AgentTool:
    """A command that agents may run."""

    name: str
    help: str
    command: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()
    changes: bool = False
    """Whether it changes the workspace."""
    fixed: tuple[str, ...] = field(default=("--json",))

    @property
    def document(self) -> dict[str, object]:
        """Entry of `tools/list`."""
        schema = {
            "type": "object",
            "properties": {one.name: one.schema for one in self.arguments},
            "required": [one.name for one in self.arguments if one.required],
            "additionalProperties": False,
        }
        hints = {"readOnlyHint": not self.changes, "destructiveHint": self.name == "cancel", "openWorldHint": False}
        return {"name": self.name, "description": self.help, "inputSchema": schema, "annotations": hints}

    def command_line(self, given: Mapping[str, Value]) -> list[str]:
        """Words after `ssl-console`; values can never be taken for options. Raises ArgumentError."""
        known = {one.name: one for one in self.arguments}
        if unknown := sorted(set(given) - set(known)):
            raise ArgumentError(f"{self.name} has no argument {unknown[0]}; it has {', '.join(known) or 'none'}")
        if missing := [one.name for one in self.arguments if one.required and one.name not in given]:
            raise ArgumentError(f"{self.name} needs {missing[0]}")
        stated = [one for one in self.arguments if one.name in given]
        options = [word for one in stated if one.option for word in one.words(given[one.name])]
        places = [word for one in stated if not one.option for word in one.words(given[one.name])]
        return [*self.command, *self.fixed, *options, *(["--", *places] if places else [])]


SUITE = Argument("suite", "string", "The tasks of a suite.", "--suite")
BACKBONES = Argument("backbones", "strings", "Backbones or globs.", "--backbone")
TASKS = Argument("tasks", "strings", "Tasks or globs, e.g. linear/digits.", "--task")
SEEDS = Argument("seeds", "integers", "Seeds; default 0.", "--seed")
PRESET = Argument("preset", "string", "Named parameters: default, paper.", "--preset")
RUN = Argument("run", "string", "Id of a run, or a unique prefix.", required=True)
LAUNCH = (BACKBONES, TASKS, SUITE, SEEDS, PRESET)

READING: tuple[AgentTool, ...] = (
    AgentTool("backbones", "Backbones and whether their weights are present.", ("backbones",)),
    AgentTool("tasks", "Tasks and whether their data are present.", ("tasks",)),
    AgentTool("suites", "Suites: named lists of tasks.", ("suites",)),
    AgentTool("results", "All results with intervals and reasons to doubt them.", ("results",)),
    AgentTool(
        "runs",
        "Runs and their states.",
        ("runs",),
        (Argument("state", "string", "queued, running, done, failed or cancelled.", "--state"),),
    ),
    AgentTool(
        "plan", "What a launch would run, what is done or missing, and the expected duration.", ("plan",), LAUNCH
    ),
    AgentTool(
        "rank", "Ranking of backbones over tasks, with intervals and marks.", ("rank",), (SUITE, BACKBONES, TASKS)
    ),
    AgentTool(
        "optimism",
        "How much higher scores would be if settings were chosen on the test images.",
        ("rank",),
        (SUITE, BACKBONES, TASKS),
        fixed=("--optimism", "--json"),
    ),
    AgentTool(
        "compare",
        "Paired tests of two backbones on every task and over all tasks.",
        ("compare",),
        (
            SUITE,
            Argument("first", "string", "A backbone with results.", required=True),
            Argument("second", "string", "Another.", required=True),
        ),
    ),
    AgentTool(
        "why",
        "What differs between two results, and whether it changes the score.",
        ("why",),
        (
            Argument("first", "string", "Id of a finished run.", required=True),
            Argument("second", "string", "Another.", required=True),
        ),
    ),
    AgentTool("show", "Everything about a result: intervals, warnings, provenance.", ("show",), (RUN,)),
    AgentTool("logs", "The log of a run.", ("logs",), (RUN,), fixed=()),
)
CHANGING: tuple[AgentTool, ...] = (
    AgentTool(
        "run",
        "Start the runs that are not done yet, within the budget; returns at once.",
        ("run",),
        LAUNCH,
        changes=True,
        fixed=("--detach", "--json"),
    ),
    AgentTool(
        "cancel",
        "Cancel queued or active runs that this server has started.",
        ("cancel",),
        (Argument("runs", "strings", "Ids of runs.", required=True),),
        changes=True,
        fixed=(),
    ),
)


@dataclass(frozen=True)
class CommandOutput:
    """A command that has ended."""

    code: int
    out: str
    err: str
