"""One model of selection: `space`, `v`, `*` and `u` do the same in every table, `n N` find, `J` jumps."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.palette_commands import ConsoleCommands
from ssl_console.tui.screens.choosers import ThemeDialog
from ssl_console.tui.screens.dialogs import HelpDialog, StorageDialog
from ssl_console.tui.screens.key_dialogs import JumpDialog, MoreKeysDialog
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.table_model import next_of
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import RunState
from tests.ssl_console.tui.conftest import Opener, until

MODES = ("plan", "live", "rankings", "compare", "result", "training")
RANKINGS = AppOptions(mode="rankings")
PLAN = AppOptions(suite="demo")


def app_of(pilot: Pilot[int]) -> ConsoleApp:
    assert isinstance(pilot.app, ConsoleApp)
    return pilot.app


def table_of(pilot: Pilot[int]) -> LineTable:
    return pilot.app.screen.query_one(LineTable)


async def test_a_range_of_rows_is_marked_and_each_change_is_undone(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        app, rows = app_of(pilot), list(table_of(pilot).rows.keys)
        await pilot.press("space", "down", "down", "v")
        assert list(app.state.marked) == rows[:3]
        assert table_of(pilot).row == rows[2], "marking does not move the cursor"
        await pilot.press("asterisk")
        assert sorted(app.state.marked) == sorted(rows)
        await pilot.press("asterisk")
        assert app.state.marked == ()
        await pilot.press("u", "u")
        assert list(app.state.marked) == rows[:3]
        await pilot.press("u", "u", "u")
        assert app.state.marked == ()


async def test_a_range_of_pairs_is_a_rectangle(used: Workspace, opened: Opener) -> None:
    async with opened(used, PLAN) as pilot:
        grid = table_of(pilot).rows
        await pilot.press("space", "down", "right", "right", "v")
        tasks = [column.key for column in grid.columns[1:4]]
        expected = {(row, task) for row in grid.keys[:2] for task in tasks}
        assert app_of(pilot).state.selection.pairs == expected
        await pilot.press("asterisk")
        assert len(app_of(pilot).state.selection.pairs) == len(grid.keys) * (len(grid.columns) - 1)
        await pilot.press("u", "u")
        assert len(app_of(pilot).state.selection.pairs) == 1


async def test_a_hidden_column_comes_back_with_u(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        columns = [column.key for column in table_of(pilot).rows.columns]
        hidden = table_of(pilot).column
        await pilot.press("minus")
        assert hidden not in table_of(pilot).rows.column_index
        await pilot.press("u")
        assert [column.key for column in table_of(pilot).rows.columns] == columns


async def test_a_cancelled_run_is_queued_again_with_u(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live")) as pilot:
        app, run_id = app_of(pilot), "a" * 12
        table_of(pilot).move_to(run_id)
        await pilot.press("x")
        await until(pilot, lambda: app.state.runs[run_id].state is RunState.CANCELLED)
        await pilot.press("u")
        await until(pilot, lambda: app.state.runs[run_id].state is not RunState.CANCELLED)


@pytest.mark.parametrize("options", [RANKINGS, PLAN])
async def test_n_finds_what_the_last_filter_matched_after_it_was_cleared(
    used: Workspace, opened: Opener, options: AppOptions
) -> None:
    async with opened(used, options) as pilot:
        everything = list(table_of(pilot).rows.keys)
        await pilot.press("slash", *"simclr or rotation", "enter", "escape")
        found = [row for row in table_of(pilot).rows.keys if "simclr" in row or "rotation" in row]
        assert list(table_of(pilot).rows.keys) == everything
        await pilot.press("g")
        seen = []
        for key in ("n", "n", "N"):
            await pilot.press(key)
            seen.append(table_of(pilot).row)
        start = everything[0] in found
        assert seen == ([found[1], found[0], found[1]] if start else [found[0], found[1], found[0]])


def test_the_next_hit_goes_round() -> None:
    assert next_of(["b", "d"], "abcd", "d", 1) == "b"
    assert next_of(["b", "d"], "abcd", "b", -1) == "d"
    assert next_of(["b"], "abcd", None, 1) == "b"
    assert next_of(["x"], "abcd", "a", 1) is None


async def test_a_letter_of_jump_mode_goes_to_a_column(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        before = table_of(pilot).column
        await pilot.press("J")
        assert isinstance(pilot.app.screen, JumpDialog)
        await pilot.press("d")
        await until(pilot, lambda: not isinstance(pilot.app.screen, JumpDialog) and table_of(pilot).column != before)
        assert table_of(pilot).column == table_of(pilot).heads()[2][1]


async def test_jump_mode_goes_to_another_pane(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live")) as pilot:
        assert pilot.app.screen.focused is table_of(pilot)
        await pilot.press("J", "b")
        await until(pilot, lambda: getattr(pilot.app.screen.focused, "id", "") == "details")
        await pilot.press("J", "escape")
        assert getattr(pilot.app.screen.focused, "id", "") == "details"


@pytest.mark.parametrize(
    ("mode", "words", "place"),
    [
        ("rankings", "column knn/shapes", (None, "knn/shapes")),
        ("plan", "column knn/shapes", (None, "knn/shapes")),
        ("compare", "row linear/shapes", ("linear/shapes", None)),
        ("live", f"row {'a' * 12}", ("a" * 12, None)),
    ],
)
async def test_the_palette_jumps_to_a_row_or_column_here(
    used: Workspace, opened: Opener, mode: str, words: str, place: tuple[str | None, str | None]
) -> None:
    async with opened(used, AppOptions(mode=mode, suite="demo")) as pilot:
        found = [hit async for hit in ConsoleCommands(pilot.app.screen).search(words)]
        first = max(found, key=lambda hit: hit.score)
        assert first.text == words
        first.command()
        table = table_of(pilot)
        assert table.row == (place[0] or table.row)
        assert table.column == (place[1] or table.column)
        assert len(pilot.app.screen_stack) == 1
        assert getattr(pilot.app.screen, "MODE", "") == mode


async def test_the_palette_runs_nothing_that_is_not_listed(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        before = list(table_of(pilot).rows.keys)
        await pilot.press("colon", *"zzzqqq", "enter")
        await pilot.press("escape")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
        assert list(table_of(pilot).rows.keys) == before
        assert app_of(pilot).state.marked == ()


@pytest.mark.parametrize(("mode", "size"), [*((mode, (60, 15)) for mode in MODES), ("rankings", (120, 40))])
async def test_the_footer_opens_its_remaining_keys_by_key_and_by_click(
    used: Workspace, opened: Opener, mode: str, size: tuple[int, int]
) -> None:
    async with opened(used, AppOptions(mode=mode, suite=""), size=size) as pilot:
        screen, footer = pilot.app.screen, pilot.app.screen.query_one(KeyLine)
        line = footer.render_line(0).text
        visible = {binding.id for binding in footer.visible_keys}
        assert ". more" in line, "in view at every width"
        await pilot.click(KeyLine, offset=(line.index(". more") + 2, 0))
        dialog = pilot.app.screen
        assert isinstance(dialog, MoreKeysDialog)
        assert set(dialog.query_one(LineTable).rows.keys) | visible == {
            active.binding.id for active in screen.active_bindings.values() if active.enabled and active.binding.id
        }
        await pilot.press("escape", "full_stop")
        assert isinstance(pilot.app.screen, MoreKeysDialog)
        await pilot.press("full_stop")
        assert pilot.app.screen is screen
        if "…" in line:
            await pilot.click(KeyLine, offset=(line.index("…"), 0))
            assert isinstance(pilot.app.screen, MoreKeysDialog)


async def test_a_key_of_the_list_of_further_keys_runs_and_so_does_enter(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS, size=(60, 15)) as pilot:
        app = app_of(pilot)
        await pilot.press("full_stop", "T")
        await until(pilot, lambda: isinstance(app.screen, ThemeDialog))
        await pilot.press("escape", "full_stop")
        dialog = app.screen
        assert isinstance(dialog, MoreKeysDialog)
        dialog.query_one(LineTable).move_to("app.storage")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, StorageDialog))


async def test_a_click_on_a_key_of_the_footer_runs_it(used: Workspace, opened: Opener) -> None:
    async with opened(used, PLAN, size=(80, 24)) as pilot:
        line = pilot.app.screen.query_one(KeyLine).render_line(0).text
        await pilot.click(KeyLine, offset=(line.index("F1 help") + 3, 0))
        assert isinstance(pilot.app.screen, HelpDialog)
        await pilot.press("escape")
        await pilot.click(KeyLine, offset=(line.index("space tick"), 0))
        assert len(app_of(pilot).state.selection.pairs) == 1
