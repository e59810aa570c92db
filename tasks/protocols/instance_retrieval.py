"""Instance retrieval on rOxford5k and rParis6k (Radenović et al., CVPR 2018), by the rule of their evaluation code.

Queries are cropped to their boxes; the database is ranked by cosine similarity; images that the setup ignores are
removed from the ranking; average precision by trapezoids. Easy: easy images are relevant, hard and junk ones ignored;
medium: easy and hard ones are relevant; hard: hard ones are relevant, easy and junk ones ignored. Queries without
relevant images are omitted.

Choices of this project: one scale, the longer side resized to the backbone's input and padded with its mean colour.
DINO's script does not crop queries; DINOv2 and DINOv3 publish no image size, and their scores refer to larger images.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from tasks.catalog.retrieval_parameters import InstanceRetrievalParameters
from tasks.datasets.dataset import Relevance
from tasks.evaluation.inputs import BankInputs
from tasks.metrics.outcome import Outcome
from tasks.metrics.retrieval import (
    SETUPS,
    buildings,
    instance_interval,
    instance_jackknife,
    instance_scores,
    of_setup,
    query_scores,
    rank_positives,
)
from tasks.reporter import Reporter
from tasks.solvers.nearest_neighbours import similarities


def evaluate(inputs: BankInputs, parameters: InstanceRetrievalParameters, seed: int, reporter: Reporter) -> Outcome:
    """Rank the database for every query; seed and parameters have no effect."""
    del parameters, seed
    given = inputs.test_targets["relevance"]
    relevance = [cast("Relevance", given[query]) for query in range(len(given))]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "index": inputs.test.index,
        "building": buildings(relevance),
        **_scored(inputs, relevance, reporter),
    }
    found = instance_scores(arrays)
    empty = int(np.isnan(arrays["average_precision_hard"].astype(np.float64)).sum())
    return Outcome(
        headline="map-medium",
        metrics=found,
        interval=instance_interval(arrays, "map-medium"),
        samples={"gallery": len(inputs.bank), "test": len(inputs.test)},
        diagnostics={"buildings": int(arrays["building"].astype(np.int64).max()) + 1, "queries_without_hard": empty},
        predictions={**arrays, **instance_jackknife(arrays)},
    )


def _scored(inputs: BankInputs, relevance: list[Relevance], reporter: Reporter) -> dict[str, npt.NDArray[np.generic]]:
    """Average precision and precision at 10 of every query [n], by setup."""
    reporter.phase("ranking", len(relevance), "queries")
    groups = np.zeros(len(inputs.bank), np.int64)
    names = [f"{name}_{setup}" for setup in SETUPS for name in ("average_precision", "precision_at_10")]
    rows: list[list[float]] = []
    for first, block in similarities(inputs.test.features, inputs.bank.features, inputs.device):
        for query, similarity in enumerate(block, first):
            setups = (of_setup(relevance[query], setup) for setup in SETUPS)
            ranked = (rank_positives(similarity, right, ignored, groups) for right, ignored in setups)
            rows.append([score for one in ranked for score in query_scores(one)])
        reporter.advance(len(block))
    return dict(zip(names, np.array(rows).T, strict=True))
