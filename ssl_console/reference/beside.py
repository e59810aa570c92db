"""Published numbers next to own ones: rows of their own in the own columns of the same task and metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ssl_console.ranking import Ranking
from ssl_console.reference.tables import VARIANT
from ssl_console.result import Result

PUBLISHED = " †"
"""Behind a backbone's name in a row of published numbers that stands among rows measured here."""

Place = tuple[str, str]
"""Variant and comparability key of a column."""


def beside(
    own: Sequence[Result],
    numbers: Iterable[Result],
    wanted: Sequence[tuple[str, str]] | None = None,
    *,
    all_tasks: bool = False,
) -> list[Result]:
    """`own`, and the published `numbers` moved into the own columns of their task and metric, under a marked name.

    A task measured here in several variants has its published numbers in those among `wanted` (task, variant), else in
    the variant `paper`, else in all. A task that was not measured here is left out, unless `wanted` or `all_tasks`.
    """
    columns = _columns(own)
    asked: dict[str, list[str]] = {}
    for task, variant in wanted or ():
        asked.setdefault(task, []).append(variant)
    moved = []
    for number in numbers:
        variants = asked.get(number.task, [])
        places = _places(columns.get((number.task, number.metric), []), variants)
        if not places and (variants or all_tasks):
            places = [(variant, number.column) for variant in variants or [number.variant]]
        moved += [_moved(number, place) for place in places]
    return [*own, *moved]


def unmarked(backbone: str) -> str:
    """The backbone's own name."""
    return backbone.removesuffix(PUBLISHED)


def differences(ranking: Ranking) -> Mapping[tuple[str, str], float]:
    """By row and column label: own score minus the published one, where the ranking holds both."""
    rows = {row.backbone: row for row in ranking.rows}
    found = {}
    for name, row in rows.items():
        twin = rows.get(name + PUBLISHED)
        for label, cell in row.cells.items():
            if twin is not None and label in twin.cells:
                found[name, label] = cell.value - twin.cells[label].value
    return found


def _columns(own: Iterable[Result]) -> dict[tuple[str, str], list[Place]]:
    found: dict[tuple[str, str], dict[Place, None]] = {}
    for result in own:
        found.setdefault((result.task, result.metric), {})[result.variant, result.column] = None
    return {name: list(places) for name, places in found.items()}


def _places(places: Sequence[Place], variants: Sequence[str]) -> list[Place]:
    asked = [place for place in places if place[0] in variants]
    faithful = [place for place in places if place[0] == VARIANT]
    return asked or faithful or ([] if variants else list(places))


def _moved(number: Result, place: Place) -> Result:
    variant, column = place
    changed = {"backbone": f"{number.backbone}{PUBLISHED}", "variant": variant, "column": column}
    return number.model_copy(update=changed)
