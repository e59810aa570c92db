"""Supervisors that die, race or exit: no finished result is lost, and nothing is done twice."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import psutil
import pytest

from ssl_console.supervisor import client
from ssl_console.supervisor.client import (
    StartupLocked,
    SupervisorOptions,
    ensure_supervisor,
    hold_startup_lock,
    is_supervised,
)
from ssl_console.system.errors import OperationFailed
from ssl_console.system.processes import started_at
from ssl_console.workspace.requests import request_cancel, request_retry
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunObserver
from ssl_console.workspace.supervisor_state import SupervisorView
from tests.ssl_console.rehearsal_evaluation import journal
from tests.ssl_console.workspace_fixture import PATIENCE_S, Bench, eventually, gone


def test_run_that_was_going_is_found_again_after_the_supervisor_was_killed(bench: Bench) -> None:
    bench.submit("going", "wait", seed=1, created=1.0)
    bench.submit("queued", seed=2, created=2.0)
    bench.supervise()
    worker = bench.until_at_work("going")
    bench.kill_supervisor()
    assert bench.state("going") is RunState.RUNNING
    assert bench.supervise()
    state = SupervisorView(bench.workspace).living()
    assert state is not None
    assert [(slot.run_id, slot.worker) for slot in state.slots] == [("going", worker)]
    bench.go()
    bench.until("going", RunState.DONE)
    bench.until("queued", RunState.DONE)
    eventually(lambda: set(bench.results()) == {"going", "queued"}, "both results are in the database")
    assert [bench.noted("begin", run) for run in ("going", "queued")] == [1, 1]


def test_what_a_worker_that_died_after_its_result_had_no_time_to_remove_is_removed_by_the_next_start(
    bench: Bench,
) -> None:
    done, failed = bench.submit("done"), bench.submit("failed", "raise")
    bench.supervise()
    bench.until("done", RunState.DONE)
    bench.until("failed", RunState.FAILED)
    bench.kill_supervisor()
    for folder in (done, failed):
        for left in (folder.checkpoint, folder.fresh_features):
            left.mkdir(exist_ok=True)
            (left / "state.pt").write_bytes(b"state")
    bench.supervise()
    eventually(lambda: not (done.checkpoint.exists() or done.fresh_features.exists()), "a result needs no checkpoint")
    assert done.result.exists()
    assert (failed.checkpoint / "state.pt").exists()  # a retry resumes from it


def test_worker_of_a_killed_supervisor_leaves_after_its_run_and_its_result_is_collected(bench: Bench) -> None:
    bench.submit("going", "wait")
    bench.supervise()
    worker = bench.until_at_work("going")
    bench.kill_supervisor()
    bench.go()
    bench.until("going", RunState.DONE)
    eventually(gone(worker), "the worker has left")
    assert bench.results() == {}
    bench.supervise()
    eventually(lambda: "going" in bench.results(), "the next supervisor collects it")


def test_run_whose_worker_and_supervisor_were_killed_is_lost_and_can_be_retried(bench: Bench) -> None:
    bench.submit("going", "wait")
    bench.supervise()
    worker = bench.until_at_work("going")
    bench.kill_supervisor()
    os.kill(worker, signal.SIGKILL)
    eventually(gone(worker), "the worker is gone")
    bench.supervise()
    status = bench.until("going", RunState.FAILED)
    assert (status.kind, status.attempt) == ("lost", 1)
    assert "`ssl-console retry` runs it again" in status.reason
    request_retry(bench.workspace, "going")
    bench.go()
    bench.supervise()
    assert bench.until("going", RunState.DONE).attempt == 2


def test_adopted_run_can_be_cancelled(bench: Bench) -> None:
    bench.submit("going", "wait")
    bench.supervise()
    bench.until_at_work("going")
    bench.kill_supervisor()
    bench.supervise()
    request_cancel(bench.workspace, "going")
    bench.until("going", RunState.CANCELLED)


def test_worker_without_any_supervisor_heeds_a_cancel_request(bench: Bench) -> None:
    bench.submit("going", "wait")
    bench.supervise()
    bench.until_at_work("going")
    bench.kill_supervisor()
    request_cancel(bench.workspace, "going")
    status = bench.until("going", RunState.CANCELLED)
    eventually(lambda: bench.status("going").end is not None, "the worker has recorded it")
    assert status.attempt == 1


def test_killing_supervisors_again_and_again_loses_and_repeats_nothing(bench: Bench) -> None:
    runs = [f"r{number}" for number in range(8)]
    for number, run in enumerate(runs):
        bench.submit(run, seconds=0.1, seed=number)
    for finished in range(1, 5):
        bench.supervise(slots_per_device=2)
        _eventually_finished(bench, finished)
        bench.kill_supervisor()
    bench.supervise(slots_per_device=2)
    for run in runs:
        bench.until(run, RunState.DONE)
    eventually(lambda: set(bench.results()) == set(runs), "every result is in the database")
    assert [bench.noted("begin", run) for run in runs] == [1] * len(runs)


def test_of_supervisors_started_at_once_one_wins(bench: Bench) -> None:
    bench.submit("one", "wait")
    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(lambda _: bench.supervise(), range(4)))
    assert sorted(started) == [False, False, False, True]
    command = [sys.executable, "-P", "-m", "ssl_console.supervisor", "--workspace", str(bench.workspace.root)]
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert second.returncode == 1
    assert "already has a supervisor" in second.stderr
    assert str(bench.supervisor_pid()) in second.stderr
    bench.go()


def test_run_submitted_while_the_supervisor_leaves_is_not_forgotten(bench: Bench) -> None:
    """With no lingering, every submission meets a supervisor that is about to exit, or has just exited."""
    for number in range(12):
        bench.submit(f"r{number}", seed=number)
        bench.supervise(linger_s=0, idle_s=0)
        _eventually_finished(bench, number + 1)
    for number in range(12):
        bench.until(f"r{number}", RunState.DONE)
        assert bench.noted("begin", f"r{number}") == 1


def test_a_startup_lock_that_stays_locked_is_named_instead_of_waited_for_without_end(bench: Bench) -> None:
    locked = pytest.raises(StartupLocked, match=r"supervisor/door has been locked .* suspended")
    with hold_startup_lock(bench.workspace), locked, hold_startup_lock(bench.workspace, patience_s=0.1):
        raise AssertionError("two hold the startup lock")


def test_a_supervisor_that_does_not_come_up_is_not_waited_for_without_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "START_S", 0.01)
    with pytest.raises(OperationFailed, match=r"did not report within 0 s that it is ready; it continues"):
        bench.supervise(linger_s=60)
    log = bench.workspace.supervisor_log
    eventually(lambda: "supervising" in log.read_text(), "it has ended because its message was not read")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs to see what the supervisor has open")
def test_supervisor_about_to_leave_looks_once_more_when_the_startup_lock_was_held(bench: Bench) -> None:
    bench.submit("first", "wait", seed=1)
    bench.supervise()
    bench.until_at_work("first")
    opened = Path(f"/proc/{bench.supervisor_pid()}/fd")
    with hold_startup_lock(bench.workspace):
        bench.go()
        eventually(lambda: any(os.path.realpath(one).endswith("/door") for one in opened.iterdir()), "it leaves")
        bench.submit("second", seed=2)
        assert is_supervised(bench.workspace)
    bench.until("second", RunState.DONE)


HALF_GONE = """
import ctypes, os, sys, threading, time
from pathlib import Path
from ssl_console.supervisor.client import supervising
from ssl_console.workspace.paths import Workspace

