"""Problems of the linear path that are drawn by a seed, so that no size is one for which the solver was tuned."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.benchmarks._features import Floats, Integers, Labelled

SAMPLES = (500, 50_000)
DIMENSIONS = (128, 2_048)
CLASSES = (2, 200)
DECAYS = (0.3, 1.2)
SIGNALS = (0.1, 0.8)
NOISE = 0.15  # maximum fraction of labels replaced by random ones
SCALES = (-3.0, 3.0)  # decadic logarithm of the factor of raw features
PER_CLASS = 5  # minimum mean number of samples of a class
TOGETHER = 2.5  # labels per sample of multi-label problems, at most half of the labels


@dataclass(frozen=True)
class DrawnProblem:
    """A classification problem on features with a power-law spectrum."""

    samples: int
    dimensions: int
    classes: int
    decay: float
    """Exponent of the standard deviations of the latent coordinates."""
    signal: float
    """Distance of the class means from the origin, in standard deviations."""
    noise: float
    """Fraction of labels replaced by random ones."""
    rectified: bool
    imbalanced: bool
    scale: float | None
    """Factor of the features; None: standardised by the training samples."""
    multi_label: bool
    seed: int

    @property
    def work(self) -> int:
        """Samples times dimensions times classes."""
        return self.samples * self.dimensions * self.classes

    @property
    def name(self) -> str:
        """Size and properties in one line."""
        kind = "labels" if self.multi_label else "classes"
        scale = "standardised" if self.scale is None else f"times {self.scale:.2g}"
        marks = [mark for mark in ("rectified", "imbalanced") if getattr(self, mark)]
        size = f"{self.samples:,} x {self.dimensions:,}, {self.classes} {kind}"
        return f"{size} (decay {self.decay:.2f}, {', '.join([*marks, scale])})"

    def data(self) -> Labelled:
        """Training samples, and a quarter more for validation."""
        generator = np.random.default_rng(self.seed)
        total = self.samples + self.samples // 4
        targets = self._labels(generator, total) if self.multi_label else self._classes(generator, total)
        marks = targets if self.multi_label else np.eye(self.classes, dtype=np.float32)[targets]
        features = self._features(generator, marks.astype(np.float32))
        noisy = self._with_noise(generator, targets)
        train, validation = slice(self.samples), slice(self.samples, None)
        return Labelled((features[train], noisy[train]), (features[validation], noisy[validation]), self.classes)

    def _classes(self, generator: np.random.Generator, total: int) -> Integers:
        """Class numbers [n]; every class occurs among the training samples."""
        weights = np.arange(1, self.classes + 1) ** (-0.7 if self.imbalanced else 0.0)
        rest = generator.choice(self.classes, size=total - self.classes, p=weights / weights.sum())
        return np.concatenate([np.arange(self.classes), rest]).astype(np.int64)

    def _labels(self, generator: np.random.Generator, total: int) -> Integers:
        """0/1 [n, k]."""
        together = min(TOGETHER, self.classes / 2) / self.classes
        spread = generator.uniform(0.3, 1.7, self.classes) if self.imbalanced else np.ones(self.classes)
        return (generator.random((total, self.classes)) < together * spread).astype(np.int64)

    def _with_noise(self, generator: np.random.Generator, targets: Integers) -> Integers:
        """Targets of which a fraction is replaced by those of other samples; one of each class is kept."""
        noisy = np.flatnonzero(generator.random(len(targets)) < self.noise)
        noisy = noisy[noisy >= self.classes]
        found = targets.copy()
        found[noisy] = targets[generator.permutation(noisy)]
        return found

    def _features(self, generator: np.random.Generator, marks: Floats) -> Floats:
        scales = (np.arange(1, self.dimensions + 1) ** -self.decay).astype(np.float32)
        means = generator.standard_normal((self.classes, self.dimensions), dtype=np.float32)
        hidden = generator.standard_normal((len(marks), self.dimensions), dtype=np.float32)
        hidden = scales * (hidden + np.asarray(self.signal * (marks @ means), dtype=np.float32))
        mixing = generator.standard_normal((self.dimensions, self.dimensions), dtype=np.float32)
        seen = np.asarray(hidden @ mixing / np.sqrt(np.sum(scales**2)), dtype=np.float32)
        if self.rectified:
            seen = np.maximum(seen, np.float32(0.0))
        if self.scale is not None:
            return np.asarray(seen * np.float32(self.scale), dtype=np.float32)
        train = seen[: self.samples]
        return np.asarray((seen - train.mean(axis=0)) / train.std(axis=0).clip(1e-6), dtype=np.float32)


def seed_of_the_day() -> int:
    """The current date as a number, e.g. 20261130."""
    return int(time.strftime("%Y%m%d"))


def drawn(seed: int, count: int, work: float) -> list[DrawnProblem]:
    """`count` problems with at most `work` samples x dimensions x classes, sizes log-uniform."""
    problems = _endless(np.random.default_rng(seed))
    fitting = (one for one in problems if one.work <= work and one.samples >= PER_CLASS * one.classes)
    return [next(fitting) for _ in range(count)]


def _endless(generator: np.random.Generator) -> Iterator[DrawnProblem]:
    def size(limits: tuple[int, int]) -> int:
        return round(float(np.exp(generator.uniform(*np.log(limits)))))

    while True:
        yield DrawnProblem(
            samples=size(SAMPLES),
            dimensions=size(DIMENSIONS),
            classes=size(CLASSES),
            decay=float(generator.uniform(*DECAYS)),
            signal=float(generator.uniform(*SIGNALS)),
            noise=float(generator.uniform(0.0, NOISE)),
            rectified=bool(generator.random() < 0.5),
            imbalanced=bool(generator.random() < 0.5),
            scale=None if generator.random() < 0.4 else float(10.0 ** generator.uniform(*SCALES)),
            multi_label=bool(generator.random() < 0.25),
            seed=int(generator.integers(2**31)),
        )
