"""A ranking as a figure: the shown table with a background for each score. Needs matplotlib, an extra."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_console.analysis.export import INCOMPLETE, NO_NOTES, Notes, data_notes_of, footnotes
from ssl_console.analysis.figures import DARK, PALE, draw_notes, save_figure
from ssl_console.analysis.ranking import Ranking, RankingColumn, judged
from ssl_console.workspace.badges import marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

ROW_INCHES, COLUMN_INCHES, LETTER_INCHES = 0.24, 0.72, 0.085
BEST = (0.0, 0.53, 0.37)
"""Colour of the best score of a column; the worst is white."""
STRONGEST = 0.55
"""Opacity of that colour behind the best score, at which dark text has a contrast of 4.5 : 1."""
CAPTION = "Bold: best of its column; the background shows where a score is between the column's worst and best."


def save_heat_table(ranking: Ranking, path: Path, notes: Notes = NO_NOTES) -> None:
    """Rows and columns in their order, protocols above their datasets, marks after the scores, legends below. Raises
    ConsoleError, OSError.
    """
    names = max((len(row.backbone) for row in ranking.rows), default=8) * LETTER_INCHES + 0.2
    across = len(ranking.columns) + len(notes.aggregates)
    size = names + across * COLUMN_INCHES, (len(ranking.rows) + 3) * ROW_INCHES

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-names / COLUMN_INCHES, across), ylim=(len(ranking.rows), -2.4))
        axes.axis("off")
        _draw_head(axes, ranking.columns, notes, -names / COLUMN_INCHES)
        _draw_rows(axes, ranking, notes, -names / COLUMN_INCHES)
        draw_notes(figure, [CAPTION, *_legends(ranking)])

    save_figure(path, size, draw)


def _legends(ranking: Ranking) -> list[str]:
    return [
        *(f"{sign} {text}" for sign, text in footnotes(ranking)),
        *(f"{label}: {notes}" for label, notes in data_notes_of(ranking).items()),
    ]


def _draw_head(axes: Axes, columns: Sequence[RankingColumn], notes: Notes, left: float) -> None:
    """The protocols with rules over their columns, then the datasets and the aggregates."""
    place = 0
    for protocol, members in groupby(column.label.rpartition("/")[0] for column in columns):
        count = len(list(members))
        if protocol:
            axes.text(place + count / 2, -1.75, protocol, ha="center", va="center", fontsize=8, color=DARK)
            axes.plot([place + 0.08, place + count - 0.08], [-1.3, -1.3], color=PALE, lw=0.8)
        place += count
    titles = [column.label.rpartition("/")[2] for column in columns] + [one.title for one in notes.aggregates]
    for number, title in enumerate(titles):
        shown = title if len(title) <= 11 else f"{title[:10]}…"
        axes.text(number + 0.5, -0.7, shown, ha="center", va="center", fontsize=7, color=DARK)
    axes.plot([left, len(titles)], [-0.15, -0.15], color=DARK, lw=1)


def _draw_rows(axes: Axes, ranking: Ranking, notes: Notes, left: float) -> None:
    ranges = {column.label: _range(ranking, column) for column in judged(ranking.columns)}
    for y, row in enumerate(ranking.rows):
        name = row.backbone + ("" if row.complete else INCOMPLETE)
        axes.text(left + 0.08, y + 0.5, name, ha="left", va="center", fontsize=8, color=DARK)
        for x, column in enumerate(ranking.columns):
            cell = row.cells.get(column.label)
            if cell is None:
                axes.text(x + 0.5, y + 0.5, "\N{EN DASH}", ha="center", va="center", fontsize=8, color=PALE)
                continue
            level = _level(cell.value, ranges.get(column.label))
            axes.add_patch(_patch(x, y, level))
            text, best = f"{cell.value:.1f}", level is not None and level >= 1
            weight = "bold" if best else "normal"
            shown = f"{text}{marks(cell.badges)}"
            axes.text(x + 0.5, y + 0.5, shown, ha="center", va="center", fontsize=8, color=DARK, weight=weight)
        for number, aggregate in enumerate(notes.aggregates, start=len(ranking.columns)):
            value = aggregate.value(row)
            text = "\N{EN DASH}" if value is None else aggregate.show(value)
            axes.text(number + 0.5, y + 0.5, text, ha="center", va="center", fontsize=8, color=DARK)


def _range(ranking: Ranking, column: RankingColumn) -> tuple[float, float]:
    """The worst and the best score of a column, as printed."""
    values = [round(row.cells[column.label].value, 1) for row in ranking.rows if column.label in row.cells]
    ends = min(values, default=0.0), max(values, default=0.0)
    return ends if column.higher_is_better else (ends[1], ends[0])


def _level(value: float, ends: tuple[float, float] | None) -> float | None:
    """0 for the worst of a column to 1 for the best; None in columns without a direction."""
    if ends is None or ends[0] == ends[1]:
        return None
    return min(1.0, max(0.0, (round(value, 1) - ends[0]) / (ends[1] - ends[0])))


def _patch(x: int, y: int, level: float | None) -> Rectangle:
    from matplotlib.patches import Rectangle as Patch  # noqa: PLC0415 - an extra

    share = STRONGEST * (level or 0.0)
    colour = tuple(1 - share * (1 - channel) for channel in BEST)
    return Patch((x + 0.02, y + 0.03), 0.96, 0.94, facecolor=colour, edgecolor="none")
