"""Bytes to a real terminal: none while nothing changes, few over a slow link, plain characters."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui.filled import queue, task_names, used_workspace, writers
from tests.ssl_console.tui.terminal import Terminal, a_console

UPDATE = b"\x1b[?2026h"
"""Begins every update."""
COLOUR = re.compile(rb"[34]8;5;(\d+)")
CLIPBOARD = re.compile(rb"\x1b\]52;c;([A-Za-z0-9+/=]+)\x07")
WATCHED_S = 4.0
SCREENS = (("1", "ticked"), ("2", "failed"), ("3", "columns"), ("4", "against"), ("5", "place"))
"""Keys, and words on the screens they open."""


def test_nothing_is_written_while_a_filter_or_a_search_waits_for_the_next_letter(still: Workspace) -> None:
    with a_console(still) as terminal:
        terminal.until_shown("demo/mae on")
        for opens in ("/", ":"):
            terminal.press(opens, "m")
            terminal.until_quiet(1.0)
            assert terminal.watch(1.5) == 0
            terminal.press("escape")
            terminal.until_quiet(1.0)


@pytest.fixture
def still(tmp_path: Path) -> Workspace:
    """An idle workspace."""
    return used_workspace(tmp_path / "still", results=60, runs=12)


def test_nothing_is_written_while_nothing_changes(still: Workspace) -> None:
    with a_console(still) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.until_quiet(2.0)
        for key, words in SCREENS:
            terminal.press(key)
            terminal.until_shown(words)
            terminal.until_quiet(1.0)
            assert terminal.watch(1.5) == 0, f"on the screen of key {key}"


def updates(terminal: Terminal) -> tuple[int, int]:
    """Updates and bytes during runs without key presses."""
    terminal.press("2")
    terminal.until_shown("4 running", "img/s")
    terminal.watch(1.0)
    before = terminal.written.count(UPDATE)
    count = terminal.watch(WATCHED_S)
    return terminal.written.count(UPDATE) - before, count


@pytest.mark.slow
def test_a_slow_link_gets_half_the_updates(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "busy").create()
    names = [queue(workspace, f"live{n:08x}", "demo/mae", task).run_id for n, task in enumerate(task_names(4))]
    with writers(workspace, names, rate=50.0):
        with a_console(workspace) as terminal:
            usual, _ = updates(terminal)
        with a_console(workspace, "--slow") as terminal:
            slow, count = updates(terminal)
            assert "slow link" in terminal.text
    assert 0 < slow <= 2 * WATCHED_S + 1
    assert slow < usual <= 4 * WATCHED_S + 2
    assert count / WATCHED_S < 1536


def is_grey(number: int) -> bool:
    """Whether one of the 256 colours has no hue: those of the grey ramp, and the diagonal of the cube."""
    return number >= 232 or (16 <= number < 232 and (number - 16) % 43 == 0)


def colours(terminal: Terminal) -> set[int]:
    """All colours that were written."""
    return {int(number) for number in COLOUR.findall(terminal.written)}


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
def test_only_greys_are_used_where_no_colour_is_wanted(still: Workspace, environment: dict[str, str]) -> None:
    with a_console(still, environment=environment) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.press("3")
        terminal.until_shown("columns")
        terminal.until_quiet(0.3)
        assert len(colours(terminal)) > 3
        assert all(map(is_grey, colours(terminal))) == bool(environment)


def test_a_terminal_with_256_colours_is_sent_no_others(still: Workspace) -> None:
    with a_console(still) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.press("3")
        terminal.until_shown("columns")
        assert b"8;5;" in terminal.written
        assert b"8;2;" not in terminal.written


@pytest.mark.parametrize(
    "environment",
    [{"SSL_CONSOLE_ASCII": "1"}, {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_plain_signs_where_the_terminal_has_no_others(still: Workspace, environment: dict[str, str]) -> None:
    with a_console(still, environment=environment) as terminal:
        terminal.until_shown("demo/mae on")
        for key, words in (*SCREENS, ("f1", "Help")):
            terminal.press(key)
            terminal.until_shown(words)
        terminal.until_quiet(0.3)
        assert bytes(terminal.written).isascii()
        assert "\\u" not in terminal.text, "nor are signs spelled out"


def test_the_clipboard_is_reached_through_the_terminal(
    still: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with a_console(still) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.press("3")
        terminal.until_shown("columns")
        terminal.press("x")
        terminal.until_shown("Export")
        terminal.press("c")
        terminal.until_shown("written, and copied")
        copied = CLIPBOARD.search(terminal.written)
        assert copied is not None
        assert base64.b64decode(copied[1]).decode() == (tmp_path / "ranking.csv").read_text()
