"""Scatter of published against own scores, one panel for each published column, outliers named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_console.analysis.figures import ACCENT, DARK, PALE, PANELS_ACROSS, draw_notes, save_figure
from ssl_console.analysis.published.ledger import LedgerColumn
from ssl_console.analysis.published.tables import source_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = (3.6, 3.4)
MARGIN = 0.06
"""Margin of an axis beyond the points, at each end."""
OUTLIER = "#c0392b"


def save_published_scatter(columns: Sequence[LedgerColumn], path: Path) -> None:
    """Write the scatter. Raises ConsoleError without matplotlib or for a file of that name, OSError."""
    across = min(PANELS_ACROSS, len(columns))
    down = math.ceil(len(columns) / across)
    notes = [f"{one.column.task} [{one.variant}]: {source_of(one.column)}{_flag(one)}" for one in columns]

    def draw(figure: Figure) -> None:
        for number, column in enumerate(columns, start=1):
            _draw_column(figure.add_subplot(down, across, number), column)
        figure.tight_layout()
        draw_notes(figure, notes)

    save_figure(path, (PANEL_INCHES[0] * across, PANEL_INCHES[1] * down), draw)


def _flag(column: LedgerColumn) -> str:
    return "; published settings were chosen on the test images" if column.chosen_on_test else ""


def _draw_column(axes: Axes, column: LedgerColumn) -> None:
    """Points on equal axes with the line of equality; outliers in another colour, with their names."""
    points = [(one.pair.published.value, one.pair.own.value) for one in column.entries]
    low, high = min(map(min, points)), max(map(max, points))
    margin = MARGIN * (high - low) or 1.0
    ends = [low - margin, high + margin]
    axes.plot(ends, ends, color=PALE, lw=1, zorder=0)
    for entry, (printed, own) in zip(column.entries, points, strict=True):
        axes.scatter([printed], [own], s=18, color=OUTLIER if entry.outlier else ACCENT, zorder=2)
        if entry.outlier or len(points) <= 12:
            name = entry.backbone.rpartition("/")[2]
            axes.annotate(name, (printed, own), xytext=(3, 3), textcoords="offset points", fontsize=6, color=DARK)
    axes.set(xlim=ends, ylim=ends, xlabel=f"published ({column.column.table})", ylabel="measured here")
    chosen = "chosen on the test images" if column.chosen_on_test else f"chosen on: {column.column.chosen_on}"
    axes.set_title(f"{column.column.task} {column.column.metric} [{column.variant}]\n{chosen}", fontsize=8)
