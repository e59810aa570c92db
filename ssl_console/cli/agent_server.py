"""Server of the Model Context Protocol on standard input and output: JSON-RPC 2.0, one message a line.

Source: the specification of 2025-06-18 (lifecycle, tools, stdio transport). Every call of a tool is a command of the
command line in a process of its own. Tools are commands with `--json`, so an agent and a user get the same answer.
Those that only read are always offered; `run` and `cancel` only with a budget.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ssl_console._version import __version__
from ssl_console.operations.session import Session
from ssl_console.system.safe_text import printable

VERSIONS = ("2025-06-18", "2025-03-26", "2024-11-05")
"""Versions of the protocol, the newest first; the tools are the same in all of them."""
PARSE_ERROR, INVALID_REQUEST, NO_METHOD, BAD_PARAMETERS = -32700, -32600, -32601, -32602
MOST_CHARACTERS = 200_000
"""Longest answer of a tool."""
SECONDS = 600.0
"""Longest run time of a command."""
HOUR = 3600.0
INSTRUCTIONS = (
    "Evaluations of vision backbones in one workspace. Scores have 95 % intervals; a score with a badge has a reason "
    "to doubt it, which `show` explains. Read `plan` before `run`. Test differences with `compare`, not by intervals."
)


@dataclass(frozen=True)
class CommandOutput:
    """Exit code and output of a command that has ended."""

    code: int
    out: str
    err: str


Command = Callable[[Sequence[str]], CommandOutput]
Kind = Literal["string", "strings", "integers", "number", "flag"]
Value = object
"""A value of JSON."""


def run_command(workspace: Path, card_folders: Sequence[Path], words: Sequence[str]) -> CommandOutput:
    """Run `ssl-console WORDS` in a process of its own."""
    cards = [word for folder in card_folders for word in ("--cards", str(folder))]
    command = [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(workspace), *cards, *words]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return CommandOutput(1, "", f"{words[0]} took longer than {SECONDS:.0f} s and was ended")
    return CommandOutput(done.returncode, done.stdout, done.stderr)


def serve_agent(session: Session, allow_launch: float | None) -> None:
    """Answer the messages of standard input until it ends. `allow_launch` is the budget in hours; None: read only."""
    root, cards = session.workspace.root, session.card_folders

    def write(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    budget = None if allow_launch is None else allow_launch * HOUR
    AgentServer(lambda words: run_command(root, cards, words), budget).serve(sys.stdin, write)


@dataclass
class AgentServer:
    """Answers messages of one client."""

    command: Command
    budget_s: float | None = None
    """Expected duration of all runs that may be started, in seconds; None: nothing may be started."""
    spent_s: float = 0.0
    started: set[str] = field(default_factory=set)
    """Runs that this server has started."""

    @property
    def tools(self) -> dict[str, AgentTool]:
        """Tools by name."""
        offered = READING if self.budget_s is None else (*READING, *CHANGING)
        return {one.name: one for one in offered}

    def serve(self, lines: Iterable[str], write: Callable[[str], object]) -> None:
        """Answer every line until there are no more."""
        for line in lines:
            if not line.strip():
                continue
            answer = self._line(line)
            if answer is not None:
                write(json.dumps(answer) + "\n")

    def _line(self, line: str) -> dict[str, object] | None:
        try:
            message = json.loads(line)
        except ValueError as error:
            return _failure(None, PARSE_ERROR, f"not JSON: {error}")
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            return _failure(None, INVALID_REQUEST, "a message is an object with a method")
        if "id" not in message:
            return None  # a notification
        given = message.get("params", {})
        parameters = given if isinstance(given, dict) else {}
        return self._answer(message["id"], message["method"], parameters)

    def _answer(self, number: object, method: str, parameters: Mapping[str, object]) -> dict[str, object]:
        match method:
            case "initialize":
                return _success(number, self._welcome(parameters))
            case "ping":
                return _success(number, {})
            case "tools/list":
                return _success(number, {"tools": [one.document for one in self.tools.values()]})
            case "tools/call":
                return self._call(number, parameters)
        return _failure(number, NO_METHOD, f"unknown method {method}; this server only offers tools")

    def _welcome(self, parameters: Mapping[str, object]) -> dict[str, object]:
        asked = parameters.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "ssl-console", "version": __version__},
            "instructions": INSTRUCTIONS,
        }

    def _call(self, number: object, parameters: Mapping[str, object]) -> dict[str, object]:
        tool = self.tools.get(str(parameters.get("name")))
        arguments = parameters.get("arguments", {})
        if tool is None or not isinstance(arguments, dict):
            names = ", ".join(self.tools)
            return _failure(number, BAD_PARAMETERS, f"no tool {parameters.get('name')}; available: {names}")
        try:
            done = self._launch(tool, arguments) if tool.changes else self.command(tool.command_line(arguments))
        except ArgumentError as error:
            done = CommandOutput(2, "", str(error))
        return _success(number, _content(done))

    def _launch(self, tool: AgentTool, arguments: Mapping[str, object]) -> CommandOutput:
        """Run a changing tool. Raises ArgumentError where it is beyond the budget, or not this server's run."""
        words = tool.command_line(arguments)
        if tool.name == "cancel":
            given = arguments["runs"]
            foreign = [one for one in given if one not in self.started] if isinstance(given, list) else []
            if foreign:
                raise ArgumentError(f"{foreign[0]} was not started by this server: only the user can cancel it")
            return self.command(words)
        runs, expected = self._planned(arguments)
        done = self.command(words)
        if done.code == 0:
            self.spent_s += expected
            self.started |= runs
        return done

    def _planned(self, arguments: Mapping[str, object]) -> tuple[set[str], float]:
        """Runs that a launch would start, and their expected duration. Raises ArgumentError beyond the budget."""
        plan = self.command(self.tools["plan"].command_line(arguments))
        if plan.code != 0:
            raise ArgumentError(f"nothing was started: {plan.err.strip()}")
        document = json.loads(plan.out)
        if not document["counts"]["to_run"]:
            return set(), 0.0
        expected, left = document["eta_s"], (self.budget_s or 0.0) - self.spent_s
        if expected is None:
            raise ArgumentError("nothing was started: the duration is unknown, so the user has to start the first run")
        if expected > left:
            raise ArgumentError(
                f"nothing was started: it would take about {expected / HOUR:.2f} h, and {max(left, 0) / HOUR:.2f} h of "
                "the budget are left; choose fewer runs"
            )
        started = {one["run_id"] for one in document["runs"] if one["status"] not in {"done", "active", "missing"}}
        return started, float(expected)


