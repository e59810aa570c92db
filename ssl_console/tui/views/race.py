"""A race of backbones as lines: its outcome so far, and a chart of every rung. Pure.

The chart has points behind the leader on its axis, the same one for all rungs: the line of a backbone covers what the
target protocol may still give it, by the bounds of this rung and the error of its predictions. A line that ends left of
the leader's is pruned. Lines become shorter from rung to rung.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backbones.io.errors import counted
from ssl_console.analysis.badged_results import MarkedScore
from ssl_console.analysis.race import energy_notes
from ssl_console.operations.stages import PlannedStage
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, fit, fit_middle, line, wrap
from ssl_console.tui.views.paired_tests import short_name
from ssl_console.tui.views.verdicts import mark_lines
from ssl_console.workspace.badges import marks
from ssl_console.workspace.race_record import PredictorError, RaceContender, RaceEntrant, RaceRecord, RaceRungRecord

NAME, SCORE, MARKS, WORD = 22, 6, 2, 7
"""Widths of name, score, its marks and the last word of a line in the chart."""
SMALLEST_CHART = 12
MOST_CONTENDERS = 8


@dataclass(frozen=True)
class RaceReading:
    """The race as the stored results show it, and the rung that runs or comes next."""

    record: RaceRecord
    stage: PlannedStage | None = None


@dataclass(frozen=True)
class Reach:
    """Range of a backbone's possible scores on the target, in points ahead of the leader (mostly negative)."""

    low: float
    high: float
    middle: float


def reach_of(one: RaceEntrant, slack: float | None) -> Reach | None:
    """None for one that was not measured. The leader is at 0; while the slack is unknown, the bounds are the rung's."""
    if one.score is None:
        return None
    if one.ahead is None or one.ahead_low is None or one.ahead_high is None:
        return Reach(0.0, 0.0, 0.0)
    err = slack or 0.0
    return Reach(-one.ahead_high - err, -one.ahead_low + err, -one.ahead)


def race_command(record: RaceRecord, hours: float, preset: str | None = None) -> str:
    """Equivalent command line."""
    names = [word for name in record.backbones for word in ("-b", name)]
    goal = ["--for", record.goal] if record.goal != "accuracy" else []
    goal += ["--preset", preset] if preset else []
    return shlex.join(["ssl-console", "choose", "--data", record.dataset, "--hours", f"{hours:g}", *goal, *names])


def race_lines(record: RaceRecord, width: int) -> list[Line]:
    """Backbones, target, and those that do not take part, with the reason."""
    about = f"{len(record.backbones)} backbones for {record.target}; the best one is pruned in at most 5 % of races"
    lines = [line(Span(f" {text}", Tone.DIM)) for text in wrap(about, width - 2)]
    for name, reason in record.excluded.items():
        left_out = f"{name} does not take part: {reason}"
        lines += [line(Span(f" {text}", Tone.WARN)) for text in wrap(left_out, width - 2)]
    return lines


def choice_lines(record: RaceRecord, width: int) -> list[Line]:
    """The backbone to take, and the number of those that do not take part."""
    if not record.contenders:
        return [*race_lines(record, width), line(Span(" no rung has results of all backbones yet", Tone.DIM))]
    taken = next(one for one in record.contenders if one.backbone == record.choice)
    certain = "certainly the best" if record.settled else f"the best with probability {taken.probability:.2f}"
    choice = f"{taken.backbone}, chosen for {record.goal}: {certain}, expected regret {taken.regret:.1f} points"
    tone = Tone.GOOD if record.settled else Tone.STRONG
    lines = [line(Span(f" {text}", tone)) for text in wrap(choice, width - 2)]
    if record.excluded:
        count = counted(len(record.excluded), "backbone")
        lines.append(line(Span(f" without {count} that cannot be measured, see below", Tone.WARN)))
    return lines


def contender_lines(record: RaceRecord, width: int) -> list[Line]:
    """The likely best with their chances and costs; empty before the first rung is done."""
    if not record.contenders:
        return []
    head = _table_row(("backbone", "P(best)", "regret", "img/s", "memory", "energy", "licence"), width)
    lines = [(), line(Span(head, Tone.DIM))]
    lines += [_contender(one, width) for one in record.contenders[:MOST_CONTENDERS]]
    if (more := len(record.contenders) - MOST_CONTENDERS) > 0:
        lines.append(line(Span(f" {more} more with lower probabilities", Tone.DIM)))
    for note in energy_notes({one.backbone: one.energy_reason for one in record.contenders}):
        lines += [line(Span(f" {text}", Tone.DIM)) for text in wrap(note, width - 2)]
    return [*lines, (), *race_lines(record, width)]


def _contender(one: RaceContender, width: int) -> Line:
    cells = (
        one.backbone,
        f"{one.probability:.2f}",
        f"{one.regret:.1f}",
        _amount(one.images_per_s),
        _amount(one.memory_mb, " MB"),
        _amount(one.energy_j, " J"),
        one.licence or "—",
    )
    return line(Span(_table_row(cells, width), Tone.DIM if one.fate.startswith("pruned") else Tone.PLAIN))


