"""The optimism of the results in the ranking table."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssl_console.analysis.further_scores import Optimism, WithoutOptimism
from ssl_console.tui.app import AppOptions
from ssl_console.tui.screens.ranking_dialogs import OptimismDialog, optimism_lines
from ssl_console.tui.style.text import length
from tests.ssl_console.measured import filled
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.test_screens import app_of, shown


async def test_rankings_show_what_a_choice_on_test_images_would_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opener
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(filled(Path("measured")), AppOptions(mode="rankings")) as pilot:
        await pilot.press("E")
        await until(pilot, lambda: isinstance(app_of(pilot).screen, OptimismDialog))
        await until(pilot, lambda: "other leader" in shown(pilot, "#text"))
        text = shown(pilot, "#text")
        assert "knn" in text
        assert "temperature" in text
        assert "selects nothing" in text


def test_no_line_is_wider_than_the_dialog_at_80_columns() -> None:
    place = ("paper/a-backbone-of-a-long-name", "linear-heads/a-dataset", "default", 0, "linear-heads", "c")
    one = Optimism("run", *place, 70.0, 70.0, 72.5, "last 4 cls+mean, learning rate 0.05", 52)
    lacking = WithoutOptimism("other", "own/b", "linear/cars", "linear", "the run folder has been removed")
    lines = optimism_lines(([one], [lacking]), 74)
    assert max(map(length, lines)) <= 74
    assert any("+2.50" in span.text for line in lines for span in line)
