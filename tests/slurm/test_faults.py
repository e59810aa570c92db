"""Failures between a run and its cluster: nothing is lost, done twice, or published twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from ssl_console.system.processes import started_at
from ssl_console.workspace.requests import request_retry
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunObserver
from ssl_console.workspace.supervisor_state import SupervisorView
from tests.slurm.workspace_fixture import PATIENCE_S, SlurmBench
from tests.ssl_console.workspace_fixture import eventually, gone

pytestmark = pytest.mark.slow
patiently = pytest.mark.slurm_faults
"""For tests in which the cluster takes its time, so that not every test run waits for them."""


def test_worker_that_is_killed_fails_its_run_which_can_be_retried(bench: SlurmBench) -> None:
    bench.submit("one", "wait")
    bench.supervise()
    os.kill(bench.until_at_work("one"), signal.SIGKILL)
    status = bench.until("one", RunState.FAILED)
    assert status.kind == "crash"
    assert "Slurm reports its job" in status.reason
    assert "FAILED" in status.reason
    request_retry(bench.workspace, "one")
    bench.go()
    bench.supervise()
    assert bench.until("one", RunState.DONE).attempt == 2


def test_crashed_run_resumes_from_its_checkpoint(bench: SlurmBench) -> None:
    bench.submit("one", "resume")
    bench.supervise()
    pid = bench.until_at_work("one")
    eventually(bench.workspace.run("one").checkpoint.is_dir, "it has kept something", PATIENCE_S)
    os.kill(pid, signal.SIGKILL)
    bench.until("one", RunState.FAILED)
    request_retry(bench.workspace, "one")
    bench.go()
    bench.supervise()
    bench.until("one", RunState.DONE)
    assert "carries on from step" in bench.log("one", 2)


@patiently
def test_orphan_of_a_lost_step_daemon_publishes_nothing(bench: SlurmBench) -> None:
    """Slurm starts the job a second time while the worker of its first start continues."""
    bench.submit("one", "deaf")
    bench.supervise()
    orphan = bench.until_at_work("one")
    first = bench.status("one").owner
    bench.cluster.kill_step_daemon(orphan)
    eventually(lambda: bench.status("one").attempt == 2 or bench.cluster.start_now(), "a second life", 120)
    bench.until_at_work("one", attempt=2)
    second = bench.status("one").owner
    assert first is not None
    assert second is not None
    assert (first.job, first.pid) == (second.job, orphan)
    assert second.pid != orphan
    bench.go()
    assert bench.until("one", RunState.DONE).attempt == 2
    eventually(gone(orphan), "the orphan has ended", PATIENCE_S)
    assert "was declared ended while it ran" in bench.log("one", 1)
    assert bench.result_attempt("one") == 2


@patiently
def test_run_of_a_lost_node_goes_on_elsewhere(bench: SlurmBench) -> None:
    bench.submit("one", "resume")
    bench.supervise()
    bench.until_at_work("one")
    owner = bench.status("one").owner
    assert owner is not None
    try:
        bench.cluster.kill_node(owner.host, with_jobs=True)
        eventually(lambda: bench.status("one").attempt == 2 or bench.cluster.start_now(), "a second life", 150)
        bench.go()
        status = bench.until("one", RunState.DONE)
        assert status.attempt == 2
        assert status.owner is not None
        assert status.owner.host != owner.host
    finally:
        bench.cluster.start_node(owner.host)
        bench.cluster.wait_until_idle()


def test_restart_of_a_node_daemon_touches_no_run(bench: SlurmBench) -> None:
    bench.submit("one", "wait")
    bench.supervise()
    bench.until_at_work("one")
    owner = bench.status("one").owner
    assert owner is not None
    bench.cluster.kill_node(owner.host)
    bench.cluster.start_node(owner.host)
    bench.go()
    assert bench.until("one", RunState.DONE).attempt == 1
    bench.cluster.wait_until_idle()


@patiently
def test_events_come_while_the_controller_is_away_which_is_said(bench: SlurmBench) -> None:
    bench.submit("one", "wait", seconds=20.0)
    bench.supervise()
    bench.until_at_work("one")
    eventually(lambda: bench.job("one")["state"] == "RUNNING", "Slurm has noted that it runs", 30)
    time_for_its_state_to_be_saved = time.monotonic() + 6
    eventually(lambda: time.monotonic() > time_for_its_state_to_be_saved, "", 10)
    observer = RunObserver(bench.workspace)
    try:
        bench.cluster.kill_controller()

        def told() -> bool:
            state = SupervisorView(bench.workspace).living()
            return state is not None and any("Slurm does not respond" in problem for problem in state.problems)

        eventually(told, "the supervisor says so", 60)
        observer.poll()
        before = observer.runs["one"].progress.done
        eventually(lambda: observer.poll() and observer.runs["one"].progress.done > before, "progress is seen", 30)
        assert observer.runs["one"].state is RunState.RUNNING
        bench.go()
        bench.until("one", RunState.DONE)
        eventually(lambda: "one" in bench.results(), "its result is there without the controller", 30)
    finally:
        bench.cluster.start_controller()
        bench.cluster.wait_until_idle()


@patiently
def test_submission_to_an_absent_controller_gives_one_attempt(bench: SlurmBench) -> None:
    bench.cluster.kill_controller()
    try:
        bench.submit("one")
        bench.supervise()

        def tried() -> bool:
            state = SupervisorView(bench.workspace).living()
            return state is not None and any("Slurm does not respond" in problem for problem in state.problems)

        eventually(tried, "it was tried", 60)
        bench.kill_supervisor()
        bench.supervise()
        eventually(tried, "another supervisor tries", 60)
    finally:
        bench.cluster.start_controller()
    assert bench.until("one", RunState.DONE, patience_s=150).attempt == 1
    assert bench.noted("begin", "one") == 1
    assert len({job["id"] for job in bench.cluster.jobs() if job["name"] in bench.job_names()}) == 1


@patiently
def test_preempted_run_keeps_its_state_and_goes_on(bench: SlurmBench) -> None:
    bench.submit("one", "resume")
    bench.supervise()
    bench.until_at_work("one")
    hog = bench.cluster.occupy("high")
    eventually(lambda: bench.status("one").attempt == 2, "it was preempted", 90)
    assert bench.status("one").state is RunState.QUEUED
    bench.cluster.ask("scancel", hog)
    bench.go()
    eventually(lambda: bench.status("one").state is RunState.DONE or bench.cluster.start_now(), "it is done", 150)
    assert "carries on from step" in bench.log("one", 2)
    assert bench.noted("finish", "one") == 1


@patiently
def test_run_that_slurm_requeues_keeps_its_identity(bench: SlurmBench) -> None:
    bench.submit("one", "resume")
    bench.supervise()
    bench.until_at_work("one")
    first = bench.status("one").owner
    assert first is not None
    bench.cluster.ask("scontrol", "requeue", bench.job("one")["job_id"])
    eventually(lambda: bench.noted("begin", "one") == 2 or bench.cluster.start_now(), "a second life", 150)
    second = bench.status("one").owner
    assert second is not None
    assert (first.job, first.pid != second.pid) == (second.job, True)
    bench.go()
    assert bench.until("one", RunState.DONE).attempt == 2


@patiently
def test_run_longer_than_its_time_limit_goes_on_in_another_job(bench: SlurmBench) -> None:
    bench.configure(time='"1"', warning_s="50")
    bench.submit("one", "resume")
    bench.supervise()
    bench.until_at_work("one")
    first = bench.status("one").owner
    eventually(lambda: bench.status("one").attempt == 2, "it was warned", 150)
    assert "SIGUSR2" in bench.end("one", 1).message
    bench.go()
    status = bench.until("one", RunState.DONE)
    assert first is not None
    assert status.owner is not None
    assert status.owner.job != first.job
    assert "carries on from step" in bench.log("one", status.attempt)


def test_job_that_somebody_cancels_with_slurm_cancels_its_run(bench: SlurmBench) -> None:
    bench.submit("one", "wait")
    bench.supervise()
    bench.until_at_work("one")
    bench.cluster.ask("scancel", bench.job("one")["job_id"])
    status = bench.until("one", RunState.CANCELLED)
    assert "CANCELLED" in status.reason
    assert bench.noted("begin", "one") == 1


def runs_with_jobs(bench: SlurmBench) -> set[str | None]:
    """As reported by the living supervisor; empty until its first report."""
    state = SupervisorView(bench.workspace).living()
    return {slot.run_id for slot in state.slots if slot.job} if state else set()


def test_killed_console_touches_nothing_and_the_next_one_finds_its_jobs(bench: SlurmBench) -> None:
    for number in range(7):
        bench.submit(f"r{number}", "wait", seed=number, backbone=f"demo/{number}", created=float(number))
    program = (
        "import sys, time; from pathlib import Path; from ssl_console.workspace.paths import Workspace;"
        "from ssl_console.supervisor.client import ensure_supervisor, SupervisorOptions;"
        f"ensure_supervisor(Workspace(Path({str(bench.workspace.root)!r})), SupervisorOptions(linger_s=0.1));"
        "print('up', flush=True); time.sleep(600)"
    )
    console = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert console.stdout is not None
    assert console.stdout.readline() == b"up\n"
    eventually(lambda: len(bench.gpus()) == 6, "every GPU has a run", 60)
    os.killpg(console.pid, signal.SIGHUP)
    os.killpg(console.pid, signal.SIGKILL)
    console.communicate()
    assert started_at(bench.supervisor_pid()) is not None
    bench.kill_supervisor()
    bench.supervise()
    every_run = {f"r{number}" for number in range(7)}
    eventually(lambda: runs_with_jobs(bench) == every_run, "the next supervisor knows all jobs", 30)
    bench.go()
    for number in range(7):
        bench.until(f"r{number}", RunState.DONE)
        assert bench.noted("begin", f"r{number}") == 1
    assert len([job for job in bench.cluster.jobs() if job["name"] in bench.job_names()]) == 7