def _table_row(cells: Sequence[str], width: int) -> str:
    name, *numbers, licence = cells
    right = " ".join(fit(text, size, "right") for text, size in zip(numbers, (7, 6, 6, 8, 7), strict=True))
    room = max(12, min(NAME + 8, width - len(right) - 14))
    return (
        f" {fit_middle(short_name(name), room)} {right}  {fit(licence, max(6, width - room - len(right) - 4))}".rstrip()
    )


def _amount(value: float | None, unit: str = "") -> str:
    return "—" if value is None else f"{value:,.0f}{unit}"


def rung_charts(record: RaceRecord, width: int, glyphs: Glyphs) -> list[list[Line]]:
    """A chart for every rung that is done, the newest first, all of them on one axis."""
    done = [rung for rung in record.rungs if rung.state == "done"]
    reaches = [found for rung in done for one in rung.entrants if (found := reach_of(one, rung.slack))]
    axis = RaceAxis.of(reaches, max(SMALLEST_CHART, width - NAME - SCORE - MARKS - WORD - 5))
    return [list(_rung(rung, axis, width, glyphs)) for rung in reversed(done)]


@dataclass(frozen=True)
class RaceAxis:
    """Points ahead of the leader on `width` cells, each with two halves."""

    low: float
    high: float
    width: int

    @classmethod
    def of(cls, reaches: Sequence[Reach], width: int) -> RaceAxis:
        """An axis that covers all of these."""
        low, high = min((one.low for one in reaches), default=-1.0), max((one.high for one in reaches), default=0.0)
        return cls(min(low, -1.0), max(high, 0.0), width)

    def half(self, points: float) -> int:
        """The half of a cell in which a value is."""
        return round((points - self.low) / (self.high - self.low) * (2 * self.width - 1))


def _rung(rung: RaceRungRecord, axis: RaceAxis, width: int, glyphs: Glyphs) -> Iterator[Line]:
    pruned = sum(one.status == "pruned" for one in rung.entrants)
    head = f" {rung.task}: {rung.leader} leads, {pruned} pruned"
    yield ()
    yield line(Span(fit_middle(head, width - 1), Tone.TITLE))
    measured = [one for one in rung.entrants if one.score is not None]
    for one in sorted(measured, key=lambda one: one.ahead or 0.0):
        yield _entrant(one, rung, axis, glyphs)
    ends = f"{axis.low:+.0f}"
    zero = axis.half(0.0) // 2
    scale = f"{ends}{'leader'.rjust(max(7, zero + 1 - len(ends)))}"
    yield line(Span(f" {' ' * (NAME + SCORE + MARKS + 1)}{scale[: axis.width]}", Tone.FAINT))
    marked = (MarkedScore(one.backbone, rung.task, one.run_id, one.badges) for one in measured)
    yield from mark_lines((score for score in marked if score.marks), width)
    for sentence in _notes(rung):
        yield from (line(Span(f" {text}", Tone.DIM)) for text in wrap(sentence, width - 2))


def _entrant(one: RaceEntrant, rung: RaceRungRecord, axis: RaceAxis, glyphs: Glyphs) -> Line:
    leads, out = one.backbone == rung.leader, one.status == "pruned"
    tone = Tone.FAINT if out else Tone.GOOD if leads else Tone.ACCENT
    word = "leads" if leads else "pruned" if out else ""
    name = Span(
        f" {fit_middle(short_name(one.backbone), NAME)} {one.score or 0.0:>{SCORE}.1f}{fit(marks(one.badges), MARKS)}",
        Tone.DIM if out else Tone.PLAIN,
    )
    return line(name, Span(_drawn(reach_of(one, rung.slack), axis, glyphs), tone), Span(f" {word}", tone))


def _drawn(reach: Reach | None, axis: RaceAxis, glyphs: Glyphs) -> str:
    """The line of a backbone, to half a cell, with its marker; a rule where the leader is."""
    cells = [" "] * axis.width
    cells[axis.half(0.0) // 2] = glyphs.rule_down
    if reach is None:
        return "".join(cells)
    first, last = axis.half(reach.low), axis.half(reach.high)
    for cell in range(first // 2, last // 2 + 1):
        left, right = first <= 2 * cell, 2 * cell + 1 <= last
        cells[cell] = glyphs.halves[2 if left and right else 0 if left else 1]
    cells[axis.half(reach.middle) // 2] = glyphs.markers[0]
    return "".join(cells)


def _notes(rung: RaceRungRecord) -> Iterator[str]:
    if rung.role == "target":
        return
    if rung.slack is None:
        yield "its agreement with the target is unknown, as no other dataset was measured by both: nothing is pruned"
    else:
        yield f"intervals allow for errors of {rung.slack:.1f} points in predicting the target"
    yield from map(_error, rung.errors[:1])


def _error(error: PredictorError) -> str:
    places = f"{error.datasets} other dataset{'s' * (error.datasets != 1)}"
    wrong = f"{100 * error.misordered:.0f} % ({100 * error.low:.0f} to {100 * error.high:.0f} %) of {error.pairs} pairs"
    return f"{error.predictor} orders {wrong} differently from the target, on {places}"