def _content(done: CommandOutput) -> dict[str, object]:
    """Result of a call: the output, or what went wrong."""
    text = done.out if done.code == 0 else "\n".join(part for part in (done.err.strip(), done.out.strip()) if part)
    if len(text) > MOST_CHARACTERS:
        text, failed = f"the answer has {len(text):,} characters: ask for fewer backbones or tasks", True
    else:
        failed = done.code != 0
    texts = [text, done.err.strip()] if done.code == 0 and done.err.strip() else [text]
    content = [{"type": "text", "text": "\n".join(map(printable, one.splitlines()))} for one in texts]
    return {"content": content, "isError": failed}


def _success(number: object, result: Mapping[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def _failure(number: object, code: int, text: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text}}


class ArgumentError(ValueError):
    """A missing or unknown argument of a tool, or one of the wrong type."""


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
        """Words of the command line. Raises ArgumentError for a value of the wrong type."""
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
        "ledger",
        "Published scores with protocol, split of selection and source, of measured or unmeasured backbones.",
        ("ledger", "list"),
        (BACKBONES, TASKS),
    ),
    AgentTool(
        "published",
        "Own scores of a backbone against published ones of the same protocol, and those that are not comparable.",
        ("compare",),
        (SUITE, Argument("backbone", "string", "A backbone with results, or a glob.", required=True)),
        fixed=("--published", "--json"),
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
