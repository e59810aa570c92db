"""Features of small scale: at strong regularisation neighbouring solutions differ by less than float32 rounding."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from backbones.catalog.card import preprocessing_for
from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.encoder import Encoder
from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import many_shot_indices
from tasks.solvers.logistic import solve_path

GRID = np.logspace(-5, 6, 45).tolist()


@pytest.fixture(scope="module")
def hues_through_a_random_backbone(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The published training part of `shapes-hue` under `demo/random`: [800, 96], scale 0.03, effective rank four."""
    folder = tmp_path_factory.mktemp("random")
    card = BackboneCatalog.load([], folder).get("demo/random")
    encoder = Encoder.load(card, WeightsFolder(folder), "cpu")
    spec = preprocessing_for(card, "paper")
    dataset = open_dataset(TaskCatalog.load([]).datasets["shapes-hue"], Path())
    [(split, index)] = many_shot_indices(dataset, 0.2, 0).train
    images = dataset.splits[split].images
    batch = torch.stack([encoder.prepare(images[int(i)], spec) for i in index])
    return encoder.encode(batch, spec).numpy(), dataset.splits[split].labels[index]


@pytest.mark.slow
def test_whole_path_over_a_random_backbones_features_converges(
    hues_through_a_random_backbone: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]],
) -> None:
    features, targets = hues_through_a_random_backbone
    path = solve_path(features, targets, GRID)
    objectives = [solution.objective for solution in path.solutions]
    assert all(solution.converged for solution in path.solutions)
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in itertools.pairwise(objectives))


def test_optimum_of_low_rank_features_equals_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    factors = generator.normal(size=(400, 64)) * np.geomspace(1, 1e-4, 64)
    features = (0.02 * (factors @ np.linalg.qr(generator.normal(size=(64, 64)))[0]) + 0.02).astype(np.float32)
    targets = np.argmax(factors[:, :8] + generator.normal(size=(400, 8)), axis=1)
    strength = GRID[36]
    ours = solve_path(features, targets, GRID[:37]).solutions[-1]
    exact = features.astype(np.float64)
    reference = LogisticRegression(C=strength, max_iter=20_000, tol=1e-10).fit(exact, targets)
    loss = -np.mean(reference.predict_log_proba(exact)[np.arange(len(targets)), targets])
    objective = loss + np.sum(reference.coef_**2) / (2 * strength * len(targets))
    assert ours.objective <= objective * (1 + 1e-6)
