"""Slots per device, and those that are added later."""

from __future__ import annotations

import pytest

from ssl_console.launchers.local.launcher import LocalLauncher
from ssl_console.supervisor.memory import reserved_mb
from ssl_console.supervisor.slots import SlotTable
from ssl_console.system.device import Device
from ssl_console.workspace.paths import Workspace

GPU, CPU = Device("cuda:0", "GPU"), Device("cpu", "CPU")


@pytest.fixture
def launcher(workspace: Workspace) -> LocalLauncher:
    return LocalLauncher(workspace)


def test_each_device_has_its_slots_once() -> None:
    table = SlotTable(2)
    table.open([GPU])
    table.open([GPU, CPU], on_demand=True)
    assert [(slot.name, slot.on_demand) for slot in table] == [
        ("cuda:0/0", False),
        ("cuda:0/1", False),
        ("cpu/0", True),
        ("cpu/1", True),
    ]
    assert list(table.devices) == [GPU, CPU]


def test_adopted_worker_takes_a_free_slot_and_gives_it_back(launcher: LocalLauncher) -> None:
    table = SlotTable(1)
    table.open([GPU])
    slot = table.around(launcher, "w", GPU)
    assert (slot.name, slot.free) == ("cuda:0/0", False)
    slot.clear()
    assert slot.free


def test_adopted_worker_without_a_free_slot_has_one_of_its_own_until_it_is_gone(
    launcher: LocalLauncher,
) -> None:
    table = SlotTable(1)
    table.open([GPU])
    table.around(launcher, "adopted-1", GPU)
    extra = table.around(launcher, "adopted-2", GPU)
    assert len(table.slots) == 2
    extra.clear()
    table.close_extra()
    assert [slot.name for slot in table] == ["cuda:0/0"]


def test_memory_is_reserved_for_what_running_workers_do_not_hold_yet() -> None:
    needs, held = {"a": 10.0, "b": 5.0, "c": 4.0}, {"a": 4.0, "b": 8.0}
    assert reserved_mb(needs, held, {"a": "cuda:0", "b": "cuda:0", "c": "cpu"}) == {"cuda:0": 6.0, "cpu": 4.0}
