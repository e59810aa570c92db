"""Cards that other processes use: a supervisor of one GPU, whose memory the test sets, and its workers as a list."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from backbones.io.files import create_exclusively
from ssl_console.launchers.base import AdoptedWorker, Batch, Launcher, Resources, Worker
from ssl_console.supervisor import loop, memory
from ssl_console.supervisor.client import SupervisorOptions
from ssl_console.supervisor.failures import FIRST_WAIT_S, LONGEST_WAIT_S, MOST_WAITS, is_of_others
from ssl_console.supervisor.loop import Supervisor
from ssl_console.system.device import Device, DeviceProcess, Reading
from ssl_console.worker import error_messages
from ssl_console.workspace.config import Config
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import submit, touch_runs_folder
from ssl_console.workspace.run import Attempt, End, MemoryShortage, RunState
from ssl_console.workspace.run_status import QueuedRun
from tests.ssl_console.system.test_nvml import stand_in_driver
from tests.ssl_console.workspace_fixture import Bench, eventually, spec

GIGABYTE = 1024.0
GPU = Device("cuda:0", "GPU", "GPU-0", 80 * GIGABYTE)
ALICE = DeviceProcess(812, "alice", 68 * GIGABYTE, command="train")


@dataclass
class ListedWorkers(Launcher):
    """Keeps what it was told to start, and starts nothing."""

    name: ClassVar[str] = "local"
    summary: ClassVar[str] = "a list"
    started: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, workspace: Workspace, config: Config) -> Self:
        return cls()

    def submit(self, batch: Batch, resources: Resources | None = None) -> str:
        self.started += batch.run_ids
        return f"w{len(self.started)}"

    def adopt(self, under_way: Mapping[str, Attempt]) -> Iterator[AdoptedWorker]:
        yield from ()

    def hand_over(self, worker: str, run_id: str) -> bool:
        return False

    def drain(self, worker: str) -> None: ...

    def snapshot(self) -> dict[str, Worker]:
        return {f"w{number + 1}": Worker(f"w{number + 1}", 4242 + number) for number in range(len(self.started))}

    def stop(self, worker: str, *, force: bool = False) -> None: ...

    def show_stacks(self, worker: str) -> None: ...


@dataclass
class Card:
    """A supervisor of one card."""

    supervisor: Supervisor
    launcher: ListedWorkers
    now: float = field(default_factory=time.time)
    processes: tuple[DeviceProcess, ...] = ()

    def reading(self, _device: Device) -> Reading:
        """The card's memory, held by `processes`."""
        used = sum(process.memory_mb or 0.0 for process in self.processes)
        return Reading(80 * GIGABYTE, used, processes=self.processes)

    def queue(self, run_id: str, **others: Any) -> None:
        """Queue a run."""
        submit(self.supervisor.workspace, run_id, spec(run_id, **others).model_dump_json().encode())

    def tick(self, seconds: float = 0.0) -> None:
        """The supervisor's next tick, this number of seconds later."""
        self.now += seconds
        self.supervisor.tick(self.now)


@pytest.fixture
def card(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Card:
    launcher = ListedWorkers()
    options = SupervisorOptions(devices=("cuda:0",), slots_per_device=2)
    made = Card(Supervisor(workspace, {"local": launcher}, options), launcher)
    monkeypatch.setattr(loop, "all_devices", lambda: [GPU])
    monkeypatch.setattr(memory, "read_device", made.reading)
    made.supervisor.memory.peaks_mb["demo/a", "rehearsal/none", "cuda"] = 16 * GIGABYTE
    made.supervisor.begin(made.now)
    return made


def test_a_run_that_waits_for_memory_of_another_process_starts_when_that_process_ends(card: Card) -> None:
    card.processes = (ALICE,)
    card.queue("one")
    card.tick()
    assert card.supervisor.waiting["one"] == "needs 18 GB, cuda:0 has 12 free: pid 812 of alice holds 68 GB"
    card.processes = ()
    card.tick(seconds=memory.READ_EVERY_S)
    assert card.launcher.started == ["one"]


def shortage(need_gb: float, *others: DeviceProcess) -> MemoryShortage:
    """The card when a worker of ours, which held 4 GB, got no more."""
    worker = DeviceProcess(4242, "me", 4 * GIGABYTE, ours=True)
    reading = Reading(80 * GIGABYTE, 79 * GIGABYTE, processes=(*others, worker))
    return MemoryShortage(device="cuda:0", reading=reading, need_mb=need_gb * GIGABYTE)


def failed(card: Card, run_id: str, found: MemoryShortage, attempt: int = 1) -> QueuedRun:
    """The run once an attempt ended so, as it is queued again."""
    end = End(attempt=attempt, state="failed", kind="oom", message="memory ran out", ended=card.now, shortage=found)
    folder = card.supervisor.workspace.run(run_id)
    create_exclusively(folder.end(attempt), end.model_dump_json().encode())
    touch_runs_folder(card.supervisor.workspace)
    card.tick(seconds=1)
    card.tick(seconds=1)
    return card.supervisor.index.entries[run_id].queued_run


def test_a_run_that_lacked_the_memory_of_another_process_backs_off_unchanged_until_its_need_is_free(
    card: Card,
) -> None:
    card.processes = (ALICE,)
    card.queue("one")
    again = failed(card, "one", shortage(20, ALICE))
    assert again.backoff is not None
    assert card.supervisor.index.entries["one"].status.batch_scale == 1.0
    assert card.supervisor.waiting["one"].startswith(
        "memory of cuda:0 ran out because of pid 812 of alice holds 68 GB: tried again after"
    )
    card.tick(seconds=FIRST_WAIT_S)
    assert card.supervisor.waiting["one"] == "needs 20 GB, cuda:0 has 12 free: pid 812 of alice holds 68 GB"
    card.processes = ()
    card.tick(seconds=memory.READ_EVERY_S)
    assert card.launcher.started == ["one"]


def test_a_run_that_lacked_memory_waits_although_it_is_free_now(card: Card) -> None:
    card.processes = (ALICE,)
    card.queue("one")
    failed(card, "one", shortage(20, ALICE))
    card.processes = ()
    card.tick(seconds=memory.READ_EVERY_S)
    assert card.launcher.started == []
    card.tick(seconds=FIRST_WAIT_S)
    assert card.launcher.started == ["one"]


def test_each_wait_is_twice_as_long_and_they_end(card: Card) -> None:
    card.processes = (ALICE,)
    card.queue("one")
    waits = []
    for attempt in range(1, MOST_WAITS + 1):
        backoff = failed(card, "one", shortage(20, ALICE), attempt).backoff
        assert backoff is not None
        waits.append(round(backoff.until - card.now))
    assert waits == [pytest.approx(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**n), abs=2) for n in range(MOST_WAITS)]
    failed(card, "one", shortage(20, ALICE), MOST_WAITS + 1)
    assert card.supervisor.index.entries["one"].status.state is RunState.FAILED


