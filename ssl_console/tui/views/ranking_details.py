"""Details of a ranking as lines: the score under the cursor, the summary, and rank intervals. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from backbones.io.errors import counted
from ssl_console.analysis.badged_results import mark_sentences
from ssl_console.analysis.ranking import ABOUT_CIRCLE, CIRCLE, ESTIMATE, RankingRow
from ssl_console.analysis.ranking_cell import RankingCell, seeds_text, size_text
from ssl_console.analysis.statistics.distributions import format_p
from ssl_console.tui.data.state import AppState
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, fit, length, line, wrap
from ssl_console.tui.views.ranking import ABOUT_AGGREGATES, NAME, ROUNDING, RankingTable, ranking_table
from ssl_console.tui.views.ranking_query import GROUP, RankingQuery, badged, base_ranking, filter_subjects
from ssl_console.workspace.badges import ADVICE, marks

if TYPE_CHECKING:
    from ssl_console.analysis.rank_intervals import CriticalDifference, RankTable
    from ssl_console.analysis.statistics.rank_bootstrap import RankInterval

MOST_NAMED = 4
"""Maximum number of named hidden columns; the others are counted."""
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
POOL = "Whether two backbones differ in this diagram depends on which others are compared with them."


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
        head.append(
            Span(f"  incomplete, no mean: {counted(len(missing), 'score')} missing, e.g. {missing[0]}", Tone.WARN)
        )
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
    """Meaning of an aggregate, of the estimate with its interval; for a complete row without a value, the reason."""
    no_percentages = [one.label for one in table.ranking.columns if not one.higher_is_better]
    if row.complete and no_percentages and column in {"mean", "mean_log_odds"}:
        return f"no value with {', '.join(no_percentages)}, not a percentage: c chooses the columns"
    about = ABOUT_AGGREGATES.get(column, ("", ""))[1]
    if column != ESTIMATE or row.estimate is None:
        return about
    value, half = row.estimate.value, row.estimate.half_width
    interval = "" if half is None else f"[{value - half:+.2f}, {value + half:+.2f}]  "
    circle = f"{CIRCLE} {ABOUT_CIRCLE}  " if row.circle else ""
    return f"{interval}{circle}{about}"


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
    """The summary in as many lines as it needs, with no part split; it ends with the aggregates for which there is no
    room before the tasks, and the key that shows them.
    """
    parts, behind = _parts(table, suite), [column_name(column.key) for column in table.order(width).behind]
    if behind and table.ranking.rows:
        parts.append(line(Span(f"  press $ for {', '.join(behind)}", Tone.ACCENT)))
    lines: list[list[Span]] = [[]]
    for part in parts:
        if length((*lines[-1], *part)) > width and lines[-1]:
            lines.append([])
        lines[-1] += part
    return [tuple(spans) for spans in lines]


def _parts(table: RankingTable, suite: str | None) -> list[Line]:
    ranking, query = table.ranking, table.query
    shown = f"{len(ranking.rows)} of {table.total}" if len(ranking.rows) != table.total else str(table.total)
    size = f"  {shown} backbones {table.glyphs.times} {len(table.measured)} columns"
    unmeasured, glyphs = len(ranking.columns) - len(table.measured), table.glyphs
    keys = [f"{column_name(key)} {glyphs.up if reverse else glyphs.down}" for key, reverse in query.sorts]
    parts = [
        (f" suite {suite}" if suite else " everything measured", Tone.ACCENT if suite else Tone.DIM, True),
        (f"  sort {', '.join(keys)}", Tone.ACCENT, True),
        (f"  by {query.group}", Tone.ACCENT, bool(query.group)),
        (f"  /{query.filter.strip()}", Tone.ACCENT, bool(query.filter.strip())),
        ("  with weights", Tone.ACCENT, query.weights),
        (f"  hidden {_hidden(sorted(query.hidden))}, neither used nor exported", Tone.ACCENT, bool(query.hidden)),
        (size, Tone.DIM, True),
        (f"  {unmeasured} more without scores", Tone.WARN, unmeasured > 0),
        (f"  common tasks only, {len(ranking.columns)} of {table.columns}", Tone.ACCENT, query.common),
        (f"  {ranking.incomplete} incomplete", Tone.WARN, ranking.incomplete > 0),
        (f"  {table.apart} kept apart", Tone.WARN, table.apart > 0),
        ("  all columns would give a different order", Tone.WARN, table.reordered),
        (f"  unknown field {', '.join(table.unknown)}", Tone.BAD, bool(table.unknown)),
        (f"   {glyphs.ticked} {len(table.marked)} marked", Tone.ACCENT, bool(table.marked)),
    ]
    return [(Span(text, tone),) for text, tone, wanted in parts if wanted]


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
        *(_interval_row(row, len(ranks.rows), scale, glyphs) for row in ranks.rows),
        *(line(Span(f" {text}", Tone.WARN)) for text in _left_out(table, width)),
    ]
    return [*lines, *(_picture(table.picture, width, glyphs) if table.picture else [])]


def _interval_row(row: RankInterval, last: int, width: int, glyphs: Glyphs) -> Line:
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
        sentences.append(f"left out because a score is missing: {', '.join(table.ranks.left_out)}")
    if table.by_intervals:
        sentences.append(
            f"varied by their intervals only, because predictions are missing: {', '.join(table.by_intervals)}"
        )
    sentences += mark_sentences(table.marked)
    return [text for sentence in sentences for text in wrap(sentence, width - 2)]


def _picture(diagram: CriticalDifference, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """The critical-difference diagram: backbones by mean rank, bars join those without a significant difference."""
    yield line()
    yield line(
        Span(f" Critical difference {diagram.difference:.2f} (Nemenyi)", Tone.TITLE),
        Span(f"  Friedman {format_p(diagram.p_value)}", Tone.DIM),
    )
    yield line(Span(" A bar joins backbones without a significant difference.", Tone.DIM))
    for name in diagram.order:
        bars = "".join(f" {glyphs.rule_down if name in bar else ' '}" for bar in diagram.bars)
        yield line(f"       {fit(name, NAME_WIDTH)} {diagram.mean_ranks[name]:>6.2f} ", Span(bars, Tone.ACCENT))
    yield from (line(Span(f" {text}", Tone.DIM)) for text in wrap(POOL, width - 2))
