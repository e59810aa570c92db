"""Classifiers on features that select their strength on validation images, at a fraction of a second each.

Several protocols share a `TrainingPool`: training and validation images, of which each protocol takes other ones for
validation. A classifier is fitted on training images for each candidate, selected by the score on validation images (of
equal ones the first, which is the most regular), and fitted again on the whole pool. That last fit does not depend on
the validation images, so protocols that select the same candidate share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from tasks.solvers.logistic import FittedPath, Settings, StrengthGrid, select_strength
from tasks.solvers.nearest_neighbours import nearest, votes_of
from tasks.solvers.ridge import Ridge

Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]
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
GRID, SETTINGS = StrengthGrid(STRENGTHS, extensible=False), Settings(tolerance=TOLERANCE)


@dataclass(frozen=True)
class TrainingPool:
    """Training and validation images of one set of features, and the test images."""

    features: Rows
    """[n, d]."""
    labels: Labels
    """[n]."""
    test: Rows
    classes: int

    def __getitem__(self, rows: Indices) -> tuple[Rows, Labels]:
        return self.features[rows], self.labels[rows]

    @property
    def whole(self) -> tuple[Rows, Labels]:
        return self.features, self.labels


@dataclass
class QuickClassifier:
    """A classifier on one pool."""

    pool: TrainingPool
    _predicted: dict[int, Labels] = field(default_factory=dict)

    def predict(self, train: Indices, val: Indices, scorer: Scorer) -> Labels:
        """Predicted classes [n_test] of the candidate that these validation images select."""
        best = self.select(train, val, scorer)
        if best not in self._predicted:
            self._predicted[best] = self.final(best)
        return self._predicted[best]

    def select(self, train: Indices, val: Indices, scorer: Scorer) -> int:
        """Number of the best candidate, from fits on the training images."""
        raise NotImplementedError

    def final(self, candidate: int) -> Labels:
        """Predicted classes [n_test] of a candidate fitted on the whole pool."""
        raise NotImplementedError


class NeighbourVotes(QuickClassifier):
    """Cosine nearest neighbours with DINO's votes; k is selected."""

    def select(self, train: Indices, val: Indices, scorer: Scorer) -> int:
        """Number of the best k in `NEIGHBOURS`."""
        queries, labels = self.pool[val]
        return _best(self._votes(self.pool[train], queries, NEIGHBOURS), labels, scorer)

    def final(self, candidate: int) -> Labels:
        """Votes of the k nearest images of the pool."""
        return self._votes_on_test[candidate]

    @cached_property
    def _votes_on_test(self) -> list[Labels]:
        return self._votes(self.pool.whole, self.pool.test, NEIGHBOURS)

    def _votes(self, bank: tuple[Rows, Labels], queries: Rows, counts: Sequence[int]) -> list[Labels]:
        found = nearest(queries, bank[0], max(counts))
        known = torch.from_numpy(bank[1])
        votes = votes_of(found, known, counts, classes=self.pool.classes, temperature=TEMPERATURE)
        return [one.argmax(axis=1).astype(np.int64) for one in votes]


class NearestMean(QuickClassifier):
    """The class with the nearest mean; the metric is selected."""

    def select(self, train: Indices, val: Indices, scorer: Scorer) -> int:
        """Number of the best metric in `METRICS`."""
        queries, labels = self.pool[val]
        validated = [self._nearest(self.pool[train], queries, metric) for metric in METRICS]
        return _best(validated, labels, scorer)

    def final(self, candidate: int) -> Labels:
        """Nearest means of the classes of the pool."""
        return self._nearest(self.pool.whole, self.pool.test, METRICS[candidate])

    def _nearest(self, train: tuple[Rows, Labels], queries: Rows, metric: str) -> Labels:
        bank, asked = (_unit(rows) if metric == "cosine" else rows for rows in (train[0], queries))
        chosen = np.eye(self.pool.classes, dtype=np.float32)[train[1]]
        counts = chosen.sum(axis=0)
        means = chosen.T @ bank / np.maximum(counts, 1)[:, None]
        distance = (means**2).sum(axis=1) - 2 * asked @ means.T
        distance[:, counts == 0] = np.inf
        return np.asarray(distance.argmin(axis=1), dtype=np.int64)


class RidgeClassifier(QuickClassifier):
    """Ridge regression to the classes on standardised features; the penalty is selected."""

    def select(self, train: Indices, val: Indices, scorer: Scorer) -> int:
        """Number of the best penalty in `PENALTIES`."""
        search, (queries, labels) = self._fitted(self.pool[train]), self.pool[val]
        return _best([_classes(search.predict(queries, penalty)) for penalty in PENALTIES], labels, scorer)

    def final(self, candidate: int) -> Labels:
        """Regression on the pool."""
        return _classes(self._whole.predict(self.pool.test, PENALTIES[candidate]))

    @cached_property
    def _whole(self) -> Ridge:
        return self._fitted(self.pool.whole)

    def _fitted(self, train: tuple[Rows, Labels]) -> Ridge:
        return Ridge.of(train[0], np.eye(self.pool.classes)[train[1]])


class LogisticClassifier(QuickClassifier):
    """Multinomial logistic regression; C is selected."""

    def select(self, train: Indices, val: Indices, scorer: Scorer) -> int:
        """Number of the best C in `STRENGTHS`."""

        def score(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.generic]) -> float:
            return scorer(_classes(logits), labels.astype(np.int64))

        (fitted, known), (held, labels) = self.pool[train], self.pool[val]
        scaled = (self._scale * fitted, known), (self._scale * held, labels)
        chosen = select_strength(*scaled, GRID, score, classes=self.pool.classes, settings=SETTINGS)
        return STRENGTHS.index(chosen)

    def final(self, candidate: int) -> Labels:
        """Regression on the pool."""
        return _classes(self._path.logits(STRENGTHS[candidate], self._scale * self.pool.test))

    @cached_property
    def _scale(self) -> np.float32:
        """Factor that gives the features of the pool a mean square of 1."""
        return np.float32(1 / max(float(np.sqrt(np.mean(self.pool.features**2))), 1e-12))

    @cached_property
    def _path(self) -> FittedPath:
        whole = self._scale * self.pool.features, self.pool.labels
        return FittedPath(whole, GRID, classes=self.pool.classes, settings=SETTINGS)


CLASSIFIERS: Mapping[str, type[QuickClassifier]] = {
    "knn": NeighbourVotes,
    "centroid": NearestMean,
    "ridge": RidgeClassifier,
    "logistic": LogisticClassifier,
}


def _best(validated: Sequence[Labels], labels: Labels, scorer: Scorer) -> int:
    return int(np.argmax([scorer(predicted, labels) for predicted in validated]))


def _classes(scores: npt.NDArray[np.floating]) -> Labels:
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def _unit(rows: Rows) -> Rows:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), dtype=np.float32)
