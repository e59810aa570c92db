"""Idle devices help a run to compute features: never at the cost of another run, and never needed."""

from __future__ import annotations

import os
import signal
from typing import Any

from ssl_console.supervisor.helpers import MOST_ENDED, helps
from ssl_console.supervisor.queue import FreeSlot
from ssl_console.system.device import Device
from ssl_console.workspace.config import AUTO
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunObserver, RunView
from ssl_console.workspace.supervisor_state import SupervisorView
from tests.ssl_console.rehearsal_evaluation import journal
from tests.ssl_console.workspace_fixture import Bench, eventually, gone


def helpers_of(bench: Bench) -> list[int]:
    """Pids of all helpers so far."""
    return [int(note[4]) for note in journal(bench.workspace.features) if note[0] == "assist"]


def encode(bench: Bench, fate: str = "encode", **options: Any) -> int:
    """Start the run `one`, which encodes until `bench.go()`; return the pid of its worker."""
    bench.submit("one", fate, seed=1, created=1.0)
    bench.supervise(**{"slots_per_device": 2, "devices_per_run": 2, "help_from_s": 0.0, **options})
    return bench.until_at_work("one")


def view(bench: Bench, run_id: str = "one") -> RunView:
    observer = RunObserver(bench.workspace)
    observer.poll()
    return observer.runs[run_id]


def test_an_idle_slot_helps_and_both_front_ends_see_one_run_on_two_devices(bench: Bench) -> None:
    encode(bench)
    eventually(lambda: helpers_of(bench), "a helper works")
    eventually(lambda: view(bench).helpers, "the supervisor has published it")
    assert (view(bench).state, view(bench).places, view(bench).helpers) == (RunState.RUNNING, "2 x cpu", ("cpu",))
    bench.go()
    bench.until("one", RunState.DONE)
    eventually(gone(helpers_of(bench)[0]), "the helper has ended")
    eventually(lambda: not bench.supervisor_lives(), "the supervisor has left")
    assert (bench.noted("begin", "one"), len(helpers_of(bench))) == (1, 1)
    assert view(bench).helpers == ()


def test_no_device_helps_unless_it_is_asked_for(bench: Bench) -> None:
    encode(bench, devices_per_run=1)
    eventually(lambda: view(bench).progress.eta_s(1e12), "the time left is known")
    bench.submit("two", created=2.0)
    bench.until("two", RunState.DONE)  # ticks have passed
    assert helpers_of(bench) == []
    bench.go()
    bench.until("one", RunState.DONE)


def test_all_idle_slots_help_a_run_that_asks_for_them(bench: Bench) -> None:
    bench.submit("one", "encode", seed=1, devices_per_run=AUTO)
    bench.supervise(slots_per_device=3, help_from_s=0.0)
    eventually(lambda: len(helpers_of(bench)) == 2, "two helpers work")
    bench.go()
    bench.until("one", RunState.DONE)


def test_a_run_that_is_queued_gets_the_slot_of_a_helper_at_once(bench: Bench) -> None:
    encode(bench)
    eventually(lambda: helpers_of(bench), "a helper works")
    bench.submit("two", created=2.0)
    bench.until("two", RunState.DONE)
    assert bench.state("one") is RunState.RUNNING
    eventually(lambda: len(helpers_of(bench)) == 2, "and is helped again when none waits")
    bench.go()
    bench.until("one", RunState.DONE)


def test_a_run_goes_on_when_its_helper_is_killed_and_gets_another(bench: Bench) -> None:
    encode(bench)
    eventually(lambda: helpers_of(bench), "a helper works")
    os.kill(helpers_of(bench)[0], signal.SIGKILL)
    eventually(lambda: len(helpers_of(bench)) == 2, "another helper works")
    bench.go()
    assert bench.until("one", RunState.DONE).attempt == 1


def test_a_run_whose_helpers_fail_is_done_alone(bench: Bench) -> None:
    encode(bench, "encode-alone")
    eventually(lambda: len(helpers_of(bench)) == MOST_ENDED, "all tries are used up")
    bench.submit("two", created=2.0)
    bench.until("two", RunState.DONE)
    assert len(helpers_of(bench)) == MOST_ENDED
    bench.go()
    assert bench.until("one", RunState.DONE).attempt == 1


def test_a_helper_ends_with_the_attempt_of_a_worker_that_is_killed(bench: Bench) -> None:
    worker = encode(bench)
    eventually(lambda: helpers_of(bench), "a helper works")
    os.kill(worker, signal.SIGKILL)
    assert bench.until("one", RunState.FAILED).kind == "crash"
    eventually(gone(helpers_of(bench)[0]), "the helper has ended")


def test_a_helper_leaves_when_its_supervisor_is_killed_and_the_next_one_starts_another(bench: Bench) -> None:
    encode(bench)
    eventually(lambda: helpers_of(bench), "a helper works")
    bench.kill_supervisor()
    eventually(gone(helpers_of(bench)[0]), "the helper has ended")
    bench.supervise(slots_per_device=2, devices_per_run=2, help_from_s=0.0)
    eventually(lambda: len(helpers_of(bench)) == 2, "another helper works")
    state = SupervisorView(bench.workspace).living()
    assert state is not None
    assert {(slot.run_id, slot.assists) for slot in state.slots} >= {("one", None)}
    bench.go()
    bench.until("one", RunState.DONE)


def test_a_helper_uses_another_device_of_the_same_kind() -> None:
    def free(name: str) -> FreeSlot:
        return FreeSlot(f"{name}/0", Device(name, title=name))

    slots = (free("cuda:0"), free("cuda:1"), free("cpu"))
    assert [helps(slot, ["cuda:0"], "cuda") for slot in slots] == [False, True, False]
    assert helps(free("cpu"), ["cpu"], "cpu")
