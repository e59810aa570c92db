"""Rankings, Compare, Live, Launch and the dialogs of Compare in 16, 256 and 16.7 million colours.

A picture is text: every line of the screen, and below it its runs of one style. `--snapshot-update` writes them anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.color import Color, ColorSystem
from rich.style import Style
from textual.pilot import Pilot

from ssl_console.analysis.published.agreement import ledger
from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.screens import ledger as ledger_screen
from ssl_console.tui.screens import verdicts
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.screens.launch import LaunchDialog
from ssl_console.tui.terminal.colour_depth import ColourDepth, nearest
from ssl_console.tui.views.race import RaceReading
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.analysis.test_ledger import PUBLISHED, own
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import Opener, idle, until
from tests.ssl_console.tui.test_ladder_view import planned, reading
from tests.ssl_console.tui.test_race_view import RACE, looks
from tests.ssl_console.tui.test_snapshots import differences_are_drawn

SIZES = [(80, 24), (120, 40), (200, 50)]
PICTURES = Path(__file__).parent / "colour_pictures"
SYSTEMS = {
    ColourDepth.SIXTEEN: ColorSystem.STANDARD,
    ColourDepth.MANY: ColorSystem.EIGHT_BIT,
    ColourDepth.TRUE: ColorSystem.TRUECOLOR,
}


@dataclass(frozen=True)
class Shot:
    """A screen, the keys that lead to what is drawn, and the condition that it has been drawn."""

    options: AppOptions
    keys: tuple[str, ...] = ()
    drawn: Callable[[ConsoleApp], bool] = lambda _app: True
    supervised: bool = False


def launch_is_planned(app: ConsoleApp) -> bool:
    return isinstance(app.screen, LaunchDialog) and "will run" in str(app.screen.query_one("#text", Lines).content)


SHOTS = {
    "rankings": Shot(AppOptions(mode="rankings"), ("down", "space", "right", "right", "right", "right", "i")),
    "compare": Shot(AppOptions(mode="compare"), ("down", "space"), differences_are_drawn),
    "live": Shot(AppOptions(mode="live", suite="demo"), ("space", "down", "space", "d"), supervised=True),
    "launch": Shot(AppOptions(suite="demo"), ("slash", *"simclr", "enter", "r", "enter"), launch_is_planned),
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SHOTS)
async def test_screens_are_as_they_were_in_every_colour_depth(
    used: Workspace, opened: Opener, name: str, size: tuple[int, int], pytestconfig: pytest.Config
) -> None:
    shot = SHOTS[name]
    if shot.supervised:
        filled.supervise(used)
        filled.go_on(used, "cccccccccccc", "demo/simclr", "linear/digits", done=62, seed=1)
    async with opened(used, shot.options, size=size) as pilot:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        await pilot.press(*shot.keys)
        await until(pilot, lambda: shot.drawn(app))
        await idle(app)
        await until(pilot, lambda: not app.state.reading)
        await pilot.pause()
        pictures = {depth: await picture(pilot, app, depth) for depth in SYSTEMS}
    assert len(set(pictures.values())) == len(SYSTEMS), "each depth has colours of its own"
    for depth, text in pictures.items():
        compare(f"{name}-{size[0]}x{size[1]}-{depth.value}", text, pytestconfig)


def compare(name: str, text: str, config: pytest.Config) -> None:
    """Compare a picture with the stored one, or replace it."""
    path = PICTURES / f"{name}.txt"
    if config.getoption("--snapshot-update"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path} differs: look at it, then --snapshot-update"


DIALOGS = {
    "ladder": ("L", "leader"),
    "judge": ("V", "better"),
    "race": ("R", "pruned"),
    "ledger": ("p", "differs"),
}
"""Dialogs of Compare: their key, and a text of what is drawn last."""


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_dialogs_that_decide_are_as_they_were_in_every_colour_depth(
    used: Workspace,
    opened: Opener,
    size: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    left = planned("attentive/digits", "new", 40.0)
    climbed = reading(1, (left,))
    shifts = dict(zip(PUBLISHED, (0.5, 0.6, 0.4, 0.55, -3.0), strict=False))
    published = ledger(list(shifts), own(shifts))
    monkeypatch.setattr(verdicts, "read_ladder", lambda *_given: climbed)
    monkeypatch.setattr(verdicts, "read_judgement", lambda *_given: looks(0.5))
    monkeypatch.setattr(verdicts, "read_race_of", lambda *_given, **_named: RaceReading(RACE, left))
    monkeypatch.setattr(ledger_screen, "read_ledger", lambda *_given: published)
    async with opened(used, AppOptions(mode="compare", suite="demo"), size=size) as pilot:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        await until(pilot, lambda: differences_are_drawn(app))
        for name, (key, words) in DIALOGS.items():
            await pilot.press(key)
            await until(pilot, lambda words=words: words in str(app.screen.query_one("#text", Lines).content))  # type: ignore[misc]
            app.screen_stack[0].visible = False
            pictures = {depth: await picture(pilot, app, depth) for depth in SYSTEMS}
            app.screen_stack[0].visible = True
            await pilot.press("escape")
            assert len(set(pictures.values())) == len(SYSTEMS), "each depth has colours of its own"
            for depth, text in pictures.items():
                compare(f"{name}-{size[0]}x{size[1]}-{depth.value}", text, pytestconfig)


async def picture(pilot: Pilot[int], app: ConsoleApp, depth: ColourDepth) -> str:
    """The screen as a terminal of this depth shows it."""
    app.console._color_system = SYSTEMS[depth]
    app._render_context = None
    app.watch_theme()
    for screen in app.screen_stack:
        if isinstance(screen, ConsoleScreen):
            screen.refresh_view()
    await pilot.pause()
    lines = []
    for strip in app.screen._compositor.render_strips():
        lines.append(strip.text.rstrip())
        runs = [(segment.text, styled(segment.style, depth)) for segment in strip.simplify() if segment.text.strip()]
        lines.append("    " + "  ".join(f"{text.strip()[:12]}:{style}" for text, style in runs))
    return "\n".join(lines) + "\n"


def styled(style: Style | None, depth: ColourDepth) -> str:
    if style is None:
        return ""
    attributes = "".join(sign for sign, on in (("b", style.bold), ("u", style.underline), ("r", style.reverse)) if on)
    return f"{named(style.color, depth)}/{named(style.bgcolor, depth)}{attributes}"


def named(colour: Color | None, depth: ColourDepth) -> str:
    if colour is None:
        return "-"
    found = nearest(colour, depth)
    return str(found.number) if found.number is not None else found.triplet.hex if found.triplet else found.name
