"""The demo suite as jobs of a cluster and as local processes: the same scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import ResultStore
from tasks.catalog.catalog import TaskCatalog
from tests.slurm.workspace_fixture import SlurmBench, console
from tests.ssl_console.conftest import end_supervisor

ON_THE_CPU = {"gpus": "0", "cpus": "1", "runs_per_job": "4"}


@pytest.fixture
def local(tmp_path: Path, bench: SlurmBench) -> SlurmBench:
    """The same console in a separate workspace with local runs of one thread each, like the jobs."""
    workspace = Workspace(tmp_path / "local").create()
    workspace.config.write_text(f'devices = ["cpu"]\nslots_per_device = {max(2, os.cpu_count() or 1)}\n')
    return SlurmBench(workspace, cluster=bench.cluster)


def rows(bench: SlurmBench) -> dict[tuple[str, str], Result]:
    return {(one.backbone, one.task): one for one in ResultStore(bench.workspace).results()}


def agree(local: SlurmBench, jobs: SlurmBench) -> None:
    """Key, score, interval and every prediction of every run."""
    ours, theirs = rows(local), rows(jobs)
    assert set(ours) == set(theirs)
    for place, one in ours.items():
        other = theirs[place]
        assert (one.key, one.n, one.metric) == (other.key, other.n, other.metric)
        assert [one.value, one.ci_low, one.ci_high] == pytest.approx(
            [other.value, other.ci_low, other.ci_high], abs=1e-4
        ), place
        same_predictions(local.workspace.run(one.run_id).predictions, jobs.workspace.run(other.run_id).predictions)


def same_predictions(one: Path, other: Path) -> None:
    assert one.exists() == other.exists()
    if one.exists():
        with np.load(one) as first, np.load(other) as second:
            assert first.files == second.files
            for name in first.files:
                if first[name].dtype.kind in "iub":
                    np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def on_both(local: SlurmBench, bench: SlurmBench, *command: str) -> None:
    bench.configure(**ON_THE_CPU)
    try:
        console(local, *command)
        console(bench, *command)
    finally:
        end_supervisor(local.workspace)
    nodes = {bench.status(one.run_id).owner.host for one in rows(bench).values()}  # type: ignore[union-attr]
    assert nodes <= set(bench.cluster.nodes)
    agree(local, bench)


def picked(backbones: Sequence[str], *tasks: str) -> list[str]:
    return [*(word for name in backbones for word in ("-b", name)), *tasks]


@pytest.mark.slow
def test_a_part_of_the_demo_suite_gives_the_same_numbers_as_on_this_machine(
    bench: SlurmBench, local: SlurmBench
) -> None:
    tasks = ("-t", "knn/digits", "-t", "few-shot-5/digits")
    on_both(local, bench, "run", *picked(["demo/rotation"], *tasks))
    assert len(rows(bench)) == 2


@pytest.mark.slurm_faults
def test_every_task_of_the_demo_suite_gives_the_same_numbers_as_on_this_machine(
    bench: SlurmBench, local: SlurmBench
) -> None:
    on_both(local, bench, "run", *picked(["demo/simclr"], "--suite", "demo"))
    assert len(rows(bench)) == len(TaskCatalog.load().select(suite="demo"))
