"""The terminal app on a workspace whose runs are jobs: waiting reasons, nodes, and output of jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from textual.pilot import Pilot

from ssl_console.operations.session import Session
from ssl_console.tui.app import ConsoleApp
from ssl_console.tui.data.local_backend import LocalBackend
from ssl_console.tui.widgets.log_view import LogView
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.run import RunState
from tests.slurm.workspace_fixture import PATIENCE_S, SlurmBench, console
from tests.ssl_console.workspace_fixture import eventually

GPUS = 6


def test_the_app_shows_queue_reason_node_job_partition_and_log(bench: SlurmBench) -> None:
    for number in range(GPUS + 1):
        bench.submit(f"r{number}", "wait", seed=number, backbone=f"demo/{number}", created=float(number))
    bench.supervise()
    eventually(lambda: len(bench.gpus()) == GPUS, "every GPU has a run", PATIENCE_S)
    asyncio.run(_look(bench))
    bench.go()
    for number in range(GPUS + 1):
        bench.until(f"r{number}", RunState.DONE)


def test_what_a_job_wrote_that_never_came_to_its_run_is_shown(bench: SlurmBench) -> None:
    bench.configure(setup='["echo no such module: cuda", "exit 3"]')
    bench.submit("one")
    bench.supervise()
    assert bench.until("one", RunState.FAILED).kind == "crash"
    assert "no such module: cuda" in console(bench, "logs", "one")

    async def look() -> None:
        app = ConsoleApp(lambda: LocalBackend(Session.of(bench.workspace)))
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.press("2")
            await until(pilot, lambda: "one" in _table(pilot).rows.keys)
            await until(pilot, lambda: "no such module: cuda" in _text(pilot, "#details"))
            await _turn_to(pilot, "log")
            log = app.screen.query_one(LogView)
            await until(pilot, lambda: "no such module: cuda" in log.window.lines)

    asyncio.run(look())


async def _look(bench: SlurmBench) -> None:
    owner = bench.status("r0").owner
    assert owner is not None
    app = ConsoleApp(lambda: LocalBackend(Session.of(bench.workspace)))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: len(_table(pilot).rows.keys) == GPUS + 1)
        await until(pilot, lambda: "waits: " in _row(pilot, "r6") and "partition main" in _row(pilot, "r6"))
        assert f"{owner.host} cuda:0" in _row(pilot, "r0")
        _table(pilot).move_to(row="r0")
        await until(pilot, lambda: f"{owner.job_id} on {owner.host}, partition main" in _text(pilot, "#details"))
        await _turn_to(pilot, "log")
        log = app.screen.query_one(LogView)
        await until(pilot, lambda: log.window.path == bench.workspace.run("r0").log(1))
        await _turn_to(pilot, "devices")
        await until(pilot, lambda: "partition main: 6 jobs run, 1 wait" in _text(pilot, "#devices"))


def _table(pilot: Pilot[int]) -> LineTable:
    return pilot.app.screen.query_one("#runs", LineTable)


def _row(pilot: Pilot[int], run_id: str) -> str:
    rows = _table(pilot).rows
    return " ".join(rows.cell(run_id, column).text for column in rows.columns)


def _text(pilot: Pilot[int], selector: str) -> str:
    content: Iterable[Iterable[object]] = pilot.app.screen.query_one(selector, Lines).content
    return "\n".join("".join(getattr(span, "text", str(span)) for span in line) for line in content)


async def _turn_to(pilot: Pilot[int], pane: str) -> None:
    for _ in range(5):
        if pilot.app.screen.query_one(f"#{pane}").has_class("shown"):
            return
        await pilot.press("tab")
    raise AssertionError(f"there is no pane {pane}")


async def until(pilot: Pilot[int], fact: Callable[[], object]) -> None:
    """Let the app run until a condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < end, "it did not come to pass"
        await pilot.pause(0.1)
