"""`rank` orders its rows by their displayed values."""

from __future__ import annotations

import json

import pytest

from ssl_console.cli.handlers.rank import RankView, rank
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.results_db import ResultStore
from tests.ssl_console.analysis.test_ranking import result

SCORES = {
    ("a", "linear/x"): 80,
    ("a", "linear/y"): 99,
    ("b", "linear/x"): 85,
    ("b", "linear/y"): 50,
    ("c", "linear/x"): 70,
}


def order(session: Session, capsys: pytest.CaptureFixture[str], **options: object) -> list[str]:
    rank(session, RankView(format="json", **options))  # type: ignore[arg-type]
    return [row["backbone"] for row in json.loads(capsys.readouterr().out)["rows"]]


@pytest.fixture
def session(workspace: Workspace) -> Session:
    ResultStore(workspace).add(result(name, task, value) for (name, task), value in SCORES.items())
    return Session.of(workspace)


def test_all_tasks_put_the_best_estimate_first(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert order(session, capsys) == ["a", "b", "c"]


def test_common_tasks_alone_have_an_order_of_their_own(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert order(session, capsys, missing="common") == ["b", "a", "c"]
    assert order(session, capsys, missing="common", sort="mean") == ["b", "a", "c"]


def test_chosen_backbones_are_ordered_among_themselves(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert order(session, capsys, backbones=("c", "b"), tasks=("linear/x",)) == ["b", "c"]


@pytest.mark.parametrize(
    ("text", "left"),
    [("score:linear/x>75", ["a", "b"]), ("score:linear/y>90 or c", ["a", "c"]), ("not name:a linear/x", ["b", "c"])],
)
def test_the_filter_is_that_of_the_terminal_app(
    session: Session, capsys: pytest.CaptureFixture[str], text: str, left: list[str]
) -> None:
    assert sorted(order(session, capsys, filter=text)) == left


@pytest.mark.parametrize(("text", "reason"), [("nothing:1", "no field nothing"), ("zzz", "no backbone or no task")])
def test_a_filter_that_cannot_be_used_is_refused(session: Session, text: str, reason: str) -> None:
    with pytest.raises(ConsoleError, match=reason):
        rank(session, RankView(filter=text))
