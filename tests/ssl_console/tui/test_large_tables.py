"""What makes a table of many rows and columns readable: sort keys, groups, pins, filters, saved views, copied cells."""

from __future__ import annotations

from textual.pilot import Pilot

from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.screens.rankings import RankingsScreen
from ssl_console.tui.views.ranking_details import summary
from ssl_console.tui.views.ranking_query import GROUP, RankingQuery, view_document, view_of_document
from ssl_console.tui.widgets.styled_text import StyledText
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import ResultStore
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.test_ranking_view import score, table

RANKINGS = AppOptions(mode="rankings")


def table_of(pilot: Pilot[int]) -> LineTable:
    return pilot.app.screen.query_one(LineTable)


def head_of(pilot: Pilot[int]) -> str:
    lines = pilot.app.screen.query_one("#summary", StyledText).content
    return "".join(span.text for line in lines for span in line)


def same_scores() -> tuple[Result, ...]:
    scores = {"a": (80, 60), "b": (80.01, 70), "c": (90, 50)}
    return tuple(
        score(name, task, value)
        for name, pair in scores.items()
        for task, value in zip(("linear/x", "knn/x"), pair, strict=True)
    )


def test_rows_that_look_alike_by_one_key_are_ordered_by_the_next() -> None:
    query = RankingQuery(sort="linear/x")
    assert table(query, same_scores()).keys == ["c", "b", "a"]
    reversed_names = query.also_sorted_by("knn/x").also_sorted_by("knn/x")
    assert reversed_names.then == (("knn/x", True),)
    assert table(reversed_names, same_scores()).keys == ["c", "a", "b"]
    assert reversed_names.also_sorted_by("knn/x").then == ()


def test_the_head_names_every_sort_key_the_filter_and_what_is_hidden() -> None:
    query = RankingQuery(sort="linear/x", then=(("backbone", True),), filter="a or b", hidden=frozenset({"mean"}))
    words = "".join(span.text for span in summary(table(query, same_scores()), None))
    assert "sort linear/x ▼, name ▲" in words
    assert "/a or b" in words
    assert "hidden mean" in words


async def test_shift_s_adds_a_sort_key_which_the_header_numbers(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        widget = table_of(pilot)
        widget.move_to(column="knn/digits")
        await pilot.press("s", "right", "S")
        signs = {column.key: column.sort for column in widget.rows.columns if column.sort}
        assert signs == {"knn/digits": "▼1", "knn/shapes": "▼2"}
        assert "sort knn/digits ▼, knn/shapes ▼" in head_of(pilot)


async def test_rows_are_grouped_by_family_and_a_group_is_marked_at_its_head(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        await pilot.press("b", *"family", "enter")
        heads = [key for key in table_of(pilot).rows.keys if key.startswith(GROUP)]
        assert f"{GROUP}simclr" in heads
        assert "by family" in head_of(pilot)
        table_of(pilot).move_to(row=f"{GROUP}simclr")
        await pilot.press("space", "enter", "y")
        assert app.state.marked == ("demo/simclr",)
        screen = app.screen
        assert isinstance(screen, RankingsScreen)
        assert screen.table is not None
        assert all(not row.backbone.startswith(GROUP) for row in screen.table.ranking.rows), "exports have no heads"


async def test_a_pinned_column_stays_at_the_left(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS, size=(60, 20)) as pilot:
        widget = table_of(pilot)
        widget.move_to(column="linear/shapes")
        await pilot.press("P", "dollar_sign")
        assert widget.rows.fixed == 3
        assert widget.rows.columns[2].key == "linear/shapes"
        assert widget.heads()[0][1] == "linear/shapes"
        await pilot.press("0")
        assert widget.column == "linear/shapes", "the cursor reaches a pinned column"
        await pilot.press("P")
        assert widget.rows.fixed == 2


async def test_a_column_is_found_by_its_name(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        await pilot.press("F", *"linear/sh", "enter")
        assert table_of(pilot).column == "linear/shapes"


async def test_only_backbones_with_weights_are_shown_on_demand(used: Workspace, opened: Opener) -> None:
    ResultStore(used).add([filled.result("paper/swav", "knn/digits")])
    async with opened(used, RANKINGS) as pilot:
        assert "paper/swav" in table_of(pilot).rows.keys
        await pilot.press("W")
        assert "paper/swav" not in table_of(pilot).rows.keys
        assert "demo/mae" in table_of(pilot).rows.keys
        assert "with weights" in head_of(pilot)
        await pilot.press("W")
        assert "paper/swav" in table_of(pilot).rows.keys


async def test_a_filter_compares_scores(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        widget = table_of(pilot)
        rows = list(widget.rows.keys)
        scores = {
            row: float(widget.rows.cell(row, column).text.rstrip("!§‡†"))
            for row in rows
            for column in widget.rows.columns
            if column.key == "linear/digits" and widget.rows.cell(row, column).text != "—"
        }
        middle = sorted(scores.values())[len(scores) // 2] + 0.1
        await pilot.press("slash", *f"score:linear/digits>{middle}", "enter")
        assert set(widget.rows.keys) == {row for row, value in scores.items() if value > middle}


async def test_a_view_is_saved_opened_and_removed_by_name(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        await pilot.press("slash", *"simclr", "enter", "s", "O", *"mine", "enter")
        await until(
            pilot,
            lambda: (
                "mine" in (used.root / "console.json").read_text() if (used.root / "console.json").exists() else False
            ),
        )
    async with opened(used, RANKINGS) as pilot:
        assert len(table_of(pilot).rows.keys) > 1
        await pilot.press("o", *"min", "enter")
        assert list(table_of(pilot).rows.keys) == ["demo/simclr"]
        assert "/simclr" in head_of(pilot)
        await pilot.press("o", "delete", "escape", "o")
        assert not isinstance(pilot.app.screen.focused, LineTable) or len(pilot.app.screen_stack) == 1
        await pilot.press("u", "o")
        assert len(pilot.app.screen_stack) == 2


def test_a_saved_view_of_another_version_is_refused_not_guessed() -> None:
    query = RankingQuery("demo", "a or b", frozenset({"mean"}), then=(("backbone", True),), group="family")
    assert view_of_document(view_document(query)) == query
    assert view_of_document({"hidden": 3}) is None
    assert view_of_document(None) is None


async def test_the_cell_under_the_cursor_is_copied_with_its_interval(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        widget = table_of(pilot)
        widget.move_to("demo/mae", "knn/digits")
        shown = widget.rows.cell("demo/mae", widget.rows.columns[widget.rows.column_index["knn/digits"]]).text
        await pilot.press("y")
        assert pilot.app.clipboard.startswith(shown)
        assert "[" in pilot.app.clipboard
