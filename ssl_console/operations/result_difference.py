"""The difference of two results: their records, and their predictions where both are there."""

from __future__ import annotations

from ssl_console.analysis.result_diff import FieldDifference, difference, flips
from ssl_console.operations.session import Session
from ssl_console.workspace.result import ResultRecord


def record_difference(session: Session, first: ResultRecord, second: ResultRecord) -> FieldDifference:
    """The difference of two records and of their predictions."""
    predictions = session.outputs.predictions
    return difference(first, second, flips(*(predictions(one.result.run_id) for one in (first, second))))
