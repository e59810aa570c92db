"""The server for agents: the protocol, tools that are the command line, a budget for launches."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from ssl_console.cli.agent_server import (
    CHANGING,
    MOST_CHARACTERS,
    READING,
    VERSIONS,
    AgentServer,
    ArgumentError,
    CommandOutput,
)
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.cli.test_compare import leave

PLAN = {
    "runs": [{"run_id": "aaa", "status": "new"}, {"run_id": "bbb", "status": "done"}],
    "counts": {"to_run": 1},
    "eta_s": 1800.0,
}


class Recorder:
    """A command line that answers plans, and notes what it was asked."""

    def __init__(self, plan: dict[str, Any] | None = None, out: str = "{}") -> None:
        self.plan, self.out, self.asked = plan or PLAN, out, list[list[str]]()

    def __call__(self, words: Sequence[str]) -> CommandOutput:
        self.asked.append(list(words))
        return CommandOutput(0, json.dumps(self.plan) if words[0] == "plan" else self.out, "")


def ask(server: AgentServer, method: str, **parameters: object) -> dict[str, Any]:
    said: list[str] = []
    message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": parameters}
    server.serve([json.dumps(message) + "\n"], said.append)
    (line,) = said
    answer: dict[str, Any] = json.loads(line)
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
    return answer


def call(server: AgentServer, name: str, **arguments: object) -> tuple[str, bool]:
    result = ask(server, "tools/call", name=name, arguments=arguments)["result"]
    return result["content"][0]["text"], result["isError"]


def test_the_client_is_welcomed_in_its_version_of_the_protocol() -> None:
    server = AgentServer(Recorder())
    for asked, given in ((VERSIONS[-1], VERSIONS[-1]), ("1999-01-01", VERSIONS[0])):
        result = ask(server, "initialize", protocolVersion=asked)["result"]
        assert result["protocolVersion"] == given
        assert result["capabilities"] == {"tools": {}}
    assert ask(server, "ping")["result"] == {}
    assert ask(server, "resources/list")["error"]["code"] == -32601


def test_notifications_get_no_answer_and_broken_lines_an_error() -> None:
    said: list[str] = []
    lines = ['{"jsonrpc":"2.0","method":"notifications/initialized"}\n', "\n", "{broken\n", "[1]\n"]
    AgentServer(Recorder()).serve(lines, said.append)
    assert [json.loads(line)["error"]["code"] for line in said] == [-32700, -32600]


def test_without_a_budget_only_reading_tools_are_offered() -> None:
    names = [one["name"] for one in ask(AgentServer(Recorder()), "tools/list")["result"]["tools"]]
    assert names == [one.name for one in READING]
    assert {"backbones", "plan", "rank", "compare", "ledger", "published", "why", "logs"} <= set(names)
    assert ask(AgentServer(Recorder()), "tools/call", name="run")["error"]["code"] == -32602
    changing = [one["name"] for one in ask(AgentServer(Recorder(), 1.0), "tools/list")["result"]["tools"]]
    assert changing == [*names, "run", "cancel"]


def test_every_tool_has_a_schema_and_states_whether_it_changes_something() -> None:
    for tool in (*READING, *CHANGING):
        document = tool.document
        assert document["inputSchema"]["additionalProperties"] is False  # type: ignore[index]
        assert document["annotations"]["readOnlyHint"] == (tool not in CHANGING)  # type: ignore[index]


def test_values_are_never_taken_for_options() -> None:
    tools = {one.name: one for one in READING}
    words = tools["compare"].command_line({"first": "--workspace=/", "second": "b"})
    assert words[-3:] == ["--", "--workspace=/", "b"]
    assert tools["rank"].command_line({"backbones": ["--force", "-x"]}) == [
        "rank",
        "--json",
        "--backbone=--force",
        "--backbone=-x",
    ]


@pytest.mark.parametrize(
    "given",
    [{"backbone": "a"}, {"backbones": "a"}, {"seeds": ["0"]}, {"seeds": [True]}, {"suite": 3}],
)
def test_unknown_arguments_and_other_kinds_are_refused(given: dict[str, object]) -> None:
    plan = next(one for one in READING if one.name == "plan")
    with pytest.raises(ArgumentError):
        plan.command_line(given)
    text, failed = call(AgentServer(Recorder()), "plan", **given)
    assert failed
    assert next(iter(given)) in text


def test_the_ledger_is_read_with_filters_and_compared_by_the_options_of_the_command_line() -> None:
    tools = {one.name: one for one in READING}
    listed = tools["ledger"].command_line({"backbones": ["paper/*"], "tasks": ["linear/cars"]})
    assert listed == ["ledger", "list", "--json", "--backbone=paper/*", "--task=linear/cars"]
    compared = tools["published"].command_line({"backbone": "paper/swav"})
    assert compared == ["compare", "--published", "--json", "--", "paper/swav"]


def test_launches_are_refused_beyond_the_budget_and_start_nothing() -> None:
    commands = Recorder()
    server = AgentServer(commands, budget_s=3600.0)
    for _ in range(2):
        assert call(server, "run", backbones=["own/a"], tasks=["knn/cars"])[1] is False
    text, failed = call(server, "run", backbones=["own/a"], tasks=["knn/cars"])
    assert failed
    assert "nothing was started: it would take about 0.50 h, and 0.00 h of the budget are left" in text
    launched = [words for words in commands.asked if words[0] == "run"]
    assert launched == [["run", "--detach", "--json", "--backbone=own/a", "--task=knn/cars"]] * 2


def test_launches_of_unknown_duration_are_refused_and_finished_ones_cost_nothing() -> None:
    unknown = AgentServer(Recorder({**PLAN, "eta_s": None}), budget_s=3600.0)
    assert "the duration is unknown" in call(unknown, "run", backbones=["own/a"])[0]
    done = AgentServer(Recorder({**PLAN, "counts": {"to_run": 0}}), budget_s=0.0)
    assert call(done, "run", backbones=["own/a"])[1] is False


def test_only_own_runs_can_be_cancelled() -> None:
    commands = Recorder()
    server = AgentServer(commands, budget_s=3600.0)
    assert "was not started by this server" in call(server, "cancel", runs=["aaa"])[0]
    call(server, "run", backbones=["own/a"])
    assert call(server, "cancel", runs=["aaa"])[1] is False
    assert commands.asked[-1] == ["cancel", "--", "aaa"]
    assert call(server, "cancel", runs=["bbb"])[1] is True


def test_an_answer_that_is_too_long_is_refused_whole() -> None:
    text, failed = call(AgentServer(Recorder(out="x" * (MOST_CHARACTERS + 1))), "results")
    assert failed
    assert "ask for fewer" in text


def digests(workspace: Workspace) -> dict[str, bytes]:
    """Content of the runs and the results."""
    files = [*workspace.runs.rglob("*"), workspace.results]
    return {str(path): path.read_bytes() for path in files if path.is_file()}


def test_the_command_serves_an_agent_on_its_standard_streams(shell: Shell, workspace: Workspace) -> None:
    leave(workspace, "own/a", "linear/cars", 0.7, protocol="linear", dataset="cars")
    before = digests(workspace)
    listed = {"backbones": ["paper/swav"], "tasks": ["linear/cars"]}
    requests = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": VERSIONS[0]}},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "rank", "arguments": {}}},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "show", "arguments": {"run": "none"}}},
        {"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "ledger", "arguments": listed}},
    ]
    given = "".join(json.dumps(one) + "\n" for one in requests)
    done = subprocess.run(
        shell.command("mcp"),
        input=given,
        capture_output=True,
        text=True,
        env=shell.environment,
        check=True,
        timeout=300,
    )
    welcome, ranked, refused, ledger = (json.loads(line)["result"] for line in done.stdout.splitlines())
    assert welcome["serverInfo"]["name"] == "ssl-console"
    assert json.loads(ranked["content"][0]["text"])["rows"][0]["backbone"] == "own/a"
    assert refused["isError"]
    scores = json.loads(ledger["content"][0]["text"])["published"]
    assert {(one["backbone"], one["task"]) for one in scores} == {("paper/swav", "linear/cars")}
    assert all(one["source"] and one["chosen_on"] for one in scores)
    assert digests(workspace) == before, "reading tools change nothing"
