"""A ranking as JSON, CSV, Markdown or LaTeX: the view as it stands, rows in its order."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ssl_console.analysis.published.agreement import differences
from ssl_console.analysis.ranking import AGGREGATES, Ranking, RankingCell, RankingColumn, RankingRow, judged
from ssl_console.system.safe_text import align, align_within, json_text, printable
from ssl_console.workspace.badges import MARK

MISSING = "—"
INCOMPLETE = "*"
Format = Literal["json", "csv", "markdown", "latex"]
Ties = frozenset[tuple[str, str]]
"""(backbone, column label) of scores not significantly below the best of their column (`analysis.rank_intervals`)."""
NO_TIES: Ties = frozenset()


@dataclass(frozen=True)
class Notes:
    """What an export says besides the table."""

    ties: Ties = NO_TIES
    apart: Sequence[Mapping[str, object]] | None = None
    """Further columns of the same tasks, and why (`analysis.comparability`), in JSON only; None: not computed."""


NO_NOTES = Notes()
SHOW_TIES: frozenset[Format] = frozenset({"markdown", "latex"})
"""Formats for reading, in which ties are marked."""


def to_json(ranking: Ranking, notes: Notes = NO_NOTES) -> str:
    """One document: `{"columns": [...], "rows": [{"backbone", "scores", "mean", "mean_rank", "complete", ...}]}`.

    A score whose published number is in the table too holds the `difference` to it.
    """
    gaps = differences(ranking)
    document = {
        "columns": [column.label for column in ranking.columns],
        "rows": [
            {
                "backbone": row.backbone,
                "scores": {label: _score(cell, gaps.get((row.backbone, label))) for label, cell in row.cells.items()},
                **{aggregate.name: aggregate.value(row) for aggregate in AGGREGATES},
                "complete": row.complete,
            }
            for row in ranking.rows
        ],
        **({} if notes.apart is None else {"kept_apart": list(notes.apart)}),
    }
    return json_text(document, indent=2) + "\n"


def to_csv(ranking: Ranking, _notes: Notes = NO_NOTES) -> str:
    """Unrounded numbers, three columns a task (value, ci_low, ci_high); a missing cell is empty.

    Names that a spreadsheet would take for a formula get an apostrophe before them.
    """
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    labels = [column.label for column in ranking.columns]
    titles = [title for label in labels for title in (label, f"{label} ci_low", f"{label} ci_high")]
    writer.writerow([_no_formula(t) for t in ("backbone", *titles, *(a.name for a in AGGREGATES), "complete")])
    for row in ranking.rows:
        numbers = [number for label in labels for number in _numbers(row.cells.get(label))]
        aggregates = [aggregate.value(row) for aggregate in AGGREGATES]
        writer.writerow([_no_formula(row.backbone), *map(_number, (*numbers, *aggregates)), str(row.complete).lower()])
    return lines.getvalue()


def to_markdown(ranking: Ranking, notes: Notes = NO_NOTES) -> str:
    """A table for an issue or a README, best score of each column in bold; = behind those tied with it."""
    style = Style(escape=_escape_markdown, best="**{}**".format, tie="=", interval=" ± {}".format, differences=True)
    head, *body = cells(ranking, style, notes.ties)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *body))


def to_latex(ranking: Ranking, notes: Notes = NO_NOTES) -> str:
    """A `booktabs` table with intervals. Needs `\\usepackage{booktabs}`.

    The best score of each column is bold, the second underlined; a raised = stands at those tied with the best.
    """
    style = Style(
        escape=_escape_latex,
        best=r"\textbf{{{}}}".format,
        second=r"\underline{{{}}}".format,
        tie="$^{=}$",
        interval=r"\,{{\scriptsize$\pm${}}}".format,
        missing="--",
    )
    head, *body = cells(ranking, style, notes.ties)
    rows = [_no_argument(" & ".join(line)) + r" \\" for line in body]
    columns = "l" + "r" * (len(head) - 1)
    note = (
        "% bold: best; underlined: second; raised =: not to be told from the best; intervals: 95 %; *: incomplete row"
    )
    top = [note, rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    return "\n".join([*top, *rows, r"\bottomrule", r"\end{tabular}"]) + "\n"


def to_text(ranking: Ranking, columns: int | None = None) -> str:
    """Aligned columns for people, intervals as ±, incomplete rows starred.

    With a width in `columns` the titles take two lines, the aggregates come first, and the table is cut into blocks.
    """
    if not ranking.rows:
        return ""
    style = Style(escape=printable, interval=" ±{}".format, differences=True, doubt=MARK)
    head, *body = cells(ranking, style)
    if columns is None:
        return "\n".join(align([head, *body], right=frozenset(range(1, len(head))))) + "\n"
    first = len(head) - len(AGGREGATES)
    reordered = [[line[0], *line[first:], *line[1:first]] for line in (*_stacked(head), *body)]
    return "\n".join(align_within(reordered, columns)) + "\n"


def _stacked(head: Sequence[str]) -> list[list[str]]:
    """Titles in two lines where they have two parts: the protocol above the dataset."""
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
    """How one format writes a cell."""

    escape: Callable[[str], str]
    best: Callable[[str], str] = str
    second: Callable[[str], str] = str
    tie: str = ""
    """Behind a score that is tied with the best."""
    interval: Callable[[str], str] = lambda _half: ""
    """What stands behind the score, given half its interval."""
    doubt: str = ""
    """Behind a score that there is reason to doubt."""
    differences: bool = False
    """Whether a score shows, in brackets, its distance from the published number in the same table."""
    missing: str = MISSING


def cells(ranking: Ranking, style: Style, ties: Ties = NO_TIES) -> list[list[str]]:
    """The head and one line per row: backbone, columns, aggregates."""
    best = {column.label for column in judged(ranking.columns)}
    marks = {c.label: _marks(ranking, c, style) if c.label in best else {} for c in ranking.columns}
    gaps = differences(ranking) if style.differences else {}
    head = ["backbone", *(c.label for c in ranking.columns), *(a.title for a in AGGREGATES)]
    lines = []
    for row in ranking.rows:
        tied = {label for label in marks if (row.backbone, label) in ties}
        scores = [
            _cell(row, label, style, marks[label], tied=label in tied) + _gap(gaps.get((row.backbone, label)))
            for label in marks
        ]
        lines.append([_name(row, style), *scores, *_totals(row, style)])
    return [[style.escape(title) for title in head], *lines]


Marks = Mapping[str, Callable[[str], str]]


def _name(row: RankingRow, style: Style) -> str:
    return style.escape(row.backbone) + ("" if row.complete else style.escape(INCOMPLETE))


def _totals(row: RankingRow, style: Style) -> list[str]:
    values = [(aggregate, aggregate.value(row)) for aggregate in AGGREGATES]
    return [style.missing if value is None else style.escape(a.show(value)) for a, value in values]


def _cell(row: RankingRow, label: str, style: Style, marks: Marks, *, tied: bool) -> str:
    cell = row.cells.get(label)
    if cell is None:
        return style.missing
    score, half = _shown(cell), cell.half_width
    interval = "" if half is None else style.interval(f"{half:.1f}")
    signs = (style.tie if tied else "") + (style.doubt if cell.badges else "")
    return marks.get(score, str)(score) + signs + interval


def _gap(difference: float | None) -> str:
    return "" if difference is None else f" ({difference:+.1f})"


def _marks(ranking: Ranking, column: RankingColumn, style: Style) -> Marks:
    """How the two best scores of a column are written; scores that print alike are marked alike."""
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
        "run_id": cell.run_id,
        "source": cell.source,
        "seeds": len(cell.seeds),
        "seed_deviation": cell.seed_deviation,
        "badges": list(cell.badges),
    }
    return score if difference is None else {**score, "difference": difference}


def _numbers(cell: RankingCell | None) -> Sequence[float | None]:
    if cell is None:
        return None, None, None
    return (cell.value, None, None) if cell.half_width is None else (cell.value, cell.ci_low, cell.ci_high)


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula; the last four are the wide forms of the others."""


def _no_formula(text: str) -> str:
    plain = printable(text)
    return f"'{plain}" if plain.lstrip().startswith(_FORMULA) else plain


def _escape_markdown(text: str) -> str:
    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{character}" if character in "\\`*_[]|~" else character for character in plain)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "—": "---",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _no_argument(row: str) -> str:
    """`\\\\` takes a star or brackets that follow it, at the beginning of the next row, for its own."""
    return f"{{}}{row}" if row.lstrip().startswith(("*", "[")) else row


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in printable(text))
