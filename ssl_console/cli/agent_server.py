"""Server of the Model Context Protocol on standard input and output: JSON-RPC 2.0, one message a line.

Source: the specification of 2025-06-18 (lifecycle, tools, stdio transport). Every call of a tool is a command of the
command line in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssl_console._version import __version__
from ssl_console.cli.agent_tools import CHANGING, READING, AgentTool, ArgumentError, CommandOutput
from ssl_console.operations.session import Session
from ssl_console.system.safe_text import printable

VERSIONS = ("2025-06-18", "2025-03-26", "2024-11-05")
"""Versions of the protocol, the newest first; the tools are alike in all."""
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
Command = Callable[[Sequence[str]], CommandOutput]


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
        return _failure(number, NO_METHOD, f"no method {method}; this server has tools alone")

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
            return _failure(number, BAD_PARAMETERS, f"no tool {parameters.get('name')}; the tools are {names}")
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
                raise ArgumentError(f"{foreign[0]} was not started by this server: the user cancels it")
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
    said = [{"type": "text", "text": "\n".join(printable(line) for line in text.splitlines())}]
    if done.code == 0 and done.err.strip():
        said.append({"type": "text", "text": "\n".join(printable(line) for line in done.err.strip().splitlines())})
    return {"content": said, "isError": failed}


def _success(number: object, result: Mapping[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def _failure(number: object, code: int, text: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text}}
