"""First screen of the console, and preferences restored from the last session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
from textual.pilot import Pilot

from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.data.catalog import Catalog, Suite
from ssl_console.tui.data.local_backend import LocalBackend
from ssl_console.tui.data.state import Preferences, opening_suite, read_preferences, write_preferences
from ssl_console.tui.views.plan import NAME
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.results_db import ResultStore
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import PATIENCE_S, Opener, idle, until

HERE = AppOptions()


def suite(name: str, *tasks: str) -> Suite:
    return Suite(name, name, tasks, columns=tuple((task, "default") for task in tasks))


CATALOGUE = Catalog(
    suites=(
        suite("all", "knn/digits", "knn/shapes", "linear/digits"),
        suite("demo", "knn/digits", "knn/shapes"),
        suite("other", "knn/cifar10"),
    )
)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([], "demo"),
        (["knn/digits"], "demo"),
        (["knn/digits", "linear/digits"], "all"),
        (["knn/digits", "knn/cifar10"], "other"),
        (["knn/cifar10", "knn/digits"], "demo"),
        (["knn/digits", "attention/shapes"], ""),
    ],
    ids=" ".join,
)
def test_plan_opens_on_the_smallest_suite_that_holds_what_was_measured_last(measured: list[str], expected: str) -> None:
    results = [
        filled.result("demo/mae", task).model_copy(update={"variant": "default", "finished": float(number)})
        for number, task in enumerate(measured)
    ]
    assert opening_suite(CATALOGUE, results, ()) == expected


def app_of(pilot: Pilot[int]) -> ConsoleApp:
    assert isinstance(pilot.app, ConsoleApp)
    return pilot.app


def tasks_shown(pilot: Pilot[int]) -> list[str]:
    columns = pilot.app.screen.query_one("#grid", LineTable).rows.columns
    return [column.key for column in columns if column.key != NAME]


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "empty")


async def test_a_fresh_workspace_opens_on_what_can_be_measured_at_once_and_says_how_to_see_all(
    empty: Workspace, opened: Opener
) -> None:
    async with opened(empty, HERE) as pilot:
        app = app_of(pilot)
        demo = app.state.catalogue.suite["demo"]
        assert set(tasks_shown(pilot)) == set(demo.tasks)
        assert all(app.state.catalogue.task[task].missing is None for task in tasks_shown(pilot))
        summary = pilot.app.screen.query_one("#summary")
        told = "".join(span.text for span in summary.content[0])  # type: ignore[attr-defined]
        everything = len(app.state.catalogue.tasks)
        assert f"t all {everything}" in told
        await pilot.press("s", "pageup", "enter")
        await until(pilot, lambda: len(tasks_shown(pilot)) == everything)


async def test_of_two_saves_at_once_the_newer_preferences_are_kept(
    empty: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[str] = []
    first_started, may_end = Event(), Event()

    def slow_first_save(backend: LocalBackend, preferences: Preferences) -> None:
        if not first_started.is_set():
            first_started.set()
            assert may_end.wait(PATIENCE_S)
        saved.append(preferences.theme)

    monkeypatch.setattr(LocalBackend, "save_preferences", slow_first_save)
    async with opened(empty, HERE) as pilot:
        await pilot.press("T", "down", "enter")
        await until(pilot, first_started.is_set)
        await pilot.press("T", "down", "enter")
        newest = app_of(pilot).theme
        may_end.set()
        await until(pilot, lambda: len(saved) == 2)
    assert saved[-1] == newest


async def test_what_was_chosen_is_there_again_at_the_next_start(empty: Workspace, opened: Opener) -> None:
    async with opened(empty, HERE) as pilot:
        app_of(pilot).choose_suite("paper-linear")
        await pilot.press("T", "down", "enter")
        chosen = app_of(pilot).theme
        await idle(app_of(pilot))
    async with opened(empty, HERE) as pilot:
        assert app_of(pilot).state.planned_suite == "paper-linear"
        assert app_of(pilot).theme == chosen
        app_of(pilot).choose_suite(None)
        await idle(app_of(pilot))
    async with opened(empty, HERE) as pilot:
        assert app_of(pilot).state.planned_suite is None


async def test_readonly_remembers_nothing(empty: Workspace, opened: Opener) -> None:
    async with opened(empty, AppOptions(readonly=True)) as pilot:
        app_of(pilot).choose_suite("paper-linear")
        await idle(app_of(pilot))
    assert not list(empty.root.rglob("console.json"))


async def test_rankings_show_everything_measured_until_a_suite_is_chosen(empty: Workspace, opened: Opener) -> None:
    ResultStore(empty.create()).add([filled.result("demo/mae", task) for task in ("knn/digits", "linear/digits")])
    async with opened(empty, HERE) as pilot:
        assert app_of(pilot).state.planned_suite
        assert app_of(pilot).state.suite is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"suite": 3, "theme": null}'])
def test_a_memory_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "console.json").write_bytes(content)
    assert read_preferences(tmp_path / "console.json") == Preferences()


def test_a_folder_that_cannot_be_written_forgets(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    write_preferences(tmp_path / "file" / "console.json", Preferences("demo"))
    assert read_preferences(tmp_path / "file" / "console.json") == Preferences()


def test_the_first_picture_waits_for_no_module_that_reads_cards_or_results() -> None:
    code = "import sys, ssl_console.cli.open_tui, ssl_console.tui.main, ssl_console.workspace.ownership as ownership\n"
    code += "from ssl_console.workspace.paths import Workspace\nfrom pathlib import Path\n"
    code += "ownership.is_shared(Workspace(Path('nowhere')))\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"pydantic", "tinydb", "tomllib", "tasks", "numpy", "yaml", "backbones.io.card_files"}
    assert not heavy.intersection(loaded.split())
