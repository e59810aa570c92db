"""A failed run and the end of the queue call the user's attention through the terminal, if that is wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssl_console.tui.data.state import Tally
from ssl_console.tui.terminal.driver import alert, attention
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui.filled import queue, task_names, used_workspace, writers
from tests.ssl_console.tui.terminal import a_console

ENDED = b"\x1b]9;ssl-console: the queue has ended\a"


def test_what_deserves_attention_is_a_failure_or_the_end_of_the_queue() -> None:
    busy = Tally(running=1, waiting=2, failed=1, done=3)
    assert attention(busy, Tally(running=1, waiting=1, failed=1, done=4)) == ""
    assert attention(busy, Tally(running=1, waiting=0, failed=3, done=3)) == "2 runs failed"
    assert attention(busy, Tally(failed=2, done=5)) == "1 run failed, the queue has ended"
    assert attention(Tally(done=3), Tally(done=2)) == "", "removed runs are no news"


@pytest.mark.parametrize(
    ("kind", "sequence"),
    [
        ("none", ""),
        ("bell", "\a"),
        ("osc9", "\x1b]9;ssl-console: it, is so\a"),
        ("osc777", "\x1b]777;notify;ssl-console;it, is so\a"),
    ],
)
def test_an_alert_is_one_control_sequence_and_its_text_cannot_end_it(
    kind: str, sequence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    assert alert(kind, "it; is so") == sequence
    assert alert(kind, "a\x07b\x1b]0;c").count("\x1b") == sequence.count("\x1b")


def test_tmux_is_asked_to_pass_a_notification_on_and_gets_the_bell_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    assert alert("osc9", "so") == "\x1bPtmux;\x1b\x1b]9;ssl-console: so\a\x1b\\"
    assert alert("bell", "so") == "\a"


@pytest.fixture
def busy(tmp_path: Path) -> tuple[Workspace, list[str]]:
    workspace = used_workspace(tmp_path / "busy", results=20, runs=4)
    return workspace, [queue(workspace, "live00000000", "demo/mae", task_names(1)[0]).run_id]


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "sent"), [("osc9", True), ("none", False)])
def test_the_terminal_is_notified_when_the_queue_ends_and_never_unless_that_is_wanted(
    busy: tuple[Workspace, list[str]], setting: str, sent: bool
) -> None:
    workspace, names = busy
    workspace.config.write_text(f'[notifications]\nterminal = "{setting}"\n')
    with a_console(workspace) as terminal:
        terminal.until_shown("1 waiting")
        assert ENDED not in terminal.written
        with writers(workspace, names, rate=20.0, events=40):
            terminal.until_shown("1 running")
            terminal.until_gone("1 running")
        terminal.until_quiet()
        assert (ENDED in terminal.written) is sent
