"""Pictures for papers as SVG, PNG or PDF: the critical-difference diagram, the transfer scatter, the specification
curve of a multiverse, published against own scores, and a ranking with a background for each score.

Needs matplotlib, which is an extra: `pip install 'ssl-console[figures]'`. Equal data give equal files.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from backbones.io.files import write_atomically
from ssl_console.analysis.badged_results import mark_sentences
from ssl_console.analysis.correlations import Setting
from ssl_console.analysis.export import INCOMPLETE, NO_NOTES, Notes, data_notes_of, footnotes
from ssl_console.analysis.multiverse import Specification, choice_values
from ssl_console.analysis.published.agreement import LedgerColumn
from ssl_console.analysis.published.tables import source_of
from ssl_console.analysis.rank_intervals import CriticalDifference
from ssl_console.analysis.ranking import Ranking, RankingColumn, judged
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.badges import marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

SUFFIXES = ("svg", "png", "pdf")
DOTS_PER_INCH = 200
LINE_INCHES = 0.24
"""Height of one backbone's line in inches."""
DARK, PALE, ACCENT = "#222222", "#bbbbbb", "#1f6fb2"
PANELS_ACROSS = 3
NOTE_COLUMNS = 120
"""Characters per line of notes."""
INCHES_ACROSS = 8.0
CURVE_INCHES = 2.4
VALUE_INCHES = 0.19
"""Height of the line of one value."""
PANEL_INCHES = (3.6, 3.4)
MARGIN = 0.06
"""Margin of an axis beyond the points, at each end."""
OUTLIER = "#c0392b"
ROW_INCHES, COLUMN_INCHES, LETTER_INCHES = 0.24, 0.72, 0.085
BEST = (0.0, 0.53, 0.37)
"""Colour of the best score of a column; the worst is white."""
STRONGEST = 0.55
"""Opacity of that colour behind the best score, at which dark text has a contrast of 4.5 : 1."""
CAPTION = "Bold: best of its column; the background shows where a score is between the column's worst and best."


def check_name(path: Path) -> Path:
    """Path of a new figure. Raises ConsoleError for an unknown suffix, a missing folder, or an existing file."""
    if path.suffix[1:] not in SUFFIXES:
        raise ConsoleError(f"{path}: a picture is named .{', .'.join(SUFFIXES)}")
    if path.exists():
        raise ConsoleError(f"{path} already exists: choose another name, a picture never replaces a file")
    if not path.absolute().parent.is_dir():
        raise ConsoleError(f"{path}: there is no folder {path.absolute().parent}")
    return path


def save_critical_difference(picture: CriticalDifference, path: Path, notes: Sequence[str] = ()) -> None:
    """Mean ranks on an axis, 1 on the left, bars over groups without significant differences, `notes` below. Raises
    ConsoleError, OSError.
    """
    lines = math.ceil(len(picture.mean_ranks) / 2)
    height = 1.1 + LINE_INCHES * (lines + len(picture.bars) * 0.6)

    def draw(figure: Figure) -> None:
        _draw_critical_difference(figure.add_axes((0, 0, 1, 1)), picture)
        draw_notes(figure, notes)

    save_figure(path, (7.5, height), draw)


def save_transfer(settings: Sequence[Setting], path: Path) -> None:
    """One panel per setting: log-odds of ImageNet top-1 and of transfer. Raises ConsoleError, OSError."""
    marked = dict.fromkeys(one for setting in settings for one in setting.marked)
    across = min(PANELS_ACROSS, len(settings))
    down = math.ceil(len(settings) / across)

    def draw(figure: Figure) -> None:
        for number, setting in enumerate(settings, start=1):
            _draw_setting(figure.add_subplot(down, across, number), setting)
        figure.tight_layout()
        draw_notes(figure, mark_sentences(list(marked)))

    save_figure(path, (4.0 * across, 3.4 * down), draw)


