"""Whether a verdict is on two trained heads or on the backbones below them. Pure; needs no numpy.

Finetuning, detection, segmentation and normals train a network whose score depends on the seed. One seed each compares
two runs. With several, how scores vary over seeds counts as well as how they vary over test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import variance

from ssl_console.analysis.statistics.paired_tests import PairedTest, student


def over_trainings(test: PairedTest, first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """The test of images with the variance of the scores over seeds, of both backbones, added to its own.

    `first` and `second` are one score a seed, at least two each. Degrees of freedom are Satterthwaite's.
    """
    parts = [(variance(values) / len(values), len(values) - 1) for values in (first, second)]
    images = test.standard_error**2
    total = images + sum(part for part, _ in parts)
    spread = images**2 / max(test.n - 1, 1) + sum(part**2 / free for part, free in parts)
    degrees = total**2 / spread if spread > 0 else 1.0
    return student(test.difference, total**0.5, degrees, test.n, f"{test.method}, and seeds of training")
