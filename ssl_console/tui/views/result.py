"""Details of one result and its differences from another, as lines and a chart. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from ssl_console.analysis.badged_results import BadgeSources, BaselineComparison, distances
from ssl_console.analysis.ranking_cell import record_text, seed_spread, seeds_text
from ssl_console.analysis.statistics.paired_from_predictions import of_record
from ssl_console.planning.duration import format_duration
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, fit, line, wrap
from ssl_console.tui.widgets.plot import Chart, Series
from ssl_console.workspace.badges import Badge, marks
from ssl_console.workspace.result import Result, ResultRecord

if TYPE_CHECKING:
    from ssl_console.analysis.result_diff import Change, FieldDifference, Group

LABEL = 32
HELPED = "images_encoded_by_helpers"
NO_SOURCES = BadgeSources()
NAME_WIDTH = 16
"""Minimum width of a class name."""
BESIDE_NAME = 18
"""Width of the figures of a class."""
TITLES: dict[Group, str] = {
    "made of": "Parts of the key, which affect the score",
    "run by": "Code, packages and machine, which should not affect it",
    "came out": "Selected hyperparameters, and the scores",
}
LONGEST = 60


def result_lines(
    result: Result,
    record: ResultRecord | None,
    results: Sequence[Result],
    command: str,
    width: int,
    per_class: Sequence[tuple[str, float, int]] = (),
    sources: BadgeSources = NO_SOURCES,
) -> list[Line]:
    """The whole record, the most important parts first. `sources` are the facts about backbones from which badges
    follow.
    """
    distance = distances([*results, result], sources.twins).get(result.run_id)
    lines = [*_head(result, record, results), *_doubts(sources.explained(result, record, results), width)]
    lines += _section("Uncertainty", _tree(_intervals(result, record, results, distance), width))
    lines += _section("Reproduce", [line(Span(f"   {text}", Tone.ACCENT)) for text in wrap(command, width - 4)])
    if record is None:
        return [*lines, (), line(Span(" The run folder is missing: only the database row remains.", Tone.WARN))]
    for title, body in _sections(record, per_class, width):
        lines += _section(title, body)
    return lines


def _sections(
    record: ResultRecord, per_class: Sequence[tuple[str, float, int]], width: int
) -> tuple[tuple[str, list[Line]], ...]:
    """Titles and contents of everything that only the run folder has; without diagnostics shown as a chart."""
    diagnostics = {
        name: value
        for name, value in record.diagnostics.items()
        if not (isinstance(value, dict) and reliability_diagram({name: value}))
    }
    return (
        ("Warnings", [line(Span(f"   {t}", Tone.WARN)) for w in record.warnings for t in wrap(w, width - 4)]),
        ("All scores", _pairs({name: f"{value:.3f}" for name, value in record.metrics.items()})),
        ("Accuracy by class, worst first (%)", per_class_lines(per_class, width)),
        ("Images", _pairs({name: f"{count:,}" for name, count in record.samples.items()})),
        ("Selected on validation data", _tree(record.hyperparameters, width)),
        ("Parameters", _tree(record.parameters, width)),
        ("Diagnostics", _tree(diagnostics, width)),
        ("Identity (the key is its digest)", _tree(record.identity, width)),
        ("Computed by", _tree(_computed_by(record), width)),
        ("Versions", _pairs(record.versions)),
    )


def _head(result: Result, record: ResultRecord | None, results: Sequence[Result]) -> list[Line]:
    place, of = place_among(result, results)
    score = f"{result.value:.2f}"
    rests_on = f"{record_text(result, record)}, {seeds_text(result.protocol_name, [result.seed])}"
    return [
        line(Span(f" {result.backbone}", Tone.STRONG), Span(" on ", Tone.DIM), Span(result.task, Tone.STRONG)),
        line(
            Span(f" {score}", Tone.TITLE),
            f"  [{result.ci_low:.2f}, {result.ci_high:.2f}]",
            Span(f"  {result.metric}, {rests_on}, {result.variant}", Tone.DIM),
        ),
        line(Span(f" rank {place} of {of} on this task", Tone.DIM)),
        line(),
        *_pairs(
            {
                "run": result.run_id,
                "finished": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(result.finished)),
                "took": format_duration(result.duration_s),
                "device": _devices(result, record),
                **({"origin": result.origin} if result.origin else {}),
                "images/s": "—" if result.images_per_s is None else f"{result.images_per_s:,.0f}",
                "peak memory": "—" if result.memory_mb is None else f"{result.memory_mb / 1024:.2f} GB",
            }
        ),
    ]


def _devices(result: Result, record: ResultRecord | None) -> str:
    """The run's own device, and the number of images that helpers on other devices encoded."""
    helped = record.diagnostics.get(HELPED) if record is not None else None
    return f"{result.device or '—'}{f', helpers encoded {helped:,} images' if isinstance(helped, int) else ''}"


