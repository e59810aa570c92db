"""Average precision of detections: the VOC rules, an independent evaluator, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from tasks.datasets.dataset import Boxes
from tasks.metrics.detection import OVERLAPS, RECALL_LEVELS, AveragePrecision, Averaging, Detections, claims, overlaps

CLASSES = 3
SIDE = 100.0
Floats = npt.NDArray[np.float64]


def truth(*corners: Sequence[float], labels: Sequence[int] | None = None, difficult: Sequence[int] = ()) -> Boxes:
    """Objects of class 0 by default; `difficult` are indices."""
    marks = np.zeros(len(corners), np.bool_)
    marks[list(difficult)] = True
    array = np.array(corners, np.float32).reshape(-1, 4)
    return Boxes(array, np.array(labels if labels is not None else [0] * len(corners), np.int64), marks)


def found(*pairs: tuple[Sequence[float], float], label: int = 0) -> Detections:
    corners = np.array([corner for corner, _ in pairs], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in pairs], np.float32)
    return Detections(corners, np.full(len(pairs), label), scores)


def ap50(detections: Sequence[Detections], truths: Sequence[Boxes], averaging: Averaging = "11-point") -> float:
    return AveragePrecision.of(detections, truths, 1, averaging).scores["ap50"]


A, B = (0, 0, 10, 10), (50, 50, 70, 70)
BESIDE_A = (0, 0, 10, 8)
NOWHERE = (80, 0, 90, 10)


def test_everything_found_and_nothing_else_is_a_hundred_percent() -> None:
    scores = AveragePrecision.of([found((A, 0.9), (B, 0.8))], [truth(A, B)], 1).scores
    assert scores == pytest.approx({"ap": 100.0, "ap50": 100.0, "ap75": 100.0})


def test_nothing_found_is_zero_and_nothing_to_find_is_an_error() -> None:
    assert ap50([found()], [truth(A)]) == 0
    with pytest.raises(ValueError, match="there are no objects"):
        AveragePrecision.of([found((A, 0.9))], [truth(A, difficult=[0])], 1)


def test_only_the_best_scored_detection_of_an_object_is_right() -> None:
    one = claims([found((BESIDE_A, 0.5), (A, 0.9), (A, 0.7))], [truth(A)], 0)
    right, counted = one.judged(0.5)
    assert (right.tolist(), counted.tolist()) == ([True, False, False], [True, True, True])


def test_a_detection_belongs_to_the_object_it_overlaps_most_even_when_that_is_taken() -> None:
    """Unlike in COCO's rules, a detection is not matched with a free object that it overlaps less."""
    near = (0, 0, 10, 12)
    one = claims([found((A, 0.9), ((0, 0, 10, 10.5), 0.8))], [truth(A, near)], 0)
    assert one.judged(0.5)[0].tolist() == [True, False]


def test_difficult_objects_count_neither_way() -> None:
    truths = [truth(A, B, difficult=[1])]
    assert ap50([found((A, 0.9), (B, 0.95))], truths) == pytest.approx(100)
    assert ap50([found((A, 0.9))], truths) == pytest.approx(100)
    assert ap50([found((A, 0.9), (NOWHERE, 0.95))], truths) == pytest.approx(50)


def test_an_overlap_of_exactly_the_threshold_is_not_enough() -> None:
    half = (0, 0, 10, 5)
    assert ap50([found((half, 0.9))], [truth(A)]) == 0
    assert ap50([found(((0, 0, 10, 5.1), 0.9))], [truth(A)]) == pytest.approx(100)


def test_eleven_points_and_area_of_a_curve_worked_out_by_hand() -> None:
    """Right, wrong, right of three objects: precision 1 up to recall 1/3, then 2/3 up to recall 2/3, then nothing."""
    detections, truths = [found((A, 0.9), (NOWHERE, 0.8), (B, 0.7))], [truth(A, B, (0, 60, 10, 90))]
    assert ap50(detections, truths) == pytest.approx(100 * (4 * 1 + 3 * 2 / 3) / 11)
    assert ap50(detections, truths, "area") == pytest.approx(100 * (1 / 3 + 1 / 3 * 2 / 3))


