"""Scores that are not means over images: paired tests and ranks over images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from ssl_console.analysis.rank_intervals import rank_table
from ssl_console.analysis.ranking import rank
from ssl_console.analysis.statistics.paired_from_predictions import Unpaired, paired_test
from ssl_console.analysis.statistics.weighted_metrics import per_sample, statistic
from ssl_console.workspace.predictions import Arrays
from ssl_console.workspace.result import Result
from tasks.datasets.dataset import Boxes
from tasks.metrics.detection import AveragePrecision, Detections, kept, restored
from tasks.metrics.pixels import AngleHistogram, Confusion
from tasks.metrics.rescore import rescore

IMAGES = 60
PROTOCOL = {"miou": "segmentation", "mean-angle": "normals"}
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
    """The true boxes with noise, and occasionally a false one."""
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
    way = rescore("detection-frozen", arrays)
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
    found, way = statistic("mean-colour", arrays), rescore("colour", arrays)
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


def segmented(noise: float, seed: int) -> Arrays:
    """Outputs of a segmentation run; every backbone has the same images in the same order."""
    generator, given = np.random.default_rng(seed), np.random.default_rng(0)
    confusion = Confusion(4)
    for _ in range(IMAGES):
        truth = given.integers(0, 4, (8, 8))
        wrong = generator.random((8, 8)) < noise
        confusion.add(np.where(wrong, (truth + 1) % 4, truth), truth)
    return {"index": np.arange(IMAGES), "pixel_counts": confusion.counts.images, "confusion": confusion.matrix}


def angled(noise: float, seed: int) -> Arrays:
    """Outputs of a run of surface normals; some images are hard for all backbones."""
    generator, hard = np.random.default_rng(seed), np.random.default_rng(0).uniform(5, 25, IMAGES)
    histogram = AngleHistogram()
    for angle in hard:
        histogram.add(np.abs(angle + noise + 4 * generator.normal(size=50)))
    angles = histogram.angles
    return {"index": np.arange(IMAGES), "angle_sums": angles.images, "angle_counts": angles.counts}


@pytest.mark.parametrize(
    ("headline", "better", "worse", "even"),
    [
        ("miou", segmented(0.10, 1), segmented(0.13, 2), partial(segmented, 0.10)),
        ("mean-angle", angled(0.0, 1), angled(1.0, 2), partial(angled, 0.0)),
    ],
)
def test_dense_scores_are_compared_and_ranked_over_the_same_resampled_images(
    headline: str, better: Arrays, worse: Arrays, even: Callable[[int], Arrays]
) -> None:
    test, known = paired_test(headline, [better], [worse]), statistic(headline, better)
    assert (test.method, test.n) == ("paired bootstrap", IMAGES)
    assert test.p_value < 0.01
    way = rescore(PROTOCOL[headline], better)
    assert way is not None
    assert known is not None
    assert known(np.ones((IMAGES, 1), np.float32))[0] == pytest.approx(way.metrics(better)[headline])
    alarms = [paired_test(headline, [better], [even(seed)]).p_value < 0.01 for seed in range(3, 18)]
    assert sum(alarms) <= 2


@pytest.mark.parametrize(("headline", "arrays"), [("miou", segmented(0.2, 1)), ("mean-angle", angled(0.0, 1))])
def test_intervals_of_dense_scores_follow_from_what_single_images_add(headline: str, arrays: Arrays) -> None:
    way, known = rescore(PROTOCOL[headline], arrays), statistic(headline, arrays)
    assert way is not None
    assert known is not None
    interval = way.interval(arrays, headline)
    assert interval is not None
    drawn = np.random.default_rng(1).multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), 4000)
    low, high = np.quantile(known(drawn.T.astype(np.float32)), [0.025, 0.975])
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.15 * (high - low))


@pytest.mark.parametrize(
    ("headline", "arrays", "name"),
    [("miou", segmented(0.2, 1), "confusion"), ("mean-angle", angled(0.0, 1), "angle_counts")],
    ids=["pixels", "angles"],
)
def test_sums_that_do_not_fit_the_single_images_are_not_counted(headline: str, arrays: Arrays, name: str) -> None:
    changed = arrays[name].copy()
    changed[tuple(np.argwhere(changed)[0])] += 1
    way = rescore(PROTOCOL[headline], arrays)
    assert way is not None
    with pytest.raises(ValueError, match="single images"):
        way.metrics({**arrays, name: changed})
