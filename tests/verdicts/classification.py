"""Accuracy, mean per-class accuracy and average precision of images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ssl_console.analysis.statistics.paired_from_predictions import paired_test
from tasks.metrics.scoring import interval, score
from tests.verdicts.rates import (
    AT_MOST,
    COVERED,
    FEW_WRONG,
    Arrays,
    Floats,
    Labels,
    Rate,
    affordable,
    both_right,
    population,
    predicted,
    repeated,
    scored,
    simulation,
    sizes_of,
)


def _coverage(
    metric: str, labels: Labels, chance: Floats, truth: float, name: str, setting: str, times: range
) -> Iterator[Rate]:
    classes, covered, flat = int(labels.max()) + 1, 0, 0
    generator, most = np.random.default_rng(7), COVERED[1] if np.sum(1 - chance[labels]) >= FEW_WRONG else 1.0
    for _ in times:
        right = generator.random(len(labels)) < chance[labels]
        found = interval(metric, scored(predicted(right, labels, classes), classes), labels)  # type: ignore[arg-type]
        covered += found.low <= truth <= found.high
        flat += found.high - found.low < 1e-9
    yield Rate(name, f"{setting}, coverage", covered / len(times), COVERED[0], most, len(times))
    if len(labels) < 1000:
        yield Rate(name, f"{setting}, intervals without width", flat / len(times), 0.0, 0.0, 1)


def _alarms(metric: str, labels: Labels, chance: Floats, name: str, setting: str, times: range) -> Iterator[Rate]:
    classes, generator, alarms = int(labels.max()) + 1, np.random.default_rng(8), 0
    index = np.arange(len(labels))
    for _ in times:
        pair = both_right(generator, chance[labels])
        runs: list[Arrays] = [
            {"index": index, "label": labels, "predicted": predicted(one, labels, classes)} for one in pair
        ]
        alarms += paired_test(metric, runs[:1], runs[1:]).p_value < 0.05
    yield Rate(name, f"{setting}, false alarms", alarms / len(times), *AT_MOST, len(times))


@simulation
def accuracy(scale: float) -> Iterator[Rate]:
    """Wilson's interval and McNemar's test, through `interval` and `paired_test`."""
    for total in (20, 200, 2000):
        for share in (0.5, 0.9, 0.99):
            labels = sizes_of("equal", total, 2)
            setting, chance = f"n = {len(labels)}, p = {share}", np.full(2, share)
            times = repeated(1000, scale)
            yield from _coverage("accuracy", labels, chance, 100 * share, "accuracy", setting, times)
            yield from _alarms("accuracy", labels, chance, "accuracy", setting, times)


@simulation
def mean_per_class(scale: float) -> Iterator[Rate]:
    """Interval of mean per-class accuracy and its paired test, through `interval` and `paired_test`."""
    settings = [
        (kind, total, classes)
        for kind in ("equal", "halving")
        for total, classes in ((20, 5), (50, 10), (225, 9), (2000, 20))
    ]
    for kind, total, classes in [*settings, ("Caltech-like", 0, 0)]:
        labels, times = sizes_of(kind, total, classes), repeated(400, scale)
        count = int(labels.max()) + 1
        for share in affordable((0.5, 0.8, 0.95, 0.99), scale, (0.5, 0.99)) if kind != "Caltech-like" else (0.9,):
            chance = np.full(count, share) if kind != "Caltech-like" else np.random.default_rng(1).beta(9, 1, count)
            setting = f"{kind} sizes, n = {len(labels)}, k = {count}, p = {share}"
            yield from _coverage(
                "mean-per-class", labels, chance, 100 * float(chance.mean()), "mean_per_class", setting, times
            )
            yield from _alarms("mean-per-class", labels, chance, "mean_per_class", setting, times)


def _ranked(generator: np.random.Generator, truth: Labels, common: Floats, skill: float) -> Floats:
    return truth * skill + 0.7 * common + 0.7 * generator.standard_normal(truth.shape)


@simulation
def average_precision(scale: float) -> Iterator[Rate]:
    """Interval of 11-point mAP and its paired test, through `interval` and `paired_test`."""
    for classes, share, skill in ((3, 0.3, 1.2), (3, 0.3, 2.5), (12, 0.1, 1.2)):
        generator = np.random.default_rng(2)
        many = (generator.random((population(200_000, scale), classes)) < share).astype(np.int64)
        truth = score("map11", _ranked(generator, many, generator.standard_normal(many.shape), skill), many)
        sizes = ((40, 400), (100, 200), (800, 200)) if skill < 2 and classes < 4 else ((40, 400),)
        for total, count in affordable(sizes, scale, sizes[:1]):
            setting = f"{classes} classes, {skill} apart, n = {total}"
            times = repeated(count, scale)
            pairs = [_several_labels(generator, (total, classes), share, skill) for _ in times]
            found = [interval("map11", ours["scores"], ours["label"]) for ours, _ in pairs]  # type: ignore[arg-type]
            covered = float(np.mean([one.low <= truth <= one.high for one in found]))
            alarms = float(np.mean([paired_test("map11", [one], [other]).p_value < 0.05 for one, other in pairs]))
            yield Rate("average_precision", f"{setting}, coverage", covered, *COVERED, len(times))
            yield Rate("average_precision", f"{setting}, false alarms", alarms, *AT_MOST, len(times))


def _several_labels(
    generator: np.random.Generator, shape: tuple[int, int], share: float, skill: float
) -> tuple[Arrays, Arrays]:
    """Predictions of two equally good backbones on the same images."""
    labels = (generator.random(shape) < share).astype(np.int64)
    common = generator.standard_normal(shape)
    ours, theirs = (_ranked(generator, labels, common, skill) for _ in range(2))
    same: Arrays = {"index": np.arange(shape[0]), "label": labels}
    return {**same, "scores": ours}, {**same, "scores": theirs}
