"""The console inside tmux: drawn, controlled by its keys, and ended with its window."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui.filled import used_workspace
from tests.ssl_console.tui.terminal import PATIENCE_S, console_command

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux is installed: apt-get install tmux")


class Window:
    """A window of a separate tmux server."""

    def __init__(self, socket: Path, command: list[str]) -> None:
        self._socket = socket
        surroundings = {name: value for name, value in os.environ.items() if name != "TMUX"}
        surroundings |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        start = ["-u", "-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", shlex.join(command)]
        self._tmux(*start, env=surroundings)

    def _tmux(self, *words: str, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words], env=env, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout

    def press(self, *keys: str) -> None:
        """Send keys by their tmux names."""
        self._tmux("send-keys", *keys)

    def until_shown(self, words: str) -> None:
        """Wait until the window shows this."""
        end = time.monotonic() + PATIENCE_S
        while words not in (text := self._tmux("capture-pane", "-p")):
            assert time.monotonic() < end, f"{words} is not shown\n{text}"
            time.sleep(0.05)

    @property
    def process(self) -> psutil.Process:
        """The command running in it."""
        return psutil.Process(int(self._tmux("display-message", "-p", "#{pane_pid}")))

    def close(self) -> None:
        """End the server, and with it the window."""
        self._tmux("kill-server")


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    """The console in 80 by 24."""
    workspace = used_workspace(Workspace(tmp_path / "still").root, results=60, runs=12)
    opened = Window(tmp_path / "tmux", console_command(workspace))
    yield opened
    if (tmp_path / "tmux").exists():
        subprocess.run(["tmux", "-S", str(tmp_path / "tmux"), "kill-server"], capture_output=True, check=False)


def test_it_is_drawn_and_driven_inside_tmux(window: Window) -> None:
    window.until_shown("demo/mae on linear/digits")
    window.press("3")
    window.until_shown("columns")
    window.press("/")
    window.press("-l", "random")
    window.press("Enter")
    window.until_shown("1 of ")
    window.press("F1")
    window.until_shown("The best score of a column is bold")


def test_a_closed_window_ends_it(window: Window) -> None:
    window.until_shown("demo/mae on linear/digits")
    console = window.process
    window.close()
    assert not psutil.wait_procs([console, *console.children()] if console.is_running() else [], timeout=PATIENCE_S)[1]
