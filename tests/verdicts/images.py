"""Dense tasks and detection, over images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.statistics.paired_from_predictions import paired_test
from tasks.datasets.dataset import Boxes
from tasks.metrics.confidence_intervals import over_images
from tasks.metrics.detection import AveragePrecision, Detections
from tasks.metrics.pixels import Angles, PixelCounts
from tests.verdicts.rates import AT_MOST, COVERED, Arrays, Floats, Rate, population, repeated, simulation


def _pixels(generator: np.random.Generator, images: int, skill: Floats) -> npt.NDArray[np.int32]:
    """Correct, true and predicted pixels [images, 3, classes]; an image has one or two of the classes."""
    found = np.zeros((images, 3, len(skill)), np.int32)
    for image in range(images):
        one, other = generator.integers(0, len(skill), 2)
        part = generator.integers(100, 900)
        for true, size in ((one, part), (other, 1000 - part)):
            good = int(size * np.clip(generator.normal(skill[true], 0.15), 0, 1))
            found[image, 0, true] += good
            found[image, 1, true] += size
            found[image, 2, true] += good
            found[image, 2, (true + 1) % len(skill)] += size - good
    return found


@simulation
def segmentation(scale: float) -> Iterator[Rate]:
    """Mean IoU over images: `over_images` with `PixelCounts`, and `paired_test`."""
    skill = np.array([0.9, 0.8, 0.7, 0.6])
    truth = PixelCounts(_pixels(np.random.default_rng(1), population(40_000, scale), skill)).mean_iou
    yield from _of_images(
        "segmentation", "miou", scale, truth, lambda generator, n: {"pixel_counts": _pixels(generator, n, skill)}
    )


def _angles(generator: np.random.Generator, images: int) -> Floats:
    """Per image the number of pixels, the sum of angles and three counts; hard images have large angles."""
    pixels = generator.integers(500, 1500, images).astype(float)
    mean = generator.gamma(4.0, 5.0, images)
    below = np.stack([pixels * (1 - np.exp(-limit / mean)) for limit in (11.25, 22.5, 30.0)], axis=1)
    return np.column_stack([pixels, pixels * mean, np.floor(below)])


@simulation
def normals(scale: float) -> Iterator[Rate]:
    """Mean angle over images: `over_images` with `Angles`, and `paired_test`."""
    yield from _of_images(
        "normals", "mean-angle", scale, 20.0, lambda generator, n: {"angle_sums": _angles(generator, n)}
    )


def _interval_of(metric: str, arrays: Arrays, images: int) -> tuple[float, float]:
    if metric == "miou":
        counts = PixelCounts(arrays["pixel_counts"].astype(np.int32))
        found = over_images(counts.mean_ious, images)
    else:
        angles = Angles(np.empty(0, np.int64), arrays["angle_sums"].astype(np.float64))
        found = over_images(angles.mean_angles, images)
    return found.low, found.high


def _of_images(
    name: str, metric: str, scale: float, truth: float, draw: Callable[[np.random.Generator, int], Arrays]
) -> Iterator[Rate]:
    for images in (50, 300):
        covered = alarms = 0
        times, generator = repeated(300, scale), np.random.default_rng(images)
        for _ in times:
            runs = [{**draw(generator, images), "index": np.arange(images)} for _ in range(2)]
            low, high = _interval_of(metric, runs[0], images)
            covered += low <= truth <= high
            alarms += paired_test(metric, runs[:1], runs[1:]).p_value < 0.05
        yield Rate(name, f"{images} images, coverage", covered / len(times), *COVERED, len(times))
        yield Rate(name, f"{images} images, false alarms", alarms / len(times), *AT_MOST, len(times))


def _scene(generator: np.random.Generator) -> tuple[Detections, Boxes]:
    """One to four objects far apart; each is detected with its own probability, and there are false detections."""
    count = int(generator.integers(1, 5))
    corners = np.array([[100 * place, 0, 100 * place + 50, 50] for place in range(count)], np.float32)
    labels = generator.integers(0, 3, count)
    found = generator.random(count) < np.array([0.9, 0.7, 0.5])[labels]
    false = int(generator.poisson(0.7))
    wrong = np.array([[100 * place, 200, 100 * place + 50, 250] for place in range(false)], np.float32).reshape(
        false, 4
    )
    scores = np.concatenate([generator.normal(1.0, 0.5, int(found.sum())), generator.normal(0.0, 0.5, false)])
    every = np.concatenate([labels[found], generator.integers(0, 3, false)])
    corner = np.concatenate([corners[found], wrong])
    detections = Detections(corners=corner, labels=every, scores=scores.astype(np.float32))
    return detections, Boxes(corners=corners, labels=labels, difficult=np.zeros(count, bool))


def _detected(generator: np.random.Generator, images: int) -> AveragePrecision:
    scenes = [_scene(generator) for _ in range(images)]
    return AveragePrecision.of([one for one, _ in scenes], [one for _, one in scenes], 3, "area")


@simulation
def detection(scale: float) -> Iterator[Rate]:
    """Interval of AP50: `AveragePrecision.interval`."""
    truth = float(np.nanmean(_detected(np.random.default_rng(1), population(20_000, scale)).per_class(0.5)))
    for images in (60, 300):
        generator, times, covered = np.random.default_rng(images), repeated(150, scale), 0
        for seed in times:
            found = _detected(generator, images).interval(0.5, replicates=200, seed=seed)
            covered += found.low <= truth <= found.high
        yield Rate("detection", f"{images} images, coverage", covered / len(times), *COVERED, len(times))
