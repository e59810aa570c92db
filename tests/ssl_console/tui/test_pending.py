"""A dataset whose files are being read is pending, with progress, in Plan and in the launch dialog."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Event

import pytest
from PIL import Image

from ssl_console.operations.session import Session
from ssl_console.planning import candidates
from ssl_console.planning.candidates import resolve_candidates
from ssl_console.tui.data.local_backend import LocalBackend
from ssl_console.tui.data.state import StateUpdate
from ssl_console.tui.screens.launch import LaunchDialog
from ssl_console.workspace.paths import Workspace
from tasks.datasets import manifest
from tasks.datasets.manifest import OnProgress, ReadingProgress
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.test_screens import app_of, shown, table

HALF = ReadingProgress(name="digits", done=500, total=1000)


def test_the_backend_reports_how_far_the_reading_of_a_new_dataset_is(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, kind in enumerate(("cat", "dog")):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "pets" / kind / "0.png")
    backend = LocalBackend(Session.of(workspace))
    name = f"imagefolder:{tmp_path / 'pets'}"
    seen: list[Mapping[str, ReadingProgress] | None] = []
    read = manifest.manifests

    def watched(cards: object, root: Path, cache: Path, on_progress: OnProgress) -> object:
        seen.append(backend.poll().reading)
        on_progress(ReadingProgress(name=name, done=1, total=2))
        seen.append(backend.poll().reading)
        return read(cards, root, cache, on_progress)  # type: ignore[arg-type]

    monkeypatch.setattr(candidates, "manifests", watched)
    session = backend.session
    task = session.tasks.resolve(f"knn/{name}")
    (found,) = resolve_candidates([session.backbones.get("demo/random")], [task], [0], session.lookup)
    assert found.missing == ()
    assert [{key: (one.done, one.total) for key, one in (update or {}).items()} for update in seen] == [
        {name: (0, 0)},
        {name: (1, 2)},
    ]


async def test_plan_and_the_launch_dialog_show_how_far_it_is(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        app, release = app_of(pilot), Event()
        planned = app.backend.plan

        def slow(request: object) -> object:
            release.wait(60)
            return planned(request)  # type: ignore[arg-type]

        app.backend.plan = slow  # type: ignore[method-assign, assignment]
        await pilot.press("slash", *"random", "enter", "space", "enter")
        assert isinstance(app.screen, LaunchDialog)
        app.set_state(app.state.after(StateUpdate(reading={"digits": HALF})))
        await until(pilot, lambda: "the files of digits are being read: 500 of 1,000" in shown(pilot, "#text"))
        release.set()
        await until(pilot, lambda: "will run" in shown(pilot, "#text"))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, LaunchDialog))
        app.set_state(app.state.after(StateUpdate(reading={"digits": HALF})))
        grid = table(pilot)
        column = next(column for column in grid.rows.columns if column.key == "linear/digits")
        assert "50%" in grid.rows.cell(grid.rows.keys[0], column).text
        app.set_state(app.state.after(StateUpdate(reading={})))
        assert "50%" not in table(pilot).rows.cell(grid.rows.keys[0], column).text
