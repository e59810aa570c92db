"""Runs as jobs of a real cluster: executed as requested, on exclusive GPUs, and reported."""

from __future__ import annotations

import orjson
import pytest

from ssl_console.launchers.slurm.submit import job_output
from ssl_console.workspace.requests import request_cancel, request_retry
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunObserver
from ssl_console.workspace.supervisor_state import SupervisorView
from tests.slurm.workspace_fixture import SlurmBench, console
from tests.ssl_console.workspace_fixture import eventually


def test_run_is_done_on_a_node_and_its_result_is_in_the_database(bench: SlurmBench) -> None:
    bench.submit("one", value=61.0)
    bench.supervise()
    status = bench.until("one", RunState.DONE)
    assert status.owner is not None
    assert status.owner.host in bench.cluster.nodes
    assert (status.owner.partition, status.owner.device) == ("main", "cuda:0")
    eventually(lambda: "one" in bench.results(), "the result is in the database")
    assert bench.results()["one"].value == 61.0


def test_more_runs_than_gpus_share_none_and_wait_with_slurms_reason(bench: SlurmBench) -> None:
    runs = [f"r{number}" for number in range(7)]
    for number, run in enumerate(runs):
        bench.submit(run, "wait", seed=number, backbone=f"demo/{number}")
    bench.supervise()
    eventually(lambda: len(bench.gpus()) == 6, "every GPU has a run", 60)
    observer = RunObserver(bench.workspace)

    def reasons() -> list[str]:
        observer.poll()
        return [run.reason for run in observer.runs.values() if run.state is RunState.QUEUED]

    eventually(lambda: len([r for r in reasons() if "waits: " in r and "partition main" in r]) == 1, "one waits", 60)
    places = [tuple(place) for what, *place in bench.gpus() if what == "begin"]
    assert len(set(places)) == 6
    assert {node for node, _ in places} == set(bench.cluster.nodes)
    bench.go()
    for run in runs:
        bench.until(run, RunState.DONE)
    eventually(lambda: len(bench.cluster.jobs(state="COMPLETED")) >= 7, "Slurm has noticed that all have ended", 60)
    assert [bench.noted("begin", run) for run in runs] == [1] * 7


def test_many_jobs_are_one_array_and_runs_of_one_backbone_share_a_job(bench: SlurmBench) -> None:
    bench.configure(runs_per_job="3")
    for number in range(6):
        bench.submit(f"r{number}", seed=number, backbone=f"demo/{'ab'[number % 2]}")
    bench.supervise()
    owners = [bench.until(f"r{number}", RunState.DONE).owner for number in range(6)]
    assert len({owner.job for owner in owners if owner}) == 2
    assert len({owner.job_id.partition("_")[0] for owner in owners if owner}) == 1
    assert len({owner.pid for owner in owners if owner}) == 2


def test_run_that_fails_does_not_end_the_job_of_those_behind_it(bench: SlurmBench) -> None:
    bench.configure(runs_per_job="3")
    bench.submit("first", "raise", seed=1, created=1.0)
    bench.submit("second", "data", seed=2, created=2.0)
    bench.submit("third", seed=3, created=3.0)
    bench.supervise()
    owner = bench.until("third", RunState.DONE).owner
    failed = [bench.until(run, RunState.FAILED) for run in ("first", "second")]
    assert [status.kind for status in failed] == ["crash", "data"]
    assert owner is not None
    assert {status.owner.job for status in failed if status.owner} == {owner.job}


def test_cancelled_run_leaves_the_queue_or_its_node(bench: SlurmBench) -> None:
    for number in range(7):
        bench.submit(f"r{number}", "wait", seed=number, backbone=f"demo/{number}", created=float(number))
    bench.supervise()
    eventually(lambda: len(bench.gpus()) == 6, "every GPU has a run", 60)
    eventually(lambda: len(bench.cluster.jobs(state="PENDING")) == 1, "one job waits", 60)
    for run in ("r6", "r0"):
        request_cancel(bench.workspace, run)
        assert "cancelled" in bench.until(run, RunState.CANCELLED).reason
    eventually(lambda: not bench.cluster.jobs(state="PENDING"), "its job has left the queue", 60)
    eventually(lambda: len(bench.cluster.jobs(state="RUNNING")) == 5, "the other's has ended", 60)
    bench.go()
    for number in range(1, 6):
        bench.until(f"r{number}", RunState.DONE)


def test_refused_job_fails_in_slurms_words_and_goes_on_once_the_settings_are_right(bench: SlurmBench) -> None:
    bench.configure(partition='"nope"')
    bench.submit("one")
    bench.supervise()
    status = bench.until("one", RunState.FAILED)
    assert "sbatch: error: invalid partition specified: nope" in status.reason
    assert str(bench.workspace.config) in status.reason
    bench.configure(partition='"main"')
    request_retry(bench.workspace, "one")
    bench.supervise()
    assert bench.until("one", RunState.DONE).attempt == 2