def _doubts(badges: Sequence[Badge], width: int) -> list[Line]:
    texts = [
        text for badge in badges for text in wrap(f"{marks([badge.name])} {badge.name}: {badge.advice}", width - 4)
    ]
    return _section("Why the score is marked", [line(Span(f"   {text}", Tone.WARN)) for text in texts])


def _intervals(
    result: Result, record: ResultRecord | None, results: Sequence[Result], distance: BaselineComparison | None
) -> dict[str, str]:
    """Intervals over test samples, over the images of few-shot episodes, over seeds, and the difference from the
    untrained twin.
    """
    intervals = {"test samples": f"{result.ci_low:.2f} to {result.ci_high:.2f}"}
    if method := result.interval_method or (record.interval_method if record else ""):
        intervals["test samples"] += f"  ({method})"
    episodes = of_record(record) if record else None
    if episodes is not None:
        title, text = episodes.other_interval
        intervals[title] = text
    spread = seed_spread(result, results)
    if spread is not None:
        intervals["seeds"] = f"{spread.mean:.2f}, deviation {spread.deviation:.2f}  ({len(spread.values)} seeds)"
    if distance is not None:
        intervals["untrained twin"] = (
            f"{distance.margin:+.2f} ({distance.low:+.2f} to {distance.high:+.2f}) relative to {distance.twin}"
        )
    return intervals


def _computed_by(record: ResultRecord) -> dict[str, str]:
    """Code and machine."""
    facts = {} if record.code is None else {"source files": record.code.digest[:16]}
    if record.code is not None and record.code.commit is not None:
        facts["commit"] = f"{record.code.commit[:16]}{', with changes' if record.code.dirty else ''}"
    if record.energy_j is not None:
        facts["energy"] = f"{record.energy_j:,.0f} J, of the whole device"
    return {**facts, **record.machine, **({"host": record.host} if record.host else {})}


def place_among(result: Result, results: Sequence[Result]) -> tuple[int, int]:
    """Rank of a result among the best of every backbone in its column, and their number."""
    sign = 1 if result.higher_is_better else -1
    best: dict[str, float] = {}
    for other in results:
        if other.column == result.column:
            best[other.backbone] = max(best.get(other.backbone, float("-inf")), sign * other.value)
    better = sum(value > sign * result.value for name, value in best.items() if name != result.backbone)
    return better + 1, max(1, len(best))


def result_chart(result: Result, record: ResultRecord | None, results: Sequence[Result]) -> Chart:
    """The reliability diagram, if the protocol recorded one; otherwise the scores in the column."""
    diagram = reliability_diagram(record.diagnostics) if record else None
    if diagram is None:
        return score_chart(result, results)
    bins = [(c, a) for c, a in zip(*diagram, strict=True) if c is not None and a is not None]
    error = next((value for name, value in record.metrics.items() if name.startswith("ece")), None) if record else None
    ideal = Series("calibrated", ((0.0, 0.0), (1.0, 1.0)), "ghost")
    note = "" if error is None else f"ECE {error:.2f} %"
    return Chart(
        (ideal, Series("measured", tuple(bins)), Series("", tuple(bins), "points")),
        "confidence",
        "accuracy",
        note=note,
    )


def score_chart(result: Result, results: Sequence[Result]) -> Chart:
    """Every backbone's best score in the column, best first, with this result marked."""
    better = max if result.higher_is_better else min
    best: dict[str, float] = {result.backbone: result.value}
    for other in results:
        if other.column == result.column and other.backbone != result.backbone:
            best[other.backbone] = better(best.get(other.backbone, other.value), other.value)
    order = sorted(best.items(), key=lambda pair: pair[1], reverse=result.higher_is_better)
    points = {name: (float(place), value) for place, (name, value) in enumerate(order, start=1)}
    own = points.pop(result.backbone)
    name = result.backbone.rpartition("/")[2]
    others = (Series("others on this task", tuple(points.values()), "crowd"),) if points else ()
    return Chart((*others, Series(name, (own,), "points", 0, (name,))), "place", result.metric)


