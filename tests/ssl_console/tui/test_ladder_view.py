"""The ladder, opened from Compare: it runs rungs, follows them, and is read again as results arrive."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ssl_console.analysis.ladder import climb
from ssl_console.operations.ladder import RUNGS, PlannedRung
from ssl_console.planning.plan import Candidate, Plan, PlannedRun, Status
from ssl_console.tui.app import AppOptions
from ssl_console.tui.data.state import AppState
from ssl_console.tui.screens import verdicts
from ssl_console.tui.screens.dialogs import HelpDialog
from ssl_console.tui.screens.verdicts import LadderDialog, has_preset
from ssl_console.tui.style.glyphs import ASCII, UNICODE, Glyphs
from ssl_console.tui.style.text import Line, length
from ssl_console.tui.views.stages import Surroundings, stage_lines
from ssl_console.tui.views.verdicts import LadderReading, ladder_command, ladder_lines, suite_rungs
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import RunState
from tests.ssl_console.analysis.test_ladder import digits, rungs
from tests.ssl_console.run_views import run_view
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.filled import spec
from tests.ssl_console.tui.test_screens import app_of, shown

NAMES = ("demo/simclr", "demo/supervised")


def planned(task: str, status: Status, seconds: float | None) -> PlannedRung:
    made = [spec("unknown", name, task) for name in NAMES]
    candidates = [Candidate(one.backbone, one.task, one.dataset, 0, f"{place}" * 12) for place, one in enumerate(made)]
    runs = tuple(PlannedRun(one, status, one.key) for one in candidates)
    return PlannedRung(task, runs, seconds, made[0].task)


def reading(steps: int, left: tuple[PlannedRung, ...] = ()) -> LadderReading:
    return LadderReading(tuple(climb(rungs(digits(*NAMES)), 3)[:steps]), (planned("knn/digits", "done", 0.0), *left))


def text_of(lines: list[Line], width: int = 74) -> str:
    assert max(map(length, lines)) <= width
    return "\n".join("".join(span.text for span in one) for one in lines)


async def test_compare_opens_the_ladder_of_the_tasks_dataset_and_queues_the_next_rung(
    used: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def read(_session: object, *given: object) -> LadderReading:
        asked.append(given)
        return reading(1, (planned("linear/digits", "new", 40.0),))

    monkeypatch.setattr(verdicts, "read_ladder", read)
    async with opened(used, AppOptions(mode="compare", suite="demo")) as pilot:
        await pilot.press("L")
        await until(pilot, lambda: isinstance(app_of(pilot).screen, LadderDialog))
        await until(pilot, lambda: "next: linear/digits, 2 runs, about 40 s  enter runs it" in shown(pilot, "#text"))
        backbones, dataset, columns, preset = asked[0]
        assert dataset in {"digits", "shapes"}
        assert len(backbones) > 1  # type: ignore[arg-type]
        assert ("finetune/shapes", "small") in columns  # type: ignore[operator]
        assert preset is None
        await pilot.press("f1")
        assert isinstance(app_of(pilot).screen, HelpDialog)
        assert "valid however often they are inspected" in " ".join(shown(pilot, "#text").split())
        await pilot.press("escape")
        queued: list[int] = []

        def submit(plan: Plan) -> int:
            queued.append(len(plan.to_run))
            return 2

        monkeypatch.setattr(app_of(pilot).backend, "submit", submit)
        await pilot.press("enter")
        await until(pilot, lambda: queued == [2] and len(asked) >= 2)
        await pilot.press("y")
        assert app_of(pilot).clipboard.startswith("ssl-console ladder -b ")
        await pilot.press("p")
        await until(pilot, lambda: asked[-1][2:] == ((), None))
        await pilot.press("p")
        await until(pilot, lambda: asked[-1][2:] == ((), "small"))
        await pilot.press("escape")
        assert not isinstance(app_of(pilot).screen, LadderDialog)


async def test_it_is_read_again_when_results_arrive_and_runs_what_comes_next_only_if_requested(
    used: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = [
        reading(1, (planned("linear/digits", "new", 10.0), planned("layers/digits", "new", 40.0))),
        reading(1, (planned("linear/digits", "active", 10.0), planned("layers/digits", "new", 40.0))),
        reading(1, (planned("layers/digits", "new", 40.0),)),
        reading(2),
    ]
    count, queued = [0], list[str]()

    def read(*_given: object) -> LadderReading:
        count[0] += 1
        return readings[min(count[0], len(readings)) - 1]

    monkeypatch.setattr(verdicts, "read_ladder", read)
    async with opened(used, AppOptions(mode="compare", suite="demo")) as pilot:
        app = app_of(pilot)

        def submit(plan: Plan) -> int:
            queued.append(plan.runs[0].candidate.task.name)
            return 2

        monkeypatch.setattr(app.backend, "submit", submit)
        await pilot.press("L")
        await until(pilot, lambda: "later: layers/digits" in shown(pilot, "#text"))
        await pilot.press("a")
        await until(pilot, lambda: "now: linear/digits" in shown(pilot, "#text") or count[0] >= 2)
        assert queued == ["linear/digits"], "the cheapest first, and once"
        app.set_state(replace(app.state, results=tuple(app.state.results)[:-1]))
        await until(pilot, lambda: count[0] >= 3)
        await until(pilot, lambda: len(queued) == 2)
        await until(pilot, lambda: "settled" in shown(pilot, "#text"))
        assert app.screen.going is False  # type: ignore[attr-defined]


async def test_a_failed_run_ends_the_sequence_with_its_reason(
    used: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = next(run for run in filled_runs(used) if run)
    rung = planned("linear/digits", "active", 40.0)
    active = replace(rung, runs=tuple(replace(one, run_id=failed) for one in rung.runs))
    monkeypatch.setattr(verdicts, "read_ladder", lambda *_given: reading(1, (active,)))
    async with opened(used, AppOptions(mode="compare")) as pilot:
        app = app_of(pilot)
        await until(pilot, lambda: app.state.runs[failed].state is RunState.FAILED)
        await pilot.press("L")
        await until(pilot, lambda: "has failed" in shown(pilot, "#text"))
        await pilot.press("a", "r")
        await until(pilot, lambda: app.screen.going is False)  # type: ignore[attr-defined]


def filled_runs(workspace: Workspace) -> list[str]:
    """Ids of the runs that have failed."""
    return [path.name for path in workspace.runs.iterdir() if "oom" in "".join(
        file.read_text() for file in path.glob("*.json*"))]  # fmt: skip


def test_a_settled_ladder_names_the_better_backbone_and_runs_nothing() -> None:
    found = reading(2, (planned("layers/digits", "new", None),))
    assert found.left == ()
    text = text_of(ladder_lines(found, NAMES, 74))
    assert "demo/supervised is better than demo/simclr over 2 protocols." in text
    assert "settled" in text


def test_an_open_ladder_shows_the_next_rung_and_the_later_ones() -> None:
    found = reading(1, (planned("linear/digits", "new", 20.0), planned("layers/digits", "new", None)))
    around = Surroundings(filled_state(), filled.NOW, UNICODE, 74)
    text = text_of(stage_lines(found.left[0], around, going=False, later=found.left[1:]))
    assert "next: linear/digits, 2 runs, about 20 s  enter runs it, a runs all" in text
    assert "later: layers/digits" in text
    assert "all rungs are done" in text_of(ladder_lines(reading(1), NAMES, 74))
    assert "no rung has results" in text_of(ladder_lines(LadderReading((), ()), NAMES, 74))


def filled_state(**runs: object) -> AppState:
    return AppState(runs=runs)  # type: ignore[arg-type]


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=lambda glyphs: glyphs.name)
def test_a_running_rung_has_its_progress_and_its_time_left(glyphs: Glyphs) -> None:
    rung = planned("linear/digits", "active", 40.0)
    runs = {run_id: run_view(run_id, state=RunState.RUNNING, backbone=name) for run_id, name in zip(rung.active, NAMES)}  # noqa: B905
    around = Surroundings(filled_state(**runs), filled.NOW, glyphs, 74)
    text = text_of(stage_lines(rung, around, going=True, later=()))
    assert "now: linear/digits, 0 of 2 runs done" in text
    assert all(name in text for name in NAMES)
    assert "the next ones follow; a stops after this one" in text


def test_rungs_take_the_presets_of_the_suite() -> None:
    columns = (("knn/shapes", "default"), ("linear/shapes", "default"), ("finetune/shapes", "small"))
    found, preset = suite_rungs(columns, has_preset)
    assert found[0] == (("knn", "default"),)
    assert found[2] == RUNGS[2], "a protocol that the suite lacks"
    assert found[4] == (("finetune", "small"),)
    assert preset == "small"
    assert suite_rungs((), has_preset) == (RUNGS, None)


def test_the_command_of_the_ladder_can_be_pasted_into_a_shell() -> None:
    assert ladder_command(("own/a b", "c"), "digits") == "ssl-console ladder -b 'own/a b' -b c --data digits"
    named = ladder_command(("a", "c"), "digits", [planned("linear/digits", "new", None)], "suite")
    assert named.endswith("--data digits --rung linear:default")
    assert ladder_command(("a", "c"), "digits", (), "small").endswith("--preset small")