def save_figure(path: Path, inches: tuple[float, float], draw: Callable[[Figure], None]) -> None:
    """Draw a figure by `draw` and save it in the format of the suffix of `path`. Raises ConsoleError without
    matplotlib, OSError.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise ConsoleError("pictures need matplotlib: pip install 'ssl-console[figures]'") from error
    with mpl.rc_context({"svg.hashsalt": "ssl-console", "svg.fonttype": "none", "text.parse_math": False}):
        figure = Figure(figsize=inches)
        draw(figure)
        drawn, suffix = io.BytesIO(), path.suffix or ".png"
        undated: Mapping[str, None] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix, {})
        figure.savefig(drawn, format=suffix[1:], dpi=DOTS_PER_INCH, bbox_inches="tight", metadata=undated)
    write_atomically(path.with_suffix(suffix), drawn.getvalue())


def draw_notes(figure: Figure, notes: Sequence[str]) -> None:
    """Write notes below the figure, one per line; the saved file includes everything drawn outside of the axes."""
    lines = [line for note in notes for line in textwrap.wrap(note, NOTE_COLUMNS)]
    figure.text(0.02, -0.02, "\n".join(lines), fontsize=6, color=DARK, va="top")


def _draw_critical_difference(axes: Axes, picture: CriticalDifference) -> None:
    """Horizontal units are ranks, vertical ones are lines."""
    order, last = picture.order, max(len(picture.mean_ranks), 2)
    half = math.ceil(len(order) / 2)
    below = 0.7 * len(picture.bars) + 1
    axes.set(xlim=(1 - 0.45 * last, last + 0.45 * last), ylim=(below + half + 0.5, -3.4))
    axes.axis("off")
    axes.plot([1, last], [0, 0], color=DARK, lw=1)
    for rank in range(1, last + 1):
        axes.plot([rank, rank], [0, -0.25], color=DARK, lw=1)
        axes.text(rank, -0.45, str(rank), ha="center", va="bottom")
    axes.plot([1, 1 + picture.difference], [-2.2, -2.2], color=ACCENT, lw=2)
    axes.text(1, -2.4, f"critical difference {picture.difference:.2f}", ha="left", va="bottom", color=ACCENT)
    for number, bar in enumerate(picture.bars):
        ends = [picture.mean_ranks[bar[0]] - 0.04, picture.mean_ranks[bar[-1]] + 0.04]
        axes.plot(ends, [0.7 * number + 0.6] * 2, color=DARK, lw=3, solid_capstyle="round")
    for place, name in enumerate(order):
        _draw_name(axes, name, picture.mean_ranks[name], (place, half, len(order)), below, last)


def _draw_name(axes: Axes, name: str, rank: float, place: tuple[int, int, int], below: float, last: int) -> None:
    """The better half is on the left, the other on the right, so that lines do not cross."""
    number, half, count = place
    left = number < half
    line = below + (number if left else count - 1 - number) + 0.2
    side = 1 - 0.05 * last if left else last + 0.05 * last
    axes.plot([rank, rank, side], [0, line, line], color=PALE, lw=0.8, zorder=0)
    text, align = (f"{name}  {rank:.2f}", "right") if left else (f"{rank:.2f}  {name}", "left")
    axes.text(side, line, text, ha=align, va="center")


def _draw_setting(axes: Axes, setting: Setting) -> None:
    across, up = zip(*setting.points.values(), strict=True)
    axes.scatter(across, up, s=18, color=ACCENT, zorder=2)
    for name, point in setting.points.items():
        axes.annotate(name.rpartition("/")[2], point, xytext=(3, 3), textcoords="offset points", fontsize=6, color=DARK)
    axes.set_title(f"{setting.name} ({setting.source})\n{_coefficient(setting)}", fontsize=9)
    axes.set(xlabel="ImageNet top-1 (log-odds)", ylabel="transfer")
    axes.spines[["top", "right"]].set_visible(False)


def _coefficient(setting: Setting) -> str:
    if setting.association is None:
        return "too few backbones for a correlation"
    found = setting.association.pearson
    return f"Pearson {found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f}), {setting.association.n} backbones"


def save_specification_curve(
    curve: Sequence[Specification], names: tuple[str, str], path: Path, notes: Sequence[str] = ()
) -> None:
    """Write the curve. `names` are the backbones whose difference it shows. Raises ConsoleError, OSError."""
    values = choice_values(curve)
    below = VALUE_INCHES * max(1, len(values))

    def draw(figure: Figure) -> None:
        share = CURVE_INCHES / (CURVE_INCHES + below)
        upper = figure.add_axes((0.2, 1 - share + 0.02, 0.78, share - 0.04))
        lower = figure.add_axes((0.2, 0.02, 0.78, 1 - share - 0.02), sharex=upper)
        _draw_differences(upper, curve, names)
        _draw_choices(lower, curve, values)
        draw_notes(figure, notes)

    save_figure(path, (INCHES_ACROSS, CURVE_INCHES + below), draw)


def _draw_differences(axes: Axes, curve: Sequence[Specification], names: tuple[str, str]) -> None:
    ahead = [one.difference > 0 for one in curve]
    colors = [ACCENT if one else DARK for one in ahead]
    axes.scatter(range(len(curve)), [one.difference for one in curve], s=6, color=colors, zorder=2)
    axes.axhline(0, color=PALE, lw=1, zorder=0)
    axes.set_ylabel("difference in points", fontsize=8)
    axes.set_title(f"{names[0]} minus {names[1]}, {len(curve)} protocols", fontsize=9)
    axes.tick_params(labelsize=7, labelbottom=False, bottom=False)


def _draw_choices(axes: Axes, curve: Sequence[Specification], values: Sequence[tuple[str, str]]) -> None:
    """One line of ticks for every value of a choice."""
    for line, (name, value) in enumerate(values):
        places = [number for number, one in enumerate(curve) if one.choice.values[name] == value]
        axes.scatter(places, [line] * len(places), marker="|", s=14, color=DARK, lw=0.7)
    axes.set_yticks(range(len(values)), [f"{name} {value}" for name, value in values], fontsize=7)
    axes.set(ylim=(len(values) - 0.5, -0.5), xlim=(-1, len(curve)))
    axes.tick_params(bottom=False, labelbottom=False, left=False)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)


def save_published_scatter(columns: Sequence[LedgerColumn], path: Path) -> None:
    """Write the scatter. Raises ConsoleError without matplotlib or for a file of that name, OSError."""
    across = min(PANELS_ACROSS, len(columns))
    down = math.ceil(len(columns) / across)
    notes = []
    for one in columns:
        flag = "; published settings were chosen on the test images" if one.chosen_on_test else ""
        notes.append(f"{one.column.task} [{one.variant}]: {source_of(one.column)}{flag}")

    def draw(figure: Figure) -> None:
        for number, column in enumerate(columns, start=1):
            _draw_column(figure.add_subplot(down, across, number), column)
        figure.tight_layout()
        draw_notes(figure, notes)

    save_figure(path, (PANEL_INCHES[0] * across, PANEL_INCHES[1] * down), draw)


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


def save_heat_table(ranking: Ranking, path: Path, notes: Notes = NO_NOTES) -> None:
    """Rows and columns in their order, protocols above their datasets, marks after the scores, legends below. Raises
    ConsoleError, OSError.
    """
    names = max((len(row.backbone) for row in ranking.rows), default=8) * LETTER_INCHES + 0.2
    across = len(ranking.columns) + len(notes.aggregates)
    size = names + across * COLUMN_INCHES, (len(ranking.rows) + 3) * ROW_INCHES
    legends = [f"{sign} {text}" for sign, text in footnotes(ranking)]
    legends += [f"{label}: {text}" for label, text in data_notes_of(ranking).items()]

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-names / COLUMN_INCHES, across), ylim=(len(ranking.rows), -2.4))
        axes.axis("off")
        _draw_head(axes, ranking.columns, notes, -names / COLUMN_INCHES)
        _draw_rows(axes, ranking, notes, -names / COLUMN_INCHES)
        draw_notes(figure, [CAPTION, *legends])

    save_figure(path, size, draw)


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
    levels = _levels(ranking)
    for y, row in enumerate(ranking.rows):
        name = row.backbone + ("" if row.complete else INCOMPLETE)
        axes.text(left + 0.08, y + 0.5, name, ha="left", va="center", fontsize=8, color=DARK)
        for x, column in enumerate(ranking.columns):
            cell = row.cells.get(column.label)
            if cell is None:
                axes.text(x + 0.5, y + 0.5, "\N{EN DASH}", ha="center", va="center", fontsize=8, color=PALE)
                continue
            level = levels.get((row.backbone, column.label))
            axes.add_patch(_patch(x, y, level))
            text, best = f"{cell.value:.1f}", level is not None and level >= 1
            weight = "bold" if best else "normal"
            shown = f"{text}{marks(cell.badges)}"
            axes.text(x + 0.5, y + 0.5, shown, ha="center", va="center", fontsize=8, color=DARK, weight=weight)
        for number, aggregate in enumerate(notes.aggregates, start=len(ranking.columns)):
            value = aggregate.value(row)
            text = "\N{EN DASH}" if value is None else aggregate.show(value)
            axes.text(number + 0.5, y + 0.5, text, ha="center", va="center", fontsize=8, color=DARK)


def _levels(ranking: Ranking) -> dict[tuple[str, str], float]:
    """By backbone and column label, 0 for the worst score of a column, as printed, to 1 for the best; without columns
    that have no direction, or equal scores only.
    """
    found: dict[tuple[str, str], float] = {}
    for column in judged(ranking.columns):
        label = column.label
        printed = {row.backbone: round(row.cells[label].value, 1) for row in ranking.rows if label in row.cells}
        low, high = min(printed.values(), default=0.0), max(printed.values(), default=0.0)
        worst, best = (low, high) if column.higher_is_better else (high, low)
        if low < high:
            found |= {(name, label): (value - worst) / (best - worst) for name, value in printed.items()}
    return found


def _patch(x: int, y: int, level: float | None) -> Rectangle:
    from matplotlib.patches import Rectangle as Patch  # noqa: PLC0415 - an extra

    share = STRONGEST * (level or 0.0)
    colour = tuple(1 - share * (1 - channel) for channel in BEST)
    return Patch((x + 0.02, y + 0.03), 0.96, 0.94, facecolor=colour, edgecolor="none")
