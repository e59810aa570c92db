"""Sanity checks of features that detect wrong weights and wrong input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.features.shards import FeatureRows

Floats = npt.NDArray[np.floating]

BLOCK = 4096
"""Rows per block; memory-mapped features are read once."""
SAMPLE = 512
"""Rows from which the effective rank is estimated."""
DEAD_SHARE = 0.5
"""Fraction of constant dimensions above which a warning is issued; a few are normal after a ReLU."""
DUPLICATE_SHARE = 0.02
LOWEST_RANK = 3.0
RELATIVE_ZERO = 1e-12
"""Variance below this fraction of the mean square counts as zero (float32 rounding)."""


@dataclass(frozen=True)
class FeatureChecks:
    """Statistics of features [n, d]."""

    rows: int
    not_finite_rows: int
    dead_share: float
    """Fraction of dimensions that are constant over all images."""
    duplicate_rows: int
    """Number of rows equal to an earlier row."""
    effective_rank: float
    """exp(entropy of the normalised covariance spectrum), 1 to min(n, d); 0 for constant features."""

    @property
    def collapsed(self) -> bool:
        """Whether the features are nearly constant over images."""
        return self.dead_share > DEAD_SHARE or self.effective_rank < LOWEST_RANK

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence with advice per problem; empty if there is none."""
        return tuple(_sentences(self))


def check_features(features: Floats) -> FeatureChecks:
    """Compute the statistics of `features` [n, d] in one pass; the spectrum is that of a sample of rows."""
    chosen = np.linspace(0, len(features) - 1, min(SAMPLE, len(features))).astype(np.int64)
    sample = np.asarray(features[chosen], dtype=np.float64)
    different = {hash(row.tobytes()) for block in _blocks(features) for row in block}
    return FeatureChecks(
        rows=len(features),
        not_finite_rows=sum(int((~np.isfinite(block).all(axis=1)).sum()) for block in _blocks(features)),
        dead_share=_dead_share(features),
        duplicate_rows=len(features) - len(different),
        effective_rank=_effective_rank(sample[np.isfinite(sample).all(axis=1)]),
    )


def shared_rows(train: FeatureRows, test: FeatureRows) -> int:
    """Number of rows of `test` [n, d] that are also rows of `train` [m, d], most likely the same images."""
    seen = {hash(row.tobytes()) for block in _blocks(train) for row in block}
    return sum(hash(row.tobytes()) in seen for block in _blocks(test) for row in block)


def _sentences(checks: FeatureChecks) -> Iterator[str]:
    if checks.not_finite_rows:
        yield (
            f"{checks.not_finite_rows} of {checks.rows} feature rows hold NaN or infinity: "
            "check the weights, or encode with float32 precision"
        )
    if checks.dead_share == 1.0:
        yield "every image has the same features: the weights or the input normalisation are wrong"
        return
    if checks.dead_share > DEAD_SHARE:
        yield (
            f"{checks.dead_share:.0%} of the feature dimensions never change: "
            "check that all weights were loaded and that the input normalisation is the backbone's own"
        )
    if checks.duplicate_rows > DUPLICATE_SHARE * checks.rows:
        yield (
            f"{checks.duplicate_rows} of {checks.rows} feature rows repeat an earlier one: "
            "look for repeated images in the dataset, which may also join training and test"
        )
    if 0 < checks.effective_rank < LOWEST_RANK:
        yield (
            f"the features have an effective rank of only {checks.effective_rank:.1f}: "
            "they may have collapsed; compare with a randomly initialised backbone"
        )


def _blocks(features: FeatureRows) -> Iterator[Floats]:
    for start in range(0, len(features), BLOCK):
        yield np.asarray(features[start : start + BLOCK])


def _dead_share(features: Floats) -> float:
    low = np.full(features.shape[1], np.inf)
    high = np.full(features.shape[1], -np.inf)
    for block in _blocks(features):
        low, high = np.fmin(low, np.fmin.reduce(block)), np.fmax(high, np.fmax.reduce(block))
    return float(np.mean(~(high > low)))


def _effective_rank(sample: npt.NDArray[np.float64]) -> float:
    """Roy and Vetterli, "The effective rank" (EUSIPCO 2007), from the eigenvalues of the covariance."""
    if len(sample) < 2:
        return 0.0
    centred = sample - sample.mean(axis=0)
    gram = centred @ centred.T
    power = np.clip(np.linalg.eigvalsh(gram), 0.0, None)
    total = power.sum()
    if total <= RELATIVE_ZERO * np.sum(sample**2):
        return 0.0
    shares = power[power > RELATIVE_ZERO * total] / total
    return float(np.exp(-np.sum(shares * np.log(shares))))
