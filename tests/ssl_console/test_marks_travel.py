"""A planted warning of every source (run, random twin, backbone's card) is in every view and export."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ssl_console.analysis.badged_results import mark_sentences, marked_scores
from ssl_console.analysis.figures import save_critical_difference
from ssl_console.analysis.rank_intervals import CriticalDifference
from ssl_console.analysis.ranking import rank as make_ranking
from ssl_console.cli.handlers.analyses import correlate
from ssl_console.cli.handlers.bundle import bundle
from ssl_console.cli.handlers.compare import compare_backbones
from ssl_console.cli.handlers.rank import RankView, rank, rank_intervals, results
from ssl_console.cli.handlers.results import show
from ssl_console.cli.handlers.runs import runs
from ssl_console.cli.output.progress import outcome_text, run_line
from ssl_console.operations.bundle.verify import check
from ssl_console.operations.session import Session
from ssl_console.workspace.badges import LEGEND
from ssl_console.workspace.run import RunState
from tests.ssl_console.measured import filled
from tests.ssl_console.run_views import run_view

SEEN, DOUBTED = "demo/mae", "demo/simclr"
CARD = """
title = "{name}"
architecture = "test_resnet"
weights = {{ kind = "url", url = "https://example.invalid/{name}.pth" }}
facts = {{ method = "{method}", imagenet_top1 = {top1}, seen_datasets = {seen} }}
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Two backbones of one architecture, the second untrained and better; the first knows the digits."""
    workspace = filled(tmp_path_factory.mktemp("marks") / "workspace")
    for name, method, seen in ((SEEN, "mae", '["digits"]'), (DOUBTED, "none", "[]")):
        path = workspace.backbones / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CARD.format(name=name, method=method, top1=70.0, seen=seen))
    return Session.of(workspace)


def ranked(session: Session, **options: str) -> None:
    rank(session, RankView.of(None, None, None, None, [*options]))


VIEWS: dict[str, Callable[[Session], None]] = {
    "results": lambda session: results(session, as_json=False),
    "results --json": lambda session: results(session, as_json=True),
    "runs": lambda session: runs(session, None, as_json=False),
    "runs --json": lambda session: runs(session, None, as_json=True),
    "rank": ranked,
    "rank --json": lambda session: ranked(session, json=""),
    "rank --csv": lambda session: ranked(session, csv=""),
    "rank --markdown": lambda session: ranked(session, markdown=""),
    "rank --latex": lambda session: ranked(session, latex=""),
    "rank --intervals": lambda session: rank_intervals(session, RankView()),
    "rank --intervals --json": lambda session: rank_intervals(session, RankView(format="json")),
    "compare": lambda session: compare_backbones(session, SEEN, DOUBTED, None, {}, as_json=False),
    "compare --json": lambda session: compare_backbones(session, SEEN, DOUBTED, None, {}, as_json=True),
    "show": lambda session: show(session, run_of(session, SEEN), as_json=False),
    "show --json": lambda session: show(session, run_of(session, SEEN), as_json=True),
}
NAMES = {"rank --csv", "show --json", "runs --json"}
"""Views that have the badges' names in place of marks."""


def run_of(session: Session, backbone: str) -> str:
    return next(one.run_id for one in session.results() if (one.backbone, one.task) == (backbone, "knn/digits"))


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_and_export_of_the_command_line_has_both_marks(
    session: Session, view: str, capsys: pytest.CaptureFixture[str]
) -> None:
    VIEWS[view](session)
    out, err = capsys.readouterr()
    for mark, badge in (("!", "random"), ("§", "seen in pre-training")):
        assert badge in out if view in NAMES else mark in out + err or (mark == "§" and r"\S{}" in out), mark
        if view not in {*NAMES, "runs", "show"}:
            assert LEGEND[mark] in out + err


def test_correlations_name_the_marked_scores_behind_them(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    correlate(session, "mine", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert set(document["marks"]) == {"!", "§"}
    assert {one["backbone"] for one in document["settings"][0]["doubts"]} == {SEEN}
    correlate(session, "mine", as_json=False)
    assert LEGEND["§"] in capsys.readouterr().err


def test_the_tables_of_a_bundle_have_the_marks_and_anybody_can_make_them_again(
    session: Session, tmp_path: Path
) -> None:
    path = tmp_path / "results.zip"
    bundle(session, path, None, (), (), as_json=True)
    with zipfile.ZipFile(path) as archive:
        tables = {name: archive.read(name).decode() for name in archive.namelist() if name.startswith("tables/")}
    assert len(tables) == 4
    for name, text in tables.items():
        assert "seen in pre-training" in text if name.endswith(("csv", "ranks.json")) else "§" in text
        assert ("random twin" in text) or ("below random" in text) or "!" in text
    assert check(path).problems == []


def test_a_followed_run_ends_with_its_marks_and_both_sides_of_its_interval(session: Session) -> None:
    result = next(one for one in session.badged_results() if one.backbone == SEEN)
    lopsided = result.model_copy(update={"value": 90.0, "ci_low": 85.0, "ci_high": 92.0, "badges": ("chance",)})
    run = run_view("r", RunState.DONE)
    assert outcome_text(run, lopsided).startswith("90.0! -5.0+2.0")
    assert run_line(run, lopsided)["badges"] == ["chance"]


def test_pictures_have_the_marked_scores_below_them(session: Session, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    notes = mark_sentences(marked_scores(make_ranking(session.badged_results())))
    picture = CriticalDifference({SEEN: 1.2, DOUBTED: 1.8}, 0.7, 0.03)
    save_critical_difference(picture, tmp_path / "ranks.svg", notes)
    assert LEGEND["§"] in (tmp_path / "ranks.svg").read_text()
