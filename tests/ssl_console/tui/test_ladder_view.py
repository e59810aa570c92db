"""The ladder, opened from Compare."""

from __future__ import annotations

import pytest

from ssl_console.analysis.ladder import climb
from ssl_console.operations.ladder import PlannedRung
from ssl_console.planning.plan import Candidate, Plan, PlannedRun, Status
from ssl_console.tui.app import AppOptions
from ssl_console.tui.screens import ladder
from ssl_console.tui.screens.ladder import LadderDialog, LadderReading, ladder_command, ladder_lines
from ssl_console.tui.style.text import length
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.analysis.test_ladder import digits, rungs
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


def text_of(found: LadderReading, width: int = 74) -> str:
    lines = ladder_lines(found, NAMES, width)
    assert max(map(length, lines)) <= width
    return "\n".join("".join(span.text for span in one) for one in lines)


async def test_compare_opens_the_ladder_of_the_tasks_dataset_and_queues_the_next_rung(
    used: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[tuple[str, ...], str]] = []

    def read(_session: object, backbones: tuple[str, ...], dataset: str) -> LadderReading:
        asked.append((tuple(backbones), dataset))
        return reading(1, (planned("linear/digits", "new", 40.0),))

    monkeypatch.setattr(ladder, "read_ladder", read)
    async with opened(used, AppOptions(mode="compare")) as pilot:
        await pilot.press("L")
        await until(pilot, lambda: isinstance(app_of(pilot).screen, LadderDialog))
        await until(pilot, lambda: "next: linear/digits, 2 runs (enter runs it, about 40 s)" in shown(pilot, "#text"))
        assert asked[0][1] in {"digits", "shapes"}
        assert len(asked[0][0]) > 1
        queued: list[int] = []

        def submit(plan: Plan) -> int:
            queued.append(len(plan.to_run))
            return 2

        monkeypatch.setattr(app_of(pilot).backend, "submit", submit)
        await pilot.press("enter")
        await until(pilot, lambda: queued == [2] and len(asked) == 2)
        await pilot.press("y")
        assert app_of(pilot).clipboard.startswith("ssl-console ladder -b ")
        await pilot.press("escape")
        assert not isinstance(app_of(pilot).screen, LadderDialog)


def test_a_settled_ladder_names_the_better_backbone_and_runs_nothing() -> None:
    found = reading(2, (planned("layers/digits", "new", None),))
    assert found.next is None
    text = text_of(found)
    assert "demo/supervised is better than demo/simclr over 2 protocols." in text
    assert "settled" in text


def test_an_open_ladder_shows_the_next_rung_and_the_later_ones() -> None:
    found = reading(1, (planned("linear/digits", "new", None), planned("layers/digits", "new", None)))
    text = text_of(found)
    assert "next: linear/digits, 2 runs (enter runs it, unknown duration)" in text
    assert "later: layers/digits" in text
    assert "all rungs are done" in text_of(reading(1))
    assert "no rung has results" in text_of(LadderReading((), ()))


def test_the_command_of_the_ladder_can_be_pasted_into_a_shell() -> None:
    assert ladder_command(("own/a b", "c"), "digits") == "ssl-console ladder -b 'own/a b' -b c --data digits"
