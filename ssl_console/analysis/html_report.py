"""A ranking as one self-contained HTML file without scripts and requests. Pure.

The file's content security policy forbids all requests; images are embedded.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from ssl_console.analysis.badged_results import mark_sentences, marked_scores
from ssl_console.analysis.export import Notes, data_notes_of, footnotes
from ssl_console.analysis.further_scores import ABOUT as ABOUT_OPTIMISM
from ssl_console.analysis.further_scores import ProtocolOptimism
from ssl_console.analysis.ranking import AGGREGATES, CIRCLE, ESTIMATE, Ranking, RankingColumn, RankingRow, judged
from ssl_console.analysis.ranking_cell import RankingCell, size_text
from ssl_console.system.safe_text import json_text, printable
from ssl_console.workspace.badges import LEGEND, marks
from ssl_console.workspace.result import ResultRecord

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8884; vertical-align: top; }
th:first-child, td:first-child, .text td { text-align: left; }
.scroll { overflow-x: auto; }
.best { font-weight: bold; } .second { text-decoration: underline; } .half, .dim { opacity: .7; font-size: .85em; }
svg text { fill: currentColor; font: 12px system-ui, sans-serif; }
svg .bar { stroke: #1f6fb2; stroke-width: 2; } svg circle { fill: #1f6fb2; } svg .axis { stroke: #8888; }
figure { display: inline-block; margin: .5rem; } figure img { max-width: 20rem; image-rendering: pixelated; }
details > summary { cursor: pointer; } code, pre { font-size: .85em; white-space: pre-wrap; overflow-wrap: anywhere; }
"""
NAME_WIDTH, CHART_WIDTH, LINE, VALUE_WIDTH = 230, 420, 22, 130
"""Widths and heights of a chart in pixels: names, scale, line, numbers."""


@dataclass(frozen=True)
class ReportPicture:
    """A PNG of a run."""

    caption: str
    png: bytes


@dataclass(frozen=True)
class ReportFacts:
    """Content of a report besides the ranking."""

    title: str
    made: str
    """Date and version."""
    records: Mapping[str, ResultRecord]
    """By run."""
    notes: Notes
    optimism: Sequence[ProtocolOptimism] = ()
    apart: Sequence[str] = ()
    """Sentences on results in other columns."""
    pictures: Sequence[ReportPicture] = ()
    left_out: int = 0
    """Number of omitted pictures."""


