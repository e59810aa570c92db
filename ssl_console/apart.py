"""Why results of one task stand in different columns, or not in the table at all. Pure; needs no numpy.

A column is a comparability key: protocol, version, parameters and the data's digest. Other keys are never compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ssl_console.planning import COMPARED, Identities, what_changed
from ssl_console.ranking import Ranking
from ssl_console.result import Result


def kept_apart(results: Iterable[Result], ranking: Ranking, identities: Identities) -> list[str]:
    """One sentence for every further column that a task of the table has, in it or not."""
    columns: dict[tuple[str, str], dict[str, Result]] = defaultdict(dict)
    for result in sorted(results, key=lambda one: one.finished):
        if result.source == "mine":
            columns[result.task, result.metric][result.column] = result
    shown = {column.key for column in ranking.columns}
    sentences = []
    for (task, _), by_key in columns.items():
        if len(by_key) > 1 and shown & set(by_key):
            newest, *others = sorted(by_key.values(), key=lambda one: (one.column in shown, one.finished), reverse=True)
            sentences += [f"{task}: {_sentence(one, newest, identities, shown)}" for one in others]
    return sentences


def _sentence(other: Result, newest: Result, identities: Identities, shown: set[str | None]) -> str:
    before, after = identities(other.run_id), identities(newest.run_id)
    where = "stands in a column of its own" if other.column in shown else "is not in this table"
    start = f"{other.run_id} [{other.variant}] {where}"
    if before is None or after is None:
        return f"{start}; why is not known, as a run's record is missing"
    parts = ({name: one[name] for name in COMPARED if name in one} for one in (before, after))
    return f"{start}: from it to {newest.run_id} [{newest.variant}], {what_changed(*parts) or 'something changed'}"
