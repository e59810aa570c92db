"""Which scores of a column cannot be told from its best. Pure; needs numpy."""

from __future__ import annotations

import numpy as np

from ssl_console.export import Ties
from ssl_console.predictions import Predictions
from ssl_console.rank_intervals import column_spread
from ssl_console.ranking import NORMAL_95, Ranking, judged


def ties_with_best(ranking: Ranking, predictions: Predictions) -> Ties:
    """(backbone, column label) of every score that is tied with the best of its column, and of that best.

    Two scores are tied when the 95 % interval of their difference holds 0: on the same samples where both runs left
    predictions, else by their own intervals. Each pair is asked by itself, without correction for asking often.
    """
    found: set[tuple[str, str]] = set()
    for column in judged(ranking.columns):
        spread, _ = column_spread(column, ranking, predictions)
        values = np.asarray(spread.values, dtype=np.float64)
        if np.isnan(values).all():
            continue
        best = int(np.nanargmax(values))
        error = np.sqrt(np.sum((spread.factor - spread.factor[best]) ** 2, axis=1))
        tied = np.flatnonzero(values[best] - values <= NORMAL_95 * error)
        if len(tied) > 1:
            found |= {(ranking.rows[place].backbone, column.label) for place in tied.tolist()}
    return frozenset(found)
