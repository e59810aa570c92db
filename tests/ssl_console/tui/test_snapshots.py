"""Every screen at the three sizes, on a workspace after some use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.screens import verdicts
from ssl_console.tui.screens.ranking_dialogs import REPLICATES, RankIntervalsDialog
from ssl_console.tui.views.race import RaceReading
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import console_on, idle, settled, until
from tests.ssl_console.tui.test_ladder_view import planned
from tests.ssl_console.tui.test_race_view import RACE, looks

SIZES = [(80, 24), (120, 40), (200, 60)]
Compare = Callable[..., bool]
Before = Callable[[Pilot[int]], Awaitable[None]]

pytestmark = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


@pytest.fixture
def supervised(used: Workspace) -> Workspace:
    """With a supervisor that lives (this process) and says something about a GPU and what waits."""
    filled.supervise(used)
    filled.go_on(used, "cccccccccccc", "demo/simclr", "linear/digits", done=62, seed=1)
    return used


def before(*keys: str, fact: Callable[[ConsoleApp], object] = lambda app: True, alone: bool = False) -> Before:
    """Press keys once all has been read, and wait for their effect; `alone` leaves out what is behind a dialog."""

    async def press(pilot: Pilot[int]) -> None:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        await settled(pilot)
        await pilot.press(*keys)
        await until(pilot, lambda: fact(app))
        if alone:
            for below in app.screen_stack[:-1]:
                below.visible = False
        await idle(app)
        await until(pilot, lambda: not app.state.reading)
        await pilot.pause()

    return press


def snapshot_of(workspace: Workspace, mode: str, *, ascii_only: bool = False) -> ConsoleApp:
    """The console showing only the demo suite, so that a new card elsewhere changes no snapshot."""
    return console_on(workspace, AppOptions(mode=mode, ascii_only=ascii_only, suite="demo"))


def test_plan(snap_compare: Compare, supervised: Workspace, size: tuple[int, int]) -> None:
    app = snapshot_of(supervised, "plan")
    assert snap_compare(app, terminal_size=size, run_before=before("down", "space", "right", "c"))


def test_launch(snap_compare: Compare, used: Workspace, size: tuple[int, int]) -> None:
    app = snapshot_of(used, "plan")
    keys = ("slash", *"simclr", "enter", "r", "enter")
    assert snap_compare(app, terminal_size=size, run_before=before(*keys))


def test_live(snap_compare: Compare, supervised: Workspace, size: tuple[int, int]) -> None:
    assert snap_compare(snapshot_of(supervised, "live"), terminal_size=size, run_before=before())


def test_live_on_two_devices(snap_compare: Compare, supervised: Workspace, size: tuple[int, int]) -> None:
    filled.help_with(supervised, "cccccccccccc")
    keys = ("shift+tab",) if size[0] == 120 else ()
    shown = before(*keys, fact=lambda app: app.state.runs["cccccccccccc"].helpers)
    assert snap_compare(snapshot_of(supervised, "live"), terminal_size=size, run_before=shown)


def test_live_curve(snap_compare: Compare, supervised: Workspace, size: tuple[int, int]) -> None:
    app = snapshot_of(supervised, "live")
    assert snap_compare(app, terminal_size=size, run_before=before("tab"))


def test_rankings(snap_compare: Compare, used: Workspace, size: tuple[int, int]) -> None:
    keys = ("down", "space", "right", "right", "right", "right", "i")
    app = console_on(used, AppOptions(mode="rankings"))
    assert snap_compare(app, terminal_size=size, run_before=before(*keys))


def test_compare(snap_compare: Compare, used: Workspace, size: tuple[int, int]) -> None:
    app = console_on(used, AppOptions(mode="compare"))
    assert snap_compare(app, terminal_size=size, run_before=before(fact=differences_are_drawn))


def differences_are_drawn(app: ConsoleApp) -> bool:
    lines = app.screen.query_one("#text", Lines).content
    return any("95 % intervals" in span.text for line in lines for span in line)


def test_ranks(snap_compare: Compare, used: Workspace, size: tuple[int, int]) -> None:
    app = console_on(used, AppOptions(mode="rankings"))
    certain = before("p", "p", "m", "r", fact=ranks_are_certain)
    assert snap_compare(app, terminal_size=size, run_before=certain)


def ranks_are_certain(app: ConsoleApp) -> bool:
    dialog = app.screen
    return (
        isinstance(dialog, RankIntervalsDialog)
        and dialog.table is not None
        and dialog.table.ranks.replicates >= REPLICATES
    )


def test_race(snap_compare: Compare, used: Workspace, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reading = RaceReading(RACE, planned("finetune/digits", "new", 40.0))
    monkeypatch.setattr(verdicts, "read_race_of", lambda *_given, **_named: reading)
    app = console_on(used, AppOptions(mode="compare", suite="demo"))
    assert snap_compare(
        app, terminal_size=size, run_before=before("R", fact=lambda app: "finetune" in found(app, "#text"), alone=True)
    )


def test_judgement(
    snap_compare: Compare, used: Workspace, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "read_judgement", lambda *_given: looks(0.5))
    app = console_on(used, AppOptions(mode="compare", suite="demo"))
    assert snap_compare(
        app, terminal_size=size, run_before=before("V", fact=lambda app: "better" in found(app, "#text"), alone=True)
    )


def test_training(snap_compare: Compare, used: Workspace, size: tuple[int, int]) -> None:
    filled.watch_training(used, (20.0, 45.0, 60.0, 50.0, 49.0, 48.0))
    assert snap_compare(snapshot_of(used, "training"), terminal_size=size, run_before=before())


def test_adding(snap_compare: Compare, used: Workspace, size: tuple[int, int]) -> None:
    app = snapshot_of(used, "plan")
    told = before("B", *"/nowhere.pth", fact=lambda app: "does not exist" in found(app))
    assert snap_compare(app, terminal_size=size, run_before=told)


def found(app: ConsoleApp, name: str = "#found") -> str:
    lines = app.screen.query(name)
    return "".join(span.text for line in lines.first(Lines).content for span in line) if lines else ""


def test_export(snap_compare: Compare, used: Workspace, size: tuple[int, int]) -> None:
    app = console_on(used, AppOptions(mode="rankings"))
    assert snap_compare(app, terminal_size=size, run_before=before("x"))


def test_suites(snap_compare: Compare, used: Workspace, size: tuple[int, int]) -> None:
    assert snap_compare(snapshot_of(used, "plan"), terminal_size=size, run_before=before("s"))


def test_light(snap_compare: Compare, used: Workspace, size: tuple[int, int]) -> None:
    app = console_on(used, AppOptions(mode="rankings"))
    assert snap_compare(app, terminal_size=size, run_before=before("T", "down", "enter"))


def test_result(snap_compare: Compare, used: Workspace, size: tuple[int, int]) -> None:
    assert snap_compare(snapshot_of(used, "result"), terminal_size=size, run_before=before())


def test_help(snap_compare: Compare, used: Workspace, size: tuple[int, int]) -> None:
    assert snap_compare(snapshot_of(used, "rankings"), terminal_size=size, run_before=before("f1"))


def test_problem(snap_compare: Compare, supervised: Workspace, size: tuple[int, int]) -> None:
    app = snapshot_of(supervised, "live")
    keys = ("slash", *"state:done", "enter", "r")
    assert snap_compare(app, terminal_size=size, run_before=before(*keys, fact=lambda app: len(app.screen_stack) > 1))


def test_an_empty_workspace(
    snap_compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    app = console_on(Workspace(Path("empty")).create(), AppOptions(mode="rankings"))
    assert snap_compare(app, terminal_size=size, run_before=before())


def test_plain_ascii(snap_compare: Compare, supervised: Workspace, size: tuple[int, int]) -> None:
    assert snap_compare(snapshot_of(supervised, "live", ascii_only=True), terminal_size=size, run_before=before())
