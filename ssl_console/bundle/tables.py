"""The tables that follow from records and predictions alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from ssl_console.export import to_csv, to_json, to_markdown
from ssl_console.predictions import Predictions
from ssl_console.rank_intervals import as_document, rank_table
from ssl_console.ranking import Ranking, rank
from ssl_console.result import Result
from ssl_console.statistics.ranks import Missing

RANKS = "tables/ranks.json"


def tables(
    results: Iterable[Result], predictions: Predictions, columns: Sequence[tuple[str, str]] | None
) -> Mapping[str, str]:
    """By member name: the ranking as JSON, CSV and Markdown, and how certain the ranks are."""
    ranking = rank(results, columns)
    found = {
        "tables/ranking.json": to_json(ranking),
        "tables/ranking.csv": to_csv(ranking),
        "tables/ranking.md": to_markdown(ranking),
    }
    ranks = _ranks(ranking, predictions)
    return found if ranks is None else {**found, RANKS: json.dumps(ranks, indent=2) + "\n"}


def _ranks(ranking: Ranking, predictions: Predictions) -> Mapping[str, object] | None:
    """Of the complete rows; where there are none, by the next way of treating what is missing."""
    for missing in get_args(Missing):
        try:
            return as_document(rank_table(ranking, predictions, missing=missing))
        except ValueError:
            continue
    return None
