"""Long queues and many workers: every run is done once, and the supervisor stays small."""

from __future__ import annotations

import time

import pytest

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run_index import RunIndex
from tests.faults.conftest import MakeStage
from tests.faults.load import carry_out, fill_with_ended_runs, queue_many
from tests.faults.scale import Scale, full
from tests.faults.stage import PATIENCE_S
from tests.faults.tally import Tally
from tests.forked_processes import FORKS

GROUP = "load"
LARGEST_MB = 300
FOLDERS = 10_000 if full() else 300


@pytest.mark.slow
def test_a_long_queue_for_many_workers_keeps_the_supervisor_small(
    make_stage: MakeStage, scale: Scale, tally: Tally
) -> None:
    stage = make_stage(slots=scale.slots)
    stage.environment.pop(FORKS, None)  # a forked supervisor also has the memory of its server
    queue_many(stage, scale.queued)
    found = carry_out(stage, 5 * PATIENCE_S)
    assert found.runs == scale.queued
    assert found.peak_mb < LARGEST_MB
    stage.check_at_rest()
    tally.add(
        f"{scale.queued:,} queued runs of a no-op protocol for {scale.slots} workers on the CPU",
        scale.queued,
        f"each done once in {found.seconds:.0f} s; the supervisor took {found.cores:.2f} of a core and "
        f"{found.peak_mb:.0f} MB at its peak, with up to {found.workers} workers at once",
    )


def test_an_index_of_many_ended_runs_is_read_once(workspace: Workspace) -> None:
    fill_with_ended_runs(workspace, FOLDERS)
    index, now = RunIndex(workspace), time.time()
    assert len(index.refresh(now + 1).changed) == FOLDERS
    assert index.refresh(now + 2).changed == ()
    assert index.unreadable == {}
