"""Ridge regression, solved for a grid of penalties from one decomposition."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ROWS = 4096
"""Rows converted to double precision at once."""


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
