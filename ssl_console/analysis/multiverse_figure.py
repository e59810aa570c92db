"""The specification curve of two backbones as a picture: differences above, the choices of every protocol below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_console.analysis.figures import ACCENT, DARK, PALE, draw_notes, save_figure
from ssl_console.analysis.multiverse import Specification, choice_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES_ACROSS = 8.0
CURVE_INCHES = 2.4
VALUE_INCHES = 0.19
"""Height of the line of one value."""


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
