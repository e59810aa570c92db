"""Directions as classes: a codebook of typical normals, the published one or one made of the training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from tasks.datasets.targets import NormalMap, Targets
from tasks.training.randomness import generator_of

Centres = npt.NDArray[np.float64]
SAMPLE = 20_000
IMAGES = 200


@dataclass(frozen=True, eq=False)
class Codebook:
    """`centres` float64 [k, 3]."""

    centres: Centres

    @classmethod
    def of(cls, targets: Targets[Any], directions: int, seed: int) -> Codebook:
        """The one that comes with the data, if it has `directions` entries; else k-means over training pixels."""
        given: Centres | None = getattr(targets, "codebook", None)
        if given is not None and len(given) == directions:
            return cls(given)
        pixels = _some_pixels(targets, seed)
        means = KMeans(directions, n_init=1, random_state=seed).fit(pixels).cluster_centers_
        return cls(means.astype(np.float64))

    def classes(self, normals: NormalMap) -> Tensor:
        """Int64 [h, w]: the nearest centre of every normal [h, w, 3], -1 where that is not known."""
        flat = normals.reshape(-1, 3).astype(np.float64)
        nearness = flat @ self.centres.T - 0.5 * np.sum(self.centres**2, axis=1)
        found = np.where(np.linalg.norm(flat, axis=1) > 0.5, nearness.argmax(axis=1), -1)
        return torch.from_numpy(found.reshape(normals.shape[:2]).astype(np.int64))

    def directions(self, probabilities: Tensor) -> Tensor:
        """Mean direction [b, 3, h, w] under probabilities [b, k, h, w], in float64; not normalised."""
        centres = torch.from_numpy(self.centres).to(probabilities.device)
        return torch.einsum("bkhw,kc->bchw", probabilities.double(), centres)


def mean_direction(targets: Targets[Any], seed: int) -> Centres:
    """Of some training pixels, [3]: the best guess of who has not seen the image."""
    mean: Centres = _some_pixels(targets, seed).mean(axis=0)
    return mean


def _some_pixels(targets: Targets[Any], seed: int) -> npt.NDArray[np.float64]:
    """Known normals [n, 3] from some images."""
    random = generator_of(seed, 4)
    chosen = np.sort(random.permutation(len(targets))[:IMAGES])
    share = -(-SAMPLE // len(chosen))
    parts = []
    for index in chosen:
        flat = targets[int(index)].reshape(-1, 3)
        known = flat[np.linalg.norm(flat, axis=1) > 0.5]
        parts.append(known[random.permutation(len(known))[:share]])
    return np.concatenate(parts).astype(np.float64)
