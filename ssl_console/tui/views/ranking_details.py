"""Lines above and below the ranking table: summary of the view, and the cell under the cursor. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backbones.io.errors import counted
from ssl_console.analysis.ranking import ABOUT_CIRCLE, CIRCLE, ESTIMATE, RankingRow
from ssl_console.analysis.ranking_cell import RankingCell, seeds_text, size_text
from ssl_console.tui.data.state import AppState
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, length, line
from ssl_console.tui.views.ranking import ABOUT_AGGREGATES, NAME, ROUNDING, RankingTable, ranking_table
from ssl_console.tui.views.ranking_query import GROUP, RankingQuery, badged, base_ranking, filter_subjects
from ssl_console.workspace.badges import ADVICE, marks

MOST_NAMED = 4
"""Maximum number of named hidden columns; the others are counted."""


def about_score(table: RankingTable, backbone: str | None, column: str | None) -> list[Line]:
    """Two lines about the cell under the cursor: the score, and its difference from the published one."""
    row = table.row.get(backbone or "")
    if backbone is not None and backbone.startswith(GROUP):
        names = table.groups[backbone]
        about = f" {backbone.removeprefix(GROUP)}  {counted(len(names), 'backbone')}; the scores are the best of them"
        return [line(Span(about, Tone.STRONG)), line(Span(f" {', '.join(names)}", Tone.DIM))]
    if row is None:
        return [line(), line()]
    head = [Span(f" {row.backbone}", Tone.STRONG)]
    if not row.complete:
        missing = [column.label for column in table.ranking.columns if column.label not in row.cells]
        head.append(Span(f"  incomplete, no mean: {len(missing)} missing, {missing[0]} first", Tone.WARN))
    score = row.cells.get(column or "")
    if score is None:
        note = "not measured" if column in table.facts else _about_aggregate(table, row, column or "")
        name = column if column in table.facts else ""
        return [tuple(head), line(Span(f" {name}  {note}" if name else f" {note}", Tone.DIM))]
    seeds = seeds_text(table.protocol(column or ""), score.seeds)
    head += [Span(f"  {marks([badge])} {badge}: {ADVICE.get(badge, '')}", Tone.WARN) for badge in score.badges]
    spread = "" if score.seed_deviation is None else f" (deviation {score.seed_deviation:.2f})"
    tail = line(
        Span(f" {column}  ", Tone.DIM),
        f"{score.value:.2f} [{score.ci_low:.2f}, {score.ci_high:.2f}]",
        Span(f"  n {size_text(score.n, score.unit)}, {seeds}{spread}", Tone.DIM),
        *_published_difference(table, row, column or "", score),
    )
    return [tuple(head), tail]


def copied_cell(table: RankingTable, key: str, column: str) -> str:
    """A cell for the clipboard: a score with its interval and marks, anything else as displayed."""
    row = table.row.get(key)
    score = row.cells.get(column) if row else None
    if score is None:
        shown = next((one for one in table.rows(0).columns if one.key == column), None)
        return table.rows(0).cell(key, shown).text.strip() if shown else ""
    return f"{score.value:.1f}{marks(score.badges)} [{score.ci_low:.1f}, {score.ci_high:.1f}]"


def _about_aggregate(table: RankingTable, row: RankingRow, column: str) -> str:
    """Its meaning; for a complete row without a value, the reason."""
    no_percentages = [one.label for one in table.ranking.columns if not one.higher_is_better]
    if row.complete and no_percentages and column in {"mean", "mean_log_odds"}:
        return f"none with {', '.join(no_percentages)}, not a percentage: c chooses the columns"
    about = ABOUT_AGGREGATES.get(column, ("", ""))[1]
    return f"{_about_estimate(row)}{about}" if column == ESTIMATE else about


def _about_estimate(row: RankingRow) -> str:
    """Its interval, and whether the order of the rows is less certain than it looks."""
    if row.estimate is None:
        return ""
    value, half = row.estimate.value, row.estimate.half_width
    interval = "" if half is None else f"[{value - half:+.2f}, {value + half:+.2f}]  "
    return interval + (f"{CIRCLE} {ABOUT_CIRCLE}  " if row.circle else "")


def _published_difference(table: RankingTable, row: RankingRow, column: str, score: RankingCell) -> list[Span]:
    twin = table.published_twin(row, column)
    if twin is None:
        return []
    difference = score.value - twin.value
    tone = Tone.GOOD if twin.ci_low - ROUNDING <= score.value <= twin.ci_high + ROUNDING else Tone.WARN
    return [Span(f"  published {twin.value:.1f}, ", Tone.DIM), Span(f"{difference:+.1f}", tone)]


def summary(table: RankingTable, suite: str | None) -> Line:
    """Summary of the table; the sort order, the filter and hidden columns are always named."""
    return tuple(span for part in _parts(table, suite) for span in part)


def summary_lines(table: RankingTable, suite: str | None, width: int) -> list[Line]:
    """The summary in as many lines as it needs, with no part split."""
    lines: list[list[Span]] = [[]]
    for part in [*_parts(table, suite), *_behind(table, width)]:
        if length((*lines[-1], *part)) > width and lines[-1]:
            lines.append([])
        lines[-1] += part
    return [tuple(spans) for spans in lines]


def _parts(table: RankingTable, suite: str | None) -> list[Line]:
    ranking, query = table.ranking, table.query
    shown = f"{len(ranking.rows)} of {table.total}" if len(ranking.rows) != table.total else str(table.total)
    size = f"  {shown} backbones {table.glyphs.times} {len(table.measured)} columns"
    unmeasured = len(ranking.columns) - len(table.measured)
    parts = [
        (f" suite {suite}" if suite else " everything measured", Tone.ACCENT if suite else Tone.DIM, True),
        (f"  sort {', '.join(_sorted_by(table))}", Tone.ACCENT, True),
        (f"  by {query.group}", Tone.ACCENT, bool(query.group)),
        (f"  /{query.filter.strip()}", Tone.ACCENT, bool(query.filter.strip())),
        ("  with weights", Tone.ACCENT, query.weights),
        (f"  hidden {_hidden(sorted(query.hidden))}, neither used nor exported", Tone.ACCENT, bool(query.hidden)),
        (size, Tone.DIM, True),
        (f"  {unmeasured} more without a score", Tone.WARN, unmeasured > 0),
        (f"  common tasks only, {len(ranking.columns)} of {table.columns}", Tone.ACCENT, query.common),
        (f"  {ranking.incomplete} incomplete", Tone.WARN, ranking.incomplete > 0),
        (f"  {table.apart} kept apart", Tone.WARN, table.apart > 0),
        ("  all columns would give a different order", Tone.WARN, table.reordered),
        (f"  unknown field {', '.join(table.unknown)}", Tone.BAD, bool(table.unknown)),
        (f"   {table.glyphs.ticked} {len(table.marked)} marked", Tone.ACCENT, bool(table.marked)),
    ]
    return [(Span(text, tone),) for text, tone, wanted in parts if wanted]


def _behind(table: RankingTable, width: int) -> list[Line]:
    """The aggregates for which there is no room before the tasks, and the key that shows them."""
    names = [column_name(column.key) for column in table.order(width).behind]
    behind = f"  {', '.join(names)} after the tasks: $"
    return [(Span(behind, Tone.ACCENT),)] if names and table.ranking.rows else []


def _sorted_by(table: RankingTable) -> list[str]:
    """Every sort key with its direction."""
    glyphs = table.glyphs
    return [f"{column_name(key)} {glyphs.up if reverse else glyphs.down}" for key, reverse in table.query.sorts]


def column_name(key: str) -> str:
    """Title of a column."""
    return "name" if key == NAME else ABOUT_AGGREGATES.get(key, (key, ""))[0]


def left_out_of_view(table: RankingTable) -> list[str]:
    """Descriptions of omitted rows and columns."""
    query, rows = table.query, table.total - len(table.ranking.rows)
    unmeasured = len(table.ranking.columns) - len(table.measured)
    parts = [
        (f"{rows} rows that do not match /{query.terms}", rows > 0),
        (f"columns that do not match /{query.filter.strip()}", bool(query.filter.strip())),
        (f"hidden {_hidden(sorted(query.hidden))}", bool(query.hidden)),
        ("tasks that a row lacks", query.common),
        (f"{unmeasured} columns without a score", unmeasured > 0),
        (f"all tasks outside of suite {query.suite}", bool(query.suite)),
    ]
    return [text for text, wanted in parts if wanted]


def _hidden(names: Sequence[str]) -> str:
    named = ", ".join(column_name(name) for name in names[:MOST_NAMED])
    return named if len(names) <= MOST_NAMED else f"{named} and {len(names) - MOST_NAMED} more"


def initial_table(state: AppState, glyphs: Glyphs) -> RankingTable:
    """The first table of the screen, memoized with the subjects of a filter so that they can be computed in advance."""
    query, results = RankingQuery(suite=state.suite), badged(state.results, state.catalogue)
    suite = state.catalogue.suite.get(state.suite or "")
    filter_subjects(base_ranking(results, suite.columns if suite else None, query.published), state.catalogue)
    return ranking_table(results, query, state.catalogue, glyphs, state.marked)
