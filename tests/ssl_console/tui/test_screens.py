"""Reactions of the screens to keys, on a real workspace: real files, and the real backend."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.command import Command, CommandList, CommandPalette
from textual.pilot import Pilot

from ssl_console.planning.plan import Plan
from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.data.backend import LaunchRequest
from ssl_console.tui.data.state import AppState
from ssl_console.tui.keys import KEYS
from ssl_console.tui.palette_commands import ConsoleCommands
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.screens.choosers import ChooseDialog, PickDialog
from ssl_console.tui.screens.dialogs import ConfirmDialog, ProblemDialog
from ssl_console.tui.screens.export import ExportDialog
from ssl_console.tui.screens.launch import LaunchDialog
from ssl_console.tui.screens.rankings import RankingsScreen
from ssl_console.tui.style.text import Cell
from ssl_console.tui.widgets.graphics import ChartView
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import RunState
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import Opener, until


def app_of(pilot: Pilot[int]) -> ConsoleApp:
    assert isinstance(pilot.app, ConsoleApp)
    return pilot.app


def shown(pilot: Pilot[int], selector: str) -> str:
    """The text of a widget that shows lines."""
    widget = pilot.app.screen.query_one(selector, Lines)
    return "\n".join("".join(span.text for span in line) for line in widget.content)


def table(pilot: Pilot[int]) -> LineTable:
    return pilot.app.screen.query_one(LineTable)


def best_first(results: tuple[Result, ...], task: str) -> list[str]:
    found = [result for result in results if result.task == task]
    return [result.backbone for result in sorted(found, key=lambda result: -result.value)]


# -- Plan -----------------------------------------------------------------------------------------------------------


async def test_cells_rows_and_columns_are_ticked_and_stay_ticked_under_a_filter(
    used: Workspace, opened: Opener
) -> None:
    async with opened(used) as pilot:
        app = app_of(pilot)
        await pilot.press("space")
        assert app.state.selection.pairs == {("demo/mae", "linear/digits")}
        await pilot.press("down", "c")
        column = {pair for pair in app.state.selection.pairs if pair[1] == "linear/digits"}
        assert len(column) == len(app.state.catalogue.backbones)
        await pilot.press("slash", *"simclr knn", "enter", "r")
        assert len(app.state.selection.pairs) > len(column)
        assert table(pilot).rows.keys == [n for n in table(pilot).rows.keys if "simclr" in n]
        await pilot.press("escape")
        assert len(table(pilot).rows.keys) == len(app.state.catalogue.backbones)
        assert column <= app.state.selection.pairs
        await pilot.press("X")
        assert not app.state.selection.pairs


async def test_the_launch_sheet_says_first_and_launches_then(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        app = app_of(pilot)
        asked: list[tuple[int, str | None]] = []

        def submit(plan: Plan, request: LaunchRequest | None = None) -> int:
            assert request is not None
            assert request.share is None
            asked.append((len(plan.to_run), request.launcher))
            return len(plan.to_run)

        app.backend.submit = submit  # type: ignore[method-assign]
        await pilot.press("slash", *"random", "enter", "space", "right", "space", "enter")
        assert isinstance(app.screen, LaunchDialog)
        await until(pilot, lambda: "will run" in shown(pilot, "#text"))
        told = shown(pilot, "#text")
        assert "2 runs selected" in told
        assert "2  will run" in told
        await pilot.press("0", *"-1", "enter")
        await until(pilot, lambda: "4 selected" not in told and "seeds  0, 1" in shown(pilot, "#text"))
        assert "launcher  local" in shown(pilot, "#text")
        await pilot.press("l")
        await until(pilot, lambda: "launcher  slurm" in shown(pilot, "#text"))
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, LaunchDialog))
        assert asked == [(4, "slurm")]
        assert not app.state.selection.pairs


async def test_what_lacks_weights_is_told_with_the_key_that_gets_them(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        await pilot.press("slash", *"paper/swav", "enter", "space", "enter")
        await until(pilot, lambda: "Missing" in shown(pilot, "#text"))
        assert "Missing: w fetches weights" in shown(pilot, "#text")
        assert "the weights of paper/swav are missing" in shown(pilot, "#text")
        assert "ssl-console" not in shown(pilot, "#text"), "keys, where there are keys"


async def test_a_suite_narrows_plan_and_rankings(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        app = app_of(pilot)
        await pilot.press("s")
        assert isinstance(app.screen, PickDialog)
        await until(pilot, lambda: table(pilot).row is not None)
        app.screen.query_one(LineTable).move_to(row="demo")
        await pilot.press("enter")
        assert app.state.suite == "demo"
        suite = app.state.catalogue.suite["demo"]
        assert set(table(pilot).rows.column_index) - {"backbone"} == set(suite.tasks)


# -- Live -----------------------------------------------------------------------------------------------------------


async def test_runs_that_wait_come_before_those_that_ended(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live")) as pilot:
        keys = list(table(pilot).rows.keys)
        assert set(keys[:2]) == {"aaaaaaaaaaaa", "bbbbbbbbbbbb"}
        assert len(keys) == 24
        await pilot.press("f")
        assert len(table(pilot).rows.keys) == 2
        await pilot.press("f", "slash", *"state:failed", "enter")
        assert {app_of(pilot).state.runs[key].state for key in table(pilot).rows.keys} == {RunState.FAILED}


async def test_a_running_run_shows_its_metric_under_the_metrics_own_name(used: Workspace, opened: Opener) -> None:
    filled.supervise(used)
    filled.go_on(used, "cccccccccccc", "demo/simclr", "linear/digits", done=62, seed=1)
    async with opened(used, AppOptions(mode="live")) as pilot:
        rows = table(pilot).rows
        score, seed = (rows.cell("cccccccccccc", rows.columns[rows.column_index[name]]) for name in ("score", "seed"))
        name, curve = next(iter(app_of(pilot).state.runs["cccccccccccc"].progress.metrics.items()))
        assert score.text == f"{name} {curve.latest:.4g}"
        assert seed.text == "1"


async def test_the_panes_are_about_the_run_under_the_cursor(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live")) as pilot:
        await pilot.press("slash", *"state:done", "enter")
        run = app_of(pilot).state.runs[table(pilot).row or ""]
        assert run.run_id in shown(pilot, "#details")
        await pilot.press("tab")
        chart = pilot.app.screen.query_one(ChartView)
        await until(pilot, lambda: any(series.name == run.backbone for series in chart.chart.series))
        await pilot.press("tab")
        await until(pilot, lambda: "step 99" in shown(pilot, "#log"))
        await pilot.press("tab")
        await until(pilot, lambda: "on cuda:0" in shown(pilot, "#events"))


async def test_a_waiting_run_is_cancelled_at_once_and_can_be_run_again(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live")) as pilot:
        app = app_of(pilot)
        app.backend.session.start_supervisor = lambda: None  # type: ignore[method-assign]
        run_id = table(pilot).row or ""
        await pilot.press("x")
        await until(pilot, lambda: app.state.runs[run_id].state is RunState.CANCELLED)
        assert table(pilot).row == run_id, "the cursor stays on it"
        await pilot.press("r")
        await until(pilot, lambda: app.state.runs[run_id].state is RunState.QUEUED)


async def test_priority_is_raised_and_the_pause_is_shown(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live")) as pilot:
        app = app_of(pilot)
        app.backend.session.start_supervisor = lambda: None  # type: ignore[method-assign]
        await pilot.press("down")
        run_id = table(pilot).row or ""
        await pilot.press("plus")
        await until(pilot, lambda: app.state.runs[run_id].priority == 1)
        assert table(pilot).rows.keys[0] == run_id
        await pilot.press("p")
        await until(pilot, lambda: "paused" in shown(pilot, "#summary"))


async def test_what_is_not_possible_becomes_a_panel_with_the_reason(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live")) as pilot:
        await pilot.press("slash", *"state:done", "enter", "r")
        await until(pilot, lambda: isinstance(pilot.app.screen, ProblemDialog))
        assert "cannot be retried: it is done" in shown(pilot, "#text")
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, ProblemDialog)


async def test_sizes_of_runs_logs_and_caches_are_shown_on_every_screen(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live")) as pilot:
        await pilot.press("U")
        await until(pilot, lambda: "in all" in shown(pilot, "#text"))
        for purpose in ("results and predictions of runs", "logs and events of runs", "stored features"):
            assert purpose in shown(pilot, "#text")
        assert "ssl-console clean --older 90d --keep-best" in shown(pilot, "#text")
        await pilot.press("escape")
        assert len(pilot.app.screen_stack) == 1


# -- Rankings, Compare, Result --------------------------------------------------------------------------------------


async def test_any_column_sorts_by_key_and_by_click(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        app = app_of(pilot)
        widget = table(pilot)
        widget.move_to(column="knn/digits")
        await pilot.press("s")
        expected = best_first(app.state.results, "knn/digits")
        assert list(widget.rows.keys)[: len(expected)] == expected
        await pilot.press("s")
        assert list(widget.rows.keys)[: len(expected)] == expected[::-1]
        await pilot.click("#ranking", offset=(8, 1))
        assert list(widget.rows.keys) == sorted(widget.rows.keys)


async def test_columns_are_chosen_and_intervals_shown(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        await pilot.press("c")
        assert isinstance(pilot.app.screen, ChooseDialog)
        await pilot.press("asterisk", "space", "enter")
        assert set(table(pilot).rows.column_index) == {"#", "backbone", "estimate"}
        await pilot.press("c", "asterisk", "enter", "i")
        rows = table(pilot).rows
        assert "±0.7" in rows.cell("demo/mae", rows.columns[rows.column_index["knn/digits"]]).text


@pytest.mark.parametrize(
    ("key", "name"), [("m", "ranking.md"), ("c", "ranking.csv"), ("l", "ranking.tex"), ("j", "ranking.json")]
)
async def test_exactly_this_view_is_exported_to_a_file_and_the_clipboard(
    used: Workspace, opened: Opener, key: str, name: str
) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        await pilot.press("slash", *"simclr", "enter", "x", key)
        path = used.root.parent / name
        await until(pilot, lambda: pilot.app.clipboard)
        text = path.read_text()
        assert "simclr" in text
        assert "demo/random" not in text
        assert pilot.app.clipboard == text


async def test_an_export_never_writes_over_another(used: Workspace, opened: Opener) -> None:
    (used.root.parent / "ranking.csv").write_text("mine")
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        await pilot.press("x", "c")
        await until(pilot, (used.root.parent / "ranking-2.csv").exists)
        assert (used.root.parent / "ranking.csv").read_text() == "mine"


async def test_marked_backbones_are_compared_and_a_result_can_be_opened(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        app = app_of(pilot)
        await pilot.press("space")
        assert table(pilot).row == app.state.marked[0], "marking does not move the cursor"
        await pilot.press("down", "space", "4")
        assert len(app.state.marked) == 2
        columns = [column.key for column in table(pilot).rows.columns]
        assert columns == ["task", *app.state.marked]
        await pilot.press("right", "b")
        assert [column.key for column in table(pilot).rows.columns] == ["task", *reversed(app.state.marked)]
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "result" and app.state.marked[1] in shown(pilot, "#text"))
        assert "ssl-console --workspace used run -b" in shown(pilot, "#text")
        await pilot.press("y")
        assert pilot.app.clipboard.startswith("ssl-console --workspace used run -b")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_no_number_of_a_comparison_is_cut_however_wide_it_is(
    used: Workspace, opened: Opener, size: tuple[int, int]
) -> None:
    """Half a number misleads; a task of somebody's own may count in thousands."""
    async with opened(used, AppOptions(mode="compare"), size=size) as pilot:
        app = app_of(pilot)
        base, other = "demo/mae", "demo/rotation"
        wide = {(base, "knn/digits"): 12345.6, (other, "knn/digits"): 2.5, (base, "linear/digits"): 318.25}
        changed = {pair: {"value": value, "ci_low": value, "ci_high": value} for pair, value in wide.items()}
        results = (one.model_copy(update=changed.get((one.backbone, one.task), {})) for one in app.state.results)
        app.set_state(replace(app.state, results=tuple(results), marked=(base, other)))
        await until(pilot, lambda: "12345.6" in drawn(pilot))
        assert "2.5! -12343.1" in drawn(pilot)
        assert all(cell.text in drawn(pilot) for cell in cells(pilot, base, other))


