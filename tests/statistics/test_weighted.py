"""Scores that are no means over images: tested in pairs and ranked over images all the same."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_console.predictions import Arrays
from ssl_console.rank_intervals import rank_table
from ssl_console.ranking import rank
from ssl_console.result import Result
from ssl_console.statistics.evidence import Unpaired, paired_test
from ssl_console.statistics.weighted import per_sample, statistic
from tasks.datasets.targets import Boxes
from tasks.dense.confusion import Confusion
from tasks.detection.average_precision import AveragePrecision
from tasks.detection.detections import Detections
from tasks.detection.kept import kept, restored
from tasks.recount import recount

IMAGES = 60
CLASSES = 3


def truths() -> list[Boxes]:
    generator = np.random.default_rng(0)
    found = []
    for _ in range(IMAGES):
        count = int(generator.integers(1, 4))
        corners = (generator.integers(0, 40, (count, 4)) + np.array([0, 0, 50, 50])).astype(np.float32)
        found.append(Boxes(corners, generator.integers(0, CLASSES, count), generator.random(count) < 0.1))
    return found


def detections(noise: float, seed: int) -> list[Detections]:
    """The true boxes, moved by some noise, with a false one now and then."""
    generator = np.random.default_rng(seed)
    found = []
    for truth in truths():
        moved = truth.corners + noise * generator.normal(size=truth.corners.shape)
        false = np.array([[0, 0, 9, 9]], np.float32)
        corners = np.concatenate([moved, false]).astype(np.float32)
        labels = np.concatenate([truth.labels, [0]])
        found.append(Detections(corners, labels, generator.random(len(labels)).astype(np.float32)))
    return found


def detected(noise: float, seed: int) -> Arrays:
    return kept(detections(noise, seed), truths(), "11-point")


def test_detections_are_kept_whole_so_that_every_score_follows_from_them() -> None:
    whole = AveragePrecision.of(detections(6.0, 1), truths(), CLASSES)
    arrays = detected(6.0, 1)
    way = recount(arrays)
    assert way is not None
    assert way.metrics(arrays) == pytest.approx(whole.scores, abs=1e-9)
    interval, again = whole.interval(0.5), way.interval(arrays, "ap50")
    assert again is not None
    assert (again.low, again.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert restored(kept(detections(6.0, 1), truths(), "area")).averaging == "area"


def test_two_detectors_are_compared_on_the_same_images() -> None:
    test = paired_test("ap50", [detected(4.0, 1)], [detected(14.0, 2)])
    expected = restored(detected(4.0, 1)).scores["ap50"] - restored(detected(14.0, 2)).scores["ap50"]
    assert (test.method, test.n) == ("paired bootstrap", IMAGES)
    assert test.difference == pytest.approx(expected)
    assert test.p_value < 0.001
    assert paired_test("ap50", [detected(4.0, 1)], [detected(4.0, 3)]).p_value > 0.05


def test_detectors_on_other_images_are_not_paired() -> None:
    other = {**detected(4.0, 2), "true_labels": detected(4.0, 2)["true_labels"] + 1}
    with pytest.raises(Unpaired, match="test images"):
        paired_test("ap50", [detected(4.0, 1)], [other])


def test_one_number_per_image_is_a_paired_t_test() -> None:
    generator = np.random.default_rng(4)
    common = generator.normal(50, 10, IMAGES)
    first, second = ({"index": np.arange(IMAGES), "diffusion": common + generator.normal(g, 1, IMAGES)} for g in (1, 0))
    test = paired_test("diffusion", [first], [second])
    assert (test.method, test.p_value < 0.01) == ("paired t over samples", True)
    assert per_sample("accuracy", {"accuracy": common, "classes": common}) is None, "episodes are no images"


def test_explained_variance_under_even_weights_is_the_score() -> None:
    generator = np.random.default_rng(5)
    colour = generator.random((IMAGES, 5))
    arrays = {
        "index": np.arange(IMAGES),
        "colour": colour,
        "colour_predicted": colour + 0.1 * generator.normal(size=colour.shape),
    }
    found, way = statistic("mean-colour", arrays), recount(arrays)
    assert found is not None
    assert way is not None
    assert found(np.ones((IMAGES, 1), np.float32))[0] == pytest.approx(way.metrics(arrays)["mean-colour"])


def test_ranks_of_detectors_vary_with_the_images() -> None:
    arrays = {name: detected(noise, seed) for name, noise, seed in (("a", 4.0, 1), ("b", 4.5, 2), ("c", 14.0, 3))}
    results = [
        Result(
            run_id=name, key=name, backbone=name, task="detection/x", column="x", seed=0, metric="ap50",
            value=restored(one).scores["ap50"], ci_low=0, ci_high=100, n=IMAGES, finished=1.0, duration_s=1.0,
        )
        for name, one in arrays.items()
    ]  # fmt: skip
    table = rank_table(rank(results), arrays.get)
    assert table.by_intervals == ()
    groups = {row.backbone: row.group for row in table.ranks.rows}
    assert groups["a"] == groups["b"] < groups["c"]


def test_segmentation_and_normals_are_counted_from_their_sums() -> None:
    matrix = {"confusion": np.array([[8, 2], [1, 9]]), "pixel_accuracy": np.array([85.0])}
    way = recount(matrix)
    assert way is not None
    assert way.metrics(matrix) == pytest.approx({"miou": 100 * (8 / 11 + 9 / 12) / 2, "pixel-accuracy": 85.0})
    counts = np.zeros(18_000, np.int64)
    counts[[500, 2000, 4000]] = [2, 1, 1]
    angles = {"angle_counts": counts, "angle_within": np.array([2, 3, 3]), "angle_sum": np.array([70.0])}
    found = recount(angles)
    assert found is not None
    scores = found.metrics(angles)
    assert (scores["mean-angle"], scores["within-11.25"]) == (17.5, 50.0)
    assert scores["median-angle"] == pytest.approx(5.01)


def segmented(noise: float, seed: int) -> Arrays:
    """What a segmentation run keeps; every backbone meets the same images in the same order."""
    generator, given = np.random.default_rng(seed), np.random.default_rng(0)
    confusion, accuracies = Confusion(4), []
    for _ in range(IMAGES):
        truth = given.integers(0, 4, (8, 8))
        wrong = generator.random((8, 8)) < noise
        accuracies.append(confusion.add(np.where(wrong, (truth + 1) % 4, truth), truth))
    return {
        "index": np.arange(IMAGES),
        "pixel_accuracy": np.array(accuracies),
        "confusion": confusion.matrix,
        "replicates": confusion.replicates,
    }


def test_segmentations_are_compared_over_the_same_resampled_images() -> None:
    one, other = segmented(0.10, 1), segmented(0.13, 2)
    test = paired_test("miou", [one], [other])
    assert (test.method, test.n) == ("paired bootstrap", IMAGES)
    assert test.p_value < 0.01
    alarms = [paired_test("miou", [one], [segmented(0.10, seed)]).p_value < 0.01 for seed in range(3, 18)]
    assert sum(alarms) <= 2


def test_the_interval_of_a_segmentation_follows_from_what_it_keeps() -> None:
    arrays = segmented(0.2, 1)
    way = recount(arrays)
    assert way is not None
    interval = way.interval(arrays, "miou")
    assert interval is not None
    assert interval.low < way.metrics(arrays)["miou"] < interval.high
