"""Paths are completed with Tab, a dataset is added by a form, and what was added is evaluated with one key."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from textual.pilot import Pilot
from textual.widgets import Input

from ssl_console.operations.add_dataset import FIELDS, in_words_of_dataset_form, options_of_dataset_form
from ssl_console.system.errors import ConsoleError
from ssl_console.system.file_system import complete_path
from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.screens.add_dataset import AddDatasetDialog
from ssl_console.tui.screens.dialogs import ConfirmDialog
from ssl_console.tui.screens.launch import LaunchDialog
from ssl_console.tui.widgets.styled_text import StyledText
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import Opener, until

PLAN = AppOptions(suite="demo")
ROOT = Path(__file__).parents[3]


def app_of(pilot: Pilot[int]) -> ConsoleApp:
    assert isinstance(pilot.app, ConsoleApp)
    return pilot.app


def found(pilot: Pilot[int]) -> str:
    return " ".join(
        "".join(span.text for span in line) for line in pilot.app.screen.query_one("#found", StyledText).content
    )


def test_a_path_is_completed_as_far_as_there_is_one_way_on(tmp_path: Path) -> None:
    for name in ("run-1.pth", "run-2.pth", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "images").mkdir()
    assert complete_path(f"{tmp_path}/im").text == f"{tmp_path}/images/"
    several = complete_path(f"{tmp_path}/r")
    assert (several.text, several.names) == (f"{tmp_path}/run-", ("run-1.pth", "run-2.pth"))
    assert complete_path(f"{tmp_path}/.h").text.endswith(".hidden")
    assert complete_path(f"{tmp_path}/nothing/x").names == ()
    assert complete_path("~").text == "~"


async def test_tab_completes_a_path_lists_several_and_goes_on(used: Workspace, opened: Opener, tmp_path: Path) -> None:
    for name in ("run-1.pth", "run-2.pth"):
        (tmp_path / name).touch()
    async with opened(used, PLAN) as pilot:
        await pilot.press("B")
        line = pilot.app.screen.query_one("#path", Input)
        line.value = f"{tmp_path}/ru"
        await pilot.press("tab")
        await until(pilot, lambda: line.value == f"{tmp_path}/run-" and "run-1.pth  run-2.pth" in found(pilot))
        line.value = f"{tmp_path}/run-1.pth"
        await pilot.press("tab")
        await until(pilot, lambda: getattr(pilot.app.screen.focused, "id", "") == "name")


@pytest.mark.slow
async def test_a_dataset_is_scanned_and_added_by_a_form(used: Workspace, opened: Opener, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label in ("cats", "dogs"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 255, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{number}.png")
    async with opened(used, PLAN) as pilot:
        await pilot.press("A")
        assert isinstance(pilot.app.screen, AddDatasetDialog)
        await pilot.press("enter")
        assert "enter a folder or a file first" in found(pilot)
        pilot.app.screen.query_one("#path", Input).value = str(tmp_path / "pets")
        await pilot.press("enter")
        await until(pilot, lambda: "Enter writes the card" in found(pilot))
        assert "classes   2" in found(pilot)
        assert list(used.tasks.glob(".*"))
        pilot.app.screen.query_one("#test_share", Input).value = "0.3"
        await until(pilot, lambda: not list(used.tasks.glob(".*")))  # what was scanned with other fields is discarded
        await pilot.press("enter")
        await until(pilot, lambda: "Enter writes the card" in found(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        assert (used.tasks / "pets.toml").is_file()
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchDialog))


@pytest.mark.parametrize("keys", [(), ("4",)], ids=["in Plan", "in Compare"])
async def test_what_was_added_is_evaluated_with_one_key(used: Workspace, opened: Opener, keys: tuple[str, ...]) -> None:
    async with opened(used, PLAN) as pilot:
        app = app_of(pilot)
        await pilot.press(*keys)
        (name,) = filled.own_backbones(used, 1)
        app.backend.session.reload_backbones()
        app._added(name, "")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, LaunchDialog))
        await pilot.press("escape")
        assert app.screen.query_one(LineTable).row == name


def test_fields_of_the_dataset_form_are_checked_by_name() -> None:
    fields = dict.fromkeys(("path", "name", "layout", "file_column", "test_share", "leave_out"), "")
    assert options_of_dataset_form({**fields, "layout": "csv", "test_share": "0.3", "leave_out": "yes"}).leave_out
    with pytest.raises(ConsoleError, match="layout cvs"):
        options_of_dataset_form({**fields, "layout": "cvs"})
    with pytest.raises(ConsoleError, match="leave out maybe: yes or no"):
        options_of_dataset_form({**fields, "leave_out": "maybe"})
    given = options_of_dataset_form({**fields, "split_words": 'holdout=test "fold 1=none" *=train', "several": "no"})
    assert given.split_words == (("holdout", "test"), ("fold 1", "none"), ("*", "train"))
    assert given.several is False
    with pytest.raises(ConsoleError, match="split words holdout: write WORD=train"):
        options_of_dataset_form({**fields, "split_words": "holdout"})


def test_questions_about_a_dataset_name_the_fields_that_answer_them() -> None:
    questions = {path.name: path.read_text() for path in (ROOT / "tasks" / "datasets" / "importing").glob("*.py")}
    options = {option for text in questions.values() for option in re.findall(r"--[a-z]+(?:-[a-z]+)*", text)}
    assert options - {"--large"} <= set(FIELDS)
    words = in_words_of_dataset_form("choose --several, or --single, or --split-column C")
    assert words == "choose several labels = yes, or several labels = no, or split column C"
