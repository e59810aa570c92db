"""Where a table differs from the one that its records give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

RANK_STEP = 1.0
SHARE_STEP = 0.03
"""How far a rank's bound, and a share of replicates, may move with another linear algebra library."""
_MOVING = {"low": RANK_STEP, "high": RANK_STEP, "group": RANK_STEP, "first": SHARE_STEP}


def first_difference(kept: str, again: str, *, numbers_may_move: bool) -> str:
    """In words, what is wrong with `kept`, or nothing; JSON by value, everything else by line.

    What `kept` does not say at all is not wrong: an earlier version wrote fewer fields.
    """
    if kept == again:
        return ""
    try:
        before, after = json.loads(kept), json.loads(again)
    except ValueError:
        return _by_line(kept, again)
    return next(_by_value(before, after, "", _MOVING if numbers_may_move else {}), "")


def _by_line(kept: str, again: str) -> str:
    for number, (before, after) in enumerate(zip_longest(kept.splitlines(), again.splitlines()), start=1):
        if before != after:
            return f"line {number} {_where(before or '', after or '')}"
    return "its line ends were changed"


def _where(before: str, after: str) -> str:
    """The first cell that differs, of a line of cells."""
    for sign in ("|", ","):
        cells = list(zip_longest(before.split(sign), after.split(sign), fillvalue="nothing"))
        if len(cells) > 1:
            one, other = next((pair for pair in cells if pair[0] != pair[1]), ("", ""))
            return f"says {one.strip()}, its records give {other.strip()}"
    return f"says {before!r}, its records give {after!r}"


def _by_value(before: Any, after: Any, place: str, moving: dict[str, float]) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            yield from _by_value(before.get(name), after.get(name), f"{place}.{name}" if place else str(name), moving)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _by_value(one, other, f"{place}[{_name(one, number)}]", moving)
    elif not _alike(before, after, moving.get(place.rpartition(".")[2], 0.0)):
        yield f"{place} says {before}, its records give {after}"


def _name(element: object, number: int) -> str:
    return str(element["backbone"]) if isinstance(element, dict) and "backbone" in element else str(number)


def _alike(before: object, after: object, step: float) -> bool:
    if isinstance(before, int | float) and isinstance(after, int | float):
        return abs(before - after) <= step + 1e-9 * abs(before)
    return before == after