def cells(pilot: Pilot[int], *columns: str) -> list[Cell]:
    rows = table(pilot).rows
    return [rows.cell(key, column) for key in rows.keys for column in rows.columns if column.key in columns]


def drawn(pilot: Pilot[int]) -> str:
    """The table as displayed."""
    lines = table(pilot)
    return "\n".join(lines.render_line(y).text for y in range(lines.size.height))


# -- everywhere -----------------------------------------------------------------------------------------------------


def first_in_palette(pilot: Pilot[int]) -> str:
    """Text of the highlighted command; empty while none is."""
    chosen = [commands.highlighted_option for commands in pilot.app.screen.query(CommandList)]
    return "".join(str(one.hit.text) for one in chosen if isinstance(one, Command))


async def test_the_palette_finds_a_backbone_and_goes_there(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        await pilot.press("colon", *"backbone demo/simclr")
        await until(pilot, lambda: "demo/simclr" in first_in_palette(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: table(pilot).row == "demo/simclr")


async def test_the_palette_finds_what_the_keys_of_another_screen_do(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        await pilot.press("colon", *"write this view to a file")
        await until(pilot, lambda: "Write this view to a file" in first_in_palette(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ExportDialog))
        assert app_of(pilot).current_mode == "rankings"


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("export", "Write this view to a file"),
        ("latex", "Write this view to a file"),
        ("certainty", ("Rank confidence intervals", "Show the 95 % intervals")),
        ("pause", "Pause or resume the queue"),
        ("dark", "Choose the colour theme"),
        ("demo/simclr", "row demo/simclr"),
        ("knn/digits", "column knn/digits"),
    ],
)
async def test_the_palette_finds_actions_by_footer_word_and_synonym_and_places_here_first(
    used: Workspace, opened: Opener, typed: str, first: str | tuple[str, ...]
) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        hits = [hit async for hit in ConsoleCommands(pilot.app.screen).search(typed)]
        best = max(hits, key=lambda hit: hit.score)
        assert str(best.text).startswith(first)


async def test_a_search_that_outlives_the_palette_does_not_end_the_console(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        await pilot.press("colon")
        palette = pilot.app.screen
        assert isinstance(palette, CommandPalette)
        await palette.query_one(CommandList).remove()
        palette.dismiss()
        palette._gather_commands("mae")
        await pilot.pause(0.2)
        await pilot.press("2")
        await until(pilot, lambda: app_of(pilot).current_mode == "live")


async def test_the_palette_lists_nothing_for_what_no_command_is_named(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        assert [hit async for hit in ConsoleCommands(pilot.app.screen).search("srtby")] == []


async def test_typing_narrows_a_list_of_choices(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        await pilot.press("t", *"many shot")
        dialog = pilot.app.screen
        assert isinstance(dialog, PickDialog)
        names = list(table(pilot).rows.keys)
        suites = app_of(pilot).state.catalogue.suite
        assert names
        assert all("many" in f"{name} {suites[name].title}".lower() for name in names)
        await pilot.press("enter")
        assert app_of(pilot).state.suite == names[0]


async def test_columns_are_reached_by_letters_and_signs(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        columns = [column.key for column in table(pilot).rows.columns]
        await pilot.press("dollar_sign")
        assert table(pilot).column == columns[-1]
        await pilot.press("h")
        assert table(pilot).column == columns[-2]
        await pilot.press("l", "0")
        assert table(pilot).column == columns[2]


async def test_a_theme_is_previewed_and_taken_back(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        before = pilot.app.theme
        await pilot.press("T", "down")
        assert pilot.app.theme != before
        await pilot.press("escape")
        assert pilot.app.theme == before


async def test_the_palette_knows_every_action_backbone_task_suite_and_run(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        app = app_of(pilot)
        commands = ConsoleCommands(app.screen)
        found = {command.title for command in (*commands._actions(), *commands._elsewhere(), *commands._places())}
        state = app.state
        assert {f"backbone {entry.name}" for entry in state.catalogue.backbones} <= found
        assert {f"task {entry.name}" for entry in state.catalogue.tasks} <= found
        assert {f"suite {suite.name}" for suite in state.catalogue.suites} <= found
        assert {f"run {run.backbone} on {run.task}" for run in state.runs.values()} <= found
        helps = {title.rpartition("  [")[0] for title in found}
        scopes = ("app", "table", *(entry.name for entry in app.screens))
        assert {key.help for scope in scopes for key in KEYS[scope]} - helps == {
            "Find any action, backbone, task or run"
        }


async def test_hidden_screens_are_brought_up_to_date_when_they_are_shown(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        app = app_of(pilot)
        await pilot.press("3", "1")
        before = app.state.marked
        rankings = app._screen_stacks["rankings"][0]
        assert isinstance(rankings, RankingsScreen)
        app.set_state(app.state.with_mark_toggled("demo/simclr"))
        assert rankings.table is not None
        assert rankings.table.marked == before
        await pilot.press("3")
        assert rankings.table.marked == ("demo/simclr",)


async def test_cancelling_a_running_run_is_asked_for_first(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live")) as pilot:
        app = app_of(pilot)
        run_id = table(pilot).row or ""
        run = app.state.runs[run_id]
        app.set_state(
            replace(
                app.state,
                runs={**app.state.runs, run_id: replace(run, status=replace(run.status, state=RunState.RUNNING))},
            )
        )
        await pilot.press("x")
        assert isinstance(app.screen, ConfirmDialog)
        await pilot.press("n")
        assert not used.run(run_id).cancel.exists()


async def test_a_broken_results_file_is_told_and_the_console_stays_open(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        app = app_of(pilot)
        had = app.state.results
        used.results.write_text("{ not json")
        await until(pilot, lambda: app.state.problem)
        assert "rebuild" in app.state.problem
        assert app.state.results == had


@pytest.mark.parametrize(("mode", "redrawn"), [("plan", False), ("rankings", False), ("live", True)])
async def test_a_reading_of_the_devices_redraws_no_screen_without_them(
    used: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch, mode: str, redrawn: bool
) -> None:
    async with opened(used, AppOptions(mode=mode, suite="")) as pilot:
        app, drawn = app_of(pilot), list[AppState]()
        screen = app.screen
        assert isinstance(screen, ConsoleScreen)
        monkeypatch.setattr(screen, "update_view", drawn.append)
        app.set_state(replace(app.state, devices=(filled.HOST, filled.HOST)))
        assert bool(drawn) is redrawn
        app.set_state(replace(app.state, devices=(filled.HOST,), marked=("demo/mae",)))
        assert drawn[-1] is app.state, "anything else redraws every screen"
