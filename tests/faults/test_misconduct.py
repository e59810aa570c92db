"""Misbehaving workers: each is ended or bounded, its run has a reason, and nothing else is affected."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from ssl_console.launchers.local.launcher import LocalLauncher
from ssl_console.supervisor.client import SupervisorOptions
from ssl_console.supervisor.loop import Supervisor
from ssl_console.workspace.events import LONGEST, keep_bounded
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import pause, resume
from ssl_console.workspace.run import RunState
from ssl_console.workspace.supervisor_state import SupervisorView
from tests.faults.misconduct_evaluation import HOSTILE
from tests.faults.scale import full
from tests.faults.stage import PATIENCE_S, Stage
from tests.faults.tally import Tally
from tests.forked_processes import FORKS
from tests.ssl_console.tui.terminal import a_console, a_terminal
from tests.ssl_console.workspace_fixture import eventually, gone

GROUP = "workers that misbehave"

LIMIT_MB = 400
FLOOD = (4_000 if full() else 400) << 20
STEERS = (b"title\x07", b"\x1b]0;title", b"\x1b]52", b"\x1bP+q", b"\xc2\x9b31m", b"\xc2\x9d", b"\x08\x08")
"""Parts of the hostile output that would control a terminal, and that no console writes itself."""

CLOCK = "the clock set back in a worker, an hour back in the supervisor, and hours ahead"
NO_HARM = "nothing is ended, silenced or measured wrongly"


def configure(stage: Stage, **settings: object) -> None:
    """Insert settings before the number of slots."""
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    stage.workspace.config.write_text(lines + stage.workspace.config.read_text())


def failed(stage: Stage, **parameters: Any) -> Any:
    """The JSON row of the single run, which is expected to fail."""
    done = stage(*stage.run_arguments([0], **parameters))
    assert done.code == 1, done.err
    (row,) = stage("runs", "--json").document["runs"]
    assert row["state"] == "failed"
    return row


@pytest.mark.slow
@pytest.mark.parametrize("fate", ["hang", "ignore"])
def test_worker_that_hangs_without_a_sign_of_life_is_ended_and_its_stacks_are_kept(
    stage: Stage, fate: str, tally: Tally
) -> None:
    configure(stage, stall_s=4)
    row = failed(stage, fate=fate)
    assert row["kind"] == "stalled"
    assert "no sign of life for 4 s (setting stall_s), so it was ended" in row["reason"]
    assert "_misbehave" in stage("logs", row["run_id"]).out
    stage.run_to_the_end([1])
    stage.check_all_gone()
    tally.add(
        "a worker that hangs without a sign of life, or ignores SIGTERM too",
        1,
        "failed (stalled), its stacks in the log, the next run goes on",
    )


@pytest.mark.slow
@pytest.mark.parametrize("fate", ["allocate", "allocate-in-child"])
def test_worker_that_takes_memory_without_end_is_ended_with_its_own_kind(stage: Stage, fate: str, tally: Tally) -> None:
    stage.environment.pop(FORKS, None)  # a forked worker also has the memory of its server
    configure(stage, worker_memory_mb=LIMIT_MB)
    row = failed(stage, fate=fate)
    assert row["kind"] == "memory"
    assert "MB of the host's memory, more than the 400 that a worker may (setting worker_memory_mb)" in row["reason"]
    stage.run_to_the_end([1])
    stage.check_all_gone()
    tally.add(
        f"a worker, or a child of it, that takes memory without end, limit {LIMIT_MB} MB",
        1,
        "failed (memory), the next run goes on",
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["it finishes", "it is killed"])
def test_daemons_of_a_run_end_with_it(stage: Stage, how: str, tally: Tally) -> None:
    command = stage.start(*stage.run_arguments([0], fate="daemons"))
    listed = stage.workspace.features / "daemons"
    eventually(lambda: listed.exists() and listed.read_text().count(" "), "it has daemons", PATIENCE_S)
    daemons = [int(pid) for pid in listed.read_text().split()]
    assert all(psutil.pid_exists(pid) for pid in daemons)
    if how == "it finishes":
        (stage.workspace.features / "go").touch()
    else:
        eventually(stage.workers, "the worker is known", PATIENCE_S)
        os.kill(stage.workers()[0], signal.SIGKILL)
    for pid in daemons:
        eventually(gone(pid), f"process {pid} is gone", PATIENCE_S)
    stage.finish(command)
    tally.add("children in sessions of their own, or left behind by their parents", 2, "ended with the worker")


@pytest.mark.slow
def test_flood_of_log_is_bounded_and_its_end_is_kept(stage: Stage, tally: Tally) -> None:
    command = stage.start(*stage.run_arguments([0], fate="flood", size=FLOOD))
    begun, largest = time.monotonic(), 0

    def over() -> bool:
        nonlocal largest
        sizes = [path.stat().st_size for path in stage.workspace.runs.glob("*/log.*") if path.exists()]
        largest = max(largest, sum(sizes))
        return command.poll() is not None

    eventually(over, "the flood is over", 10 * PATIENCE_S)
    seconds = time.monotonic() - begun
    assert stage.finish(command) == 0
    (run_id,) = stage.seeds()
    folder = stage.workspace.run(run_id)
    assert folder.log(1).stat().st_size <= LONGEST
    assert largest < FLOOD / 2
    shown = stage("logs", run_id)
    assert shown.out.rstrip().endswith("the flood is over")
    tally.add(
        f"{FLOOD >> 20:,} MB of log printed by one run",
        1,
        f"in {seconds:.0f} s; never more than {largest >> 20} MB on the disk; the end is kept and shown",
    )


def test_log_that_has_grown_too_long_is_cut_while_it_is_written(stage: Stage) -> None:
    folder = stage.workspace.run("some")
    folder.path.mkdir()
    with folder.log(1).open("ab", buffering=0) as writer:
        writer.write(b"first\n" + bytes(LONGEST) + b"last\n")
        assert keep_bounded(folder, 1)
        assert not keep_bounded(folder, 1)
        writer.write(b"after\n")
    kept = folder.log(1).read_bytes()
    assert kept.startswith(b"-- 15,728,651 bytes were cut here: a log may have 16,777,216 --\n")
    assert kept.endswith(b"last\nafter\n")


@pytest.mark.slow
def test_binary_and_escape_sequences_never_reach_a_terminal(stage: Stage, tally: Tally) -> None:
    stage.run_to_the_end([0], fate="binary")
    (run_id,) = stage.seeds()
    assert HOSTILE in stage.workspace.run(run_id).log(1).read_bytes()
    assert stage(*stage.run_arguments([1], fate="raise")).code == 1
    (wrong,) = stage.seeds().keys() - {run_id}
    shown = (["logs", run_id], ["events", run_id], ["logs", wrong], ["events", wrong], ["show", run_id])
    for verb in (*shown, ["runs"], ["runs", "--json"], ["results", "--json"]):
        command = sys.executable, "-P", "-m", "ssl_console", *verb
        with a_terminal(*command, environment=stage.environment) as terminal:
            assert terminal.until_ended() == 0
            assert not [bad for bad in STEERS if bad in terminal.written], verb
            assert b"\x1b" not in terminal.written
    with a_console(stage.workspace, environment=stage.environment) as console:
        console.until_shown("demo/mae")
        console.press("2")
        console.until_shown("misconduct/things")
        console.press("tab", "tab")
        console.until_shown("progress", "markup")
        assert not [bad for bad in STEERS if bad in console.written]
        console.press("q")
        assert console.until_ended() == 0
    tally.add(
        "logs, warnings and errors of binary, escapes and markup, shown by eight verbs and the console", 9, "text"
    )


@pytest.mark.slow
def test_leaving_with_code_0_without_a_result_is_a_failure(stage: Stage, tally: Tally) -> None:
    row = failed(stage, fate="leave")
    assert (row["kind"], row["reason"].split(";")[0]) == (
        "crash",
        "its worker exited with code 0 without a result",
    )
    tally.add("a worker that leaves with exit code 0 without a result", 1, "failed (crash), reported")


@pytest.mark.slow
def test_warnings_and_curves_without_end_are_bounded(stage: Stage, tally: Tally) -> None:
    stage.run_to_the_end([0], fate="warn", size=20_000)
    (run_id,) = stage.seeds()
    assert stage.workspace.run(run_id).events(1).stat().st_size < 1 << 18
    (row,) = stage("results", "--json").document["results"]
    assert row["warnings"] == 1001
    tally.add("20,000 warnings and as many curves of one run", 1, "1,000 warnings and 200 curves are stored")


@pytest.mark.slow
def test_clock_that_goes_backwards_in_a_worker_harms_nothing(stage: Stage, tally: Tally) -> None:
    stage.run_to_the_end([0], fate="clock", seconds=0.3)
    stage.check_at_rest()
    (row,) = stage("results", "--json").document["results"]
    assert row["duration_s"] >= 0
    tally.add(CLOCK, 1, NO_HARM)


def test_clock_set_back_an_hour_does_not_silence_the_supervisor(tmp_path: Path, tally: Tally) -> None:
    workspace = Workspace(tmp_path / "workspace").create()
    options = SupervisorOptions(devices=("cpu",), slots_per_device=1)
    supervisor = Supervisor(workspace, {"local": LocalLauncher(workspace)}, options)
    now = time.time()
    supervisor.begin(now)
    supervisor.tick(now + 1)
    pause(workspace)
    supervisor.tick(now - 3600)
    state = SupervisorView(workspace).state()
    assert state is not None
    assert state.paused
    assert not supervisor.may_leave(now - 3600)
    assert supervisor.may_leave(now - 3600 + options.linger_s + 1)
    tally.add(CLOCK, 1, NO_HARM)


@pytest.mark.slow
def test_clock_that_jumps_ahead_does_not_end_a_run_as_stalled(stage: Stage, tally: Tally) -> None:
    """As when a suspended machine wakes up: the last events are hours old."""
    command = stage.start(*stage.run_arguments([0], fate="wait"))
    eventually(stage.workers, "there is a worker", PATIENCE_S)
    (run_id,) = stage.seeds()
    folder = stage.workspace.run(run_id)
    eventually(lambda: folder.events(1).exists() and folder.events(1).stat().st_size, "it reports", PATIENCE_S)
    os.kill(stage.workers()[0], signal.SIGSTOP)
    hours_ago = time.time() - 4 * 3600
    os.utime(folder.events(1), (hours_ago, hours_ago))
    view = SupervisorView(stage.workspace)
    pause(stage.workspace)
    eventually(lambda: (state := view.living()) and state.paused, "the supervisor has looked at it", PATIENCE_S)
    resume(stage.workspace)
    os.kill(stage.workers()[0], signal.SIGCONT)
    (stage.workspace.features / "go").touch()
    assert stage.finish(command) == 0
    assert stage.statuses()[run_id].state is RunState.DONE
    tally.add(CLOCK, 1, NO_HARM)
