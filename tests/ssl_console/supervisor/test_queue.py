"""Assignment of runs to devices, and the waiting reasons of the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ssl_console.supervisor.queue import NO_SLOT, Assignments, FreeSlot, SchedulerState, choose
from ssl_console.system.device import Device, DeviceProcess, Reading
from ssl_console.workspace.config import Share
from ssl_console.workspace.run_status import PAUSED, QueuedRun

GPU = Device("cuda:0", "GPU", "GPU-0", 80 * 1024.0)
OTHER_GPU = Device("cuda:1", "GPU", "GPU-1", 80 * 1024.0)
CPU = Device("cpu", "CPU", None, 16 * 1024.0)
PLAIN = SchedulerState(known_devices=("cuda:0", "cuda:1"))


def run(run_id: str, backbone: str = "a", *, priority: int = 0, devices: tuple[str, ...] = ()) -> QueuedRun:
    return QueuedRun(run_id, backbone, "task", priority, float(ord(run_id[0])), devices)


def slot(name: str, device: Device = GPU, holds: str | None = None, **others: float | bool | str) -> FreeSlot:
    return replace(FreeSlot(name, device, holds), **others)  # type: ignore[arg-type]


def starts(choice: Assignments) -> dict[str, str]:
    return {given.slot: given.run_id for given in choice.assignments}


def gpu_memory(free_gb: float, *processes: DeviceProcess) -> dict[str, Reading]:
    total = 80 * 1024.0
    return {"cuda:0": Reading(total, total - free_gb * 1024, processes=processes)}


def test_older_run_starts_first() -> None:
    choice = choose([run("b"), run("a")], [slot("s")], PLAIN)
    assert starts(choice) == {"s": "a"}
    assert choice.waiting == {"b": NO_SLOT}


def test_priority_beats_age_and_backbone() -> None:
    queued = [run("a", "held"), run("b", "other", priority=1)]
    assert starts(choose(queued, [slot("s", holds="held")], PLAIN)) == {"s": "b"}


def test_worker_gets_a_run_of_the_backbone_that_it_holds() -> None:
    queued = [run("a", "x"), run("b", "y"), run("c", "z")]
    assert starts(choose(queued, [slot("s", holds="z"), slot("t", holds="y")], PLAIN)) == {"s": "c", "t": "b"}


def test_new_worker_gets_a_backbone_that_no_other_holds() -> None:
    queued = [run("a", "x"), run("b", "x"), run("c", "y")]
    assert starts(choose(queued, [slot("s"), slot("t")], PLAIN)) == {"s": "a", "t": "c"}
    busy = replace(PLAIN, busy_backbones=Counter(["x"]))
    assert starts(choose(queued, [slot("s")], busy)) == {"s": "c"}


def test_no_slot_stays_empty_for_the_sake_of_a_backbone() -> None:
    queued = [run("a", "x"), run("b", "x")]
    assert starts(choose(queued, [slot("s"), slot("t")], PLAIN)) == {"s": "a", "t": "b"}


def test_nothing_starts_while_paused() -> None:
    choice = choose([run("a")], [slot("s")], replace(PLAIN, paused=True))
    assert (choice.assignments, choice.waiting) == ((), {"a": PAUSED})


def test_run_stays_on_the_devices_that_it_names() -> None:
    slots = [slot("s", GPU), slot("t", OTHER_GPU)]
    assert starts(choose([run("a", devices=("cuda:1",))], slots, PLAIN)) == {"t": "a"}
    assert starts(choose([run("a", devices=("cuda",))], slots[:1], PLAIN)) == {"s": "a"}
    choice = choose([run("a", devices=("mps",))], slots, PLAIN)
    assert choice.waiting == {"a": "requires mps, and the supervisor's devices are cuda:0, cuda:1"}


def test_device_opened_on_demand_takes_only_runs_that_name_it() -> None:
    cpu = slot("s", CPU, only_named=True)
    assert starts(choose([run("a")], [cpu], PLAIN)) == {}
    assert starts(choose([run("a", devices=("cpu",))], [cpu], PLAIN)) == {"s": "a"}


def test_run_that_does_not_fit_waits_with_the_whole_reason_and_lets_a_smaller_one_pass() -> None:
    situation = replace(
        PLAIN,
        peaks_mb={("a", "task", "cuda"): 16 * 1024.0},
        readings=gpu_memory(11, DeviceProcess(812, "alice", 68 * 1024.0), DeviceProcess(9, None, 512.0, ours=True)),
    )
    choice = choose([run("a", "a"), run("b", "small")], [slot("s")], situation)
    assert starts(choice) == {"s": "b"}
    alone = choose([run("a", "a")], [slot("s")], situation)
    assert alone.waiting == {
        "a": "needs 18 GB, cuda:0 has 11 free: pid 812 of alice holds 68 GB, pid 9 ours holds 0.5 GB",
    }


def test_memory_of_the_idle_worker_counts_for_the_run_that_it_is_given() -> None:
    situation = replace(PLAIN, peaks_mb={("a", "task", "cuda"): 16 * 1024.0}, readings=gpu_memory(11))
    assert starts(choose([run("a")], [slot("s", worker_mb=10 * 1024.0)], situation)) == {"s": "a"}


def test_memory_promised_to_runs_that_just_started_is_not_promised_again() -> None:
    peaks = {("a", "task", "cuda"): 16 * 1024.0, ("b", "task", "cuda"): 16 * 1024.0}
    situation = replace(PLAIN, peaks_mb=peaks, readings=gpu_memory(30))
    choice = choose([run("a", "a"), run("b", "b")], [slot("s"), slot("t")], situation)
    assert starts(choice) == {"s": "a"}
    assert choice.waiting["b"] == "needs 18 GB, cuda:0 has 12 free"
    reserved = replace(situation, reserved_mb={"cuda:0": 20 * 1024.0})
    assert starts(choose([run("a", "a")], [slot("s")], reserved)) == {}


def test_unknown_need_and_silent_device_hold_nothing_back() -> None:
    assert starts(choose([run("a")], [slot("s")], replace(PLAIN, readings=gpu_memory(0)))) == {"s": "a"}
    known = replace(PLAIN, peaks_mb={("a", "task", "cuda"): 1e9})
    assert starts(choose([run("a")], [slot("s")], known)) == {"s": "a"}


def test_need_measured_on_a_larger_device_does_not_wait_for_ever() -> None:
    situation = replace(PLAIN, peaks_mb={("a", "task", "cuda"): 140 * 1024.0}, readings=gpu_memory(79.5))
    assert starts(choose([run("a")], [slot("s")], situation)) == {"s": "a"}


def test_peak_of_another_kind_of_device_says_nothing() -> None:
    situation = replace(PLAIN, peaks_mb={("a", "task", "cpu"): 70 * 1024.0}, readings=gpu_memory(11))
    assert starts(choose([run("a")], [slot("s")], situation)) == {"s": "a"}


def test_an_idle_worker_takes_runs_of_its_own_launcher_only_and_leaves_for_those_of_another() -> None:
    held, empty = slot("s", launcher="local"), slot("t")
    other = replace(run("a"), launcher="nice")
    assert starts(choose([other, run("b")], [held, empty], PLAIN)) == {"s": "b", "t": "a"}
    choice = choose([other], [held], PLAIN)
    assert not starts(choice)
    assert choice.dismissed == frozenset({"s"})
    assert choose([other], [held, empty], PLAIN).dismissed == frozenset()
    assert choose([run("b")], [held], PLAIN).dismissed == frozenset()
    assert choose([replace(other, devices=("cuda:1",))], [held], PLAIN).dismissed == frozenset()


def test_ten_thousand_queued_runs_are_ordered_in_a_moment() -> None:
    queued = [QueuedRun(f"{n:05}", f"b{n % 40}", f"t{n % 9}", n % 3, float(n)) for n in range(10_000)]
    choice = choose(queued, [slot(f"s{n}") for n in range(8)], PLAIN)
    assert len(choice.assignments) == 8
    assert len(choice.waiting) == 9_992


ALICE, OURS = DeviceProcess(812, "alice", 4096.0), DeviceProcess(9, "bob", 512.0, ours=True)


def sharing(share: Share, *processes: DeviceProcess, busy: bool = False) -> Assignments:
    """One run, for which there is memory, and these processes on its card."""
    busy_devices = frozenset({"cuda:0"}) if busy else frozenset()
    state = replace(PLAIN, share=share, readings=gpu_memory(70, *processes), busy_devices=busy_devices)
    return choose([run("a")], [slot("s")], state)


def test_a_card_is_shared_as_the_setting_says() -> None:
    assert starts(sharing("free-memory", ALICE, OURS, busy=True))
    assert starts(sharing("idle", OURS, busy=True))
    assert not starts(sharing("idle", ALICE))
    assert not starts(sharing("never", OURS, busy=True))
    assert starts(sharing("never", OURS)), "an idle worker of ours carries out the run itself"
    assert not starts(sharing("never", ALICE))


def test_a_run_that_waits_for_a_card_to_be_idle_names_the_setting_and_the_process() -> None:
    assert sharing("idle", ALICE, OURS).waiting == {
        "a": 'cuda:0 is not shared (share = "idle"): pid 812 of alice holds 4.0 GB'
    }


def test_the_setting_is_for_cards_alone() -> None:
    readings = {"cpu": Reading(16384.0, 100.0, processes=(ALICE,))}
    state = replace(PLAIN, share="never", readings=readings)
    assert starts(choose([run("a")], [slot("s", CPU)], state)) == {"s": "a"}


def test_two_runs_that_share_nothing_do_not_start_on_one_card_at_the_same_time() -> None:
    state = replace(PLAIN, share="never", readings=gpu_memory(70))
    assert starts(choose([run("a"), run("b")], [slot("s"), slot("t")], state)) == {"s": "a"}


def test_a_card_that_admits_one_process_takes_no_second_worker() -> None:
    readings = {"cuda:0": replace(gpu_memory(70, OURS)["cuda:0"], exclusive=True)}
    state = replace(PLAIN, readings=readings)
    assert starts(choose([run("a")], [slot("s", holds="a")], state)) == {"s": "a"}, "the worker that holds the card"
    refused = choose([run("a")], [slot("s")], state)
    assert not starts(refused)
    assert refused.waiting["a"].startswith("cuda:0 admits one process at a time (compute mode): pid 9 ours")