def test_memory_that_is_too_little_for_the_run_alone_halves_its_batch(card: Card) -> None:
    card.processes = (ALICE,)
    card.queue("one")
    again = failed(card, "one", shortage(79, ALICE))
    assert again.backoff is None
    assert card.supervisor.index.entries["one"].status.batch_scale == 0.5


def test_memory_that_another_worker_of_ours_holds_halves_the_batch() -> None:
    sibling = DeviceProcess(4243, "me", 60 * GIGABYTE)
    assert not is_of_others(shortage(20, sibling), {4242, 4243})
    assert is_of_others(shortage(20, sibling), {4242})


def test_a_run_may_ask_for_a_card_of_its_own_where_the_setting_shares(card: Card) -> None:
    card.supervisor.memory.peaks_mb.clear()
    card.queue("first", share="never", created=1.0)
    card.queue("second", created=2.0)
    card.tick()
    assert card.launcher.started == ["first"]
    assert card.supervisor.waiting["second"] == 'cuda:0 is not shared: a run with share = "never" uses it'


def test_a_run_may_share_where_the_setting_does_not(card: Card) -> None:
    card.supervisor.options = card.supervisor.options.model_copy(update={"share": "idle"})
    card.supervisor.memory.peaks_mb.clear()
    card.processes = (ALICE,)
    card.queue("first", created=1.0)
    card.queue("second", share="free-memory", created=2.0)
    card.tick()
    assert card.launcher.started == ["second"]
    assert card.supervisor.waiting["first"].startswith('cuda:0 is not shared (share = "idle"): pid 812 of alice')


def test_the_sharing_of_a_run_stays_with_its_retry(card: Card) -> None:
    card.processes = (ALICE,)
    card.queue("one", share="idle")
    assert failed(card, "one", shortage(79, ALICE)).share == "idle"


def test_the_server_of_mps_is_not_another_user(card: Card) -> None:
    card.supervisor.options = card.supervisor.options.model_copy(update={"share": "idle"})
    card.processes = (DeviceProcess(700, "root", 30.0, command="nvidia-cuda-mps-server"),)
    card.queue("one")
    card.tick()
    assert card.launcher.started == ["one"]


def test_a_worker_on_a_card_that_another_process_fills_names_it_and_its_run_waits(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "holders").write_text(f"{os.getpid()} 7168\n")
    monkeypatch.setenv("NVML_HOLDERS", str(tmp_path / "holders"))
    monkeypatch.setenv("LD_LIBRARY_PATH", stand_in_driver(tmp_path, "-DHOLDERS")["LD_LIBRARY_PATH"])
    bench.submit("one", "card-oom", seed=1)
    bench.supervise(devices=("cuda:0",))
    eventually(lambda: bench.status("one").attempt == 2, "the first run is queued again")
    status = bench.status("one")
    assert status.backoff is not None
    assert status.backoff.need_mb == 4.5 * GIGABYTE
    assert f"memory of cuda:0 ran out because of pid {os.getpid()} of" in status.reason


def test_main_memory_that_ran_out_is_not_the_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_messages, "cuda_devices", lambda: [GPU])
    monkeypatch.setattr(
        error_messages, "read_cuda", lambda _: Reading(80 * GIGABYTE, 79 * GIGABYTE, processes=(ALICE,))
    )
    assert error_messages.memory_shortage(MemoryError("no room"), "cuda:0", "cuda:0") is None
    assert error_messages.memory_shortage(RuntimeError("CUDA error: out of memory"), "cuda:0", "cuda:0") is not None
