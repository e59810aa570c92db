"""The export dialog says what it will write, and writes that."""

from __future__ import annotations

import json

import pytest
from textual.pilot import Pilot

from ssl_console.tui.app import AppOptions
from ssl_console.tui.widgets.styled_text import StyledText, WrappedKeys
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui.conftest import Opener, until

RANKINGS = AppOptions(mode="rankings")


def contents(pilot: Pilot[int]) -> str:
    lines = pilot.app.screen.query_one("#contents", StyledText).content
    return " ".join(" ".join("".join(span.text for span in line) for line in lines).split())


async def test_the_dialog_names_rows_columns_and_what_the_view_leaves_out(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        await pilot.press("slash", *"mae or simclr", "enter", "minus", "x")
        text = contents(pilot)
        assert "2 rows:" in text
        assert "demo/mae" in text
        assert "5 columns:" in text
        assert "3 rows that do not match /mae or simclr" in text
        assert "hidden est." in text
        assert "Lines of legend below the table" in text
        keys = pilot.app.screen.query_one(WrappedKeys)
        assert keys.size.height > 1, "every key is shown"


async def test_only_the_marked_rows_are_written_on_demand(used: Workspace, opened: Opener) -> None:
    async with opened(used, RANKINGS) as pilot:
        await pilot.press("space", "down", "down", "space", "x")
        assert "only the 2 marked rows" in contents(pilot)
        await pilot.press("a")
        assert "2 marked rows:" in contents(pilot)
        await pilot.press("j")
        path = used.root.parent / "ranking.json"
        await until(pilot, path.exists)
        assert len(json.loads(path.read_text())["rows"]) == 2


@pytest.mark.parametrize(
    ("key", "name"), [("s", "ranking.svg"), ("f", "ranking.pdf"), ("d", "critical-difference.svg")]
)
@pytest.mark.slow
async def test_pictures_are_of_this_view_and_the_diagram_is_an_item_of_its_own(
    used: Workspace, opened: Opener, key: str, name: str
) -> None:
    pytest.importorskip("matplotlib")
    async with opened(used, RANKINGS) as pilot:
        await pilot.press("x", key)
        path = used.root.parent / name
        await until(pilot, path.exists)
        if key == "s":
            assert "demo/simclr" in path.read_text()
