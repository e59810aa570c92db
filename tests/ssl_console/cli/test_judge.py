"""`judge` on the command line: answers are exit codes, and stored results are used again."""

from __future__ import annotations

from pathlib import Path

import pytest

import backbones
from tests.ssl_console.cli.shell import Shell

ASKED = ("judge", "own/first", "--against", "own/second", "--suite", "both")


def test_without_time_it_needs_more_and_states_why(shell: Shell) -> None:
    found = shell(*ASKED, "--budget", "0")
    assert found.code == 12
    assert found.out == "needs more: no dataset has results of both backbones yet\n"
    assert "0 s of the budget are left" in found.err


def test_answers_are_exit_codes_and_nothing_is_measured_twice(shell: Shell) -> None:
    open_end = shell(*ASKED, "--json")
    assert open_end.code == 12, open_end.err
    answers = [line for line in open_end.lines if line["event"] == "judgement"]
    assert [len(answer["tasks"]) for answer in answers] == [1, 2]
    last, reason = open_end.lines[-1], "the score is not a mean over test images"
    assert last.pop("whole_test") == {"echo/things": reason, "echo/others": reason}
    assert last == {"event": "answer", "answer": "needs more", "exit_code": 12}
    assert f"all test images are used for echo/things, echo/others ({reason})" in open_end.err
    equal = shell(*ASKED, "--margin", "5")
    assert equal.code == 11
    assert "own/first and own/second are equal within 5 points: +0.0 points over 2 tasks" in equal.out
    assert len((shell.workspace.features / "journal").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("own/first", "--against", "own/first", "--suite", "both"), "against itself"),
        (("own/first", "--against", "own/second"), "add --suite S or -t TASK"),
        (("own/first", "--against", "own/secnd", "--suite", "both"), "own/second"),
        (("own/first", "--against", "own/second", "--suite", "both", "--margin", "0"), "--margin 0"),
        (("/nowhere/last.pth", "--against", "own/second", "--suite", "both"), "/nowhere/last.pth does not exist"),
        (
            ("own/frist", "--like", "own/first", "--against", "own/second", "--suite", "both"),
            "own/frist does not exist",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_way_out(
    shell: Shell, arguments: tuple[str, ...], reason: str
) -> None:
    refused = shell("judge", *arguments)
    assert refused.code == 2, refused.err
    assert reason in refused.err


CARD = """
title = "Digits with answers"
reader = "digits"
classes = 10
protocols = ["answers"]
"""
PARTS = {"SSL_CONSOLE_PROTOCOLS": "tests.ssl_console.cli.echo,tests.ssl_console.cli.answers"}


def test_a_run_ends_once_its_images_are_enough_and_no_score_of_a_part_is_stored(shell: Shell) -> None:
    (shell.workspace.tasks / "asked.toml").write_text(CARD)
    asked = ("judge", "own/first", "--against", "own/second", "-t", "answers/asked")
    found = shell(*asked, "--json", **PARTS)
    assert found.code == 0, found.err
    (judgement,) = [line for line in found.lines if line["event"] == "judgement"]
    assert judgement["part"] == {"task": "answers/asked", "images": 120, "of": 400}
    assert judgement["lead"]["low"] > 0
    assert "after 120 of 400 images of answers/asked" in judgement["sentence"]
    listed = shell("rank", "--json", **PARTS).document
    assert [row["backbone"] for row in listed["rows"]] == ["own/second"], "the opponent was measured in full"
    states = {one["backbone"]: one["state"] for one in shell("runs", "--json", **PARTS).document["runs"]}
    assert states == {"own/first": "cancelled", "own/second": "done"}
    again = shell(*asked, **PARTS)
    assert again.code == 0, again.err
    assert "own/first is better than own/second" in again.out
    assert "1 run" not in again.err, "the images that were scored are used again"


@pytest.mark.slow
def test_a_checkpoint_file_is_loaded_as_another_backbone_and_judged(shell: Shell) -> None:
    file = Path(backbones.__file__).parent / "demo" / "supervised.safetensors"
    asked = ("judge", str(file), "--like", "demo/supervised", "--against", "demo/random", "-t", "knn/digits")
    found = shell(*asked, "--json")
    assert found.code == 0, found.err
    assert found.lines[-1]["answer"] == "better"
    back = shell("judge", "demo/random", "--against", "demo/supervised", "-t", "knn/digits")
    assert back.code == 10, back.err
