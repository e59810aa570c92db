"""`why`: what differs between two results."""

from __future__ import annotations

from collections.abc import Mapping

from ssl_console.cli import output
from ssl_console.cli.session import Session
from ssl_console.cli.show import record_of
from ssl_console.difference import Change, Difference, Group, difference
from ssl_console.errors import ConsoleError
from ssl_console.flips import flips
from ssl_console.plain_text import shorten
from ssl_console.predictions import RunOutputs
from ssl_console.result import ResultRecord

TITLES: Mapping[Group, str] = {
    "made of": "changes the number",
    "run by": "should not change it",
    "came out": "came out",
}
VALUE_COLUMNS = 34


def why(session: Session, first: str, second: str, *, as_json: bool) -> None:
    """Print what differs. Raises ConsoleError for one and the same run."""
    one, other = record_of(session, first), record_of(session, second)
    if one.result.run_id == other.result.run_id:
        raise ConsoleError(f"{one.result.run_id} is one result: name two")
    found = between(session, one, other)
    if as_json:
        output.document(as_document(found))
        return
    head = ("", "part", one.result.run_id, other.result.run_id)
    rows = [_line(change) for change in found.changes]
    if rows:
        output.table(head, rows)
    output.lines([*([""] if rows else []), found.sentence])


def between(session: Session, first: ResultRecord, second: ResultRecord) -> Difference:
    """The difference of two records, with the predictions that lie beside them."""
    files = RunOutputs(session.workspace)
    return difference(first, second, flips(*(files.predictions(one.result.run_id) for one in (first, second))))


def as_document(found: Difference) -> dict[str, object]:
    """As `why --json` prints it."""
    return {
        "first": found.first.result.run_id,
        "second": found.second.result.run_id,
        "difference": found.moved if found.comparable else None,
        "same_measurement": found.same_key,
        "changes": [
            {"group": one.group, "part": one.part, "before": one.before, "after": one.after} for one in found.changes
        ],
        "samples": None if found.flips is None else found.flips.samples,
        "samples_differing": None if found.flips is None else found.flips.differing,
        "sentence": found.sentence,
    }


def _line(change: Change) -> tuple[str, ...]:
    return TITLES[change.group], change.part, _short(change.before), _short(change.after)


def _short(value: object) -> str:
    return "—" if value is None else shorten(f"{value:.6g}" if isinstance(value, float) else str(value), VALUE_COLUMNS)
