"""Grouping of queued runs into cluster jobs."""

from __future__ import annotations

from ssl_console.launchers.slurm.launcher import JobGrouper, SlurmLauncher
from ssl_console.workspace.config import Config, JobRequest, SlurmSettings
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import submit
from ssl_console.workspace.run import JobState
from ssl_console.workspace.run_index import RunIndex, RunInfo
from tests.ssl_console.workspace_fixture import spec


def queued(workspace: Workspace, *runs: tuple[str, str, str, int]) -> list[RunInfo]:
    """Runs as (name, backbone, task, priority), in this order."""
    workspace.create()
    for number, (name, backbone, task, priority) in enumerate(runs):
        run = spec(name, backbone=backbone, task=task, priority=priority, created=float(number), seed=number)
        submit(workspace, name, run.model_dump_json().encode())
    index = RunIndex(workspace)
    index.refresh(2e9)
    return [index.entries[name] for name, *_ in runs]


def test_runs_of_one_backbone_request_and_priority_share_jobs_of_limited_size(workspace: Workspace) -> None:
    task = "rehearsal/none"
    runs = queued(
        workspace, ("a1", "a", task, 0), ("b1", "b", task, 0), ("a2", "a", task, 0), ("a3", "a", task, 0),
        ("urgent", "a", task, 5), ("other", "a", "other/none", 0),
    )  # fmt: skip
    settings = SlurmSettings(runs_per_job=2, tasks={"other/*": {"gpus": 0}})
    batching = JobGrouper(workspace).batches(runs, settings)
    assert [batch.run_ids for batch in batching.batches] == [("urgent",), ("a1", "a2"), ("b1",), ("a3",), ("other",)]
    assert [batch.request for batch in batching.batches] == [JobRequest()] * 4 + [JobRequest(gpus=0)]
    assert batching.waiting == {}


def test_a_run_whose_settings_are_wrong_waits_with_the_place_and_holds_no_other_back(workspace: Workspace) -> None:
    runs = queued(workspace, ("good", "a", "rehearsal/none", 0), ("bad", "a", "other/none", 0))
    batching = JobGrouper(workspace).batches(runs, SlurmSettings(tasks={"other/*": {"gpu": 1}}))
    assert [batch.run_ids for batch in batching.batches] == [("good",)]
    assert batching.waiting["bad"].startswith(f"{workspace.config}, [slurm]: ")
    assert "gpu" in batching.waiting["bad"]


def test_settings_that_cannot_be_read_are_the_reason_why_all_runs_wait(workspace: Workspace) -> None:
    runs = queued(workspace, ("one", "a", "rehearsal/none", 0))
    launcher = SlurmLauncher.open(workspace, Config())
    workspace.config.write_text("slurm = 1\n")
    batching = launcher.batches(runs)
    assert batching.batches == ()
    assert str(workspace.config) in batching.waiting["one"]


def test_jobs_are_counted_by_partition(workspace: Workspace) -> None:
    jobs = [JobState(partition="main"), JobState(partition="main", waits=True), JobState(waits=True)]
    summary = SlurmLauncher.open(workspace, Config()).summarise(jobs)
    assert summary == "not in a partition yet: 0 jobs run, 1 wait; partition main: 1 job runs, 1 wait"
