"""Screens of ladder, judgement, race and published scores show the numbers of the command's `--json`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import pytest

from ssl_console.operations.choose import Race
from ssl_console.operations.session import Session
from ssl_console.tui.screens import verdicts
from ssl_console.tui.screens.ledger import read_ledger
from ssl_console.tui.screens.verdicts import RaceQuestion, read_judgement, read_ladder, read_race_of
from ssl_console.tui.style.glyphs import UNICODE
from ssl_console.tui.style.text import Line
from ssl_console.tui.views.ledger import ledger_lines
from ssl_console.tui.views.race import contender_lines, rung_charts
from ssl_console.tui.views.verdicts import judge_lines, ladder_lines
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.race_record import races
from tasks.catalog.protocols import PROTOCOLS
from tests.ssl_console.analysis.test_ledger import KNN, PUBLISHED
from tests.ssl_console.cli import answers
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.cli.test_compare import leave
from tests.ssl_console.cli.test_judge import CARD, PARTS

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
WIDTH = 120


@pytest.fixture
def asked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A workspace with a dataset whose answers are known, for this process too."""
    (shell.workspace.tasks / "asked.toml").write_text(CARD)
    monkeypatch.setitem(PROTOCOLS, "answers", answers.PROTOCOLS[0])
    monkeypatch.setenv("SSL_CONSOLE_DATA", shell.environment["SSL_CONSOLE_DATA"])
    return Shell(shell.workspace, {**shell.environment, **PARTS})


def session_of(workspace: Workspace) -> Session:
    return Session.of(workspace)


def numbers_after(lines: list[Line], name: str) -> list[float]:
    """Numbers of the first line that begins with a name."""
    texts = ["".join(span.text for span in one) for one in lines]
    (text, *_) = [one for one in texts if one.lstrip().startswith(name)]
    return [float(one) for one in NUMBER.findall(text.replace(name, "", 1).replace(",", ""))]


def one_decimal(*values: float) -> list[float]:
    return [float(f"{value:.1f}") for value in values]


def lead_of(document: Mapping[str, Any]) -> list[float]:
    """Lead and bounds, as screens round them."""
    return one_decimal(document["difference"], document["low"], document["high"])


def test_the_judgement(asked: Shell) -> None:
    task = "answers/asked"
    found = asked("judge", "own/first", "--against", "own/second", "-t", task, "--json")
    (printed,) = [line for line in found.lines if line["event"] == "judgement"]
    names = ("own/first", "own/second")
    reading = read_judgement(session_of(asked.workspace), names, None, (task,), 0.5)
    lines = judge_lines(reading, names, 0.5, WIDTH, UNICODE)
    assert numbers_after(lines, task)[:3] == lead_of(printed["lead"])
    assert reading.judgement is not None
    text = " ".join("".join(span.text for span in one).strip() for one in lines)
    assert printed["sentence"] in text


def test_the_ladder(asked: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asked("ladder", "-b", "own/*", "--data", "asked", "--rung", "answers", "--json")
    (step,) = [line for line in ended.lines if line["event"] == "step"]
    names = ("own/first", "own/second")
    monkeypatch.setattr(verdicts, "RUNGS", ((("answers", None),),))
    reading = read_ladder(session_of(asked.workspace), names, "asked", (), None)
    lines = ladder_lines(reading, names, WIDTH)
    assert step["leader"] == reading.steps[-1].leader == "own/first"
    shown = numbers_after(lines, "answers/asked")
    assert shown == [round(step["probability_best"]["own/first"], 2), *lead_of(step["leads"]["own/second"])]
    assert step["sentence"] in " ".join("".join(span.text for span in one).strip() for one in lines)


def test_the_race_and_its_choice(asked: Shell) -> None:
    ended = asked("choose", "-b", "own/*", "--data", "asked", "--target", "answers", "--hours", "1", "--json")
    choice = ended.lines[-1]
    (kept,) = races(asked.workspace)
    lines = contender_lines(kept, WIDTH)
    assert (kept.choice, kept.goal) == (choice["choice"], choice["goal"])
    for one in choice["contenders"]:
        shown = numbers_after(lines, one["name"].rpartition("/")[2])
        assert shown[:2] == [round(one["probability"], 2), *one_decimal(one["regret"])]
        assert shown[2:] == [round(value) for name in ("images_per_s", "memory_mb", "energy_j")
                             if (value := one[name]) is not None]  # fmt: skip
    assert all(
        note in " ".join("".join(span.text for span in one).strip() for one in lines) for note in choice["notes"]
    )


def test_the_race_is_read_from_results_as_the_command_has_left_it(
    asked: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked("choose", "-b", "own/*", "--data", "asked", "--target", "answers", "--hours", "1", "--json")
    (kept,) = races(asked.workspace)
    monkeypatch.setattr(verdicts, "Race", partial(Race, target=(("answers", None),)))
    question = RaceQuestion(("own/first", "own/second"), "asked")
    reading = read_race_of(session_of(asked.workspace), question, "accuracy", 1.0, write=False)
    assert reading.record.contenders == kept.contenders
    assert (reading.record.choice, reading.record.rungs) == (kept.choice, kept.rungs)


def text_of(lines: Iterable[Line]) -> str:
    return " ".join("".join(span.text for span in one).strip() for one in lines)


def test_marks_of_scores_accompany_every_verdict(asked: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    names, task = ("own/first", "own/second"), "answers/asked"
    commands = (
        ("ladder", "-b", "own/*", "--data", "asked", "--rung", "answers"),
        ("judge", "own/first", "--against", "own/second", "-t", task),
        ("choose", "-b", "own/*", "--data", "asked", "--target", "answers", "--hours", "1"),
    )
    sentence = f"! reason to doubt the score: own/first on {task} (chance; "
    for words in commands:
        assert sentence in asked(*words).err, words
        documents = [line for line in asked(*words, "--json").lines if "marked_scores" in line]
        assert documents, words
        assert all([one["backbone"] for one in line["marked_scores"]] == list(names) for line in documents)
    session = session_of(asked.workspace)
    judgement = read_judgement(session, names, None, (task,), 0.5)
    assert sentence in text_of(judge_lines(judgement, names, 0.5, WIDTH, UNICODE))
    monkeypatch.setattr(verdicts, "RUNGS", ((("answers", None),),))
    assert sentence in text_of(ladder_lines(read_ladder(session, names, "asked", (), None), names, WIDTH))
    (kept,) = races(asked.workspace)
    (chart,) = rung_charts(kept, WIDTH, UNICODE)
    assert sentence in text_of(chart)
    assert any(re.match(r" first .* \d+\.\d! ", one[0].text) for one in chart if one)


def test_published_scores(shell: Shell) -> None:
    for name, shift in zip(PUBLISHED, (0.5, 0.6, 0.4, 0.55, -9.0), strict=False):
        share = round(PUBLISHED[name] + shift) / 100
        leave(shell.workspace, name, KNN, share, variant="published", protocol="knn", dataset="imagenet")
    printed = shell("compare", "*", "--published", "--json").document
    found = read_ledger(session_of(shell.workspace), None)
    lines = ledger_lines(found, WIDTH, UNICODE)
    (column,) = printed["columns"]
    for one in column["backbones"]:
        shown = numbers_after(lines, one["backbone"])
        assert shown[:3] == [float(f"{one[name]:.2f}") for name in ("own", "published", "difference")]
    text = " ".join("".join(span.text for span in one).strip() for one in lines)
    assert f"median difference {column['median_difference']:+.2f}, Spearman {column['spearman']:.2f}" in text
    assert f"outliers: {', '.join(column['outliers'])}" in text
