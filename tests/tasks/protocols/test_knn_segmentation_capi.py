"""Segmentation by votes of the nearest patches (CAPI): equal to a plain computation, chosen on validation, bounded."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from sklearn.preprocessing import StandardScaler

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.frozen_dense_parameters import KnnSegmentationCapiParameters
from tasks.datasets.dataset import DataError, Dataset, HeldTargets
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.rescore import rescore
from tasks.protocols import knn_segmentation_capi as capi
from tasks.protocols.dense.frozen_maps import FrozenMaps, PatchViews, from_patches, in_patches
from tasks.protocols.dense.image_batches import Pixels
from tasks.protocols.knn_segmentation_capi import (
    LabelledPatches,
    PatchMoments,
    evaluate,
    validation_split,
)
from tasks.reporter import SilentReporter
from tests.tasks.memory import peak_bytes
from tests.tasks.workspace_fixture import demo, image_inputs, shapes

QUIET = SilentReporter()
SMALL = KnnSegmentationCapiParameters(size=64, neighbours=(1, 3), memory=100_000, validation_share=0.25)


def scenes(train: int, test: int) -> Dataset:
    card = TaskCatalog.load().dataset("shapes-scenes")
    fewer = {**card.reader_arguments, "train": train, "test": test}
    return open_dataset(card.model_copy(update={"reader_arguments": fewer, "images": {}}), Path("/nowhere"))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Eight training and two test scenes, with a corner of every mask unknown."""
    found = scenes(8, 2)
    splits = {}
    for name, split in found.splits.items():
        masks = [split.targets["masks"][row].copy() for row in range(len(split.images))]
        for mask in masks:
            mask[:20, :30] = -1
        targets = HeldTargets(tuple(masks), "", split.targets["masks"].classes)
        splits[name] = replace(split, targets={"masks": targets})
    return replace(found, splits=splits)


@pytest.fixture
def inputs(tmp_path: Path, dataset: Dataset) -> ImageInputs:
    return replace(image_inputs(demo("mae"), tmp_path, shapes(1)), dataset=dataset)


