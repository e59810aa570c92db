"""Preview of an export, as lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backbones.io.errors import counted
from ssl_console.analysis.export import Notes, data_notes_of, footnotes
from ssl_console.analysis.ranking import Ranking
from ssl_console.tui.style.text import Line, Span, Tone, line, wrap
from ssl_console.workspace.badges import marks

MOST_NAMED = 8


def export_lines(
    ranking: Ranking, notes: Notes, filters: Sequence[str], marked: tuple[int, bool], width: int
) -> list[Line]:
    """Rows, columns, warnings and legends. `marked` is the number of marked rows, and whether only these are
    exported. `filters` describe what the view omits.
    """
    count, alone = marked
    rows = f"{len(ranking.rows)} {'marked ' if alone else ''}rows: {_named([row.backbone for row in ranking.rows])}"
    columns = f"{counted(len(ranking.columns), 'column')}: {_named([column.label for column in ranking.columns])}"
    aggregates = f"and {', '.join(one.title for one in notes.aggregates) or 'no aggregates'}"
    paragraphs = [(rows, Tone.PLAIN), (columns, Tone.PLAIN), (aggregates, Tone.DIM)]
    paragraphs += [(f"Left out: {'; '.join(filters)}.", Tone.ACCENT)] if filters else []
    warned = sum(bool(marks(cell.badges)) for row in ranking.rows for cell in row.cells.values())
    if warned:
        paragraphs.append((f"{warned} scores carry a warning: the marks stay behind them.", Tone.WARN))
    legends = len(footnotes(ranking)) + len(data_notes_of(ranking))
    paragraphs.append((f"Legends below the table: {legends or 'none needed'}.", Tone.DIM))
    if count:
        paragraphs.append((f"a: {'all rows' if alone else f'only the {count} marked rows'}", Tone.KEY))
    paragraphs.append(("Written to a new file in the current folder; tables are copied, too.", Tone.DIM))
    return [line(Span(text, tone)) for paragraph, tone in paragraphs for text in wrap(paragraph, width)] + [()]


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
