"""Classifiers on features that select their strength on validation images, at a fraction of a second each.

Every one is fitted on training images for each candidate, selected by the score on validation images (of equal ones
the first, which is the most regular), and fitted again on training and validation images together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tasks.solvers.logistic import Settings, StrengthGrid, fit_selected
from tasks.solvers.nearest_neighbours import nearest, votes_of
from tasks.solvers.ridge import Ridge

Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Scorer = Callable[[Labels, Labels], float]
"""Score of predicted classes [n] against labels [n]; larger is better."""

NEIGHBOURS = (20, 10, 5, 1)
TEMPERATURE = 0.07
METRICS = ("euclidean", "cosine")
PENALTIES = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4)
"""Per training row and standardised feature, as in `Ridge`."""
STRENGTHS = (1e-3, 1e-2, 0.1, 1.0, 10.0)
"""C of logistic regression on features of unit mean square; a coarse grid."""
TOLERANCE = 1e-2
"""Maximum distance of a logistic fit to its optimum, relative to the objective."""


@dataclass(frozen=True)
class LabelledRows:
    """Features [n, d] and labels [n] of the images in one role."""

    features: Rows
    labels: Labels

    def __add__(self, other: LabelledRows) -> LabelledRows:
        features = np.concatenate([self.features, other.features])
        return LabelledRows(features, np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True)
class Roles:
    """The roles of one protocol."""

    train: LabelledRows
    val: LabelledRows
    test: Rows
    classes: int


def by_neighbours(roles: Roles, scorer: Scorer) -> Labels:
    """Cosine nearest neighbours with DINO's votes; k is selected."""

    def predictions(bank: LabelledRows, queries: Rows, counts: Sequence[int]) -> list[Labels]:
        found = nearest(queries, bank.features, max(counts))
        known = torch.from_numpy(bank.labels)
        votes = votes_of(found, known, counts, classes=roles.classes, temperature=TEMPERATURE)
        return [one.argmax(axis=1).astype(np.int64) for one in votes]

    validated = predictions(roles.train, roles.val.features, NEIGHBOURS)
    best = _best(validated, roles.val.labels, scorer)
    return predictions(roles.train + roles.val, roles.test, (NEIGHBOURS[best],))[0]


def by_centroids(roles: Roles, scorer: Scorer) -> Labels:
    """The class with the nearest mean; the metric is selected."""

    def predictions(train: LabelledRows, queries: Rows, metric: str) -> Labels:
        bank, asked = (_unit(rows) if metric == "cosine" else rows for rows in (train.features, queries))
        chosen = np.eye(roles.classes, dtype=np.float32)[train.labels]
        counts = chosen.sum(axis=0)
        means = chosen.T @ bank / np.maximum(counts, 1)[:, None]
        distance = (means**2).sum(axis=1) - 2 * asked @ means.T
        distance[:, counts == 0] = np.inf
        return np.asarray(distance.argmin(axis=1), dtype=np.int64)

    validated = [predictions(roles.train, roles.val.features, metric) for metric in METRICS]
    best = _best(validated, roles.val.labels, scorer)
    return predictions(roles.train + roles.val, roles.test, METRICS[best])


def by_ridge(roles: Roles, scorer: Scorer) -> Labels:
    """Ridge regression to the classes on standardised features; the penalty is selected."""

    def fitted(train: LabelledRows) -> Ridge:
        return Ridge.of(train.features, np.eye(roles.classes)[train.labels])

    search = fitted(roles.train)
    validated = [_classes(search.predict(roles.val.features, penalty)) for penalty in PENALTIES]
    best = _best(validated, roles.val.labels, scorer)
    return _classes(fitted(roles.train + roles.val).predict(roles.test, PENALTIES[best]))


def by_logistic(roles: Roles, scorer: Scorer) -> Labels:
    """Multinomial logistic regression; C is selected."""
    scale = np.float32(1 / max(float(np.sqrt(np.mean(roles.train.features**2))), 1e-12))

    def score(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.generic]) -> float:
        return scorer(_classes(logits), labels.astype(np.int64))

    selection = fit_selected(
        (scale * roles.train.features, roles.train.labels),
        (scale * roles.val.features, roles.val.labels),
        StrengthGrid(STRENGTHS, extensible=False),
        score,
        classes=roles.classes,
        settings=Settings(tolerance=TOLERANCE),
    )
    return _classes(selection.logits(scale * roles.test))


CLASSIFIERS: Mapping[str, Callable[[Roles, Scorer], Labels]] = {
    "knn": by_neighbours,
    "centroid": by_centroids,
    "ridge": by_ridge,
    "logistic": by_logistic,
}
"""Predicted classes [n_test] by the classifier of this name."""


def _best(validated: Sequence[Labels], labels: Labels, scorer: Scorer) -> int:
    return int(np.argmax([scorer(predicted, labels) for predicted in validated]))


def _classes(scores: npt.NDArray[np.floating]) -> Labels:
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def _unit(rows: Rows) -> Rows:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), dtype=np.float32)
