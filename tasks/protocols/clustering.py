"""Clustering: k-means on test images' features, compared with their classes by NMI and ARI.

As many clusters as classes, on vectors of length 1, the least inertia of ten k-means++ starts; normalised mutual
information with the arithmetic mean of the entropies, and the adjusted Rand index (Hubert and Arabie, 1985). Labels
take no part in the clustering.

The interval is of a jackknife over groups of images, for each of which Lloyd's iterations continue from the final
centres without the group: this choice of the project includes the dependence of the clustering on its images, but not
on its initialisation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.catalog.retrieval_parameters import ClusteringParameters
from tasks.datasets.dataset import DataError
from tasks.evaluation.inputs import BankInputs
from tasks.metrics.jackknife import GROUPS, group_of, scores_of_jackknife
from tasks.metrics.outcome import Outcome
from tasks.metrics.retrieval import clustering_interval, clustering_jackknife
from tasks.reporter import Reporter
from tasks.solvers.kmeans import best_of, lloyd
from tasks.training.loop import generator_of


def evaluate(inputs: BankInputs, parameters: ClusteringParameters, seed: int, reporter: Reporter) -> Outcome:
    """Cluster the test images; the seed draws the starts. Raises DataError for fewer images than classes."""
    rows, labels = inputs.test.features, inputs.test.labels
    present = len(np.unique(labels))
    if present < len(inputs.classes):
        reporter.warn(f"only {present} of {len(inputs.classes)} classes have test images: as many clusters")
    if present == len(labels):
        raise DataError(f"{len(labels)} test images of as many classes cannot be clustered: add images")
    reporter.phase("k-means", 1 + GROUPS, "clusterings")
    found = best_of(rows, present, parameters.restarts, lambda number: generator_of(seed, 5, number), inputs.device)
    if not found.converged:
        reporter.warn("k-means did not converge")
    reporter.advance()
    columns, groups = [found.labels], group_of(len(labels))
    for number in range(GROUPS):
        columns.append(lloyd(rows, found.centres, groups == number).labels)
        reporter.advance()
    clusters = np.stack(columns, axis=1).astype(np.int32)
    arrays: dict[str, npt.NDArray[np.generic]] = {"index": inputs.test.index, "label": labels, "cluster": clusters}
    scores = clustering_jackknife(clusters, labels)
    return Outcome(
        headline="nmi",
        metrics=scores_of_jackknife(scores),
        interval=clustering_interval(arrays, "nmi"),
        samples={"test": len(labels)},
        diagnostics={"clusters": present, "inertia": found.inertia},
        predictions={**arrays, **scores},
    )
