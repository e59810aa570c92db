"""A terminal of 60 columns: nothing is cut at what it advises, and the help is whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from ssl_console.tui.app import AppOptions
from ssl_console.tui.keys import KEYS
from ssl_console.tui.screens.dialogs import scopes_of
from ssl_console.tui.style.text import fit_middle, length
from ssl_console.tui.views.live import uncut_note
from ssl_console.tui.widgets.log_view import LogView, empty_log
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import Opener, idle, until
from tests.ssl_console.tui.test_screens import app_of, shown, table

SIZE = (60, 15)
MODES = ("plan", "live", "rankings", "compare", "result", "training")


@pytest.mark.parametrize("mode", MODES)
async def test_the_help_is_wrapped_and_whole(used: Workspace, opened: Opener, mode: str) -> None:
    async with opened(used, AppOptions(mode=mode), size=SIZE) as pilot:
        scopes = scopes_of(pilot.app.screen)
        await pilot.press("f1")
        help_text = pilot.app.screen.query_one("#text", Lines)
        await until(pilot, lambda: help_text.content)
        width = help_text.scrollable_content_region.width
        assert all(length(line) <= width for line in help_text.content)
        words = " ".join(shown(pilot, "#text").split())
        assert all(key.help in words for scope in scopes for key in KEYS[scope])
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: max(map(length, help_text.content)) > width)


def cut_advice(pilot: Pilot[int]) -> list[str]:
    """Lines on the screen that are longer than their place and have a command in them."""
    found = []
    for widget in pilot.app.screen.query(Lines):
        if widget.display and widget.size.width and not isinstance(widget, LogView):
            texts = (("".join(span.text for span in line), length(line)) for line in widget.content)
            width = widget.scrollable_content_region.width
            found += [text for text, cells in texts if cells > width and ("`" in text or "ssl-console" in text)]
    return found


@pytest.mark.parametrize("size", [SIZE, (80, 24)])
@pytest.mark.parametrize(
    ("mode", "keys"),
    [
        ("plan", ("slash", *"swav", "enter")),
        ("plan", ("slash", *"swav cifar10", "enter", "space", "enter")),
        ("plan", ("U",)),
        ("live", ()),
        ("live", ("p",)),
        ("live", ("shift+tab",)),
        ("rankings", ()),
        ("rankings", ("x",)),
        ("compare", ()),
        ("result", ()),
        ("training", ()),
    ],
)
async def test_no_text_is_cut_at_the_command_that_it_advises(
    used: Workspace, opened: Opener, mode: str, keys: tuple[str, ...], size: tuple[int, int]
) -> None:
    async with opened(used, AppOptions(mode=mode), size=size) as pilot:
        app = app_of(pilot)
        app.backend.session.start_supervisor = lambda: None  # type: ignore[method-assign]
        await pilot.press(*keys)
        await idle(app)
        await pilot.pause()
        assert cut_advice(pilot) == []


def test_a_note_whose_command_has_no_room_ends_before_it() -> None:
    note = "its weights are missing: run `ssl-console weights fetch timm/x` first"
    assert uncut_note(note, 80) == note
    assert uncut_note(note, 64) == note, "the command itself is in view"
    assert uncut_note(note, 40) == "its weights are missing: see details"
    assert uncut_note("encoding 62/100 images", 5) == "encoding 62/100 images"


async def test_a_paused_run_names_the_key_that_goes_on(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live"), size=(120, 40)) as pilot:
        rows = table(pilot).rows
        await pilot.press("p")
        column = rows.columns[rows.column_index["note"]]
        await until(pilot, lambda: table(pilot).rows.cell("a" * 12, column).text == "paused: p resumes")


async def test_an_empty_log_names_the_file_in_which_output_would_be(used: Workspace, opened: Opener) -> None:
    filled.go_on(used, "cccccccccccc", "demo/simclr", "linear/digits", done=62)
    async with opened(used, AppOptions(mode="live"), size=(80, 24)) as pilot:
        await pilot.press("slash", *"state:running", "enter", "tab", "tab")
        await until(pilot, lambda: "output would be in" in shown(pilot, "#log"))
        assert "runs/cccccccccccc/log.1.txt" in shown(pilot, "#log")


def test_a_long_path_of_an_empty_log_is_wrapped() -> None:
    lines = empty_log(Path("/scratch/" + "long/" * 30 + "log.1.txt"), 40)
    assert len(lines) > 3
    assert all(length(line) <= 40 for line in lines[1:])


def visible(pilot: Pilot[int]) -> list[str]:
    """Keys of the columns in view, whole."""
    drawn, widths = table(pilot), {column.key: column.width for column in table(pilot).rows.columns}
    return [key for x, key in drawn.heads() if x + widths[key] <= drawn.size.width]


@pytest.mark.parametrize("keys", [(), ("i",), ("d",)], ids=["scores", "intervals", "differences"])
@pytest.mark.parametrize("size", [SIZE, (80, 24)])
async def test_rankings_show_a_task_whatever_is_switched_on(
    used: Workspace, opened: Opener, size: tuple[int, int], keys: tuple[str, ...]
) -> None:
    async with opened(used, AppOptions(mode="rankings"), size=size) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        assert any("/" in key for key in visible(pilot))
        await pilot.press("0")
        await pilot.pause()
        assert any("/" in key for key in visible(pilot))


async def test_a_narrow_screen_keeps_the_sorted_task_in_view_and_names_what_stands_behind(
    used: Workspace, opened: Opener
) -> None:
    async with opened(used, AppOptions(mode="rankings"), size=(80, 24)) as pilot:
        await pilot.press("i")
        await pilot.pause()
        assert "press $ for" in shown(pilot, "#summary")
        await pilot.press("dollar_sign")
        await pilot.pause()
        assert "win_rate" in visible(pilot)
        table(pilot).move_to(column="linear/shapes")
        await pilot.press("s", "0")
        await pilot.pause()
        assert "linear/shapes" in visible(pilot)
        await pilot.press("dollar_sign")
        await pilot.pause()
        assert "linear/shapes" in visible(pilot), "it stays while the others scroll"


async def test_a_wide_screen_has_all_aggregates_before_the_tasks(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="rankings"), size=(160, 40)) as pilot:
        await pilot.press("i")
        await pilot.pause()
        assert "press $ for" not in shown(pilot, "#summary")
        assert visible(pilot).index("win_rate") < visible(pilot).index("linear/shapes")


def test_a_name_is_cut_in_the_middle_so_that_neighbours_differ() -> None:
    names = ["segmentation-multilayer/shapes-scenes", "segmentation-multilayer/shapes-digits"]
    assert [fit_middle(name, 20) for name in names] == ["segmentati…es-scenes", "segmentati…es-digits"]
    assert fit_middle("short", 8) == "short   "
    assert fit_middle("四四四四四四四四", 9) == "四四…四四"
    assert fit_middle("abcdef", 2) == "a…"


async def test_live_shows_whole_names_of_tasks_at_80_columns(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live"), size=(80, 24)) as pilot:
        columns = {column.key: column for column in table(pilot).rows.columns}
        assert columns["task"].width >= len("few-shot-5/digits")
        assert columns["task"].name
        used_cells = sum(columns[key].width + 1 for key in ("run", "task", "progress", "score"))
        assert used_cells <= 80