def test_a_class_without_objects_is_left_out_of_the_mean() -> None:
    only = [truth(A, labels=[1])]
    assert AveragePrecision.of([found((A, 0.9), label=1)], only, CLASSES).scores["ap50"] == pytest.approx(100)


def test_overlap_of_boxes() -> None:
    one = np.array([[0, 0, 10, 10], [5, 5, 5, 5]], np.float32)
    other = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    assert overlaps(one, other) == pytest.approx(np.array([[1 / 3, 1, 0], [0, 0, 0]]))


# -- against other evaluators -----------------------------------------------------------------------------------


def scene(seed: int, images: int = 40, *, difficult: float = 0.0) -> tuple[list[Detections], list[Boxes]]:
    """Random separate objects, and a detector that misses, shifts, duplicates and invents some.

    Objects are separate, so that no detection overlaps two: then VOC and COCO match alike.
    """
    generator = np.random.default_rng(seed)
    detections, truths = [], []
    for _ in range(images):
        cells = generator.permutation(9)[: generator.integers(1, 6)]
        start = np.stack([cells % 3, cells // 3], axis=1) * 33.0 + generator.uniform(0, 3, (len(cells), 2))
        corners = np.concatenate([start, start + generator.uniform(12, 30, (len(cells), 2))], axis=1)
        labels = generator.integers(0, CLASSES, len(cells))
        truths.append(
            Boxes(corners.astype(np.float32), labels, generator.random(len(cells)) < difficult),
        )
        kept = generator.random(len(cells)) < 0.8
        times = generator.integers(1, 3, len(cells)) * kept
        shifted = np.repeat(corners, times, axis=0) + generator.normal(0, 1.2, (times.sum(), 4))
        invented = generator.uniform(0, 60, (2, 2))
        both = np.concatenate([shifted, np.concatenate([invented, invented + 20], axis=1)])
        kinds = np.concatenate([np.repeat(labels, times), generator.integers(0, CLASSES, 2)])
        scores = generator.permutation(len(both)) / 1000 + generator.random()
        detections.append(Detections(both.astype(np.float32), kinds, scores.astype(np.float32)))
    return detections, truths


def independent(detections: Sequence[Detections], truths: Sequence[Boxes], levels: Floats) -> Floats:
    """AP in percent [overlaps, classes] by faster-coco-eval, at the given recall levels."""
    annotations: list[dict[str, Any]] = [
        {"image_id": image, "bbox": _xywh(box), "area": 1.0, "category_id": int(label) + 1, "iscrowd": 0}
        for image, one in enumerate(truths)
        for box, label in zip(one.corners, one.labels, strict=True)
    ]
    results = [
        {"image_id": image, "bbox": _xywh(box), "category_id": int(label) + 1, "score": float(score)}
        for image, one in enumerate(detections)
        for box, label, score in zip(one.corners, one.labels, one.scores, strict=True)
    ]
    whole = COCO(
        {
            "images": [{"id": image, "height": SIDE, "width": SIDE} for image in range(len(truths))],
            "annotations": [{**one, "id": number} for number, one in enumerate(annotations, 1)],
            "categories": [{"id": label + 1, "name": str(label)} for label in range(CLASSES)],
        }
    )
    evaluation = COCOeval_faster(whole, whole.loadRes(results), "bbox")
    evaluation.params.recThrs = levels
    evaluation.params.maxDets = [1, 10, 1000]
    evaluation.evaluate()
    evaluation.accumulate()
    precision: Floats = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    mean: Floats = 100 * precision.mean(axis=1)
    return mean


def _xywh(box: npt.NDArray[np.floating]) -> list[float]:
    x0, y0, x1, y1 = map(float, box)
    return [x0, y0, x1 - x0, y1 - y0]


@pytest.mark.parametrize("seed", range(4))
def test_eleven_point_precision_is_that_of_an_independent_evaluator(seed: int) -> None:
    detections, truths = scene(seed)
    own = AveragePrecision.of(detections, truths, CLASSES)
    theirs = independent(detections, truths, RECALL_LEVELS)
    assert np.stack([own.per_class(overlap) for overlap in OVERLAPS]) == pytest.approx(theirs, abs=1e-6)
    assert own.scores["ap"] == pytest.approx(theirs.mean(), abs=1e-6)
    assert 5 < own.scores["ap75"] < own.scores["ap50"] < 95


@pytest.mark.parametrize("seed", range(4))
def test_area_is_what_an_independent_evaluator_gives_at_ever_finer_recall_levels(seed: int) -> None:
    detections, truths = scene(seed)
    own = AveragePrecision.of(detections, truths, CLASSES, "area").per_class(0.5)
    theirs = independent(detections, truths, np.linspace(0, 1, 20_001))[0]
    assert own == pytest.approx(theirs, abs=0.02)


def challenge(detections: Sequence[Detections], truths: Sequence[Boxes], label: int, overlap: float) -> float:
    """The challenge's evaluation, detection by detection, as in its published program."""
    queue = [
        (float(score), image, box)
        for image, one in enumerate(detections)
        for box, kind, score in zip(one.corners, one.labels, one.scores, strict=True)
        if kind == label
    ]
    wanted = [(one.corners[one.labels == label], one.difficult[one.labels == label]) for one in truths]
    taken = [np.zeros(len(marks), np.bool_) for _, marks in wanted]
    total = sum(int((~marks).sum()) for _, marks in wanted)
    right, wrong, recall, precision = 0, 0, [], []
    for _, image, box in sorted(queue, key=lambda one: -one[0]):
        corners, marks = wanted[image]
        shared = overlaps(box[None], corners)[0] if len(corners) else np.zeros(1)
        best = int(shared.argmax())
        if shared[best] > overlap:
            if marks[best]:
                continue
            right, wrong = (right, wrong + 1) if taken[image][best] else (right + 1, wrong)
            taken[image][best] = True
        else:
            wrong += 1
        recall.append(right / total)
        precision.append(right / (right + wrong))
    reached = [[p for p, r in zip(precision, recall, strict=True) if r >= level] for level in np.arange(0.0, 1.1, 0.1)]
    return 100 * sum(max(values, default=0.0) for values in reached) / 11


@pytest.mark.parametrize("overlap", [0.5, 0.75])
@pytest.mark.parametrize("seed", range(3))
def test_with_difficult_objects_it_is_the_challenges_own_procedure(seed: int, overlap: float) -> None:
    detections, truths = scene(seed, difficult=0.3)
    own = AveragePrecision.of(detections, truths, CLASSES).per_class(overlap)
    assert own == pytest.approx([challenge(detections, truths, label, overlap) for label in range(CLASSES)])


# -- intervals --------------------------------------------------------------------------------------------------


def test_the_interval_holds_the_score_and_narrows_with_more_images() -> None:
    widths = []
    for images in (30, 480):
        measured = AveragePrecision.of(*scene(0, images), CLASSES)
        interval = measured.interval(0.5)
        assert interval.low <= measured.scores["ap50"] <= interval.high
        widths.append(interval.high - interval.low)
    assert 1.5 < widths[0] / widths[1] < 6


def test_intervals_cover_the_score_of_very_many_images() -> None:
    truth_of_all = AveragePrecision.of(*scene(99, 2000), CLASSES).scores["ap50"]
    intervals = [AveragePrecision.of(*scene(seed, 60), CLASSES).interval(0.5, replicates=200) for seed in range(40)]
    covered = sum(one.low <= truth_of_all <= one.high for one in intervals)
    assert covered >= 34
