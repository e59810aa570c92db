"""Consoles on real workspaces, with everything that changes by itself frozen."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import textual.constants
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from textual.pilot import Pilot
from textual.worker import WorkerCancelled

from ssl_console.operations.session import Session
from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.data.devices import DevicePoller
from ssl_console.tui.data.local_backend import LocalBackend
from ssl_console.tui.style.glyphs import ASCII_VARIABLE
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.results_db import ResultStore
from tests.ssl_console.tui import filled

textual.constants.TEXTUAL_ANIMATIONS = "none"  # type: ignore[misc]

PATIENCE_S = 90.0
PARSED: dict[tuple[object, ...], list[RuleSet]] = {}
"""Rules by text, place and variables: every console of these tests has the same, and parses them several times."""
PARSE_RULES = Stylesheet._parse_rules


def parsed_once(sheet: Stylesheet, css: str, *where: Any, **told: Any) -> list[RuleSet]:
    """Parse rules that no console of this process has parsed before."""
    key = (css, where, *sorted(told.items()), *sorted(sheet._variables.items()))
    if key not in PARSED:
        PARSED[key] = PARSE_RULES(sheet, css, *where, **told)
    return PARSED[key]


Stylesheet._parse_rules = parsed_once  # type: ignore[method-assign, assignment]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests to completion, each on a separate event loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


Opened = AbstractAsyncContextManager[Pilot[int]]
Opener = Callable[..., Opened]


@pytest.fixture(autouse=True)
def _still(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fixed time zone, terminal, free space and host, and no histories of devices."""
    monkeypatch.setattr("ssl_console.tui.data.devices.STEP_S", float("inf"))
    monkeypatch.setattr("ssl_console.planning.disk_usage._free", lambda _folder: 512 * 10**9)
    monkeypatch.setattr(DevicePoller, "_read_host", lambda poller, *_: setattr(poller, "_host", filled.HOST))
    for name in ("NO_COLOR", "COLORTERM", ASCII_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="session")
def used_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace after some use, which tests copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("before"))
        workspace = Workspace(Path("used")).create()
        workspace.config.write_text('devices = ["cpu"]\nslots_per_device = 1\n')
        backbones = ("demo/mae", "demo/random", "demo/rotation", "demo/simclr", "demo/supervised")
        tasks = ("linear/digits", "linear/shapes", "knn/digits", "knn/shapes", "few-shot-5/digits")
        left = filled.fill_runs(workspace, backbones, tasks, 22)
        ResultStore(workspace).add(left)
        filled.queue(workspace, "aaaaaaaaaaaa", "demo/supervised", "knn/shapes")
        filled.queue(workspace, "bbbbbbbbbbbb", "demo/supervised", "few-shot-5/digits")
    return folder / "used"


@pytest.fixture
def used(used_before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace after some use, under a name that is the same in every test: `used`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(used_before, "used")
    return Workspace(Path("used"))


@pytest.fixture
def opened() -> Opener:
    """Opens a console on a workspace; in the context, everything read at the start has been read."""

    @asynccontextmanager
    async def open_console(
        workspace: Workspace, options: AppOptions | None = None, size: tuple[int, int] = (120, 40)
    ) -> AsyncIterator[Pilot[int]]:
        app = console_on(workspace, options)
        async with app.run_test(size=size) as pilot:
            await settled(pilot)
            yield pilot

    return open_console


def console_on(workspace: Workspace, options: AppOptions | None = None) -> ConsoleApp:
    """A console with a fixed clock, half an hour after the workspace's last event; with all tasks by default."""
    app = ConsoleApp(lambda: LocalBackend(Session.of(workspace)), options or AppOptions(suite=""))
    app.clock = lambda: filled.NOW + 1800.0
    return app


async def settled(pilot: Pilot[int]) -> None:
    """Whether cards, runs and results have been read and displayed."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    await until(pilot, lambda: app.started and app.first_update_done and app.state.catalogue.backbones)
    await idle(app)
    await pilot.pause()


async def idle(app: ConsoleApp) -> None:
    """Whether no background work is left. Newer work may have replaced older work."""
    while any(not worker.is_finished for worker in app.workers):
        with suppress(WorkerCancelled):
            await app.workers.wait_for_complete()


async def until(pilot: Pilot[int], fact: Callable[[], object]) -> None:
    """Let the app run until a condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < end, "it did not come to pass"
        await pilot.pause(0.02)
