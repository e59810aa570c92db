"""Rank confidence intervals as lines: bootstrap intervals, then the critical-difference diagram. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ssl_console.analysis.badged_results import mark_sentences
from ssl_console.analysis.statistics.distributions import told
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, fit, line, wrap

if TYPE_CHECKING:
    from ssl_console.analysis.rank_intervals import CriticalDifference, RankTable
    from ssl_console.analysis.statistics.rank_bootstrap import RankInterval

NAME_WIDTH = 24
SCALE_WIDTH = (8, 30)
"""Minimum and maximum width of the scale from the first to the last rank, in cells."""
BEFORE_SCALE = 60
"""Width of a row before the scale, in cells."""
ABOUT_MISSING = {
    "complete rows": "only backbones measured on every task",
    "common tasks": "only tasks on which every backbone was measured",
    "drawn": "every backbone; a missing score is drawn from the others of its task",
}
POOL = "Whether two backbones differ in this picture depends on which others are compared with them."


def rank_interval_lines(table: RankTable, replicates: int, width: int, glyphs: Glyphs) -> list[Line]:
    """Content of the dialog; `replicates` is the final number of replicates."""
    ranks = table.ranks
    so_far = "" if ranks.replicates >= replicates else f" of {replicates:,}"
    head = f" {ranks.replicates:,}{so_far} replicates over {ranks.tasks} tasks"
    scale = max(SCALE_WIDTH[0], min(width - BEFORE_SCALE, SCALE_WIDTH[1]))
    lines = [
        line(Span(head, Tone.DIM)),
        line(Span(f" {ranks.missing}", Tone.ACCENT), Span(f": {ABOUT_MISSING[ranks.missing]}", Tone.DIM)),
        line(),
        line(
            Span(
                f" {fit('group', 5)} {fit('backbone', NAME_WIDTH)} {fit('rank', 6, 'right')}  {fit('95 %', 12)} first",
                Tone.DIM,
            )
        ),
        *(_row(row, len(ranks.rows), scale, glyphs) for row in ranks.rows),
        *(line(Span(f" {text}", Tone.WARN)) for text in _left_out(table, width)),
    ]
    return [*lines, *(_picture(table.picture, width, glyphs) if table.picture else [])]


def _row(row: RankInterval, last: int, width: int, glyphs: Glyphs) -> Line:
    """Its group, its rank, and its interval on the scale."""
    tone = Tone.STRONG if row.group == 1 else Tone.PLAIN
    return line(
        Span(f" {fit(str(row.group), 5, 'right')} ", Tone.DIM),
        Span(fit(row.backbone, NAME_WIDTH), tone),
        f" {row.rank:>6g}  {fit(f'{row.low:g} to {row.high:g}', 12)}",
        Span(f"{row.first:>5.0%}  "),
        *_scale(row, last, width, glyphs),
    )


def _scale(row: RankInterval, last: int, width: int, glyphs: Glyphs) -> Iterator[Span]:
    def column(rank: float) -> int:
        return round((rank - 1) / max(last - 1, 1) * (width - 1))

    for cell in range(width):
        if cell == column(row.rank):
            yield Span(glyphs.markers[0], Tone.ACCENT)
        elif column(row.low) <= cell <= column(row.high):
            yield Span(glyphs.rule, Tone.ACCENT)
        else:
            yield Span(glyphs.empty, Tone.FAINT)


def _left_out(table: RankTable, width: int) -> list[str]:
    sentences = []
    if table.ranks.left_out:
        sentences.append(f"left out, as a score is missing: {', '.join(table.ranks.left_out)}")
    if table.by_intervals:
        sentences.append(
            f"varied by their intervals alone, as predictions are missing: {', '.join(table.by_intervals)}"
        )
    sentences += mark_sentences(table.marked)
    return [text for sentence in sentences for text in wrap(sentence, width - 2)]


def _picture(diagram: CriticalDifference, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """The critical-difference diagram: backbones by mean rank, bars join those without a significant difference."""
    yield line()
    yield line(
        Span(f" Critical difference {diagram.difference:.2f} (Nemenyi)", Tone.TITLE),
        Span(f"  Friedman p {told(diagram.p_value)}", Tone.DIM),
    )
    yield line(Span(" A bar joins backbones without a significant difference.", Tone.DIM))
    for name in diagram.order:
        bars = "".join(f" {glyphs.rule_down if name in bar else ' '}" for bar in diagram.bars)
        yield line(f"       {fit(name, NAME_WIDTH)} {diagram.mean_ranks[name]:>6.2f} ", Span(bars, Tone.ACCENT))
    yield from (line(Span(f" {text}", Tone.DIM)) for text in wrap(POOL, width - 2))
