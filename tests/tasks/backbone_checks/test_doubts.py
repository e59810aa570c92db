"""Warnings of protocols that train: guesses, repeated images, losses that still decrease."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.datasets.dataset import HeldTargets, ImageSource
from tasks.datasets.images import ArrayImages, FileImages, JoinedImages
from tasks.datasets.splits import repeated
from tasks.metrics.classification import mean_average_precision
from tasks.metrics.pixels import Confusion
from tasks.metrics.scoring import chance_diagnostics
from tasks.protocols.normals import mean_direction
from tasks.training.loop import loss_still_decreasing


def arrays(*greys: int) -> ArrayImages:
    return ArrayImages(np.stack([np.full((4, 4, 3), grey, np.uint8) for grey in greys]))


def files(folder: Path, *greys: int) -> FileImages:
    folder.mkdir()
    for place, grey in enumerate(greys):
        Image.new("RGB", (4, 4), (grey,) * 3).save(folder / f"{place}.png")
    return FileImages("d", folder, tuple(f"{place}.png" for place in range(len(greys))))


def test_equal_images_in_memory_and_equal_files_are_counted(tmp_path: Path) -> None:
    assert repeated(arrays(1, 2, 3), arrays(3, 4, 3)) == 2
    train = JoinedImages((files(tmp_path / "a", 1, 2), files(tmp_path / "b", 3)))
    assert repeated(train, files(tmp_path / "c", 9, 3, 2, 8)) == 2


class Made:
    """Images rendered on access."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Image.Image:
        raise AssertionError("looking for repeated images must not decode any")


def test_images_that_would_have_to_be_made_are_left_alone() -> None:
    made: ImageSource = Made()
    assert repeated(made, made) is None
    assert repeated(made, arrays(1)) is None


def test_a_loss_that_falls_to_the_end_is_told_from_one_that_has_come_to_rest() -> None:
    noise = 0.05 * np.random.default_rng(0).normal(size=200)
    steps = np.arange(200)
    assert loss_still_decreasing([*(3 - 0.01 * steps + noise)])
    assert not loss_still_decreasing([*(3 * np.exp(-steps / 20) + 0.5 + noise)])
    assert not loss_still_decreasing([3.0, 2.0, 1.0]), "three steps are too few"


def test_the_guess_of_a_segmentation_is_the_most_frequent_class_everywhere() -> None:
    truth = np.array([[0, 0, 0, 1], [0, 0, 2, -1]])
    confusion, guess = Confusion(4), Confusion(4)
    confusion.add(truth.clip(0), truth)
    guess.add(np.zeros_like(truth), truth)
    assert confusion.counts.chance == pytest.approx(guess.counts.mean_iou) == pytest.approx(100 * 5 / 7 / 3)


def test_the_guess_of_normals_is_the_mean_direction_of_training() -> None:
    towards = np.zeros((3, 3, 3), np.float32)
    towards[..., 2] = 1
    towards[0] = 0
    assert mean_direction(HeldTargets((towards, towards), "digest"), seed=0).tolist() == [0, 0, 1]


def test_the_guess_of_several_labels_is_that_of_random_scores() -> None:
    labels = (np.random.default_rng(1).random((400, 5)) < 0.1).astype(np.int64)
    random = [mean_average_precision(np.random.default_rng(seed).random(labels.shape), labels) for seed in range(2, 42)]
    chance = chance_diagnostics(labels)["chance"]
    assert isinstance(chance, float)
    assert chance == pytest.approx(np.mean(random), abs=4 * np.std(random))
    assert chance > 12, "prevalence alone would say 10"
    assert chance_diagnostics(labels[:, 0]) == {}
