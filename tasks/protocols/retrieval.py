"""Image retrieval on labelled test images: images of one class are relevant to one another.

Every test image is a query, and all other test images are ranked by cosine similarity: mean average precision over the
whole ranking; Recall@k, the percentage of queries with an image of their class among the first k (Song et al., CVPR
2016, on CUB, Cars and SOP); MAP@R (Musgrave et al., ECCV 2020). Nothing is trained or chosen. `gallery = "train"` ranks
the training and validation images instead.

The interval is of a jackknife over groups of images, each left out as queries and as gallery at once: queries share
their gallery, so an interval over queries alone would be too narrow. This is a choice of this project.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.catalog.retrieval_parameters import RetrievalParameters
from tasks.evaluation.inputs import BankInputs, StoredSamples
from tasks.metrics.jackknife import GROUPS, group_of, scores_of_jackknife
from tasks.metrics.outcome import Outcome
from tasks.metrics.retrieval import average_precision, first_rank, interval, jackknife_scores, map_at_r, rank_positives
from tasks.reporter import Reporter
from tasks.solvers.nearest_neighbours import similarities

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
SCORES = {"average_precision": average_precision, "map_at_r": map_at_r, "first_rank": first_rank}


def evaluate(inputs: BankInputs, parameters: RetrievalParameters, seed: int, reporter: Reporter) -> Outcome:
    """Rank the gallery for every query; `seed` has no effect."""
    del seed
    among_test = parameters.gallery == "test"
    gallery = inputs.test if among_test else inputs.bank
    reporter.phase("ranking", len(inputs.test), "images")
    arrays = _ranked(inputs, gallery, reporter, among_test=among_test)
    without = int(np.isnan(arrays["average_precision"][:, 0]).sum())
    if without:
        reporter.warn(f"{without} of {len(inputs.test)} test images have no image of their class to find: no queries")
    scores = jackknife_scores(arrays, parameters.recalls)
    return Outcome(
        headline="map",
        metrics=scores_of_jackknife(scores),
        interval=interval(arrays),
        samples={"gallery": len(gallery), "test": len(inputs.test)},
        diagnostics={"queries": len(inputs.test) - without},
        predictions={"index": inputs.test.index, "label": inputs.test.labels, **arrays, **scores},
    )


def _ranked(
    inputs: BankInputs, gallery: StoredSamples, reporter: Reporter, *, among_test: bool
) -> dict[str, npt.NDArray[np.generic]]:
    """Scores of every query [n, 1 + GROUPS]: with the whole gallery, then without each group; NaN for images that are
    not queries.
    """
    groups, own = group_of(len(gallery)), group_of(len(inputs.test))
    members = _members(gallery.labels, len(inputs.classes))
    found = {name: np.full((len(inputs.test), 1 + GROUPS), np.nan, np.float32) for name in SCORES}
    for first, block in similarities(inputs.test.features, gallery.features, inputs.device):
        for row, similarity in enumerate(block, first):
            itself = np.array([row] if among_test else [], np.int64)
            relevant = np.setdiff1d(members[inputs.test.labels[row]], itself)
            ranked = rank_positives(similarity, relevant, itself, groups)
            for name, score in SCORES.items():
                found[name][row] = score(ranked)
                found[name][row, 1 + own[row]] = np.nan
        reporter.advance(len(block))
    return dict(found)


def _members(labels: Indices, classes: int) -> list[Indices]:
    """The rows of every class, in ascending order."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=classes))[:-1]
    return np.split(order, ends)
