"""`ladder` on the command line: rungs are run, kept, and continued from."""

from __future__ import annotations

import json

import pytest

from tests.ssl_console.cli.shell import Shell

ASKED = ("ladder", "-b", "own/*", "--data", "things", "--rung", "echo", "echo:paper")


def test_rungs_are_run_once_and_a_repeated_call_continues_from_them(shell: Shell) -> None:
    first = shell(*ASKED, "--rung", "echo", "--json")
    assert first.code == 12, first.err
    steps = [line for line in first.lines if line["event"] == "step"]
    assert [step["variant"] for step in steps] == ["default", "paper"]
    assert steps[0]["scores"] == {"own/first": 50.0, "own/second": 50.0}
    assert first.lines[-1]["event"] == "verdict"
    assert first.lines[-1]["settled"] is False
    again = shell(*ASKED)
    assert again.code == 12
    assert "is not yet certain" in again.out
    assert len((shell.workspace.features / "journal").read_text().splitlines()) == 4


def test_a_budget_that_is_spent_ends_it_with_the_reason(shell: Shell) -> None:
    ended = shell(*ASKED, "--budget", "0")
    assert ended.code == 12
    assert "echo/things has an unknown duration, and 0 s of the budget are left" in ended.err
    assert not list(shell.workspace.runs.iterdir())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-b", "own/first", "--data", "things"), "at least two backbones are needed, not own/first"),
        (("-b", "own/*", "--data", "things"), "no protocol of a ladder runs on things"),
        (("-b", "own/*", "--data", "thing", "--rung", "echo"), "things"),
        (("-b", "own/*", "--data", "things", "--rung", "ecko"), "echo"),
        (("-b", "own/*", "--data", "things", "--rung", "echo:pape"), "default, paper"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_way_out(
    shell: Shell, arguments: tuple[str, ...], reason: str
) -> None:
    refused = shell("ladder", *arguments)
    assert refused.code == 2, refused.err
    assert reason in refused.err


def test_missing_data_end_it_with_the_command_that_fetches_them(shell: Shell) -> None:
    refused = shell("ladder", "-b", "own/*", "--data", "absent", "--rung", "echo")
    assert refused.code == 3
    assert "absent" in refused.err


@pytest.mark.slow
def test_on_the_demo_backbones_it_finds_the_better_one_by_two_rungs(shell: Shell) -> None:
    found = shell("ladder", "-b", "demo/supervised", "demo/random", "--data", "digits", "--json")
    assert found.code == 0, found.err
    verdict = json.loads(found.out.splitlines()[-1])
    assert (verdict["leader"], verdict["settled"]) == ("demo/supervised", True)
    tasks = [line["task"] for line in found.lines if line["event"] == "step"]
    assert tasks == ["knn/digits", "linear/digits"]
    compared = shell("compare", "demo/supervised", "demo/random", "--json").document
    assert {task["verdict"] for task in compared["tasks"]} == {"better"}
