"""The published selection: scikit-learn's L-BFGS, stopped after 100 iterations and warm-started.

Source: linear.py of linusericsson/ssl-transfer. From the weakest regularisation to the strongest, every fit starts from
the previous one, whatever data it was fitted on; so results depend on the order, and the weak end is far from its
optimum. Available for comparison with published numbers. Later scikit-learn releases scale the loss differently and
therefore stop at other points than the release used in the paper.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from tasks.solvers.logistic.model_selection import Logits, OnTrial, Score, StrengthSelection, TestScore, Trial
from tasks.solvers.logistic.objective import StrengthGrid

Rows = npt.NDArray[np.floating]
Targets = npt.NDArray[np.integer]


class _Regression:
    """A warm-started estimator used for every fit, as in the published code."""

    def __init__(self, classes: int, max_iter: int) -> None:
        self.classes = classes
        self.max_iter = max_iter
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import, and not needed by other solvers

        self.estimator = LogisticRegression(warm_start=True, max_iter=max_iter)
        self.weights = np.zeros((classes, 0), dtype=np.float32)
        self.intercept = np.zeros(classes, dtype=np.float32)
        self.iterations = 0

    def fit(self, rows: Rows, targets: Targets, strength: float) -> None:
        """Fit int `targets` [n], or each column of 0/1 `targets` [n, k] in turn."""
        self.iterations = 0
        if targets.ndim == 1:
            self.weights, self.intercept = self._softmax(rows, targets, strength)
            return
        columns = [self._two_class(rows, targets[:, label], strength) for label in range(targets.shape[1])]
        self.weights = np.stack([weights for weights, _ in columns])
        self.intercept = np.array([intercept for _, intercept in columns], dtype=np.float32)

    def logits(self, rows: Rows) -> Logits:
        """Logits [n, classes] of `rows` [n, d]."""
        return np.asarray(rows @ self.weights.T + self.intercept, dtype=np.float32)

    @property
    def converged(self) -> bool:
        """Whether no column of the last fit reached the iteration limit."""
        return self.iterations < self.max_iter

    def _softmax(self, rows: Rows, targets: Targets, strength: float) -> tuple[Logits, Logits]:
        """Weights and intercepts of every class; two classes are fitted as one binary regression with 2 C."""
        weights = np.zeros((self.classes, rows.shape[1]), dtype=np.float32)
        intercept = np.full(self.classes, -1e4, dtype=np.float32)
        present = np.unique(targets)
        if len(present) == 2:
            single, offset = self._two_class(rows, targets == present[1], strength)
            weights[present], intercept[present] = [-single / 2, single / 2], [-offset / 2, offset / 2]
            return weights, intercept
        self._run(rows, targets, strength)
        weights[present], intercept[present] = self.estimator.coef_, self.estimator.intercept_
        return weights, intercept

    def _two_class(self, rows: Rows, targets: npt.NDArray[np.generic], strength: float) -> tuple[Logits, float]:
        """A symmetric two-class softmax with C equals binary regression with 2 C."""
        self._run(rows, targets.astype(np.int64), 2.0 * strength)
        return self.estimator.coef_[0].astype(np.float32), float(self.estimator.intercept_[0])

    def _run(self, rows: Rows, targets: Targets, strength: float) -> None:
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - as above

        self.estimator.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.estimator.fit(rows, targets)
        self.iterations = max(self.iterations, int(np.max(self.estimator.n_iter_)))


def fit_published(  # noqa: PLR0913 - as `fit_selected`
    train: tuple[Rows, Targets],
    validation: tuple[Rows, Targets],
    grid: StrengthGrid,
    score: Score,
    *,
    classes: int,
    max_iter: int = 100,
    on_trial: OnTrial | None = None,
    test_score: TestScore | None = None,
) -> StrengthSelection:
    """Select C by `score` on validation data and fit all data with it, as published; ties select the larger C.

    Features are [n, d]; targets int [n], or 0/1 [n, k] with both values in every column. `converged` of a trial refers
    to scikit-learn's own criterion only. `test_score` as in `fit_selected`.
    """
    regression = _Regression(classes, max_iter)
    trials: list[Trial] = []
    best, best_logits = -1, np.zeros((0, classes), dtype=np.float32)
    for strength in reversed(grid.rising):
        regression.fit(*train, strength)
        logits = regression.logits(validation[0])
        value = score(logits, validation[1])
        on_test = None if test_score is None else test_score(lambda rows: regression.logits(np.asarray(rows)))
        trials.append(Trial(strength, value, float("nan"), None, regression.converged, regression.iterations, on_test))
        if best < 0 or value > trials[best].score:
            best, best_logits = len(trials) - 1, logits
        if on_trial is not None:
            on_trial(trials[-1])
    rows, targets = (np.concatenate(pair) for pair in zip(train, validation, strict=True))
    regression.fit(rows, targets, trials[best].strength)
    return StrengthSelection(
        solver="published",
        strength=trials[best].strength,
        weights=regression.weights,
        intercept=regression.intercept,
        trials=tuple(reversed(trials)),
        validation_logits=best_logits,
        on_edge=best in (0, len(trials) - 1),
        extended=False,
        refit_gap=None,
        refit_converged=regression.converged,
        passes=0,
    )
