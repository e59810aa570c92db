"""Segmentation by nearest patches: equal to a plain loop, bounded in memory, and the same again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.frozen_dense_parameters import KnnSegmentationParameters
from tasks.datasets.dataset import Dataset
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.rescore import rescore
from tasks.protocols.dense.frozen_maps import FrozenMaps
from tasks.protocols.dense.image_batches import DenseImages, Pixels
from tasks.protocols.knn_segmentation import (
    PatchMemory,
    SquashedImages,
    chosen_patches,
    evaluate,
    fill,
    label_shares,
    matched_miou,
)
from tasks.reporter import SilentReporter
from tests.tasks.workspace_fixture import demo, image_inputs, shapes

SMALL = KnnSegmentationParameters(layers="quarters", size=64, memory=200, neighbours=3)


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    card = TaskCatalog.load().dataset("shapes-scenes")
    fewer = {**card.reader_arguments, "train": 8, "test": 3}
    return open_dataset(card.model_copy(update={"reader_arguments": fewer, "images": {}}), Path("/nowhere"))


@pytest.fixture
def inputs(tmp_path: Path, scenes: Dataset) -> ImageInputs:
    return replace(image_inputs(demo("mae"), tmp_path, shapes(1)), dataset=scenes)


def test_a_patch_takes_the_weighted_labels_of_its_nearest_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    features = functional.normalize(torch.randn(40, 6, generator=generator), dim=1)
    labels = torch.rand(40, 3, generator=generator)
    queries = functional.normalize(torch.randn(5, 6, generator=generator), dim=1)
    found = PatchMemory(features, labels).shares(queries, 4, 0.1)
    for row, query in enumerate(queries.double().numpy()):
        cosines = features.double().numpy() @ query
        nearest = np.argsort(-cosines)[:4]
        weights = [math.exp(cosines[one] / 0.1) for one in nearest]
        expected = sum(w * labels[int(one)].double() for w, one in zip(weights, nearest, strict=True)) / sum(weights)
        assert torch.allclose(found[row].double(), torch.as_tensor(expected), atol=1e-5)


def test_labels_of_a_patch_are_the_shares_of_its_known_pixels() -> None:
    mask = np.array([[0, 0, 2, 2], [0, 1, -1, 2], [-1, -1, 1, 1], [-1, -1, 1, 0]])
    assert label_shares(mask, 3, (2, 2)).tolist() == [[0.75, 0.25, 0], [0, 0, 1], [0, 0, 0], [0.25, 0.75, 0]]


def test_patches_of_rare_classes_are_kept_first_and_unknown_ones_never() -> None:
    shares = torch.zeros(100, 3)
    shares[:90, 0] = 1
    shares[90:95, 1] = 1
    kept = [chosen_patches(shares, 10, np.random.default_rng(seed)) for seed in range(50)]
    assert all(len(rows) == 10 and int(rows.max()) < 95 for rows in kept)
    rare = np.mean([int((rows >= 90).sum()) for rows in kept])
    assert rare > 3  # 5 of 95 patches: half a patch of ten, if drawn evenly


@pytest.mark.parametrize("memory", [200, 5])
def test_the_memory_is_bounded_whatever_the_number_of_images(inputs: ImageInputs, memory: int) -> None:
    views = SquashedImages(FrozenMaps(inputs, "last"), Pixels.of("card", inputs.spec), 64)
    split = inputs.split("train")
    images = DenseImages(split, inputs.targets(split, "masks"), views.pixels, 1)
    filled = fill(views, images, 9, replace(SMALL, memory=memory), 0, SilentReporter())
    assert len(filled.features) == memory // 8 * 8 if memory > 8 else len(filled.features) <= memory
    assert torch.allclose(filled.features.norm(dim=1), torch.ones(len(filled.features)), atol=1e-5)


def test_an_evaluation_repeats_and_its_scores_follow_from_its_predictions(inputs: ImageInputs) -> None:
    one, other = (evaluate(inputs, SMALL, 0, SilentReporter()) for _ in range(2))
    assert one.metrics == other.metrics
    counted = rescore("knn-segmentation", one.predictions)
    assert counted is not None
    assert counted.metrics(one.predictions) == pytest.approx(dict(one.metrics))
    assert one.interval.low <= one.value <= one.interval.high
    assert one.samples == {"train": 8, "test": 3}


def test_the_matched_reading_swaps_classes_that_were_mixed_up() -> None:
    mixed = np.array([[0, 10, 0], [8, 0, 2], [0, 0, 5]])
    swapped = 100 * (10 / 10 + 8 / 10 + 5 / 7) / 3
    assert matched_miou(mixed) == pytest.approx(swapped)