Shares = list[float | None]


def reliability_diagram(diagnostics: Mapping[str, JsonValue]) -> tuple[Shares, Shares] | None:
    """The first table with `confidence` and `accuracy` per bin, at any depth."""
    for value in diagnostics.values():
        if isinstance(value, dict):
            confidence, accuracy = value.get("confidence"), value.get("accuracy")
            if isinstance(confidence, list) and isinstance(accuracy, list) and len(confidence) == len(accuracy):
                return _numbers(confidence), _numbers(accuracy)
            if (diagram := reliability_diagram(value)) is not None:
                return diagram
    return None


def per_class_lines(scores: Sequence[tuple[str, float, int]], width: int) -> list[Line]:
    """Recall by class, worst first, in as many columns as fit."""
    ordered = sorted(scores, key=lambda score: (score[1], score[0]))
    longest = max((len(name) for name, _, _ in ordered), default=0)
    name_width = max(NAME_WIDTH, min(longest, width - BESIDE_NAME - 2))
    columns = max(1, (width - 2) // (name_width + BESIDE_NAME))
    per_column = max(1, -(-len(ordered) // columns))
    cells = [f" {fit(name, name_width)} {recall:>6.1f} of {count:<6}" for name, recall, count in ordered]
    rows = [cells[start::per_column] for start in range(per_column)] if cells else []
    return [line("  ", *row) for row in rows]


def _section(title: str, body: Sequence[Line]) -> list[Line]:
    return [line(), line(Span(f" {title}", Tone.TITLE)), *body] if body else []


def _pairs(pairs: Mapping[str, str]) -> list[Line]:
    return [line(Span(f"   {fit(name, LABEL)}", Tone.DIM), value) for name, value in pairs.items()]


def _tree(values: Mapping[str, JsonValue], width: int) -> list[Line]:
    lines: list[Line] = []
    for name, value in _flat(values):
        first, *rest = wrap(value, max(20, width - LABEL - 5)) or [""]
        lines.append(line(Span(f"   {fit(name, LABEL)}", Tone.DIM), first))
        lines += [line(" " * (LABEL + 3) + text) for text in rest]
    return lines


def _flat(values: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", ", ".join(map(_scalar, value[:24])) + (" ..." if len(value) > 24 else "")
        else:
            yield f"{prefix}{name}", _scalar(value)


def _scalar(value: JsonValue) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "—"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _numbers(values: Sequence[JsonValue]) -> Shares:
    return [float(value) if isinstance(value, int | float) else None for value in values]


def difference_lines(found: FieldDifference, width: int, glyphs: Glyphs) -> list[Line]:
    """The summary, then all differences in three groups."""
    first, second = found.first.result, found.second.result
    lines = [line(Span(f" {text}", Tone.STRONG)) for text in wrap(found.sentence, width - 2)]
    lines += [(), line(Span(f" {about(first)}", Tone.DIM)), line(Span(f" {about(second)}", Tone.DIM))]
    for group, title in TITLES.items():
        changes = found.of(group)
        if changes:
            lines += [(), line(Span(f" {title}", Tone.TITLE))]
            lines += [shown for change in changes for shown in _change(change, width, glyphs)]
    return lines


def _change(change: Change, width: int, glyphs: Glyphs) -> list[Line]:
    before, after = (_short(value, glyphs) for value in (change.first, change.second))
    texts = wrap(f"{before} {glyphs.right} {after}", max(20, width - 32))
    head = fit(change.name, 28, ellipsis=glyphs.ellipsis)
    return [line(Span(f"  {head if not number else ' ' * 28} ", Tone.DIM), text) for number, text in enumerate(texts)]


def _short(value: object, glyphs: Glyphs) -> str:
    text = glyphs.none if value is None else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + glyphs.ellipsis


def about(result: Result) -> str:
    """A result in one line."""
    task = f"{result.task} [{result.variant}], seed {result.seed}"
    return f"{result.run_id}  {result.backbone} on {task}: {result.value:.2f}"


def candidates(result: Result, results: tuple[Result, ...]) -> list[Result]:
    """Results to compare with: those of the same backbone and task first, then of the same task, newest first."""
    others = [
        one for one in results if one.run_id != result.run_id and one.task == result.task and one.source == "mine"
    ]
    return sorted(others, key=lambda one: (one.backbone != result.backbone, -one.finished))
