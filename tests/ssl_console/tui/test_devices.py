"""Devices on Live: figures, histories, and processes that hold memory; few bytes over the link."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import JsonValue

from ssl_console.system.device import Device, DeviceProcess, Reading
from ssl_console.system.processes import largest_processes, own_start, parents_of, this_host
from ssl_console.tui.app import AppOptions
from ssl_console.tui.data import devices
from ssl_console.tui.data.devices import (
    SAMPLES_KEPT,
    STEP_S,
    DevicePoller,
    DeviceRecorder,
    DeviceSample,
    DeviceUser,
    DeviceView,
    device_view,
)
from ssl_console.tui.style.glyphs import ASCII, UNICODE
from ssl_console.tui.style.text import Line, length
from ssl_console.tui.views.devices import device_lines, header_lines
from ssl_console.tui.views.result import result_lines
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.supervisor_state import DeviceState, SlotState, SupervisorState
from tests.ssl_console.system.test_nvml import stand_in_driver
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.terminal import a_console
from tests.ssl_console.tui.test_screens import shown

RISING = tuple(DeviceSample(12.5 * step, 10_000.0 * step, 30.0 + step, 100.0 * step) for step in range(8))
MOST_BYTES_PER_S = 1536


def gpu(number: int, *users: DeviceUser) -> DeviceView:
    return DeviceView(
        f"cuda:{number}", "NVIDIA H100 80GB", 97.0, 73_300.0, 81_559.0, 61.0, 640.0, 700.0, users, history=RISING
    )


def text(lines: list[Line]) -> list[str]:
    return ["".join(span.text for span in line) for line in lines]


@pytest.mark.parametrize("width", [52, 80, 120, 200])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=lambda glyphs: glyphs.name)
def test_every_device_has_one_line_with_all_its_figures_and_a_history(width: int, glyphs: object) -> None:
    assert glyphs in (UNICODE, ASCII)
    signs = UNICODE if glyphs is UNICODE else ASCII
    lines = device_lines([*(gpu(number) for number in range(8)), filled.HOST], signs, width)
    rows = text(lines)[1:10]
    for row in rows[:8]:
        assert all(figure in row for figure in ("97 %", "71.6/80 GB", "61 °C", "640/700 W"))
        assert "".join(signs.steps[:4]) in row or "".join(signs.steps[4:]) in row
    assert "12 %" in rows[8]
    assert all(length(line) <= width for line in lines[:10])
    told = " ".join(text(lines)[1:])
    assert "NVIDIA H100 80GB" in told
    assert width >= 120 or "NVIDIA H100 80GB: cuda:0, cuda:1" in told, "titles follow where lines have no room"


def test_a_history_stands_for_shares_of_the_full_value_with_gaps_where_nothing_was_read() -> None:
    history = (DeviceSample(0.0), DeviceSample(), DeviceSample(100.0))
    row = text(device_lines([replace(gpu(0), history=history)], UNICODE, 120))[1]
    assert "▁ █" in row


def test_the_header_has_one_line_a_device_and_names_how_many_are_left_out() -> None:
    rows = text(header_lines([gpu(number) for number in range(8)], UNICODE, 80, most=5))
    assert [row.split()[0] for row in rows] == ["cuda:0", "cuda:1", "cuda:2", "cuda:3", "and"]
    assert "and 4 more in the devices pane" in rows[-1]


def test_processes_that_hold_memory_have_user_pid_and_what_they_do_for_this_workspace() -> None:
    ours = DeviceUser(4242, "me", 5300.0, ours=True, role="demo/simclr on linear/digits")
    rows = text(device_lines([gpu(0, ours, DeviceUser(812, "alice", 68_000.0, ours=False, role="train"))], UNICODE, 80))
    first, second = rows[-2:]
    assert first.split() == ["cuda:0", "66.4", "GB", "812", "alice", "train"]
    assert second.split() == ["cuda:0", "5.2", "GB", "4242", "me", "ours:", "demo/simclr", "on", "linear/digits"]


def test_a_device_without_figures_shows_its_problem() -> None:
    lost = device_view(Device("cuda:1", "Lost GPU"), None, "it does not answer")
    assert any("it does not answer" in row for row in text(device_lines([lost], UNICODE, 60)))
    assert text(device_lines([], UNICODE, 60)) == [" no device readings yet"]


def test_a_sample_is_the_mean_of_the_readings_of_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "STEP_S", STEP_S)
    recorder = DeviceRecorder()
    for number, load in enumerate((20.0, 40.0, 90.0)):
        (device,) = recorder.record([DeviceView("cuda:0", utilisation=load)], now=2.0 * number)
    assert device.history == ()
    (device,) = recorder.record([DeviceView("cuda:0", utilisation=10.0)], now=3 * STEP_S)
    assert [sample.utilisation for sample in device.history] == [50.0, None, None]
    (device,) = recorder.record([DeviceView("cuda:0")], now=1000 * STEP_S)
    assert len(device.history) == SAMPLES_KEPT


def supervisor(*processes: DeviceProcess) -> SupervisorState:
    devices = (
        DeviceState(device=Device("cuda:0", "Test GPU"), reading=Reading(8192.0, 2048.0, 40.0, processes=processes)),
        DeviceState(device=Device("cpu", "its CPU"), reading=Reading(8192.0, 2048.0, 40.0)),
    )
    slot = SlotState(name="cuda:0/1", device="cuda:0", worker=4242, backbone="demo/mae")
    return SupervisorState(
        host=this_host(), pid=os.getppid(), pid_started=own_start(), started=0.0, slots=(slot,), devices=devices
    )


def test_the_host_is_read_here_and_workers_are_named_by_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    mine = DeviceProcess(os.getpid(), "me", 80.0, command="python")
    monkeypatch.setattr(devices, "largest_processes", lambda _: (mine,))
    poller = DevicePoller()
    found = poller.poll(supervisor(DeviceProcess(4242, "me", 900.0, ours=True)), {}, now=100.0)
    assert found is not None
    assert [device.name for device in found] == ["cuda:0", "cpu"]
    assert [(user.role, user.ours) for user in found[0].users] == [("worker with demo/mae", True)]
    assert [(user.role, user.ours) for user in found[1].users] == [("this console", True)]
    assert found[1].title != "its CPU", "of the host there is one line"


def test_a_supervisor_on_another_machine_shows_its_own_cpu() -> None:
    away = supervisor().model_copy(update={"host": "elsewhere"})
    found = DevicePoller().poll(away, {}, now=100.0)
    assert [device.title for device in found or ()] == ["Test GPU", "its CPU"]


def test_unchanged_readings_are_no_update() -> None:
    poller, state = DevicePoller(), supervisor()
    assert poller.poll(state, {}, now=100.0) is not None
    assert poller.poll(state, {}, now=101.0) is None


def test_the_largest_processes_are_listed_with_user_and_program() -> None:
    found = largest_processes(3)
    assert len(found) == 3
    assert [one.memory_mb or 0.0 for one in found] == sorted((one.memory_mb or 0.0 for one in found), reverse=True)
    assert all(one.command for one in found)
    assert parents_of(os.getpid())[:2] == (os.getpid(), os.getppid())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_line_for_each_device_is_shown_above_the_runs_on_demand(
    used: Workspace, opened: Opener, size: tuple[int, int]
) -> None:
    filled.supervise(used)
    filled.go_on(used, "cccccccccccc", "demo/simclr", "linear/digits", done=62)
    async with opened(used, AppOptions(mode="live"), size=size) as pilot:
        gauges = pilot.app.screen.query_one("#gauges")
        assert not gauges.display
        await pilot.press("d")
        assert [row.split()[0] for row in shown(pilot, "#gauges").splitlines()] == ["cuda:0", "cpu"]
        assert "640/700 W" in shown(pilot, "#gauges")
        await until(pilot, lambda: gauges.size.height == 2)
        await pilot.press("d")
        assert not gauges.display
        await pilot.press("shift+tab")
        assert "ours: demo/simclr on linear/digits" in shown(pilot, "#devices")


@pytest.mark.slow
def test_a_pane_of_eight_gpus_costs_little_over_the_wire(tmp_path: Path) -> None:
    environment = stand_in_driver(tmp_path, "-DCARDS=8")
    workspace = Workspace(tmp_path / "eight").create()
    with a_console(workspace, environment=environment) as terminal:
        terminal.until_shown("ticked")
        terminal.press("2", "tab", "tab", "tab", "tab", "z")
        terminal.until_shown("cuda:7", "ours: this console")
        terminal.watch(2 * STEP_S)
        assert terminal.watch(2 * STEP_S) / (2 * STEP_S) < MOST_BYTES_PER_S


@pytest.mark.parametrize(
    ("diagnostics", "words"),
    [({}, "cuda:0"), ({"images_encoded_by_helpers": 1536}, "cuda:0, helpers encoded 1,536 images")],
)
def test_a_result_names_what_helpers_encoded_beside_its_device(diagnostics: dict[str, JsonValue], words: str) -> None:
    row = filled.result("demo/mae", "knn/digits")
    record = ResultRecord(result=row, metrics={}, interval_method="", samples={}, diagnostics=diagnostics)
    text = ["".join(span.text for span in line) for line in result_lines(row, record, [row], "command", 80)]
    assert next(line for line in text if line.strip().startswith("device")).split(maxsplit=1)[1] == words
