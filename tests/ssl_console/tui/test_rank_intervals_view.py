"""Uncertainty of scores on the screens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from ssl_console.analysis.rank_intervals import GrowingRanks, RankTable
from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.screens.compare import CompareScreen
from ssl_console.tui.screens.ranking_dialogs import REPLICATES, RankIntervalsDialog
from ssl_console.tui.screens.rankings import RankingsScreen
from ssl_console.tui.style.text import Tone
from ssl_console.tui.widgets.table_model import Column
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import ResultRecord
from tests.ssl_console.measured import filled, on_other_data
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.test_screens import app_of, shown, table


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Two backbones on two tasks, with their predictions."""
    monkeypatch.chdir(tmp_path)
    return filled(Path("measured"))


def rankings(pilot: Pilot[int]) -> RankingsScreen:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, RankingsScreen)
    return screen


def dialog(app: ConsoleApp) -> RankIntervalsDialog:
    assert isinstance(app.screen, RankIntervalsDialog)
    return app.screen


async def test_ranks_become_certain_while_one_watches(
    measured: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(measured, AppOptions(mode="rankings")) as pilot:
        app = app_of(pilot)
        seen: list[int] = []
        take = RankIntervalsDialog._take

        def noting(self: RankIntervalsDialog, growing: GrowingRanks, table: RankTable) -> None:
            seen.append(table.ranks.replicates)
            take(self, growing, table)

        monkeypatch.setattr(RankIntervalsDialog, "_take", noting)
        await pilot.press("p", "p", "r")
        await until(pilot, lambda: isinstance(app.screen, RankIntervalsDialog))
        await until(pilot, lambda: dialog(app).table and dialog(app).table.ranks.replicates >= REPLICATES)  # type: ignore[union-attr]
        told = shown(pilot, "#text")
        assert "1,000 replicates over 2 tasks\n complete rows: " in told
        assert "Critical difference" in told
        assert [row.backbone for row in dialog(app).table.ranks.rows] == ["demo/simclr", "demo/mae"]  # type: ignore[union-attr]
        assert seen == sorted(set(seen))
        assert len(seen) > 2
        await pilot.press("m")
        await until(pilot, lambda: "common tasks" in shown(pilot, "#text"))
        await pilot.press("escape")
        assert not isinstance(app.screen, RankIntervalsDialog)


async def test_missing_cells_are_treated_as_the_user_chose_and_the_screen_says_so(
    used: Workspace, opened: Opener
) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        before = rankings(pilot).table
        assert before is not None
        await pilot.press("m")
        await until(pilot, lambda: "common tasks only" in shown(pilot, "#summary"))
        after = rankings(pilot).table
        assert after is not None
        assert after.ranking.incomplete == 0
        assert len(after.ranking.columns) < len(before.ranking.columns)


async def test_columns_that_are_kept_apart_are_counted_and_a_key_says_why(measured: Workspace, opened: Opener) -> None:
    on_other_data(measured, any_record(measured))
    async with opened(measured, AppOptions(mode="rankings")) as pilot:
        await until(pilot, lambda: "1 kept apart" in shown(pilot, "#summary"))
        await pilot.press("w")
        await until(pilot, lambda: "the data's digest is 00000000 against" in " ".join(shown(pilot, "#text").split()))
        assert "otherdata000 [default] has a column of its own" in " ".join(shown(pilot, "#text").split())
        await pilot.press("escape", "x", "j")
        await until(pilot, lambda: Path("ranking.json").is_file())
        assert [one["run_id"] for one in json.loads(Path("ranking.json").read_text())["kept_apart"]] == ["otherdata000"]


@pytest.mark.slow
async def test_the_view_is_exported_as_pictures_of_its_ranks_and_of_its_correlations(
    measured: Workspace, opened: Opener
) -> None:
    """The demo backbones have no ImageNet accuracy; the published ones have."""
    pytest.importorskip("matplotlib")
    async with opened(measured, AppOptions(mode="rankings")) as pilot:

        async def picture(key: str, name: str) -> bytes:
            await pilot.press("x", key)
            await until(pilot, lambda: Path(name).is_file() and Path(name).stat().st_size > 0)
            return Path(name).read_bytes()

        assert b"<svg" in await picture("s", "ranking.svg")
        assert (await picture("p", "ranking.png")).startswith(b"\x89PNG")
        await pilot.press("x", "S")
        await until(pilot, lambda: "ImageNet accuracy on its card" in shown(pilot, "#text"))
        await pilot.press("escape", "slash", *"linear", "enter", "p")
        assert b"<svg" in await picture("S", "transfer.svg")


def any_record(workspace: Workspace) -> ResultRecord:
    folder = min(workspace.run_folders(), key=lambda one: one.run_id)
    return ResultRecord.model_validate_json(folder.result.read_bytes())


async def test_scores_to_doubt_are_marked_with_one_sentence_of_advice(measured: Workspace, opened: Opener) -> None:
    """The synthetic features of this workspace repeat no image, so a badge is added to a record first."""
    async with opened(measured, AppOptions(mode="rankings")) as pilot:
        app = app_of(pilot)
        changed = tuple(one.model_copy(update={"badges": ("grid edge",)}) for one in app.state.results)
        app.set_state(replace(app.state, results=changed))
        await until(pilot, lambda: "!" in table(pilot).rows.cell(*first_score(pilot)).text)
        for _ in range(8):
            await pilot.press("right")
        assert "grid edge: the best setting was the last one tried; widen the grid" in shown(pilot, "#details")


def first_score(pilot: Pilot[int]) -> tuple[str, Column]:
    rows = table(pilot).rows
    return rows.keys[0], rows.columns[-1]


async def test_compare_says_in_plain_words_what_the_paired_tests_see(measured: Workspace, opened: Opener) -> None:
    async with opened(measured, AppOptions(mode="compare")) as pilot:
        await until(pilot, lambda: "tasks" in shown(pilot, "#details"))
        screen = pilot.app.screen_stack[0]
        assert isinstance(screen, CompareScreen)
        (other,) = screen._paired.by_backbone.values()
        assert {task.test.method for task in other.tasks} == {"half-splits of the pool", "McNemar, exact"}
        assert other.sentence in " ".join(shown(pilot, "#details").split())
        assert "(Holm " in shown(pilot, "#details")
        comparison = screen._comparison(screen.state)
        tested = {task.column: task.verdict for task in other.tasks}
        for label in ("few-shot-5/digits", "knn/digits"):
            alike = tested[comparison.key(label) or ""] == "alike"
            cell = comparison.rows(80).cell(label, comparison.rows(80).columns[-1])
            assert (cell.tone is Tone.DIM) == alike


async def test_the_result_screen_shows_both_intervals_of_few_shot_and_what_computed_it(
    measured: Workspace, opened: Opener
) -> None:
    async with opened(measured, AppOptions(mode="rankings")) as pilot:
        app = app_of(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "result" and "other episodes" in shown(pilot, "#text"))
        told = shown(pilot, "#text")
        assert "(half-splits of the pool)" in " ".join(told.split())
        assert "on the same images, as for published scores" in " ".join(told.split())
        assert "source files" in told


async def test_the_critical_difference_picture_is_drawn_from_the_view(measured: Workspace, opened: Opener) -> None:
    pytest.importorskip("matplotlib")
    async with opened(measured, AppOptions(mode="rankings")) as pilot:
        await pilot.press("p", "p", "x", "s")
        path = measured.root.parent / "ranking.svg"
        await until(pilot, path.exists)
