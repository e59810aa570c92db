"""Rankings and Compare in 16, 256 and 16.7 million colours at three sizes: one console for all depths of a size.

A picture is text: every line of the screen, and below it its runs of one style. `--snapshot-update` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.color import Color, ColorSystem
from rich.style import Style
from textual.pilot import Pilot

from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.terminal.colour_depth import ColourDepth, nearest
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.test_snapshots import differences_are_drawn

SIZES = [(80, 24), (120, 40), (200, 50)]
PICTURES = Path(__file__).parent / "colour_pictures"
SYSTEMS = {
    ColourDepth.SIXTEEN: ColorSystem.STANDARD,
    ColourDepth.MANY: ColorSystem.EIGHT_BIT,
    ColourDepth.TRUE: ColorSystem.TRUECOLOR,
}
SCREENS = {"rankings": ("down", "space", "right", "right", "right", "right", "i"), "compare": ("down", "space")}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("mode", SCREENS)
async def test_screens_are_as_they_were_in_every_colour_depth(
    used: Workspace, opened: Opener, mode: str, size: tuple[int, int], pytestconfig: pytest.Config
) -> None:
    async with opened(used, AppOptions(mode=mode), size=size) as pilot:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        await pilot.press(*SCREENS[mode])
        await until(pilot, lambda: mode != "compare" or differences_are_drawn(app))
        pictures = {depth: await picture(pilot, app, depth) for depth in SYSTEMS}
    assert len(set(pictures.values())) == len(SYSTEMS), "each depth has colours of its own"
    for depth, text in pictures.items():
        path = PICTURES / f"{mode}-{size[0]}x{size[1]}-{depth.value}.txt"
        if pytestconfig.getoption("--snapshot-update"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text(), f"{path} differs: look at it, then --snapshot-update"


async def picture(pilot: Pilot[int], app: ConsoleApp, depth: ColourDepth) -> str:
    """The screen as a terminal of this depth shows it."""
    app.console._color_system = SYSTEMS[depth]
    app._render_context = None
    app.watch_theme()
    app.screen.refresh_view()  # type: ignore[attr-defined]
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
