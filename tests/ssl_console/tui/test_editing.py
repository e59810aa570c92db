"""`e` gives the terminal to an editor, and what comes back is checked; suites are made from ticks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from ssl_console.operations.backbone_cards import edit_config, edit_task_card, save_suite
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.screens.dialogs import ProblemDialog
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.config import load_config
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.terminal import a_console

PLAN = AppOptions(suite="demo")


def editor(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str, variable: str = "EDITOR") -> Path:
    path = folder / "editor.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv(variable, str(path))
    return path


@pytest.fixture
def suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the terminal to nobody: the pilot has none."""

    @contextmanager
    def suspend(_app: ConsoleApp) -> Iterator[None]:
        yield

    monkeypatch.setattr(ConsoleApp, "suspend", suspend)


def app_of(pilot: Pilot[int]) -> ConsoleApp:
    assert isinstance(pilot.app, ConsoleApp)
    return pilot.app


@pytest.mark.usefixtures("suspended")
async def test_a_card_is_edited_and_an_invalid_one_does_not_take_its_place(
    used: Workspace, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = filled.own_backbones(used, 1)
    path = used.backbones / f"{name}.toml"
    async with opened(used, PLAN) as pilot:
        pilot.app.screen.query_one(LineTable).move_to(row=name)
        editor(monkeypatch, tmp_path, "sed -i 's/Own network 0/Mine/' \"$1\"")
        await pilot.press("e", "enter")
        await until(pilot, lambda: app_of(pilot).state.catalogue.backbone[name].card.title == "Mine")
        editor(monkeypatch, tmp_path, "echo 'titel = 3' > \"$1\"")
        await pilot.press("e", "enter")
        assert isinstance(pilot.app.screen, ProblemDialog)
        words = " ".join("".join(span.text for span in line) for line in pilot.app.screen.query_one(Lines).content)
        assert "was not changed" in words
        assert "Mine" in path.read_text()


@pytest.mark.usefixtures("suspended")
async def test_cards_of_the_project_and_logs_are_shown_in_the_pager(
    used: Workspace, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    editor(monkeypatch, tmp_path, f'echo "$1" >> {seen}', "PAGER")
    async with opened(used, AppOptions(mode="rankings")) as pilot:
        await pilot.press("e", "enter", "2")
        await until(pilot, lambda: pilot.app.screen.query_one(LineTable).rows.keys)
        table = pilot.app.screen.query_one(LineTable)
        table.move_to(row=next(key for key in table.rows.keys if used.run(key).log(1).exists()))
        await pilot.press("e", "enter")
    shown = seen.read_text().splitlines()
    assert "cards/demo" in shown[0] or shown[0].endswith(".toml")
    assert shown[1].endswith("log.1.txt")


async def test_nothing_is_edited_read_only(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(readonly=True)) as pilot:
        await pilot.press("e")
        assert len(pilot.app.screen_stack) == 1


async def test_ticked_tasks_become_a_suite(used: Workspace, opened: Opener) -> None:
    async with opened(used, PLAN) as pilot:
        await pilot.press("space", "right", "space", "O", *"two", "enter")
        await until(pilot, lambda: app_of(pilot).state.suite == "two" and "two" in app_of(pilot).state.catalogue.suite)
        assert len(app_of(pilot).state.catalogue.suite["two"].tasks) == 2
        assert len(pilot.app.screen.query_one(LineTable).rows.columns) == 3


def test_settings_and_suites_that_are_wrong_do_not_replace_what_is_there(
    used: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session.of(used)
    editor(monkeypatch, tmp_path, "echo 'devises = 3' > \"$1\"")
    with pytest.raises(ConsoleError, match="unknown key; did you mean 'devices'"):
        edit_config(session)
    assert load_config(used).devices == ("cpu",)
    editor(monkeypatch, tmp_path, "sed -i 's/slots_per_device = 1/slots_per_device = 2/' \"$1\"")
    assert edit_config(session)
    assert load_config(used).slots_per_device == 2
    save_suite(session, "mine", ["linear/digits"])
    editor(monkeypatch, tmp_path, "sed -i 's/digits/nothing/' \"$1\"")
    with pytest.raises(ConsoleError, match="linear/nothing"):
        edit_task_card(session, "mine")
    with pytest.raises(ConsoleError, match="suite mine already exists"):
        save_suite(session, "mine", ["linear/digits"])
    assert session.tasks.suites["mine"].tasks == ("linear/digits",)


@pytest.mark.slow
def test_an_editor_in_a_real_terminal_gets_it_and_gives_it_back(
    used: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(
        monkeypatch,
        tmp_path,
        'echo "in the editor: $(stty -a | grep -c -- " icanon")"; read answer; echo "# $answer" >> "$1"',
    )
    with a_console(used) as terminal:
        terminal.until_shown("ticked", patience_s=90)
        terminal.press("e")
        terminal.until_shown("config.toml")
        terminal.press(*"config", "enter")
        terminal.until_shown("in the editor: 1", patience_s=90)
        terminal.press(*"hello", "enter")
        terminal.until_shown("ticked", "config.toml was changed", patience_s=90)
    assert used.config.read_text().endswith("# hello\n")
