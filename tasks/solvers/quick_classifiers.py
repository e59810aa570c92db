"""Regressions and classifiers on features at a fraction of a second each; some select their strength on validation
images.

Several protocols share a `TrainingPool`: training and validation images, of which each protocol uses different ones for
validation. A classifier is fitted on training images for each candidate, selected by the score on validation images (of
equal ones the first, which is the most regular), and fitted again on the whole pool. That last fit does not depend on
the validation images, so protocols that select the same candidate share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from tasks.solvers.logistic import LabelledPool, Settings, StrengthGrid
from tasks.solvers.nearest_neighbours import nearest, votes_of

Floats = npt.NDArray[np.float64]
ROWS = 4096
"""Rows converted to double precision at once."""
MULTINOMIAL_ITERATIONS = 500
MULTINOMIAL_TOLERANCE = 1e-5
"""Tolerance of the largest gradient entry, relative to its value at zero weights."""
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
class Ridge:
    """The decomposed problem: `features` [n, d] standardised, `targets` [n, k] centred."""

    centre: Floats
    scale: Floats
    middle: Floats
    vectors: Floats
    values: Floats
    projected: Floats
    rows: int

    @classmethod
    def of(cls, features: npt.NDArray[np.floating], targets: Floats) -> Ridge:
        """Decompose; reads the features twice, in blocks. Constant features get a weight of 0."""
        centre, scale = _moments(features)
        middle = targets.mean(axis=0)
        gram, cross = np.zeros((len(centre), len(centre))), np.zeros((len(centre), targets.shape[1]))
        for start in range(0, len(features), ROWS):
            block = (features[start : start + ROWS] - centre) / scale
            gram += block.T @ block
            cross += block.T @ (targets[start : start + ROWS] - middle)
        values, vectors = np.linalg.eigh(gram)
        return cls(centre, scale, middle, vectors, np.maximum(values, 0), vectors.T @ cross, len(features))

    def predict(self, features: npt.NDArray[np.floating], penalty: float) -> Floats:
        """Predictions [m, k]. `penalty` is per training row and standardised feature: 1 equals the weight of the
        data."""
        weights = self.vectors @ (self.projected / (self.values + penalty * self.rows)[:, None])
        parts: Iterable[Floats] = (
            (features[start : start + ROWS] - self.centre) / self.scale @ weights + self.middle
            for start in range(0, len(features), ROWS)
        )
        return np.concatenate(list(parts))


def _moments(features: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    centre: Floats = np.mean(features, axis=0, dtype=np.float64)
    squares = np.zeros_like(centre)
    for start in range(0, len(features), ROWS):
        squares += ((features[start : start + ROWS] - centre) ** 2).sum(axis=0)
    scale = np.sqrt(squares / len(features))
    return centre, np.where(scale > 0, scale, 1.0)


def fit_multinomial(
    features: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    classes: int,
    penalty: float,
    device: str = "cpu",
) -> tuple[Floats, bool]:
    """Weights [classes, d] that minimise the sum of cross-entropies plus `penalty` / 2 times the squared weights.

    `features` [n, d]. Also returns whether the solver converged.
    """
    rows = torch.from_numpy(np.asarray(features, np.float64)).to(device)
    targets = torch.from_numpy(np.asarray(labels, np.int64)).to(device)
    weights = torch.zeros(classes, rows.shape[1], dtype=torch.float64, device=device, requires_grad=True)
    guessed = torch.full((classes, 1), 1 / classes, dtype=torch.float64, device=device)
    start = guessed @ rows.sum(dim=0, keepdim=True) - functional.one_hot(targets, classes).double().T @ rows
    tolerance = MULTINOMIAL_TOLERANCE * float(start.abs().max())
    optimiser = torch.optim.LBFGS(
        [weights],
        max_iter=MULTINOMIAL_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (
            functional.cross_entropy(rows @ weights.T, targets, reduction="sum") + penalty / 2 * weights.square().sum()
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(objective)  # type: ignore[no-untyped-call]
    objective()
    assert weights.grad is not None
    return weights.detach().cpu().numpy(), float(weights.grad.abs().max()) <= 1.01 * tolerance


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

        return STRENGTHS.index(self._labelled.select(train, val, score))

    def final(self, candidate: int) -> Labels:
        """Regression on the pool."""
        return _classes(self._labelled.logits(STRENGTHS[candidate], self._scale * self.pool.test))

    @cached_property
    def _scale(self) -> np.float32:
        """Factor that gives the features of the pool a mean square of 1."""
        return np.float32(1 / max(float(np.sqrt(np.mean(self.pool.features**2))), 1e-12))

    @cached_property
    def _labelled(self) -> LabelledPool:
        whole = self._scale * self.pool.features, self.pool.labels
        return LabelledPool(whole, GRID, classes=self.pool.classes, settings=SETTINGS)


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