def leave_later():
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
    os._exit(0)

with supervising(Workspace(Path(sys.argv[1]))):
    threading.Thread(target=leave_later).start()
    ctypes.CDLL(None).syscall(60, 0)
"""
"""A process that holds the lock and whose main thread has left, as of one that was killed while another thread of it
still waits for a disk: `SYS_exit`, number 60 on x86_64, ends one thread."""


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="needs SYS_exit by its number")
def test_supervisor_that_was_killed_and_still_holds_the_lock_is_waited_for_and_replaced(
    bench: Bench, tmp_path: Path
) -> None:
    release = tmp_path / "go"
    command = [sys.executable, "-c", HALF_GONE, str(bench.workspace.root), str(release)]
    half_gone = subprocess.Popen(command)
    eventually(lambda: psutil.Process(half_gone.pid).status() == psutil.STATUS_ZOMBIE, "its main thread has left")
    assert is_supervised(bench.workspace)
    bench.submit("one")
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(bench.supervise)
        assert wait([started], timeout=0.3).not_done
        release.touch()
        assert started.result(timeout=PATIENCE_S)
    half_gone.wait()
    bench.until("one", RunState.DONE)


def test_supervisor_killed_a_moment_ago_is_never_taken_for_one_that_stays(bench: Bench) -> None:
    """Without a pause between the signal and the question: the lock is still held then, now and again."""
    for _ in range(8):
        bench.supervise(linger_s=60)
        os.kill(bench.supervisor_pid(), signal.SIGKILL)
        assert bench.supervise(linger_s=60)


def test_supervisor_and_its_run_outlive_the_session_that_asked_for_them(bench: Bench) -> None:
    bench.submit("one", "wait")
    program = (
        "import sys, time; from pathlib import Path; from ssl_console.workspace.paths import Workspace;"
        "from ssl_console.supervisor.client import ensure_supervisor;"
        f"ensure_supervisor(Workspace(Path({str(bench.workspace.root)!r}))); print('up', flush=True); time.sleep(600)"
    )
    console = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert console.stdout is not None
    assert console.stdout.readline() == b"up\n"
    worker = bench.until_at_work("one")
    os.killpg(console.pid, signal.SIGHUP)
    os.killpg(console.pid, signal.SIGKILL)
    console.communicate()
    assert bench.supervisor_lives()
    assert started_at(worker) is not None
    bench.go()
    bench.until("one", RunState.DONE)


def test_supervisor_told_to_stop_leaves_its_worker_to_finish(bench: Bench) -> None:
    bench.submit("one", "wait")
    bench.supervise()
    bench.until_at_work("one")
    pid = bench.supervisor_pid()
    os.kill(pid, signal.SIGTERM)
    eventually(gone(pid), "the supervisor is gone")
    bench.go()
    bench.until("one", RunState.DONE)


def test_supervisor_that_cannot_start_says_why(bench: Bench) -> None:
    with pytest.raises(OperationFailed, match=r"no device 'cuda:9'; available: .*cpu"):
        ensure_supervisor(bench.workspace, SupervisorOptions(devices=("cuda:9",)))
    bench.workspace.config.write_text("devics = ['cpu']\n")
    with pytest.raises(OperationFailed, match="devics: unknown key; did you mean 'devices'"):
        bench.supervise()


def test_damaged_results_file_is_set_aside_and_made_again(bench: Bench) -> None:
    bench.submit("one")
    bench.supervise()
    bench.until("one", RunState.DONE)
    eventually(lambda: not bench.supervisor_lives(), "the supervisor has left")
    bench.workspace.results.write_bytes(b'{"results": {"1": {"run_')
    bench.supervise()
    assert set(bench.results()) == {"one"}
    assert len(list(bench.workspace.root.glob("results.unreadable-*.json"))) == 1


def test_observer_follows_a_run_from_queue_to_end(bench: Bench) -> None:
    observer = RunObserver(bench.workspace)
    assert observer.poll().changed == ()
    bench.submit("one", "wait", seconds=0.5)
    seen = {view.state for view in observer.poll().changed}
    assert seen == {RunState.QUEUED}
    assert observer.runs["one"].reason == "no supervisor is running: start one with `ssl-console resume`"
    bench.supervise()

    def follow(until: RunState) -> None:
        def there() -> bool:
            seen.update(view.state for view in observer.poll().changed)
            return observer.runs["one"].state is until

        eventually(there, until)

    follow(RunState.RUNNING)
    eventually(lambda: observer.poll() and observer.runs["one"].progress.share == 1.0, "its progress is seen")
    assert observer.runs["one"].device == "cpu"
    bench.go()
    follow(RunState.DONE)
    assert seen >= {RunState.QUEUED, RunState.STARTING, RunState.RUNNING, RunState.DONE}
    eventually(lambda: observer.poll() and observer.runs["one"].progress.ended == "done", "all its events are folded")
    assert observer.history("one").metrics["accuracy"].latest == 100.0
    eventually(lambda: observer.poll() and observer.supervisor is None, "the supervisor has left")


def _eventually_finished(bench: Bench, least: int) -> None:
    def finished() -> bool:
        return sum(note[0] == "finish" for note in journal(bench.workspace.features)) >= least

    eventually(finished, f"{least} evaluations have finished")