def plainly(inputs: ImageInputs, parameters: KnnSegmentationCapiParameters) -> tuple[tuple[int, str], float]:
    """The protocol with scikit-learn, loops and the published order of steps; patches of 8 pixels, images of 64."""
    views = PatchViews(FrozenMaps(inputs, "last"), Pixels.of("card", inputs.spec), 64)
    train, test = inputs.split("train"), inputs.split("test")

    def patches(split: object, rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
        features, labels = [], []
        for row in rows:
            image, mask = split.images[row], split.targets["masks"][row]  # type: ignore[attr-defined]
            features.append(views.features(image)[0].numpy())
            for top in range(0, 64, 8):
                labels += [mask[top : top + 8, left : left + 8].ravel() for left in range(0, 64, 8)]
        return np.concatenate(features), np.array(labels)

    learning, chosen = validation_split(8, parameters.validation_share, 0)
    parts = {
        "train": patches(train, learning),
        "val": patches(train, chosen),
        "test": patches(test, [0, 1]),
    }
    scaler = StandardScaler().fit(parts["train"][0])
    features = {name: scaler.transform(one) for name, (one, _) in parts.items()}

    def predicted(bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int, distance: str) -> np.ndarray:
        known = [most_frequent(one) >= 0 for one in labels]
        bank, labels = bank[known], labels[known]
        found = []
        for query in queries:
            if distance == "l2":
                far = ((bank - query) ** 2).sum(axis=1)
            else:
                far = 1 - bank @ query / np.linalg.norm(bank, axis=1) / np.linalg.norm(query)
            near = labels[np.argsort(far)[:k]]
            found.append([most_frequent(near[:, pixel]) for pixel in range(64)])
        return np.array(found)

    def score(truth: np.ndarray, answer: np.ndarray) -> float:
        known = truth.ravel() >= 0
        return 100 * float(jaccard_score(truth.ravel()[known], answer.ravel()[known], average="macro"))

    scores = {
        (k, distance): score(
            parts["val"][1], predicted(features["train"], parts["train"][1], features["val"], k, distance)
        )
        for k in parameters.neighbours
        for distance in parameters.distances
    }
    best = max(scores, key=lambda setting: scores[setting])
    bank, labels = (np.concatenate([one, other]) for one, other in zip(
        (features["train"], parts["train"][1]), (features["val"], parts["val"][1]), strict=True
    ))  # fmt: skip
    return best, score(parts["test"][1], predicted(bank, labels, features["test"], *best))


def most_frequent(labels: np.ndarray) -> int:
    """The smallest of the most frequent ones."""
    counts = Counter(labels.tolist())
    return int(min(label for label, count in counts.items() if count == max(counts.values())))


def test_scores_and_the_choice_are_those_of_a_plain_computation(inputs: ImageInputs) -> None:
    outcome = evaluate(inputs, SMALL, 0, QUIET)
    (count, distance), miou = plainly(inputs, SMALL)
    assert (outcome.hyperparameters["neighbours"], outcome.hyperparameters["distance"]) == (count, distance)
    assert outcome.value == pytest.approx(miou, abs=1e-9)


def test_the_best_setting_on_test_images_is_that_of_evaluations_with_each(
    inputs: ImageInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evaluate(inputs, SMALL, 0, QUIET)
    alone = [
        evaluate(inputs, replace(SMALL, neighbours=(count,), distances=(distance,)), 0, QUIET).value
        for count in SMALL.neighbours
        for distance in SMALL.distances
    ]
    stated = found.diagnostics["chosen_on_test"]
    assert isinstance(stated, dict)
    assert stated["score"] == pytest.approx(max(alone))
    assert stated["candidates"] == len(alone)
    assert stated["selected"] == found.value
    monkeypatch.setattr(capi, "MOST_PRODUCTS", 0)
    without = evaluate(inputs, SMALL, 0, QUIET)
    assert "chosen_on_test" not in without.diagnostics
    assert without.metrics == found.metrics


def test_an_evaluation_repeats_and_its_scores_follow_from_its_predictions(inputs: ImageInputs) -> None:
    options = replace(SMALL, memory=160)
    one, other = (evaluate(inputs, options, 0, QUIET) for _ in range(2))
    assert one.metrics == other.metrics
    assert one.diagnostics["patches"] == 160
    counted = rescore("knn-segmentation-capi", one.predictions)
    assert counted is not None
    assert counted.metrics(one.predictions) == pytest.approx(dict(one.metrics))
    assert one.interval.low <= one.value <= one.interval.high


def test_neighbours_are_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    patches = LabelledPatches(torch.randn(50, 6, generator=generator), torch.zeros(50, 4, dtype=torch.int16))
    queries = torch.randn(7, 6, generator=generator)
    whole = [patches.nearest(queries, 9, distance) for distance in ("cosine", "l2")]
    assert torch.equal(whole[1], torch.cdist(queries, patches.features).topk(9, largest=False).indices)
    monkeypatch.setattr(capi, "BLOCK", 8)
    blocks = [patches.nearest(queries, 9, distance) for distance in ("cosine", "l2")]
    assert all(torch.equal(*both) for both in zip(whole, blocks, strict=True))


def test_patches_are_standardised_as_by_scikit_learn_and_constants_are_centred() -> None:
    values = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 3 + 100
    values[:, 2] = 7.1
    moments = PatchMoments.empty(5, torch.device("cpu"))
    for part in values.split(7):  # type: ignore[no-untyped-call]
        moments.add(part)
    expected = StandardScaler().fit(values.double().numpy()).transform(values.double().numpy())
    assert np.allclose(moments.standardised(values).numpy(), expected, atol=1e-4)


def test_a_mask_is_put_together_again_from_its_patches() -> None:
    mask = np.arange(48 * 48).reshape(48, 48) % 7
    assert np.array_equal(from_patches(in_patches(mask, (6, 6)), (6, 6), 48), mask)


def test_every_training_image_is_for_the_memory_or_for_the_choice_and_one_alone_is_refused() -> None:
    learning, chosen = validation_split(20, 0.1, 3)
    assert sorted([*learning, *chosen]) == list(range(20))
    assert len(chosen) == 2
    assert validation_split(3, 0.1, 0)[1]
    with pytest.raises(DataError, match="one training image"):
        validation_split(1, 0.1, 0)


def test_memory_does_not_grow_with_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capi, "check_tokens", lambda *_given: {})
    inputs = image_inputs(demo("mae"), tmp_path, shapes(1))
    options = replace(SMALL, neighbours=(1,), distances=("l2",), memory=40)
    few, many = (
        peak_bytes(partial(evaluate, replace(inputs, dataset=scenes(images, 2)), options, 0, QUIET))
        for images in (4, 8)
    )
    features = 4 * 64 * 64  # 8 x 8 patches of width 64
    assert (many - few) / 4 < features / 2
