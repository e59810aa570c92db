"""Figures for papers: the critical-difference diagram and the transfer scatter, as SVG, PNG or PDF.

Needs matplotlib, which is an extra: `pip install 'ssl-console[figures]'`. Equal data give equal files.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backbones.io.files import write_atomically
from ssl_console.analysis.imagenet_correlation import Setting
from ssl_console.analysis.marked_scores import mark_sentences
from ssl_console.analysis.rank_intervals import CriticalDifference
from ssl_console.system.errors import ConsoleError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = ("svg", "png", "pdf")
DOTS_PER_INCH = 200
LINE_INCHES = 0.24
"""Height of one backbone's line in inches."""
DARK, PALE, ACCENT = "#222222", "#bbbbbb", "#1f6fb2"
PANELS_ACROSS = 3
NOTE_COLUMNS = 120
"""Characters per line of notes."""


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
        metadata = _undated(suffix)
        figure.savefig(drawn, format=suffix[1:], dpi=DOTS_PER_INCH, bbox_inches="tight", metadata=metadata)
    write_atomically(path.with_suffix(suffix), drawn.getvalue())


def _undated(suffix: str) -> Mapping[str, None]:
    """Metadata without the time, so that equal figures are equal files."""
    return {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix, {})


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
