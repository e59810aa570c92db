"""Reasons why results of one task are in different columns or outside of the table. Pure; needs no numpy.

A column is a comparability key: protocol with version and parameters (the preprocessing is one of them), the data's
digest, what is measured, and precision. Results of other keys are never compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ssl_console.analysis.ranking import Ranking
from ssl_console.workspace.result import COMPARED, Identities, PartDifference, Result, differences
from tasks.features.manifest import Part

DIGEST_DIGITS = 8
NAMES = {
    "data.manifest": "the data's digest",
    "data.metric": "the metric",
    "task.protocol": "the protocol",
    "task.version": "the protocol's version",
}


@dataclass(frozen=True)
class IncomparableResult:
    """A further column of the same task."""

    task: str
    here: Result
    """The newest result of the further column."""
    there: Result
    """The newest result of the column to which it is compared."""
    shown: bool
    """Whether the further column is in the table as well."""
    parts: tuple[PartDifference, ...] | None
    """Differences; None if unknown because a record is missing."""

    @property
    def sentence(self) -> str:
        """Description of all differences."""
        where = "has a column of its own" if self.shown else "is not in this table"
        start = f"{self.task}: {_named(self.here)} {where}, separate from {_named(self.there)}"
        if self.parts is None:
            return f"{start}; the reason is unknown, as a run's record is missing"
        return f"{start}: {', '.join(map(_described, self.parts)) or 'an unnamed part differs'}"


def kept_apart(results: Iterable[Result], ranking: Ranking, identities: Identities) -> list[IncomparableResult]:
    """Further columns of all tasks in the table, whether shown or not."""
    columns: dict[tuple[str, str], dict[str, Result]] = defaultdict(dict)
    for result in sorted(results, key=lambda one: one.finished):
        if result.source == "mine":
            columns[result.task, result.metric][result.column] = result
    shown = {column.key for column in ranking.columns}
    found = []
    for by_key in columns.values():
        if len(by_key) > 1 and shown & set(by_key):
            newest, *others = sorted(by_key.values(), key=lambda one: (one.column in shown, one.finished), reverse=True)
            found += [_apart(one, newest, identities, shown=one.column in shown) for one in others]
    return found


def count_apart(results: Iterable[Result], ranking: Ranking) -> int:
    """Number of further columns, without reading records."""
    return len(kept_apart(results, ranking, lambda _run_id: None))


def apart_document(found: Iterable[IncomparableResult]) -> list[dict[str, object]]:
    """Further columns for `--json`."""
    return [
        {
            "task": one.task,
            "run_id": one.here.run_id,
            "column": one.here.column,
            "variant": one.here.variant,
            "in_table": one.shown,
            "apart_from": one.there.run_id,
            "differs": None
            if one.parts is None
            else [{"part": part.name, "here": part.first, "there": part.second} for part in one.parts],
            "sentence": one.sentence,
        }
        for one in found
    ]


def _apart(here: Result, there: Result, identities: Identities, *, shown: bool) -> IncomparableResult:
    one, other = identities(here.run_id), identities(there.run_id)
    parts = None if one is None or other is None else differences(one, other, COMPARED)
    return IncomparableResult(here.task, here, there, shown, parts)


def _described(part: PartDifference) -> str:
    """`the protocol's version is 1 against 2`."""
    name = NAMES.get(part.name, part.name.removeprefix("task.parameters."))
    return f"{name} is {_shown(part.first)} against {_shown(part.second)}"


def _named(result: Result) -> str:
    return f"{result.run_id} [{result.variant}]"


def _shown(value: Part) -> str:
    """The value, with digests shortened to their first digits."""
    if isinstance(value, str) and len(value) == 64:
        return value[:DIGEST_DIGITS]
    return "absent" if value is None else str(value)
