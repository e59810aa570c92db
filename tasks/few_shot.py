"""Few-shot classification: 5 ways, 5, 20 or 50 shots, 15 queries, 600 episodes, nearest centroid.

Source: paper appendix A.3; few_shot.py of linusericsson/ssl-transfer. There every episode encodes its images again;
here episodes index features that were encoded once, which gives the same accuracies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from tasks.datasets.dataset import DataError
from tasks.episodes import Episodes, TooFewImagesError, episode_accuracies, sample_episodes
from tasks.inputs import PoolInputs
from tasks.intervals import episodes as interval_over_episodes
from tasks.outcome import Outcome
from tasks.parameters import FewShotParameters
from tasks.reporter import Reporter

Accuracies = npt.NDArray[np.float64]

BLOCK = 100
"""Episodes between two progress reports."""


def evaluate(inputs: PoolInputs, parameters: FewShotParameters, seed: int, reporter: Reporter) -> Outcome:
    """Draw episodes from the pool, classify each one's queries by the nearest class mean, average over episodes.

    Episodes depend on labels, parameters and seed alone: every backbone meets the same ones. Raises `DataError` when
    the pool cannot feed them.
    """
    episodes = _drawn(inputs, parameters, seed)
    accuracies = _accuracies(inputs, episodes, reporter)
    return Outcome(
        headline="accuracy",
        metrics={"accuracy": float(accuracies.mean())},
        interval=interval_over_episodes(accuracies),
        samples={"pool": len(inputs.pool), "episodes": len(accuracies)},
        diagnostics={
            "episode_deviation": float(accuracies.std()),
            "excluded_classes": [inputs.classes[number] for number in episodes.excluded],
        },
        predictions={"accuracy": accuracies, "classes": episodes.classes.astype(np.int32)},
    )


def _drawn(inputs: PoolInputs, parameters: FewShotParameters, seed: int) -> Episodes:
    labels = inputs.pool.labels
    if labels.ndim != 1:
        raise DataError("episodes need one label per image, and this dataset has several: choose linear or knn")
    try:
        return sample_episodes(
            labels,
            ways=parameters.ways,
            shots=parameters.shots,
            queries=parameters.queries,
            episodes=parameters.episodes,
            seed=seed,
        )
    except TooFewImagesError as error:
        raise DataError(str(error)) from error


def _accuracies(inputs: PoolInputs, episodes: Episodes, reporter: Reporter) -> Accuracies:
    total = len(episodes.query)
    reporter.phase("episodes", total, "episodes")
    pool = torch.from_numpy(np.array(inputs.pool.features, dtype=np.float32)).to(inputs.device)
    accuracies = np.empty(total)
    for start in range(0, total, BLOCK):
        block = slice(start, min(start + BLOCK, total))
        part = replace(
            episodes, classes=episodes.classes[block], support=episodes.support[block], query=episodes.query[block]
        )
        accuracies[block] = episode_accuracies(pool, part, device=inputs.device)
        reporter.advance(block.stop - block.start)
        reporter.metric("accuracy", float(accuracies[: block.stop].mean()), step=block.stop)
    return accuracies