def html_report(ranking: Ranking, facts: ReportFacts) -> str:
    """The complete file."""
    sections = [
        _ranking_section(ranking, facts.notes),
        _section("Scores with 95 % intervals", *(_chart(ranking, column) for column in ranking.columns)),
        _optimism_section(facts.optimism),
        _pictures_section(facts.pictures, facts.left_out),
        _provenance_section(ranking, facts),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{_safe(facts.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{_safe(facts.title)}</h1>\n<p class='dim'>{_safe(facts.made)}</p>\n{body}\n</body>\n</html>\n"
    )


def _safe(text: object) -> str:
    return html.escape(printable(str(text)), quote=True)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table of cells that are HTML."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    classes = f" class='{kind}'" if kind else ""
    return f"<div class='scroll'><table{classes}>\n<tr>{top}</tr>\n{body}\n</table></div>"


def _section(title: str, *parts: str) -> str:
    inside = "\n".join(part for part in parts if part)
    return f"<h2>{_safe(title)}</h2>\n{inside}" if inside else ""


def _paragraphs(texts: Sequence[str]) -> str:
    return "\n".join(f"<p class='dim'>{_safe(text)}</p>" for text in texts)


def _ranking_section(ranking: Ranking, notes: Notes) -> str:
    best = {column.label: _best_two(ranking, column) for column in judged(ranking.columns)}
    head = ["backbone", *(column.label for column in ranking.columns), *(one.title for one in notes.aggregates)]
    rows = [
        [_safe(row.backbone) + ("" if row.complete else "*"), *_scores(row, ranking, best, notes), *_totals(row, notes)]
        for row in ranking.rows
    ]
    signs = [f"{sign} {text}" for sign, text in footnotes(ranking) if sign not in LEGEND]
    signs += mark_sentences(marked_scores(ranking))
    signs += [f"{label}: {text}" for label, text in data_notes_of(ranking).items()]
    legend = "Bold: best of a column; underlined: second; =: not significantly below the best; intervals: 95 %."
    return _section("Ranking", _table([_safe(name) for name in head], rows), _paragraphs([legend, *signs]))


def _scores(row: RankingRow, ranking: Ranking, best: Mapping[str, Sequence[str]], notes: Notes) -> Iterator[str]:
    for column in ranking.columns:
        cell = row.cells.get(column.label)
        if cell is None:
            yield "—"
            continue
        shown = f"{cell.value:.1f}"
        places = best.get(column.label, ())
        kind = "" if shown not in places else ("best" if shown == places[0] else "second")
        tie = "=" if (row.backbone, column.label) in notes.ties else ""
        score = f"<span class='{kind}'>{shown}</span>" if kind else shown
        interval = "" if cell.half_width is None else f"{cell.ci_low:.1f} to {cell.ci_high:.1f}"
        yield f"{score}{tie}{_safe(marks(cell.badges))}<br><span class='half'>{interval}</span>"


def _totals(row: RankingRow, notes: Notes) -> list[str]:
    values = [(one, one.value(row)) for one in AGGREGATES if one.name not in notes.hidden]
    shown = ["—" if value is None else _safe(one.show(value)) for one, value in values]
    names = [one.name for one, _ in values]
    if ESTIMATE in names and row.estimate is not None and row.estimate.half_width is not None:
        low, high = (row.estimate.value + sign * row.estimate.half_width for sign in (-1, 1))
        circle = CIRCLE if row.circle else ""
        shown[names.index(ESTIMATE)] += f"{circle}<br><span class='half'>{low:+.2f} to {high:+.2f}</span>"
    return shown


def _best_two(ranking: Ranking, column: RankingColumn) -> list[str]:
    found = {f"{row.cells[column.label].value:.1f}" for row in ranking.rows if column.label in row.cells}
    return sorted(found, key=float, reverse=column.higher_is_better)[:2]


def _chart(ranking: Ranking, column: RankingColumn) -> str:
    """Every backbone's score and interval, best first, as inline SVG."""
    cells = [(row.backbone, row.cells[column.label]) for row in ranking.rows if column.label in row.cells]
    if not cells:
        return ""
    cells.sort(key=lambda pair: pair[1].value, reverse=column.higher_is_better)
    low = min(min(cell.ci_low, cell.value) for _, cell in cells)
    high = max(max(cell.ci_high, cell.value) for _, cell in cells)
    scale = CHART_WIDTH / ((high - low) or 1.0)

    def across(value: float) -> float:
        return NAME_WIDTH + (value - low) * scale

    bottom = LINE * (len(cells) + 1)
    height = bottom + LINE
    ends = [(low, "start"), (high, "end")]
    axis = f"<line class='axis' x1='{NAME_WIDTH}' x2='{NAME_WIDTH + CHART_WIDTH}' y1='{bottom}' y2='{bottom}'/>"
    axis += "".join(
        f"<text x='{across(value):.1f}' y='{bottom + 15}' text-anchor='{anchor}'>{value:.1f}</text>"
        for value, anchor in ends
    )
    lines = [_chart_line(name, cell, across, LINE * (place + 1)) for place, (name, cell) in enumerate(cells)]
    width = NAME_WIDTH + CHART_WIDTH + VALUE_WIDTH
    label = f"{column.label}, {column.metric or 'score'}, {size_text(cells[0][1].n, cells[0][1].unit)}"
    return (
        f"<h3>{_safe(label)}</h3>\n<svg width='{width}' height='{height}' role='img' aria-label='{_safe(label)}'>"
        f"{''.join(lines)}{axis}</svg>"
    )


def _chart_line(name: str, cell: RankingCell, across: Callable[[float], float], y: float) -> str:
    """A name, the interval, the score and its number; `across` maps a score to a horizontal position."""
    low, middle, high = (across(value) for value in (cell.ci_low, cell.value, cell.ci_high))
    value = f"{cell.value:.1f}{marks(cell.badges)}"
    return (
        f"<text x='0' y='{y + 4}'>{_safe(name)}</text>"
        f"<line class='bar' x1='{low:.1f}' x2='{high:.1f}' y1='{y}' y2='{y}'/>"
        f"<circle cx='{middle:.1f}' cy='{y}' r='3.5'/>"
        f"<text x='{NAME_WIDTH + CHART_WIDTH + 12}' y='{y + 4}'>{_safe(value)}</text>"
    )


def _optimism_section(protocols: Sequence[ProtocolOptimism]) -> str:
    rows = [
        [
            _safe(one.protocol),
            str(one.results),
            f"{one.median:+.2f}",
            f"{one.largest:+.2f}",
            f"{one.other_leader} of {one.columns}" if one.columns else "—",
        ]
        for one in protocols
    ]
    head = ["protocol", "results", "median", "largest", "other leader"]
    return _section("Optimism", _table(head, rows), _paragraphs([ABOUT_OPTIMISM])) if rows else ""


def _pictures_section(pictures: Sequence[ReportPicture], left_out: int) -> str:
    figures = [
        f"<figure><img alt='{_safe(one.caption)}' src='data:image/png;base64,{base64.b64encode(one.png).decode()}'>"
        f"<figcaption class='dim'>{_safe(one.caption)}</figcaption></figure>"
        for one in pictures
    ]
    more = _paragraphs([f"{left_out} more pictures are in the run folders."]) if left_out else ""
    return _section("Pictures", *figures, more)


def _provenance_section(ranking: Ranking, facts: ReportFacts) -> str:
    """The origin of every score."""
    parts = []
    for row in ranking.rows:
        for label, cell in row.cells.items():
            record = facts.records.get(cell.run_id)
            if record is not None:
                parts.append(_provenance(row.backbone, label, record))
    return _section("Provenance", *parts, _paragraphs(facts.apart))


def _provenance(backbone: str, label: str, record: ResultRecord) -> str:
    result = record.result
    facts: dict[str, JsonValue] = {
        "run": result.run_id,
        "key": result.key,
        "score": f"{result.value:.4f} [{result.ci_low:.4f}, {result.ci_high:.4f}] {record.interval_method}",
        "seed": result.seed,
        "images": dict(record.samples),
        "selected": record.hyperparameters,
        "parameters": record.parameters,
        "identity": record.identity,
        "versions": dict(record.versions),
        "code": record.code.digest if record.code else None,
        "device": result.device,
        "origin": result.origin or None,
        "doubts": [f"{badge.name}: {badge.advice}" for badge in record.badges],
        "warnings": list(record.warnings),
        "reproduce": f"ssl-console reproduce {result.run_id}",
    }
    stated = {name: value for name, value in facts.items() if value not in (None, [], {})}
    texts = {name: value if isinstance(value, str) else json_text(value) for name, value in stated.items()}
    table = _table(("", ""), [[_safe(name), f"<code>{_safe(text)}</code>"] for name, text in texts.items()], "text")
    return f"<details><summary>{_safe(backbone)} on {_safe(label)}</summary>\n{table}\n</details>"
