"""A new screen is a module, a pure view, and one line in `SCREENS`; no other file is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ssl_console.tui.app
from ssl_console.tui.app import SCREENS
from ssl_console.tui.host import ScreenEntry
from tests.recipes import recipe

ROOT = Path(ssl_console.tui.app.__file__).parents[2]
END = ')\n"""Every screen'

RECIPE = recipe(ROOT / "ssl_console" / "README.md", "Add a screen")
USE = """
import asyncio, importlib.util, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("ssl_console.tui.app", "app_with_one_line_more.py")
app_module = sys.modules["ssl_console.tui.app"] = importlib.util.module_from_spec(spec)
app_module.__file__ = REAL_APP  # the style sheet is found next to it
spec.loader.exec_module(app_module)

from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.data.local_backend import LocalBackend
from ssl_console.tui.keys import TITLES
from ssl_console.tui.main import user_keys
from ssl_console.tui.palette_commands import ConsoleCommands
from ssl_console.workspace.paths import Workspace

workspace = Workspace(Path("scratch")).create()


def text(pilot, selector="#text"):
    lines = pilot.app.screen.query_one(selector).content
    return "\\n".join("".join(span.text for span in line) for line in lines)


async def until(pilot, fact):
    for _ in range(2000):
        if fact():
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not come to pass")


async def use(readonly):
    options = app_module.AppOptions(readonly=readonly, suite="")
    app = app_module.ConsoleApp(lambda: LocalBackend(Session.of(workspace)), options, {"notes.count": "n"})
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.started and app.first_update_done and app.state.catalogue.backbones)
        assert "scratch_screen" not in sys.modules or readonly, "imported when it is first shown, not before"
        assert "7 Notes" in app.screen.query_one("TopBar").render_line(0).text
        commands = ConsoleCommands(app.screen)
        titles = {command.title for command in commands._elsewhere()}
        assert ("Write a note  [w]" in titles) is not readonly
        assert "Count the notes  [n]" in titles
        assert any(command.below == "Notes; id notes.count" for command in commands._elsewhere())
        await pilot.press("7")
        await until(pilot, lambda: app.current_mode == "notes" and "0 results to annotate" in text(pilot))
        footer = app.screen.query_one("KeyLine").render_line(0).text
        assert ("w write" in footer) is not readonly
        assert "n count" in footer
        await pilot.press("n")
        assert app.screen.counted
        await pilot.press("f1")
        help_text = text(pilot)
        assert "The user's notes on the measured scores." in help_text
        assert help_text.index("The user's notes") < help_text.index("\\nNotes\\n") < help_text.index("Everywhere")
        assert "Write a note" in help_text and "Notes on the results" in help_text


asyncio.run(use(readonly=False))
asyncio.run(use(readonly=True))
assert TITLES["notes"] == "Notes"
workspace.config.write_text('[keys]\\n"notes.count" = "n"\\n')
assert user_keys(workspace) == {"notes.count": "n"}
workspace.config.write_text('[keys]\\n"notes.cuont" = "n"\\n')
try:
    user_keys(workspace)
except ConsoleError as error:
    assert "notes.cuont" in str(error) and "did you mean 'notes.count'?" in str(error)
else:
    raise AssertionError("an unknown key id was accepted")
"""


def test_a_screen_is_added_by_two_files_and_one_line(tmp_path: Path) -> None:
    source = Path(ssl_console.tui.app.__file__).read_text()
    assert source.count(END) == 1
    (tmp_path / "app_with_one_line_more.py").write_text(source.replace(END, RECIPE["tui/app.py"] + END))
    (tmp_path / "scratch_view.py").write_text(RECIPE["tui/views/x.py"])
    (tmp_path / "scratch_screen.py").write_text(RECIPE["tui/screens/x.py"])
    (tmp_path / "use.py").write_text(f"REAL_APP = {ssl_console.tui.app.__file__!r}\n{USE}")
    ran = subprocess.run(
        [sys.executable, "use.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]), "TERM": "xterm-256color"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("entry", SCREENS, ids=lambda entry: str(entry.name))
def test_every_listed_screen_is_the_class_of_its_mode(entry: ScreenEntry) -> None:
    assert vars(entry.load())["MODE"] == entry.name


def test_a_screen_listed_under_another_name_is_refused() -> None:
    entry = ScreenEntry("plans", "8", "Plans", "", ".plan:PlanScreen")
    with pytest.raises(ValueError, match="MODE 'plan', and is listed as 'plans'"):
        entry.load()


def test_starting_imports_only_the_screen_that_is_shown() -> None:
    script = (
        "import sys, ssl_console.tui.main, ssl_console.tui.app as app\n"
        "modules = ['ssl_console.tui.screens' + entry.path.partition(':')[0] for entry in app.SCREENS]\n"
        "assert not set(modules) & set(sys.modules)\n"
        "app.SCREENS[0].load()\n"
        "assert set(modules) & set(sys.modules) == {modules[0]}\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
