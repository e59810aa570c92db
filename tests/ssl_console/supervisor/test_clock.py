"""Changing the wall clock ends no run."""

from __future__ import annotations

import time

import pytest

from ssl_console.launchers.local.launcher import LocalLauncher
from ssl_console.supervisor.client import SupervisorOptions
from ssl_console.supervisor.loop import Supervisor
from ssl_console.workspace.run import RunState
from tests.ssl_console.workspace_fixture import Bench, eventually

JUMP_S = 10 * 3600.0


@pytest.mark.slow
def test_a_wall_clock_that_jumps_ends_no_run_and_no_grace(bench: Bench) -> None:
    """Ahead and back, with a time limit, while a run is under way and while its worker is being claimed."""
    options = SupervisorOptions(devices=("cpu",), slots_per_device=1, timeout_s=600, stall_s=30)
    supervisor = Supervisor(bench.workspace, {"local": LocalLauncher(bench.workspace)}, options)
    bench.submit("one", "wait")
    supervisor.begin(time.time())

    def tick() -> bool:
        supervisor.tick(time.time())
        return True

    try:
        supervisor.tick(time.time() + JUMP_S)
        assert supervisor.slots.slots[0].stopping is None, "while the worker starts"
        eventually(lambda: tick() and bench.noted("begin", "one"), "it has begun")
        for jump in (JUMP_S, -JUMP_S, JUMP_S):
            supervisor.tick(time.time() + jump)
            assert supervisor.slots.slots[0].stopping is None
        assert bench.state("one") is RunState.RUNNING
        bench.go()
        eventually(lambda: tick() and bench.state("one") is RunState.DONE, "it is done")
    finally:
        supervisor.dismiss_all(time.time())
