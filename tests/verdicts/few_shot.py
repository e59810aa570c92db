"""Few-shot comparison on pools of images shared by episodes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.statistics.paired_from_predictions import paired_test
from ssl_console.analysis.statistics.paired_tests import PairedTest
from tasks.catalog.protocols import FewShotParameters
from tasks.metrics.confidence_intervals import over_pools
from tasks.protocols.few_shot import episode_accuracies, sample_episodes, split_accuracies
from tests.verdicts.rates import ALARMS, Arrays, Floats, Labels, Rate, affordable, repeated, simulation

FEWEST = 8
"""Repetitions of the short form. An interval that covers three in four is found in 63 of 100 runs of it."""
ORACLE_POWER = 1.959964 + 1.281552
"""Standard deviations of a difference that a test with known variance detects in nine of ten cases."""


def _features(
    generator: np.random.Generator, labels: Labels, common: Floats, centres: Floats
) -> npt.NDArray[np.float32]:
    own = 0.7 * generator.standard_normal((len(labels), 16))
    return (centres[labels] + common + own).astype(np.float32)


def _run(features: npt.NDArray[np.float32], labels: Labels) -> Arrays:
    """The arrays stored by the protocol."""
    episodes = sample_episodes(labels, ways=5, shots=5, queries=15, episodes=600, seed=0)
    halves = split_accuracies(features, labels, FewShotParameters(), 0)
    assert halves is not None
    return {
        "accuracy": np.asarray(episode_accuracies(features, episodes)),
        "classes": episodes.classes,
        "split_accuracy": halves[0],
        "split_images": halves[1],
    }


def _pools(pool: int, times: range) -> Iterator[tuple[Arrays, Arrays]]:
    """Two equally good backbones on one pool of nine classes."""
    for seed in times:
        generator = np.random.default_rng((3, pool, seed))
        labels = np.repeat(np.arange(9), pool)
        centres = 0.45 * generator.standard_normal((9, 16))
        common = 0.7 * generator.standard_normal((len(labels), 16))
        first, second = (_run(_features(generator, labels, common, centres), labels) for _ in range(2))
        yield first, second


@simulation
def few_shot(scale: float) -> Iterator[Rate]:
    """False alarms, power and width of intervals, by shared episodes and halves of the pool."""
    for pool in affordable((20, 40, 125), scale, (40,)):
        times = repeated(200, scale, least=FEWEST)
        tests = [paired_test("accuracy", [one], [other]) for one, other in _pools(pool, times)]
        yield from _rates(f"{pool} images per class", tests)


def _rates(setting: str, tests: list[PairedTest]) -> Iterator[Rate]:
    count, found = len(tests), np.array([test.difference for test in tests])
    half = np.array([(test.high - test.low) / 2 for test in tests])
    deviation = float(np.sqrt(np.mean(found**2)))
    alarms, power = np.mean(np.abs(found) > half), np.mean(np.abs(found + ORACLE_POWER * deviation) > half)
    yield Rate("few_shot", f"{setting}, false alarms", float(alarms), *ALARMS, count)
    yield Rate("few_shot", f"{setting}, power where an oracle's is 0.9", float(power), 0.8, 1.0, count)
    width = float(half.mean()) / (1.959964 * deviation)
    yield Rate("few_shot", f"{setting}, width over an oracle's", width, 0.0, 1.3, count)


@simulation
def few_shot_interval(scale: float) -> Iterator[Rate]:
    """Coverage of one backbone's accuracy over all images, of classes with fixed centres."""
    pool, times = 40, repeated(200, scale, least=FEWEST)
    labels, generator = np.repeat(np.arange(9), pool), np.random.default_rng(31)
    centres = 0.45 * generator.standard_normal((9, 16))
    many = np.repeat(np.arange(9), 3000)
    whole = sample_episodes(many, ways=5, shots=5, queries=15, episodes=6000, seed=1)
    truth = float(episode_accuracies(_features(generator, many, np.zeros((len(many), 16)), centres), whole).mean())
    covered = 0
    for _ in times:
        run = _run(_features(generator, labels, np.zeros((len(labels), 16)), centres), labels)
        found = over_pools(*(run[name] for name in ("accuracy", "split_accuracy", "split_images")))  # type: ignore[arg-type]
        covered += found.low <= truth <= found.high
    yield Rate("few_shot_interval", "40 images per class, coverage", covered / len(times), 0.93, 0.97, len(times))
