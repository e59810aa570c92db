"""A score on data named by the backbone's card has its mark on every screen; margins are those of the settings."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.badges import ADVICE, LEGEND, SEEN
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.measured import filled
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.filled import watch_training

CARD = """
title = "{name}"
architecture = "test_resnet"
weights = {{ kind = "url", url = "https://example.invalid/{name}.pth" }}
facts = {{ method = "mae", seen_datasets = {seen} }}
"""


@pytest.fixture
def marked(workspace: Workspace) -> Workspace:
    """Two backbones; the card of one names the digits, on which both were measured."""
    filled(workspace.root)
    for name, seen in (("demo/mae", '["digits"]'), ("demo/simclr", "[]")):
        path = workspace.backbones / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CARD.format(name=name, seen=seen))
    workspace.config.write_text('devices = ["cpu"]\n[margins]\naccuracy = 77.0\n')
    return workspace


def text(pilot: Pilot[int], selector: str) -> str:
    lines = pilot.app.screen.query_one(selector, Lines).content
    return "\n".join("".join(span.text for span in line) for line in lines)


def cell(pilot: Pilot[int], row: str, column: str) -> str:
    rows = pilot.app.screen.query_one(LineTable).rows
    return str(rows.cell(row, rows.columns[rows.column_index[column]]).text)


async def test_plan_marks_the_score(marked: Workspace, opened: Opener) -> None:
    async with opened(marked, AppOptions(mode="plan")) as pilot:
        assert "§" in cell(pilot, "demo/mae", "few-shot-5/digits")
        assert "§" not in cell(pilot, "demo/simclr", "few-shot-5/digits")


async def test_compare_marks_the_score_and_uses_the_margins_of_the_settings(marked: Workspace, opened: Opener) -> None:
    async with opened(marked, AppOptions(mode="compare")) as pilot:
        assert "§" in cell(pilot, "few-shot-5/digits", "demo/mae")
        await until(pilot, lambda: "77 points" in text(pilot, "#details"))
        assert f"§ {SEEN}: {ADVICE[SEEN][:40]}" in text(pilot, "#details")


async def test_rankings_mark_the_score_and_its_result_explains_it(marked: Workspace, opened: Opener) -> None:
    async with opened(marked, AppOptions(mode="rankings")) as pilot:
        assert "§" in cell(pilot, "demo/mae", "few-shot-5/digits")
        await pilot.press("down", "enter")
        await until(pilot, lambda: "curated around" in text(pilot, "#text"))


async def test_rank_intervals_name_the_marked_scores(marked: Workspace, opened: Opener) -> None:
    async with opened(marked, AppOptions(mode="rankings")) as pilot:
        await pilot.press("r")
        await until(pilot, lambda: LEGEND["§"][:30] in text(pilot, "#text"))


async def test_live_marks_the_score(marked: Workspace, opened: Opener) -> None:
    async with opened(marked, AppOptions(mode="live")) as pilot:
        rows, runs = pilot.app.screen.query_one(LineTable).rows, app_of(pilot).state.runs
        (run_id,) = (
            one.run_id for one in runs.values() if one.backbone == "demo/mae" and one.task.startswith("few-shot")
        )
        assert "§" in rows.cell(run_id, rows.columns[rows.column_index["score"]]).text


def app_of(pilot: Pilot[int]) -> ConsoleApp:
    assert isinstance(pilot.app, ConsoleApp)
    return pilot.app


async def test_training_marks_the_mean(marked: Workspace, opened: Opener) -> None:
    watch_training(marked, (20.0, 45.0))
    path = marked.backbones / "training/run/step-200.toml"
    path.parent.mkdir(parents=True)
    path.write_text(CARD.format(name="x", seen='["digits"]'))
    async with opened(marked, AppOptions(mode="training")) as pilot:
        await until(pilot, lambda: len(pilot.app.screen.query_one(LineTable).rows.keys) == 2)
        keys = pilot.app.screen.query_one(LineTable).rows.keys
        assert "§" in cell(pilot, keys[0], "mean")
        assert "§" not in cell(pilot, keys[1], "mean")
