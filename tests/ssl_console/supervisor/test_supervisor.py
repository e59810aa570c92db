"""The supervisor with real workers: runs are executed in order, and failures stay isolated."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from ssl_console.workspace.events import EventTail
from ssl_console.workspace.requests import NotPossible, pause, request_cancel, request_retry, resume, set_priority
from ssl_console.workspace.run import RunState
from ssl_console.workspace.supervisor_state import SupervisorView
from tests.ssl_console.rehearsal_evaluation import journal
from tests.ssl_console.workspace_fixture import Bench, eventually, gone

BEATS = {"heartbeat", "resources"}


def test_queued_run_is_carried_out_and_its_result_is_in_the_database(bench: Bench) -> None:
    bench.submit("one", value=61.5)
    bench.supervise()
    bench.until("one", RunState.DONE)
    eventually(lambda: "one" in bench.results(), "the result is in the database")
    result = bench.results()["one"]
    assert (result.value, result.metric, result.n, result.device) == (61.5, "accuracy", 100, "cpu")
    assert "1 steps done" in bench.log("one")


def test_supervisor_ends_by_itself_and_the_next_one_finds_everything_done(bench: Bench) -> None:
    bench.submit("one")
    assert bench.supervise()
    bench.until("one", RunState.DONE)
    eventually(lambda: not bench.supervisor_lives(), "the supervisor has left")
    assert bench.supervise()
    eventually(lambda: not bench.supervisor_lives(), "the second has left too")
    assert bench.noted("begin", "one") == 1
    assert len(bench.results()) == 1


def test_runs_follow_one_another_in_one_worker_until_one_fails(bench: Bench) -> None:
    for number, fate in enumerate(["finish", "finish", "raise", "finish"]):
        bench.submit(f"r{number}", fate, seed=number, created=float(number))
    bench.supervise()
    bench.until("r3", RunState.DONE)
    pids = [note[4] for note in journal(bench.workspace.features) if note[0] == "begin"]
    assert pids[0] == pids[1] == pids[2] != pids[3]


@pytest.mark.parametrize(
    ("fate", "kind", "sentence"),
    [
        ("raise", "crash", "ValueError: told to fail (rehearsal_evaluation.py:"),
        ("data", "data", "/data/missing is not there: fetch it"),
        ("nan", "nan", "demo/a on rehearsal/none: the score is not a number"),
        ("oom", "oom", "memory ran out: told to run out"),
        ("exit", "crash", "its worker exited with code 0 without a result"),
    ],
)
def test_failure_has_its_kind_and_one_sentence(bench: Bench, fate: str, kind: str, sentence: str) -> None:
    bench.submit("bad", fate)
    bench.supervise(retries=0)
    status = bench.until("bad", RunState.FAILED)
    assert (status.kind, status.attempt) == (kind, 1)
    assert status.reason.startswith(sentence)
    assert "\n" not in status.reason


def test_worker_killed_in_the_middle_fails_its_run_within_five_seconds_and_the_others_go_on(bench: Bench) -> None:
    bench.submit("victim", "wait", seed=1, created=1.0)
    bench.submit("next", seed=2, created=2.0)
    bench.supervise()
    worker = bench.until_at_work("victim")
    eventually(lambda: "1 steps done" in bench.log("victim"), "it is in the middle")
    os.kill(worker, signal.SIGKILL)
    status = bench.until("victim", RunState.FAILED, patience_s=5)
    assert status.kind == "crash"
    assert "was killed by SIGKILL" in status.reason
    assert status.end is not None
    assert "1 steps done" in status.end.log_tail
    bench.until("next", RunState.DONE)


def test_run_that_ran_out_of_memory_is_tried_once_more_with_half_the_batch(bench: Bench) -> None:
    bench.submit("tight", "oom-at-full-batch", seed=1)
    bench.submit("hopeless", "oom", seed=2)
    bench.supervise()
    assert bench.until("tight", RunState.DONE).attempt == 2
    eventually(lambda: bench.noted("begin", "hopeless") == 2, "the second attempt has begun")
    status = bench.until("hopeless", RunState.FAILED)
    assert (status.kind, status.attempt, status.batch_scale) == ("oom", 2, 0.5)
    eventually(lambda: not bench.supervisor_lives(), "there is nothing left to do")
    assert bench.noted("begin", "hopeless") == 2


def test_queued_run_can_be_cancelled_and_retried(bench: Bench) -> None:
    pause(bench.workspace)
    bench.submit("one")
    bench.supervise()
    request_cancel(bench.workspace, "one")
    assert bench.state("one") is RunState.CANCELLED
    eventually(lambda: bench.status("one").end is not None, "the supervisor has recorded it")
    assert request_retry(bench.workspace, "one") == 2
    resume(bench.workspace)
    bench.supervise()
    assert bench.until("one", RunState.DONE).attempt == 2
    assert bench.noted("begin", "one") == 1


def test_running_run_can_be_cancelled_with_its_children(bench: Bench) -> None:
    bench.submit("one", "children")
    bench.supervise()
    worker = bench.until_at_work("one")
    children = bench.workspace.features / "children"
    eventually(lambda: children.exists() and children.read_text().count(" "), "it has children")
    request_cancel(bench.workspace, "one")
    status = bench.until("one", RunState.CANCELLED)
    assert status.end is not None
    assert status.end.state == "cancelled"
    for pid in [worker, *map(int, children.read_text().split())]:
        eventually(gone(pid), f"process {pid} is gone")


def test_children_end_with_a_worker_that_is_killed(bench: Bench) -> None:
    bench.submit("one", "children")
    bench.supervise()
    worker = bench.until_at_work("one")
    children = bench.workspace.features / "children"
    eventually(lambda: children.exists() and children.read_text().count(" "), "it has children")
    os.kill(worker, signal.SIGKILL)
    for pid in map(int, children.read_text().split()):
        eventually(gone(pid), f"child {pid} is gone")


def test_worker_that_ignores_sigterm_is_killed_after_the_grace(bench: Bench) -> None:
    bench.submit("deaf", "deaf")
    bench.supervise(grace_s=0.3)
    bench.until_at_work("deaf")
    request_cancel(bench.workspace, "deaf")
    assert bench.until("deaf", RunState.CANCELLED).state is RunState.CANCELLED


def test_failed_run_can_be_retried_and_a_done_one_cannot(bench: Bench) -> None:
    bench.submit("bad", "raise", seed=1)
    bench.submit("good", seed=2)
    bench.supervise()
    bench.until("bad", RunState.FAILED)
    bench.until("good", RunState.DONE)
    with pytest.raises(NotPossible, match="run good cannot be retried: it is done"):
        request_retry(bench.workspace, "good")
    assert request_retry(bench.workspace, "bad") == 2
    bench.supervise()
    eventually(lambda: bench.noted("begin", "bad") == 2, "it was tried again")
    assert bench.until("bad", RunState.FAILED).attempt == 2


def test_pause_starts_nothing_new_and_resume_goes_on(bench: Bench) -> None:
    bench.submit("running", "wait", seed=1, created=1.0)
    bench.submit("queued", seed=2, created=2.0)
    bench.supervise()
    bench.until_at_work("running")
    pause(bench.workspace)
    view = SupervisorView(bench.workspace)
    eventually(lambda: (state := view.living()) and state.paused, "the supervisor knows")
    bench.go()
    bench.until("running", RunState.DONE)
    eventually(lambda: (state := view.living()) and not any(slot.run_id for slot in state.slots), "the slot is free")
    assert bench.state("queued") is RunState.QUEUED
    assert bench.supervisor_lives()
    resume(bench.workspace)
    bench.until("queued", RunState.DONE)


def test_higher_priority_starts_first_also_when_it_was_asked_for_later(bench: Bench) -> None:
    pause(bench.workspace)
    for number, priority in enumerate([0, 5, 0]):
        bench.submit(f"r{number}", seed=number, created=float(number), priority=priority)
    set_priority(bench.workspace, "r2", 9)
    resume(bench.workspace)
    bench.supervise()
    for number in range(3):
        bench.until(f"r{number}", RunState.DONE)
    assert [note[3] for note in journal(bench.workspace.features) if note[0] == "begin"] == ["2", "1", "0"]


def test_run_without_a_sign_of_life_is_stalled_and_its_log_shows_where_it_hangs(bench: Bench) -> None:
    bench.submit("stuck", "hang")
    bench.supervise(stall_s=3)
    status = bench.until("stuck", RunState.FAILED)
    assert status.kind == "stalled"
    assert "no sign of life for 3 s" in status.reason
    assert "rehearsal_evaluation.py" in bench.log("stuck")


def test_busy_run_that_reports_nothing_is_not_stalled(bench: Bench) -> None:
    bench.submit("busy", "wait")
    bench.supervise(stall_s=6)
    bench.until_at_work("busy")
    events = EventTail.of(bench.workspace.run("busy").events(1))
    beats = 0

    def shows_life() -> bool:
        nonlocal beats
        beats += sum(event.kind in BEATS for event in events.poll())
        return beats >= 2

    eventually(shows_life, "there are two heartbeats")
    assert bench.state("busy") is RunState.RUNNING
    bench.go()
    bench.until("busy", RunState.DONE)


def test_run_that_takes_too_long_is_ended(bench: Bench) -> None:
    bench.submit("slow", "wait")
    bench.supervise(timeout_s=0.5)
    status = bench.until("slow", RunState.FAILED)
    assert status.kind == "timeout"
    assert "timeout_s" in status.reason


def test_two_slots_carry_out_two_runs_at_once(bench: Bench) -> None:
    bench.submit("a", "wait", seed=1)
    bench.submit("b", "wait", seed=2)
    bench.supervise(slots_per_device=2)
    assert bench.until_at_work("a") != bench.until_at_work("b")
    bench.go()
    bench.until("a", RunState.DONE)
    bench.until("b", RunState.DONE)


def test_idle_worker_leaves_and_the_supervisor_starts_another_when_there_is_work(bench: Bench) -> None:
    bench.submit("first", seed=1)
    bench.supervise(idle_s=0.2, linger_s=30)
    bench.until("first", RunState.DONE)
    owner = bench.status("first").owner
    assert owner is not None
    eventually(gone(owner.pid), "the idle worker has left")
    bench.submit("second", seed=2)
    assert not bench.supervise()
    bench.until("second", RunState.DONE)


def test_folder_of_a_running_run_can_be_removed(bench: Bench) -> None:
    bench.submit("doomed", "wait", seed=1, created=1.0)
    bench.submit("next", seed=2, created=2.0)
    bench.supervise(grace_s=0.3)
    worker = bench.until_at_work("doomed")
    shutil.rmtree(bench.workspace.run("doomed").path)
    eventually(gone(worker), "its worker is ended")
    bench.until("next", RunState.DONE)


def test_run_for_a_device_that_is_not_here_waits_and_says_why(bench: Bench) -> None:
    bench.submit("far", devices=("cuda:7",))
    bench.supervise()
    view = SupervisorView(bench.workspace)
    eventually(lambda: (state := view.living()) and "far" in state.waiting, "there is a reason")
    state = view.living()
    assert state is not None
    assert state.waiting["far"] == "requires cuda:7, and the supervisor's devices are cpu"


def test_worker_that_cannot_begin_fails_its_run_with_its_last_words(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.submit("one")
    monkeypatch.setenv("SSL_CONSOLE_PROTOCOLS", "")
    bench.supervise()
    status = bench.until("one", RunState.FAILED)
    assert status.kind == "crash"
    assert "unknown protocol 'rehearsal'; available: linear, knn" in status.reason
