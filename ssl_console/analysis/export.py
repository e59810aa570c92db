"""A ranking as JSON, CSV, Markdown or LaTeX: the current view, with rows in its order."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from ssl_console.analysis.badged_results import legend
from ssl_console.analysis.published.agreement import differences
from ssl_console.analysis.ranking import (
    ABOUT_CIRCLE,
    AGGREGATES,
    CIRCLE,
    ESTIMATE,
    Aggregate,
    Ranking,
    RankingColumn,
    RankingRow,
    judged,
)
from ssl_console.analysis.ranking_cell import RankingCell
from ssl_console.system.safe_text import align, align_within, json_text, printable
from ssl_console.workspace.badges import marks

MISSING = "—"
INCOMPLETE = "*"
ABOUT_INCOMPLETE = "incomplete row: a score is missing, so it has no mean and no mean rank"
Format = Literal["json", "csv", "markdown", "latex"]
Ties = frozenset[tuple[str, str]]
"""(backbone, column label) of scores not significantly below the best of their column (`analysis.rank_intervals`)."""
NO_TIES: Ties = frozenset()


@dataclass(frozen=True)
class Notes:
    """Further content of an export besides the table."""

    ties: Ties = NO_TIES
    apart: Sequence[Mapping[str, object]] | None = None
    """Further columns of the same tasks, with reasons (`analysis.comparability`), in JSON only; None: not computed."""
    hidden: frozenset[str] = frozenset()
    """Names of aggregates hidden in the view."""

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """Exported aggregates."""
        return tuple(aggregate for aggregate in AGGREGATES if aggregate.name not in self.hidden)


NO_NOTES = Notes()
SHOW_TIES: frozenset[Format] = frozenset({"markdown", "latex"})
"""Formats for human readers, in which ties are marked."""


def to_json(ranking: Ranking, notes: Notes = NO_NOTES) -> str:
    """One document: `{"columns": [...], "rows": [{"backbone", "scores", "mean", "mean_rank", "complete", ...}]}`.

    A score whose published number is in the table has a `difference` to it.
    """
    gaps = differences(ranking)
    document = {
        "columns": [column.label for column in ranking.columns],
        "rows": [
            {
                "backbone": row.backbone,
                "scores": {label: _score(cell, gaps.get((row.backbone, label))) for label, cell in row.cells.items()},
                **{aggregate.name: aggregate.value(row) for aggregate in notes.aggregates},
                "estimate_interval": _estimate_interval(row),
                "estimate_in_a_circle": row.circle,
                "complete": row.complete,
            }
            for row in ranking.rows
        ],
        "marks": legend_of(ranking),
        **({} if notes.apart is None else {"kept_apart": list(notes.apart)}),
    }
    return json_text(document, indent=2) + "\n"


def to_csv(ranking: Ranking, notes: Notes = NO_NOTES) -> str:
    """Unrounded numbers, four columns per task (value, ci_low, ci_high, doubts); a missing cell is empty. Names that
    a spreadsheet would interpret as a formula are prefixed with an apostrophe.
    """
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    labels = [column.label for column in ranking.columns]
    titles = [f"{label}{part}" for label in labels for part in ("", " ci_low", " ci_high", " doubts")]
    names = [
        *(aggregate.name for aggregate in notes.aggregates),
        "estimate ci_low",
        "estimate ci_high",
        "estimate in a circle",
        "complete",
    ]
    noted = data_notes_of(ranking)
    writer.writerow([no_formula(title) for title in ("backbone", *titles, *names, *(f"{one} data" for one in noted))])
    for row in ranking.rows:
        scores = []
        for cell in map(row.cells.get, labels):
            scores += [*map(_number, _numbers(cell)), "; ".join(cell.badges) if cell else ""]
        aggregates = [_number(aggregate.value(row)) for aggregate in notes.aggregates]
        interval = map(_number, _estimate_interval(row) or (None, None))
        facts = [str(fact).lower() for fact in (row.circle, row.complete)]
        data = [no_formula("; ".join(row.cells[label].data_notes)) if label in row.cells else "" for label in noted]
        writer.writerow([no_formula(row.backbone), *scores, *aggregates, *interval, *facts, *data])
    return lines.getvalue()


def _estimate_interval(row: RankingRow) -> tuple[float, float] | None:
    if row.estimate is None or row.estimate.half_width is None:
        return None
    return row.estimate.value - row.estimate.half_width, row.estimate.value + row.estimate.half_width


def legend_of(ranking: Ranking) -> dict[str, str]:
    """Marks of scores in this table, and their meaning."""
    return legend(cell.badges for row in ranking.rows for cell in row.cells.values())


def data_notes_of(ranking: Ranking) -> dict[str, str]:
    """Preprocessing notes of a column, by its label; columns without notes are omitted."""
    found = {
        column.label: dict.fromkeys(
            note for row in ranking.rows if (cell := row.cells.get(column.label)) for note in cell.data_notes
        )
        for column in ranking.columns
    }
    return {label: "; ".join(notes) for label, notes in found.items() if notes}


def footnotes(ranking: Ranking) -> list[tuple[str, str]]:
    """All marks of the table, including those of rows, with their meaning."""
    of_rows = {
        INCOMPLETE: (ABOUT_INCOMPLETE, ranking.incomplete > 0),
        CIRCLE: (ABOUT_CIRCLE, any(row.circle for row in ranking.rows)),
    }
    return [*legend_of(ranking).items(), *((sign, text) for sign, (text, used) in of_rows.items() if used)]


def to_markdown(ranking: Ranking, notes: Notes = NO_NOTES) -> str:
    """A table for an issue or a README, with the best score of each column in bold and = after scores tied with it."""
    style = Style(
        escape=escape_markdown,
        best="**{}**".format,
        tie="=",
        interval=" ± {}".format,
        bounds=" \\[{}, {}\\]".format,
        differences=True,
        doubts=True,
    )
    head, *body = cells(ranking, style, notes)
    rule = ["---", *["---:"] * (len(head) - 1)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *body))
    below = [f"{escape_markdown(sign)} {meaning}" for sign, meaning in footnotes(ranking)]
    below += [escape_markdown(f"{label}: {notes}") for label, notes in data_notes_of(ranking).items()]
    return table + "".join(f"\n{text}\n" for text in below)


def to_latex(ranking: Ranking, notes: Notes = NO_NOTES) -> str:
    """A `booktabs` table with intervals. Needs `\\usepackage{booktabs}`.

    The best score of each column is bold, the second underlined; a superscript = marks ties with the best.
    """
    style = Style(
        escape=_escape_latex,
        best=r"\textbf{{{}}}".format,
        second=r"\underline{{{}}}".format,
        tie="$^{=}$",
        interval=r"\,{{\scriptsize$\pm${}}}".format,
        bounds=r"\,{{\scriptsize[{}, {}]}}".format,
        missing="--",
        doubts=True,
    )
    head, *body = cells(ranking, style, notes)
    titles = ["backbone", *(c.label for c in ranking.columns), *(a.title for a in notes.aggregates)]
    rows = [" & ".join(line) + r" \\" for line in body]
    # after `\\`, a star or bracket at the beginning of a row would be its argument
    rows = [f"{{}}{row}" if row.lstrip().startswith(("*", "[")) else row for row in rows]
    columns = "l" + "r" * (len(head) - 1)
    note = "% bold: best; underlined: second; raised =: not significantly below; intervals: 95 %; *: incomplete"
    top = [note, rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *_latex_head(titles), r"\midrule"]
    texts = [f"{sign} {text}" for sign, text in footnotes(ranking)]
    texts += [f"{label}: {notes}" for label, notes in data_notes_of(ranking).items()]
    below = [rf"\par{{\footnotesize {_escape_latex(text)}}}" for text in texts]
    return "\n".join([*top, *rows, r"\bottomrule", r"\end{tabular}", *below]) + "\n"


def _latex_head(titles: Sequence[str]) -> list[str]:
    """One line; or two with rules between, the protocols above their datasets, if titles are `protocol/dataset`."""
    halves = []
    for title in titles:
        protocol, _, dataset = title.partition("/")
        halves.append((protocol, dataset) if protocol and dataset else ("", title))
    if not any(group for group, _ in halves):
        return [" & ".join(map(_escape_latex, titles)) + r" \\"]
    above, rules, first = [], [], 1
    for group, members in groupby(group for group, _ in halves):
        count = len(list(members))
        above += [rf"\multicolumn{{{count}}}{{c}}{{{_escape_latex(group)}}}"] if group else [""] * count
        rules += [rf"\cmidrule(lr){{{first}-{first + count - 1}}}"] if group else []
        first += count
    names = [_escape_latex(name) for _, name in halves]
    return [" & ".join(above) + r" \\", " ".join(rules), " & ".join(names) + r" \\"]


def to_text(ranking: Ranking, columns: int | None = None) -> str:
    """Aligned columns for human readers, with intervals as ± and incomplete rows starred. With a width in `columns`,
    titles have two lines, aggregates come first, and the table is divided into blocks.
    """
    if not ranking.rows:
        return ""
    style = Style(escape=printable, interval=" ±{}".format, bounds=" [{}, {}]".format, differences=True, doubts=True)
    head, *body = cells(ranking, style)
    if columns is None:
        return "\n".join(align([head, *body], right=frozenset(range(1, len(head))))) + "\n"
    first = len(head) - len(AGGREGATES)
    reordered = [[line[0], *line[first:], *line[1:first]] for line in (*_stacked(head), *body)]
    return "\n".join(align_within(reordered, columns)) + "\n"


def _stacked(head: Sequence[str]) -> list[list[str]]:
    """Titles in two lines if they have two parts: the protocol above the dataset."""
    halves = [title.partition("/") for title in head]
    above = [before + slash if after else "" for before, slash, after in halves]
    below = [after or before for before, _, after in halves]
    return [above, below] if any(above) else [below]


EXPORTS: Mapping[Format, Callable[[Ranking, Notes], str]] = {
    "json": to_json,
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
}


@dataclass(frozen=True)
class Style:
    """Formatting of cells in one format."""

    escape: Callable[[str], str]
    best: Callable[[str], str] = str
    second: Callable[[str], str] = str
    tie: str = ""
    """Suffix of a score that is tied with the best."""
    interval: Callable[[str], str] = lambda _half: ""
    """Suffix of a score, given half its interval."""
    bounds: Callable[[str, str], str] = lambda _low, _high: ""
    """Suffix of a score with an asymmetric interval."""
    doubts: bool = False
    """Whether scores have the marks of badges as a suffix."""
    differences: bool = False
    """Whether scores show the difference to the published number of the same table in parentheses."""
    missing: str = MISSING


def cells(ranking: Ranking, style: Style, notes: Notes = NO_NOTES) -> list[list[str]]:
    """The head and one line per row: backbone, columns, aggregates."""
    best = {column.label for column in judged(ranking.columns)}
    written = {c.label: _best_two(ranking, c, style) if c.label in best else {} for c in ranking.columns}
    gaps = differences(ranking) if style.differences else {}
    head = ["backbone", *(c.label for c in ranking.columns), *(a.title for a in notes.aggregates)]
    lines = []
    for row in ranking.rows:
        scores = []
        for label, best_two in written.items():
            place = row.backbone, label
            gap = f" ({gaps[place]:+.1f})" if place in gaps else ""
            scores.append(_cell(row, label, style, best_two, tied=place in notes.ties) + gap)
        name = style.escape(row.backbone) + ("" if row.complete else style.escape(INCOMPLETE))
        lines.append([name, *scores, *(_total(row, aggregate, style) for aggregate in notes.aggregates)])
    return [[style.escape(title) for title in head], *lines]


Marks = Mapping[str, Callable[[str], str]]


def _total(row: RankingRow, aggregate: Aggregate, style: Style) -> str:
    value = aggregate.value(row)
    if value is None:
        return style.missing
    text = style.escape(aggregate.show(value))
    if aggregate.name != ESTIMATE or row.estimate is None:
        return text
    half = row.estimate.half_width
    interval = "" if half is None else style.interval(f"{half:.2f}")
    return text + interval + (style.escape(CIRCLE) if row.circle else "")


def _cell(row: RankingRow, label: str, style: Style, written: Marks, *, tied: bool) -> str:
    cell = row.cells.get(label)
    if cell is None:
        return style.missing
    score = _shown(cell)
    signs = (style.tie if tied else "") + (style.escape(marks(cell.badges)) if style.doubts else "")
    return written.get(score, str)(score) + signs + _interval(cell, style)


def _interval(cell: RankingCell, style: Style) -> str:
    """± only if both sides are equal after rounding."""
    if cell.half_width is None:
        return ""
    below, above = f"{cell.value - cell.ci_low:.1f}", f"{cell.ci_high - cell.value:.1f}"
    return style.interval(below) if below == above else style.bounds(f"{cell.ci_low:.1f}", f"{cell.ci_high:.1f}")


def _best_two(ranking: Ranking, column: RankingColumn, style: Style) -> Marks:
    """Formatting of the two best scores of a column; scores that are equal after rounding are formatted equally."""
    found = {_shown(row.cells[column.label]) for row in ranking.rows if column.label in row.cells}
    best_first = sorted(found, key=float, reverse=column.higher_is_better)
    return dict(zip(best_first, (style.best, style.second), strict=False))


def _shown(cell: RankingCell) -> str:
    return f"{cell.value:.1f}"


def _score(cell: RankingCell, difference: float | None) -> dict[str, object]:
    value, low, high = _numbers(cell)
    score: dict[str, object] = {
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "n": cell.n,
        "n_counts": cell.unit,
        "run_id": cell.run_id,
        "source": cell.source,
        "seeds": len(cell.seeds),
        "seed_deviation": cell.seed_deviation,
        "badges": list(cell.badges),
        **({"data_notes": list(cell.data_notes)} if cell.data_notes else {}),
    }
    return score if difference is None else {**score, "difference": difference}


def _numbers(cell: RankingCell | None) -> Sequence[float | None]:
    if cell is None:
        return None, None, None
    return (cell.value, None, None) if cell.half_width is None else (cell.value, cell.ci_low, cell.ci_high)


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters that a spreadsheet interprets as the beginning of a formula; the last four are full-width forms of the
others.
"""


def no_formula(text: str) -> str:
    """Text that no spreadsheet evaluates: what looks like a formula is prefixed with an apostrophe."""
    plain = printable(text)
    return f"'{plain}" if plain.lstrip().startswith(_FORMULA) else plain


def escape_markdown(text: str) -> str:
    """Text with special characters of Markdown tables and HTML escaped."""
    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{character}" if character in "\\`*_[]|~" else character for character in plain)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "—": "---",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "§": r"\S{}",
    "‡": r"\ddag{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in printable(text))
