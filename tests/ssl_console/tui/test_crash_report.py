"""An internal error of the console, in a real terminal."""

from __future__ import annotations

import errno
import stat
import sys
import termios
from pathlib import Path

import pytest

from ssl_console.tui.app import ConsoleApp
from ssl_console.tui.main import run_console
from ssl_console.tui.terminal.driver import TRACEBACK_FILE, write_traceback
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui.conftest import Opener
from tests.ssl_console.tui.terminal import a_terminal

BROKEN = """
import sys
from pathlib import Path
from ssl_console.operations.session import Session
from ssl_console.tui.app import ConsoleApp, AppOptions
from ssl_console.tui.data.local_backend import LocalBackend
from ssl_console.workspace.paths import Workspace

def broken(self):
    raise KeyError("[red]x")

ConsoleApp.action_help = broken
app = ConsoleApp(lambda: LocalBackend(Session.of(Workspace(Path(sys.argv[1])))), AppOptions(suite="demo"))
app.run()
sys.exit(app.return_code)
"""


def test_the_console_s_own_mistake_leaves_a_panel_with_the_way_out_and_no_traceback(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace").create()
    with a_terminal(sys.executable, "-P", "-c", BROKEN, str(workspace.root)) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.press("?")
        assert terminal.until_ended() == 1
        left = terminal.scrollback
        assert "ssl-console crashed: KeyError: '[red]x'" in left
        assert "Runs are not affected" in left
        assert "Traceback" not in left
    kept = workspace.root / TRACEBACK_FILE
    assert "KeyError" in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


async def test_to_leave_while_a_screen_is_being_built_is_no_mistake(workspace: Workspace, opened: Opener) -> None:
    async with opened(workspace) as pilot:
        pilot.app.exit()
        await pilot.app.switch_mode("compare")
    assert pilot.app.return_code == 0


def test_a_traceback_goes_where_it_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    written = write_traceback(ValueError("broken"), [tmp_path / "nowhere", tmp_path / "there"])
    assert written == tmp_path / "there" / TRACEBACK_FILE
    assert "ValueError: broken" in written.read_text()


@pytest.mark.parametrize(
    "error", [None, OSError(errno.EIO, "Input/output error"), termios.error(errno.EIO, "Input/output error")]
)
def test_what_fails_after_a_closed_terminal_does_not_change_the_exit_code(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    def hung_up(app: ConsoleApp) -> int | None:
        app.signal_code, app._return_code = 129, 1
        if error is not None:
            raise error
        return None

    monkeypatch.setattr(ConsoleApp, "run", hung_up)
    assert run_console(workspace, (), readonly=False, slow=False, mode="plan") == 129
