"""A suspended machine, a paused container, a changed clock: none of them ends a run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from subprocess import Popen

import pytest

from ssl_console.supervisor.worker_monitor import WatchClock
from ssl_console.system.processes import is_suspended
from ssl_console.workspace.run import RunState
from tests.faults.stage import PATIENCE_S, Stage, wait_for
from tests.faults.tally import Tally
from tests.ssl_console.workspace_fixture import eventually

GROUP = "frozen and thawed"
STALL_S, FROZEN_S = 8.0, 16.0


def freeze(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def thaw(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["supervisor and workers", "workers alone", "supervisor alone"])
def test_a_run_goes_on_after_a_pause_longer_than_silence_may_last(stage: Stage, who: str, tally: Tally) -> None:
    config = stage.workspace.config
    config.write_text(f"{config.read_text()}stall_s = {STALL_S}\n")
    command = stage.start(*stage.run_arguments([0], wait=True))
    eventually(lambda: running(stage), "a run is under way", PATIENCE_S)
    supervisor, workers = stage.supervisor_pid(), stage.workers()
    assert supervisor is not None
    frozen = [*([supervisor] if "supervisor" in who else []), *(workers if "workers" in who else [])]
    freeze(frozen)
    until = time.monotonic() + FROZEN_S
    wait_for(lambda: time.monotonic() > until, FROZEN_S + 1)
    thaw(frozen)
    assert not wait_for(lambda: not running(stage), STALL_S / 2), stage.statuses()
    (stage.workspace.features / "go").touch()
    assert stage.finish(command) == 0, stage.words(command)
    (status,) = stage.statuses().values()
    assert (status.state, status.attempt) == (RunState.DONE, 1)
    tally.add(f"processes stopped for longer than `stall_s` during a run: {who}", 1, "went on in the same attempt")


def running(stage: Stage) -> bool:
    """Whether the single run is active."""
    return [status.state for status in stage.statuses().values()] == [RunState.RUNNING]


def test_time_in_which_this_process_was_suspended_is_not_watching() -> None:
    times = iter([0.0, 1.0, 2.0, 3600.0, 3601.0])
    clock = WatchClock(5.0, read=lambda: next(times))
    assert [clock.now() for _ in range(5)] == [0.0, 1.0, 2.0, 7.0, 8.0]


def test_a_stopped_process_is_suspended_and_a_running_one_is_not(tmp_path: Path) -> None:
    with Popen(["sleep", "60"]) as process:
        assert not is_suspended(process.pid)
        freeze([process.pid])
        eventually(lambda: is_suspended(process.pid), "it is stopped")
        process.kill()
