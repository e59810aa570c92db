"""The image of a run, in character cells: on the Result screen, and after `show`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.color import Color as RichColor
from textual.pilot import Pilot

from ssl_console.tui.app import AppOptions
from ssl_console.tui.terminal.colour_depth import ColourDepth, nearest
from ssl_console.tui.widgets.graphics import ChartView, ImageView
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.pictures import (
    ASCII_SHADES,
    HALF,
    Picture,
    colour_cells,
    open_picture,
    picture_files,
    shaded,
)
from ssl_console.workspace.results_db import ResultStore
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import Opener, until

ROOT = Path(__file__).parents[3]
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


def halves(columns: int, rows: int) -> Picture:
    """Red above, black below."""
    pixels = np.zeros((rows, columns, 3), np.uint8)
    pixels[: rows // 2] = RED
    return Picture(Path("x.png"), Image.fromarray(pixels))


def test_a_cell_shows_two_pixels_one_above_the_other() -> None:
    (row,) = colour_cells(halves(3, 2), columns=3, rows=1)
    assert row == [(HALF, RED, BLACK)] * 3


def test_a_picture_keeps_its_shape_within_the_cells_there_are() -> None:
    tall, wide = halves(20, 80), halves(80, 20)
    assert [len(colour_cells(tall, 40, 10)), len(colour_cells(tall, 40, 10)[0])] == [10, 5]
    assert [len(colour_cells(wide, 40, 30)), len(colour_cells(wide, 40, 30)[0])] == [5, 40]
    assert len(colour_cells(halves(1, 500), 1, 1)) == 1


def test_without_colours_brighter_is_denser() -> None:
    ramp = Picture(Path("x.png"), Image.fromarray(np.tile(np.arange(0, 256, 8, dtype=np.uint8), (4, 1))).convert("RGB"))
    signs = [cell.sign for cell in shaded(ramp, 32, 2, ASCII_SHADES)[0]]
    assert [ASCII_SHADES.index(sign) for sign in signs] == sorted(ASCII_SHADES.index(sign) for sign in signs)
    assert (signs[0], signs[-1]) == (ASCII_SHADES[0], ASCII_SHADES[-1])


def test_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    folder = Workspace(tmp_path).create().run("aaaaaaaaaaaa")
    folder.path.mkdir()
    halves(4, 4).image.save(folder.path / "saliency.png")
    (folder.path / ".half-written.png").write_bytes(b"")
    (folder.path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert [path.name for path in picture_files(folder)] == ["broken.png", "saliency.png"]
    assert [open_picture(path) is None for path in picture_files(folder)] == [True, False]


@pytest.fixture
def pictured(tmp_path: Path) -> Workspace:
    """One result with an image, and an older one without."""
    workspace = Workspace(tmp_path / "pictured").create()
    workspace.config.write_text('devices = ["cpu"]\n')
    results = filled.fill_runs(workspace, ["demo/mae"], ["linear/digits", "knn/digits"], 2)
    ResultStore(workspace).add(results)
    newest = max(results, key=lambda result: result.finished)
    halves(40, 80).image.save(workspace.run(newest.run_id).path / "saliency.png")
    return workspace


def screen_text(pilot: Pilot[int], selector: str) -> list[str]:
    widget = pilot.app.screen.query_one(selector)
    return [widget.render_line(y).text for y in range(widget.size.height)]


async def test_the_result_screen_shows_the_picture_in_the_charts_place_and_where_it_lies(
    pictured: Workspace, opened: Opener
) -> None:
    async with opened(pictured, AppOptions(mode="result")) as pilot:
        await until(pilot, lambda: pilot.app.screen.query_one(ImageView).display)
        assert not pilot.app.screen.query_one(ChartView).display
        drawn = screen_text(pilot, "#picture")
        assert drawn[0].count(HALF) > 10
        assert "".join(text.strip() for text in drawn if HALF not in text).endswith("saliency.png")
        strip = pilot.app.screen.query_one(ImageView).render_line(0)
        colours = {(str(segment.style.color.get_truecolor()) if segment.style and segment.style.color else "")
                   for segment in strip if segment.text == HALF}  # fmt: skip
        assert len(colours) == 1


async def test_the_picture_takes_the_texts_place_where_both_do_not_fit(pictured: Workspace, opened: Opener) -> None:
    async with opened(pictured, AppOptions(mode="result"), (80, 24)) as pilot:
        screen = pilot.app.screen
        await until(pilot, lambda: screen.has_class("pictured"))
        assert not screen.query_one(ImageView).display
        screen.action_chart()  # type: ignore[attr-defined]
        await pilot.pause()
        assert screen.query_one(ImageView).display
        assert not screen.query_one("#text").display


async def test_a_plain_terminal_gets_signs(pictured: Workspace, opened: Opener) -> None:
    async with opened(pictured, AppOptions(mode="result", ascii_only=True)) as pilot:
        await until(pilot, lambda: pilot.app.screen.query_one(ImageView).display)
        drawn = screen_text(pilot, "#picture")
        assert all(text.isascii() for text in drawn)
        assert set(drawn[0].strip()) <= set(ASCII_SHADES)
        assert drawn[0].strip()


async def test_a_result_without_a_picture_keeps_its_chart(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="result")) as pilot:
        assert pilot.app.screen.query_one(ChartView).display
        assert not pilot.app.screen.query_one(ImageView).display


def show(workspace: Workspace, run_id: str, *, terminal: bool, **environment: str) -> str:
    command = [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(workspace.root), "show", run_id]
    script = f"import pty, sys; sys.exit(pty.spawn({command!r}) >> 8)"
    done = subprocess.run(
        [sys.executable, "-c", script] if terminal else command,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", **environment},
    )
    return done.stdout


@pytest.fixture
def run_id(pictured: Workspace) -> str:
    return next(folder.run_id for folder in pictured.run_folders() if picture_files(folder))


def test_show_draws_the_picture_in_a_terminal_and_names_its_file_everywhere(pictured: Workspace, run_id: str) -> None:
    path = str(pictured.run(run_id).path / "saliency.png")
    piped = show(pictured, run_id, terminal=False)
    assert f"picture  {path}" in piped
    assert HALF not in piped
    colours = show(pictured, run_id, terminal=True, TERM="xterm-256color", COLORTERM="truecolor")
    assert "38;2;255;0;0" in colours
    assert colours.count(HALF) > 100
    assert len([text for text in colours.splitlines() if HALF in text]) == 36


@pytest.mark.parametrize(
    ("environment", "ascii_only"), [({"NO_COLOR": "1"}, False), ({"SSL_CONSOLE_ASCII": "1"}, True)]
)
def test_show_draws_with_signs_where_no_colours_are_wanted(
    pictured: Workspace, run_id: str, environment: dict[str, str], ascii_only: bool
) -> None:
    drawn = show(pictured, run_id, terminal=True, TERM="xterm-256color", COLORTERM="truecolor", **environment)
    body = drawn.partition("saliency.png")[2]
    assert "38;2;" not in body
    assert HALF not in body
    assert body.isascii() == ascii_only
    assert len(body.splitlines()) >= 36


def test_with_256_colours_a_gradient_is_dithered_into_colours_that_the_terminal_has(tmp_path: Path) -> None:
    gradient = Image.linear_gradient("L").convert("RGB")
    picture = Picture(tmp_path / "gradient.png", gradient)
    cells = [cell for row in colour_cells(picture, 40, 20, few_colours=True) for cell in row]
    inks = [RichColor.from_rgb(*cell.ink) for cell in cells if cell.ink]
    assert all(nearest(ink, ColourDepth.MANY).get_truecolor() == ink.triplet for ink in inks)
    assert any(len({cell.ink for cell in row}) > 1 for row in colour_cells(picture, 40, 20, few_colours=True))
    assert all(len({cell.ink for cell in row}) == 1 for row in colour_cells(picture, 40, 20))


def test_with_sixteen_colours_a_picture_is_drawn_with_signs(pictured: Workspace, run_id: str) -> None:
    assert HALF not in show(pictured, run_id, terminal=True, TERM="screen")
