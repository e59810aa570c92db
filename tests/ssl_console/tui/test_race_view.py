"""Race, judgement and published scores in the console: what their lines show, and what their keys do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

import tasks
from ssl_console.analysis.judgement import Judgement, answer_of
from ssl_console.analysis.published.agreement import ledger
from ssl_console.analysis.statistics.sequential import AnytimeTest
from ssl_console.planning.plan import Plan
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.app import AppOptions
from ssl_console.tui.keys import KEYS
from ssl_console.tui.screens import ledger as ledger_screen
from ssl_console.tui.screens import verdicts
from ssl_console.tui.screens import verdicts as race_screen
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.screens.dialogs import HelpDialog
from ssl_console.tui.screens.ledger import LedgerDialog, ledger_command
from ssl_console.tui.screens.multiverse import MultiverseDialog
from ssl_console.tui.screens.ranking_dialogs import OptimismDialog
from ssl_console.tui.screens.verdicts import JudgeDialog, LadderDialog, RaceDialog
from ssl_console.tui.style.glyphs import ASCII, UNICODE, Glyphs
from ssl_console.tui.style.palette import DARK, Palette
from ssl_console.tui.style.text import Line, Tone, length
from ssl_console.tui.terminal.colour_depth import ColourDepth
from ssl_console.tui.views.ledger import ledger_lines, scatter_lines
from ssl_console.tui.views.paired_tests import short_name
from ssl_console.tui.views.race import (
    RaceReading,
    choice_lines,
    contender_lines,
    race_command,
    reach_of,
    rung_charts,
)
from ssl_console.tui.views.verdicts import JudgeReading, judge_command, judge_lines
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.race_record import PredictorError, RaceContender, RaceEntrant, RaceRecord, RaceRungRecord
from tests.ssl_console.analysis.test_ledger import PUBLISHED, own
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.test_ladder_view import planned, text_of
from tests.ssl_console.tui.test_screens import app_of, shown

BEST, NEAR, FAR = "demo/supervised", "demo/simclr", "demo/random"


def entrant(name: str, score: float, ahead: tuple[float, float, float] | None, slack: float) -> RaceEntrant:
    if ahead is None:
        return RaceEntrant(backbone=name, status="measured", score=score)
    status = "pruned" if ahead[1] > slack else "measured"
    return RaceEntrant(
        backbone=name, status=status, score=score, ahead=ahead[0], ahead_low=ahead[1], ahead_high=ahead[2]
    )  # fmt: skip


def rung(task: str, slack: float | None, near: tuple[float, float, float], role: str = "predictor") -> RaceRungRecord:
    err = slack if slack is not None else 1e9
    entrants = (
        entrant(FAR, 20.0, (60.0, 50.0, 70.0), err),
        entrant(NEAR, 80.0 - near[0], near, err),
        entrant(BEST, 80.0, None, err),
    )
    errors = (PredictorError(predictor="knn", misordered=0.12, low=0.05, high=0.25, pairs=30, datasets=3),)
    return RaceRungRecord(
        task=task, variant="default", role=role, state="done", leader=BEST, entrants=entrants, slack=slack,
        errors=errors if role == "predictor" and slack is not None else (),
    )  # fmt: skip


def record(*rungs: RaceRungRecord, settled: bool = False) -> RaceRecord:
    contenders = tuple(
        RaceContender(backbone=name, probability=chance, regret=regret, fate=fate, images_per_s=speed, licence=licence)
        for name, chance, regret, fate, speed, licence in (
            (BEST, 0.93, 0.1, "finalist", 749.0, "MIT"),
            (NEAR, 0.07, 4.2, "finalist", 480.0, None),
            (FAR, 0.0, 60.0, "pruned after knn/shapes", 568.0, None),
        )
    )
    return RaceRecord(
        dataset="shapes", target="finetune/shapes", goal="accuracy", backbones=(BEST, NEAR, FAR), started=0.0,
        updated=1.0, state="running", rungs=rungs, contenders=contenders if rungs else (),
        choice=BEST if rungs else "", settled=settled,
    )  # fmt: skip


RACE = record(
    rung("knn/shapes", 8.0, (5.0, -2.0, 12.0)),
    rung("finetune/shapes", 0.0, (4.0, 1.0, 7.0), role="target"),
    settled=True,
)


def rows(lines: list[Line], name: str) -> list[Line]:
    """The lines of a backbone, the newest rung first."""
    return [one for one in lines if one and one[0].text.strip().startswith(name)]


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=lambda glyphs: glyphs.name)
@pytest.mark.parametrize("width", [58, 74, 98])
def test_lines_of_a_backbone_become_shorter_and_pruned_ones_are_dim_and_named(glyphs: Glyphs, width: int) -> None:
    lines = [*chain(*rung_charts(RACE, width, glyphs))]
    text = text_of(lines, width)
    assert text.index("finetune/shapes: ") < text.index("knn/shapes: "), "the newest first"
    assert glyphs.name == "unicode" or text.isascii()
    target, cheap = (sum(sign in glyphs.halves for sign in row[1].text) for row in rows(lines, "simclr"))
    assert 0 < target < cheap
    (newest, first) = rows(lines, "random")
    assert {span.tone for span in newest[1:]} == {Tone.FAINT}
    assert newest[-1].text.strip() == first[-1].text.strip() == "pruned"
    assert rows(lines, "supervised")[0][-1].text.strip() == "leads"
    ends = [row[1].text.rstrip().rindex(glyphs.markers[0]) for row in (newest, rows(lines, "simclr")[0])]
    assert ends[0] < ends[1], "further behind, further left"


def test_a_line_covers_the_error_of_predictions_and_ends_left_of_the_leader_once_pruned() -> None:
    for one, slack in (
        (entrant(FAR, 20.0, (60.0, 50.0, 70.0), 8.0), 8.0),
        (entrant(NEAR, 75.0, (5.0, -2.0, 12.0), 8.0), 8.0),
    ):
        reach = reach_of(one, slack)
        assert reach is not None
        assert (reach.high < 0) == (one.status == "pruned")
    assert reach_of(RaceEntrant(backbone="a", status="waiting"), 0.0) is None


def test_an_unknown_error_of_predictions_is_stated_and_nothing_is_pruned() -> None:
    (chart,) = rung_charts(record(rung("knn/shapes", None, (5.0, 2.0, 12.0))), 74, UNICODE)
    text = " ".join(text_of(chart).split())
    assert "its agreement with the target is unknown" in text
    assert "0 pruned" in text
    assert "knn orders 12 % (5 to 25 %) of 30 pairs differently" in text_of(rung_charts(RACE, 98, UNICODE)[1], 98)


def test_the_outcome_has_chances_costs_and_licences_and_the_command_repeats_it() -> None:
    text = " ".join(text_of([*choice_lines(RACE, 74), *contender_lines(RACE, 74)]).split())
    assert "demo/supervised, chosen for accuracy: certainly the best, expected regret 0.1 points" in text
    assert "supervised 0.93 0.1 749 — — MIT" in text
    assert "no rung has results" in text_of(choice_lines(record(), 74))
    assert contender_lines(record(), 74) == []
    left_out = RACE.model_copy(update={"excluded": {"own/x": "its weights are missing"}})
    assert "without 1 backbone that cannot be measured, see below" in text_of(choice_lines(left_out, 74))
    assert "own/x does not take part: its weights are missing" in text_of(contender_lines(left_out, 74))
    assert race_command(RACE, 4.0, "small") == (
        "ssl-console choose --data shapes --hours 4 --preset small -b demo/supervised -b demo/simclr -b demo/random"
    )


async def test_the_race_is_opened_on_the_tasks_dataset_and_nothing_starts_beyond_its_budget(
    used: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = planned("finetune/digits", "new", 7200.0)
    asked: list[object] = []

    def read(_session: object, question: object, *_given: object, **_named: object) -> RaceReading:
        asked.append(question)
        return RaceReading(RACE, stage)

    monkeypatch.setattr(race_screen, "read_race_of", read)
    async with opened(used, AppOptions(mode="compare", suite="demo")) as pilot:
        app, queued = app_of(pilot), list[Plan]()

        def submit(plan: Plan) -> int:
            queued.append(plan)
            return 2

        monkeypatch.setattr(app.backend, "submit", submit)
        await pilot.press("R")
        await until(pilot, lambda: "for accuracy" in shown(pilot, "#text"))
        assert asked[0].preset == "small"  # type: ignore[attr-defined]
        assert len(asked[0].backbones) > 2, "all whose weights are here"  # type: ignore[attr-defined]
        await pilot.press("enter")
        assert not queued
        await pilot.press("t", "enter")
        await until(pilot, lambda: len(queued) == 1)
        await pilot.press("f")
        await until(pilot, lambda: "for speed" in shown(pilot, "#text"))
        await pilot.press("y")
        assert app.clipboard.startswith("ssl-console choose --data shapes --hours 4")
        await pilot.press("f1")
        assert isinstance(app.screen, HelpDialog)
        assert "left of the leader is pruned" in " ".join(shown(pilot, "#text").split())


def judgement(difference: float, half: float, margin: float, tasks: int) -> Judgement:
    test = AnytimeTest(difference, difference - half, difference + half, 500, "bettor", 1.0, 1.0)
    names = tuple(f"knn/{number}" for number in range(tasks))
    return Judgement(answer_of(test, margin), test, margin, names, ("normals/shapes-scenes",), True, 0.01)


def looks(margin: float) -> JudgeReading:
    found = (("digits", judgement(4.0, 9.0, margin, 1)), ("shapes", judgement(5.0, 2.0, margin, 2)))
    return JudgeReading(found, (planned("knn/digits", "done", 0.0), planned("knn/shapes", "new", 9.0)))


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=lambda glyphs: glyphs.name)
@pytest.mark.parametrize("width", [60, 74, 98])
def test_a_judgement_has_one_line_after_every_dataset_and_its_answer_in_words(glyphs: Glyphs, width: int) -> None:
    text = text_of(judge_lines(looks(0.5), (BEST, NEAR), 0.5, width, glyphs), width)
    assert "needs more" in text
    words = " ".join(text.split())
    assert "demo/supervised is better than demo/simclr: +5.0 points over 2 tasks, certainly +3.0 to +7.0" in words
    assert "not part of the mean, because the scores are not percentages: normals/shapes-scenes" in words
    assert looks(0.5).left == (), "a final answer needs no further dataset"
    assert "all test images are used" not in words


@pytest.mark.parametrize(
    ("task", "reason"),
    [("few-shot-5/digits", "the score is not a mean over test images"), ("finetune/digits", "training takes most")],
)
def test_a_judgement_names_the_tasks_of_which_all_test_images_are_used(task: str, reason: str) -> None:
    reading = JudgeReading((), (planned("layers/digits", "new", 5.0), planned(task, "new", 9.0)))
    words = " ".join(text_of(judge_lines(reading, (BEST, NEAR), 0.5, 74, UNICODE), 74).split())
    assert f"all test images are used for {task} ({reason}" in words


async def test_compare_judges_the_backbone_under_the_cursor_and_the_margin_is_a_key(
    used: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[tuple[str, str], str, float]] = []

    def read(
        _session: object, names: tuple[str, str], suite: str, _tasks: Sequence[str], margin: float
    ) -> JudgeReading:
        asked.append((names, suite, margin))
        return replace(looks(0.5), looks=())

    monkeypatch.setattr(verdicts, "read_judgement", read)
    async with opened(used, AppOptions(mode="compare", suite="demo")) as pilot:
        await pilot.press("V")
        await until(pilot, lambda: "no dataset has comparable results of both backbones" in shown(pilot, "#text"))
        names, suite, margin = asked[0]
        assert (suite, margin) == ("demo", 0.5)
        assert len(set(names)) == 2
        await pilot.press("m")
        await until(pilot, lambda: asked[-1][2] == 1.0)
        await pilot.press("y")
        assert app_of(pilot).clipboard == judge_command(*names, "demo", (), 1.0)
    assert judge_command("a", "b", None, ("knn/x",), 0.5) == ("ssl-console judge a --against b -t knn/x --margin 0.5")


def test_the_ledger_names_outliers_their_column_and_the_split_of_selection() -> None:
    shifts = dict(zip(PUBLISHED, (0.5, 0.6, 0.4, 0.55, -3.0), strict=False))
    text = text_of(ledger_lines(ledger(list(shifts), own(shifts)), 98, UNICODE), 98)
    (outlier,) = [one for one in text.splitlines() if one.endswith("outlier")]
    assert "-3.00" in outlier
    words = " ".join(text.split())
    assert f"outliers: {list(shifts)[4]}" in words
    assert "settings chosen on: " in words
    assert "Published under other protocols, never compared" in words
    assert ledger_command("demo") == "ssl-console compare '*' --published --suite demo"


@pytest.mark.parametrize("width", [74, 98, 160])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_the_scatter_of_the_ledger_names_its_outliers_in_the_colour_of_outliers(glyphs: Glyphs, width: int) -> None:
    shifts = dict(zip(PUBLISHED, (0.5, 0.6, 0.4, 0.55, -9.0), strict=False))
    (column,) = ledger(list(shifts), own(shifts)).columns
    lines = scatter_lines(column, width, glyphs)
    text = text_of(lines, width)
    assert glyphs is UNICODE or text.isascii()
    assert {"measured", "outliers"} <= set(text.split())
    outlier = short_name(list(shifts)[4])
    (named,) = [one for one in lines if any(outlier in span.text for span in one)]
    assert Tone.BAD in {span.tone for span in named}
    drawn = [span for one in lines[:-2] for span in one if span.tone is Tone.ACCENT and span.text.strip()]
    assert len(drawn) >= 2, "points in the same cell are drawn as one"
    for depth in (ColourDepth.SIXTEEN, ColourDepth.MANY):
        palette = Palette.of(DARK, depth)
        assert palette.tone(Tone.BAD).color != palette.tone(Tone.ACCENT).color


@pytest.mark.parametrize(
    ("dialog", "words"),
    [
        (LadderDialog, ("Ladder", "Anytime-valid", "P(best)")),
        (JudgeDialog, ("Judge",)),
        (RaceDialog, ("Race", "Choose", "Expected regret")),
        (MultiverseDialog, ("Multiverse", "Specification curve")),
        (LedgerDialog, ("Ledger",)),
        (OptimismDialog, ("Optimism",)),
    ],
)
def test_every_dialog_of_verdicts_is_explained_by_the_help_and_in_the_glossary(
    dialog: type[Dialog[None]], words: tuple[str, ...]
) -> None:
    assert len(str(getattr(dialog, "HELP_TEXT", "")).split()) > 25
    glossary = (Path(tasks.__file__).parent / "README.md").read_text().partition("## Glossary")[2]
    assert all(f"* **{word}**" in glossary for word in words)


def test_one_backbone_has_no_scatter() -> None:
    shifts = dict(zip(PUBLISHED, (0.5,), strict=False))
    (column,) = ledger(list(shifts), own(shifts)).columns
    assert scatter_lines(column, 80, UNICODE) == []


@pytest.mark.parametrize("width", [52, 74, 98])
def test_scores_and_words_of_the_ledger_are_whole_at_every_width(width: int) -> None:
    shifts = dict(zip(PUBLISHED, (0.5, 0.6, 0.4, 0.55, -3.0), strict=False))
    found = ledger(list(shifts), own(shifts))
    lines = text_of(ledger_lines(found, width, UNICODE), width).splitlines()
    words = [one.split()[-1] for one in lines if " 79.00!" in one or " 79.10!" in one]
    assert words == ["reproduced", "outlier"]
    assert any(f" {found.others[0].value:.2f}  " in one for one in lines), "never cut in its middle"


async def test_published_scores_without_a_measured_backbone_are_explained(
    used: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(used, AppOptions(mode="compare", suite="demo")) as pilot:
        await pilot.press("p")
        await until(
            pilot, lambda: "has published scores: p in Rankings lists them" in " ".join(shown(pilot, "#text").split())
        )
        await pilot.press("s", "p")
        shifts = dict(zip(PUBLISHED, (0.5, 0.6), strict=False))
        monkeypatch.setattr(ledger_screen, "read_ledger", lambda *_given: ledger(list(shifts), own(shifts)))
        await pilot.press("p")
        await until(pilot, lambda: "reproduced" in shown(pilot, "#text"))
        await pilot.press("y")
        assert app_of(pilot).clipboard == ledger_command("demo")


async def test_what_cannot_be_read_is_explained_and_the_next_reading_replaces_it(
    used: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[object] = [ConsoleError("no protocol suits them"), RaceReading(RACE)]

    def read(*_given: object, **_named: object) -> RaceReading:
        found = answers.pop(0)
        if isinstance(found, ConsoleError):
            raise found
        assert isinstance(found, RaceReading)
        return found

    monkeypatch.setattr(race_screen, "read_race_of", read)
    async with opened(used, AppOptions(mode="compare", suite="demo"), size=(80, 24)) as pilot:
        await pilot.press("R")
        await until(pilot, lambda: "no protocol suits them" in shown(pilot, "#text"))
        assert isinstance(app_of(pilot).screen, RaceDialog)
        await pilot.press("r")
        await until(pilot, lambda: "certainly the best" in shown(pilot, "#text"))
        drawn = pilot.app.screen.query_one("#text")
        visible = [span.text for one in drawn.content[: drawn.size.height] for span in one]  # type: ignore[attr-defined]
        assert any(text.startswith(" finetune/shapes: ") for text in visible)
        assert sum("pruned" in text or "leads" in text for text in visible) > 2, "the newest chart, without scrolling"
        assert all(length(one) <= drawn.size.width for one in drawn.content)  # type: ignore[attr-defined]


def test_keys_of_stage_dialogs_that_change_the_workspace_are_disabled_read_only() -> None:
    for scope in ("ladder", "judge", "race"):
        assert {key.name for key in KEYS[scope] if key.changes} == {"next", "all"}