def test_tasks_may_ask_for_something_else(bench: SlurmBench) -> None:
    bench.configure('[slurm.tasks."other/*"]\npartition = "high"\ngpus = 0')
    bench.submit("usual")
    bench.submit("other", task="other/none")
    bench.supervise()
    owners = {run: bench.until(run, RunState.DONE).owner for run in ("usual", "other")}
    assert {run: (o.partition, o.device) for run, o in owners.items() if o} == {
        "usual": ("main", "cuda:0"),
        "other": ("high", "cpu"),
    }


def test_a_suite_may_ask_for_something_else_and_a_task_in_it_again(bench: SlurmBench) -> None:
    card = 'title = "Two"\ntasks = ["knn/digits", "knn/shapes"]\nbackbones = ["demo/*"]\n'
    (bench.workspace.tasks / "two.toml").write_text(card)
    bench.configure('[slurm.suites.two]\npartition = "high"\ngpus = 0\n[slurm.tasks."knn/shapes"]\npartition = "main"')
    for run, task in (("usual", "rehearsal/none"), ("in-suite", "knn/digits"), ("both", "knn/shapes")):
        bench.submit(run, task=task)
    bench.supervise()
    owners = {run: bench.until(run, RunState.DONE).owner for run in ("usual", "in-suite", "both")}
    assert {run: (o.partition, o.device) for run, o in owners.items() if o} == {
        "usual": ("main", "cuda:0"),
        "in-suite": ("high", "cpu"),
        "both": ("main", "cpu"),
    }


def test_settings_of_a_job_around_the_console_do_not_leak_into_its_jobs(
    bench: SlurmBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaking = {"SBATCH_PARTITION": "nope", "SBATCH_ACCOUNT": "nobody", "SLURM_JOB_ID": "1", "SLURM_CPU_BIND": "none"}
    for name, value in leaking.items():
        monkeypatch.setenv(name, value)
    bench.configure(setup="[\"env | grep -E '^(SLURM_CPU_BIND|SBATCH_)' || echo clean\"]")
    bench.submit("one")
    bench.supervise()
    bench.until("one", RunState.DONE)
    output = job_output(bench.workspace, bench.workspace.run("one"))
    assert output is not None
    assert output.read_text() == "clean\n"


def test_where_a_run_is_and_what_its_job_wrote_are_told(bench: SlurmBench) -> None:
    bench.configure(setup='["echo modules are loaded"]')
    bench.submit("one", "wait")
    bench.supervise()
    bench.until_at_work("one")
    owner = bench.status("one").owner
    assert owner is not None
    listed = orjson.loads(console(bench, "runs", "--json"))["runs"][0]
    assert (listed["job_id"], listed["node"], listed["partition"]) == (owner.job_id, owner.host, "main")
    assert f"on {owner.host}, job {owner.job_id}" in console(bench, "runs")
    bench.go()
    bench.until("one", RunState.DONE)
    assert "modules are loaded" in console(bench, "logs", "one")


def test_cluster_is_listed_with_its_partitions(bench: SlurmBench) -> None:
    bench.submit("one", "wait")
    bench.supervise()
    bench.until_at_work("one")

    def told() -> bool:
        state = SupervisorView(bench.workspace).living()
        summaries = {one.name: one.summary for one in state.launchers} if state else {}
        return summaries.get("slurm") == "partition main: 1 job runs, 0 wait"

    eventually(told, "the launcher is shown", 30)
    bench.go()
    bench.until("one", RunState.DONE)


def test_jobs_help_a_run_to_encode_and_leave_the_queue_when_it_is_done(bench: SlurmBench) -> None:
    bench.submit("one", "encode", seed=1, devices_per_run=3)
    bench.supervise(help_from_s=0.0)
    owner = bench.until("one", RunState.RUNNING).owner
    assert owner is not None

    def helpers() -> list[list[str]]:
        return [place for what, *place in bench.gpus() if what == "assist"]

    eventually(lambda: len(helpers()) == 2, "two more jobs help", 60)
    assert len({tuple(place) for what, *place in bench.gpus() if what in {"begin", "assist"}}) == 3
    observer = RunObserver(bench.workspace)

    def shown() -> tuple[str, ...]:
        observer.poll()
        return observer.runs["one"].helpers

    eventually(lambda: shown() == ("slurm", "slurm"), "it is shown as one run with three devices")
    bench.go()
    bench.until("one", RunState.DONE)
    eventually(lambda: not bench.cluster.jobs(state="RUNNING"), "no job is left", 60)
    assert bench.noted("begin", "one") == 1
