"""The console in a real terminal: runs do not depend on it, and it ends with its terminal."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

import orjson
import psutil
import pytest

from ssl_console.supervisor.client import hold_startup_lock
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import NotPossible, request_cancel
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_status import read_status
from tests.ssl_console.tui.filled import fill_results, queue, supervise, task_names, used_workspace, writers
from tests.ssl_console.tui.terminal import LEAVES_SCREEN, Terminal, a_console, a_terminal, console_command

RATE = 50.0
LIVE = 8
STALL_S = 10.0
PRESSED_EVERY_S = 0.5


@pytest.fixture
def still(tmp_path: Path) -> Workspace:
    """An idle workspace: results, ended runs, and one that waits for a supervisor."""
    made = used_workspace(tmp_path / "still", results=60, runs=12)
    queue(made, "waiting00000", "demo/supervised", "knn/digits")
    return made


@contextmanager
def busy(root: Path) -> Iterator[Workspace]:
    """A workspace with active runs, every one a process that reports more than a worker does."""
    made = Workspace(root).create()
    fill_results(made, ["demo/mae", "demo/random"], task_names(3))
    pairs = [("demo/mae", task) for task in task_names(LIVE)]
    names = [queue(made, f"live{number:08x}", *pair).run_id for number, pair in enumerate(pairs)]
    with writers(made, names, rate=RATE):
        yield made


def written_events(workspace: Workspace) -> int:
    """Bytes of all events."""
    return sum(folder.events(1).stat().st_size for folder in workspace.run_folders() if folder.events(1).exists())


def leave_alone(terminal: Terminal, seconds: float) -> None:
    """Read nothing for this long while keys are pressed: the only condition is time."""
    end = time.monotonic() + seconds
    for key in cycle("31"):
        if time.monotonic() > end:
            return
        terminal.press(key)
        time.sleep(PRESSED_EVERY_S)


@pytest.mark.slow
def test_what_was_launched_with_the_keyboard_alone_is_found_finished_by_the_next_start(workspace: Workspace) -> None:
    with a_console(workspace) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.press("/", *"random digits", "enter", "c", "enter")
        terminal.until_shown("will run")
        terminal.press("enter")
        terminal.until_shown("queued. They continue without this window")
        terminal.hang_up()
        assert terminal.until_ended() == 128 + signal.SIGHUP
    with a_console(workspace) as terminal:
        terminal.press("2")
        terminal.until_shown("demo/random", "done in", patience_s=120)
        terminal.press("enter")
        terminal.until_shown("rank 1 of 1 on this task")


@pytest.mark.slow
def test_a_terminal_that_takes_nothing_for_ten_seconds_holds_up_no_run(tmp_path: Path) -> None:
    with busy(tmp_path / "busy") as workspace, a_console(workspace) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.press("2")
        terminal.until_shown(f"{LIVE} running", "img/s")
        before, started = written_events(workspace), time.monotonic()
        terminal.watch(2)
        usual = (written_events(workspace) - before) / (time.monotonic() - started)
        before, started = written_events(workspace), time.monotonic()
        leave_alone(terminal, STALL_S)
        stalled = (written_events(workspace) - before) / (time.monotonic() - started)
        assert stalled > 0.5 * usual
        terminal.press("2")
        terminal.until_shown("slow link", f"{LIVE} running")


def test_the_screen_is_drawn_where_standard_error_goes_to_a_file(still: Workspace, tmp_path: Path) -> None:
    log = tmp_path / "errors.txt"
    with a_terminal("sh", "-c", f'exec "$0" "$@" 2>{log}', *console_command(still)) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.press("q")
        assert terminal.until_ended() == 0
    assert "\x1b" not in log.read_text()


def test_a_closed_terminal_ends_the_console(still: Workspace) -> None:
    with a_console(still) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.hang_up()
        assert terminal.until_ended() == 128 + signal.SIGHUP


def test_a_closed_terminal_ends_the_console_even_where_nohup_was_said(still: Workspace) -> None:
    ignoring = ["sh", "-c", 'trap "" HUP; exec "$0" "$@"', *console_command(still)]
    with a_terminal(*ignoring) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.hang_up()
        assert terminal.until_ended() == 128 + signal.SIGHUP


@pytest.mark.slow
def test_a_closed_terminal_ends_the_console_though_a_thread_of_it_waits_for_ever(workspace: Workspace) -> None:
    """The startup lock of the supervisor is held by another process, in place of a file server that does not answer."""
    with hold_startup_lock(workspace), a_console(workspace) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.press("/", *"random digits", "enter", "c", "enter")
        terminal.until_shown("will run")
        terminal.press("enter")
        terminal.until(lambda: list(workspace.runs.glob("[!.]*")), "the run is submitted")
        terminal.hang_up()
        assert terminal.until_ended() == 128 + signal.SIGHUP


def test_a_request_to_end_gives_the_terminal_back_and_says_what_goes_on(still: Workspace) -> None:
    with a_console(still) as terminal:
        terminal.until_shown("demo/mae on", "1 waiting")
        terminal.signal(signal.SIGTERM)
        assert terminal.until_ended() == 128 + signal.SIGTERM
        assert "1 waiting, 1 failed, 11 done" in terminal.scrollback


def test_leaving_prints_the_summary_and_leaves_every_run_alone(still: Workspace) -> None:
    with a_console(still) as terminal:
        terminal.until_shown("demo/mae on", "1 waiting")
        terminal.press("q")
        assert terminal.until_ended() == 0
        assert LEAVES_SCREEN in terminal.written
        assert "They continue in the background" in terminal.scrollback
    assert read_status(still.run("waiting00000"), time.time()).state is RunState.QUEUED


def test_an_interrupt_leaves_even_while_a_filter_is_typed(still: Workspace) -> None:
    with a_console(still) as terminal:
        terminal.until_shown("demo/mae on")
        terminal.press("/", *"simclr")
        terminal.until_gone("demo/mae on")
        terminal.press("ctrl+c")
        assert terminal.until_ended() == 0


def test_two_consoles_show_the_same(still: Workspace) -> None:
    with a_console(still) as one, a_console(still, "--readonly") as other:
        for terminal in (one, other):
            terminal.until_shown("demo/mae on")
            terminal.press("2")
            terminal.until_shown("1 waiting")
        one.press("p")
        other.until_shown("paused: no further run is started", "read-only")
        one.until_shown("paused: no further run is started")
        one.press("x")
        other.until_shown("cancelled")
        for terminal in (one, other):
            terminal.until_gone("1 waiting")
        other.until_quiet()
        other.press("r", "p")
        assert not other.watch(1.0), "a read-only console does nothing"
        assert still.paused.exists()


def test_a_run_that_another_process_cancels_is_shown_so(still: Workspace) -> None:
    with a_console(still) as terminal:
        terminal.press("2")
        terminal.until_shown("waiting", "knn/digits")
        request_cancel(still, "waiting00000")
        terminal.until_shown("cancelled")


def screens(terminal: Terminal) -> list[str]:
    """Plan, Live and Rankings, once nothing changes."""
    found = []
    for key, words in (("1", "ticked"), ("2", "failed"), ("3", "columns")):
        terminal.press(key)
        terminal.until_shown(words)
        terminal.until_quiet(0.3)
        found.append(re.sub(r"(│|cpu  |slow link).*", "", terminal.text).rstrip())  # these change with the host's load
    return found


def test_another_size_is_drawn_as_a_start_at_that_size_is(still: Workspace) -> None:
    supervise(still)
    with a_console(still, size=(200, 60)) as terminal:
        terminal.until_shown("demo/mae on")
        large = screens(terminal)
        terminal.resize(80, 24)
        terminal.until_quiet()
        small = screens(terminal)
        terminal.resize(200, 60)
        terminal.until_quiet()
        assert screens(terminal) == large
    with a_console(still, size=(80, 24)) as terminal:
        terminal.until_shown("demo/mae on")
        assert screens(terminal) == small


def test_a_killed_console_touches_no_run(tmp_path: Path) -> None:
    with busy(tmp_path / "busy") as workspace:
        with a_console(workspace) as terminal:
            terminal.press("2")
            terminal.until_shown(f"{LIVE} running")
            terminal.signal(signal.SIGKILL)
            assert terminal.until_ended() == -signal.SIGKILL
        owners = [orjson.loads(folder.attempt(1).read_bytes())["pid"] for folder in workspace.run_folders()]
        assert len(owners) == LIVE
        assert all(psutil.pid_exists(pid) for pid in owners)


@pytest.mark.slow
def test_the_demo_opens_the_console_with_its_suite_launched(workspace: Workspace) -> None:
    with a_console(workspace, "demo") as terminal:
        terminal.until_shown("2 Live", "running", "waiting", patience_s=120)
        terminal.until_shown("demo/mae", "linear/shapes")
        queued = [folder.run_id for folder in workspace.run_folders()]
        assert len(queued) > 20
        for run_id in queued:
            with suppress(NotPossible):
                request_cancel(workspace, run_id)
        terminal.until_shown("cancelled", patience_s=60)
        terminal.press("q")
        assert terminal.until_ended() == 0
    end = time.monotonic() + 60
    while any(not read_status(folder, time.time()).state.final for folder in workspace.run_folders()):
        assert time.monotonic() < end, "cancelled runs do not end"
        time.sleep(0.1)
