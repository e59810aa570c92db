"""Pictures of every screen, from a real run of the demo suite: `make screenshots`.

    python screenshots/take.py [FOLDER]

The pictures are SVG, so they stay sharp and small. Two of them are taken while the runs go on, the others afterwards.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot

from ssl_console.operations.session import Session
from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.data.local_backend import LocalBackend
from ssl_console.tui.screens.launch import LaunchDialog
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import RunState

SIZE = (120, 36)
PATIENCE_S = 900.0
ENOUGH_DONE = 20
"""Ended runs before the pictures of Live are taken: then there is something to see."""


def main() -> None:
    """Run the demo in a folder of its own, take the pictures meanwhile and after."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent).absolute()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        set_colours(256)
        workspace = Workspace(Path("demo")).create()
        command = [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(workspace.root), "demo", "--headless"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as demo:
            asyncio.run(while_running(workspace, target))
        if demo.returncode:
            sys.exit(f"the demo ended with {demo.returncode}")
        asyncio.run(afterwards(workspace, target))


def set_colours(number: int) -> None:
    """The terminal of the next pictures: a plain tmux over SSH has 256 colours; wherever they are taken, they agree."""
    os.environ["TERM"] = "xterm-256color"
    os.environ.pop("COLORTERM", None)
    if number > 256:
        os.environ["COLORTERM"] = "truecolor"


async def while_running(workspace: Workspace, target: Path) -> None:
    """Plan and Live while runs go on."""
    async with opened(workspace, "live") as pilot:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        await until(pilot, lambda: app.state.tally.done >= ENOUGH_DONE and curve_goes_on(app))
        await pilot.press("tab")
        await settled(pilot)
        save(pilot, target / "live.svg")
        await pilot.press("1")
        await settled(pilot)
        save(pilot, target / "plan.svg")


def curve_goes_on(app: ConsoleApp) -> bool:
    """Whether the first running run has something to draw."""
    running = [run for run in app.state.runs.values() if run.state is RunState.RUNNING]
    return bool(running) and any(len(curve.points) > 2 for curve in running[0].progress.metrics.values())


async def afterwards(workspace: Workspace, target: Path) -> None:
    """The screens that show results, and the sheets."""
    async with opened(workspace, "plan") as pilot:
        await pilot.press("r", "down", "r", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchDialog))
        await pilot.press("s", "-", "2", "enter")  # three seeds, of which one is measured
        await settled(pilot)
        save(pilot, target / "launch.svg")
    set_colours(2**24)
    async with opened(workspace, "rankings") as pilot:
        save(pilot, target / "rankings-truecolor.svg")
    set_colours(256)
    async with opened(workspace, "rankings") as pilot:
        await pilot.press("down", "space", "down", "space")
        await settled(pilot)
        save(pilot, target / "rankings.svg")
        await pilot.press("C")
        await settled(pilot)
        save(pilot, target / "compare.svg")
    async with opened(workspace, "result") as pilot:
        save(pilot, target / "result.svg")
        await pilot.press("f1")
        await settled(pilot)
        save(pilot, target / "help.svg")


@asynccontextmanager
async def opened(workspace: Workspace, mode: str) -> AsyncIterator[Pilot[int]]:
    """The console on the demo suite, once it has read everything."""
    app = ConsoleApp(lambda: LocalBackend(Session.of(workspace)), AppOptions(mode=mode, suite="demo"))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.started and app.first_update_done and app.state.catalogue.backbones)
        await settled(pilot)
        yield pilot


async def settled(pilot: Pilot[int]) -> None:
    """Everything that was asked for is on the screen."""
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def until(pilot: Pilot[int], fact: Callable[[], object]) -> None:
    """Let the app work until something is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not fact():
            await pilot.pause(0.05)


def save(pilot: Pilot[int], path: Path) -> None:
    """The screen as it is."""
    path.write_text(pilot.app.export_screenshot(), encoding="utf-8")
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
