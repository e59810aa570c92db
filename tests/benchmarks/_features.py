"""Labelled features of the sizes used by the benchmarks of the linear path: real images where available."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from backbones.catalog.card import BackboneCard, FactsCard, InputCard, RandomWeights, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.encoder import Encoder
from tests.benchmarks._comparison import scratch_folder

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

SPECTRUM = 0.7
"""Exponent of the scale of synthetic features, about that of pooled ResNet features."""
TOGETHER = 3
"""Labels per image, on average, of the multi-label case (VOC 2007 has 1.5 to 2.5)."""


@dataclass(frozen=True)
class Labelled:
    """Training and validation features [n, d] with targets, int [n] or 0/1 [n, k]."""

    train: tuple[Floats, Integers]
    validation: tuple[Floats, Integers]
    classes: int

    @property
    def multi_label(self) -> bool:
        """Whether a sample may have several labels."""
        return self.train[1].ndim == 2


def made_up(samples: int, dimensions: int, classes: int, signal: float, seed: int = 0) -> Labelled:
    """Non-negative, correlated features around class means `signal` deviations apart; a quarter more for validation."""
    generator = np.random.default_rng(seed)
    total = samples + samples // 4
    labels = np.concatenate([np.arange(classes), generator.integers(classes, size=total - classes)])
    return _split(_around(generator, _one_hot(labels, classes), dimensions, signal), labels, samples, classes)


def made_up_labels(samples: int, dimensions: int, classes: int, signal: float, seed: int = 0) -> Labelled:
    """The same with several labels per sample, and as many samples for validation, as in VOC 2007."""
    generator = np.random.default_rng(seed)
    share = generator.uniform(0.3, 1.7, classes) * TOGETHER / classes
    labels = (generator.random((2 * samples, classes)) < share).astype(np.int64)
    return _split(_around(generator, labels.astype(np.float32), dimensions, signal), labels, samples, classes)


def digits() -> Labelled:
    """scikit-learn's handwritten digits through a random ResNet-18: 1,000 to train on, 512 dimensions."""
    bunch = load_digits()
    images = [Image.fromarray((16 * image).clip(0, 255).astype(np.uint8)) for image in bunch.images[:1250]]
    return _split(_encoded("resnet18", 64, images), bunch.target[:1250].astype(np.int64), 1000, 10)


def crops() -> Labelled:
    """Crops of scikit-learn's two photographs through a random ResNet-50; the class is the position of the crop."""
    generator = np.random.default_rng(0)
    photographs = load_sample_images().images
    labels = np.arange(5000) % 48
    images = [_crop(photographs[label // 24], label % 24, generator) for label in labels.tolist()]
    return _split(_encoded("resnet50", 48, images), labels.astype(np.int64), 4000, 48)


SIZES: Mapping[str, Callable[[], Labelled]] = {
    "digits, random ResNet-18 (1,000 x 512, 10 classes)": digits,
    "20,000 x 512, 10 classes": lambda: made_up(20_000, 512, 10, 0.15),
    "2,040 x 2,048, 102 classes": lambda: made_up(2040, 2048, 102, 0.4),
    "4,000 x 2,048, 47 classes": lambda: made_up(4000, 2048, 47, 0.2),
    "photo crops, random ResNet-50 (4,000 x 2,048, 48 classes)": crops,
    "multi-label (2,501 x 2,048, 20 labels)": lambda: made_up_labels(2501, 2048, 20, 0.3),
}


def _one_hot(labels: Integers, classes: int) -> Floats:
    return np.eye(classes, dtype=np.float32)[labels]


def _around(generator: np.random.Generator, marks: Floats, dimensions: int, signal: float) -> Floats:
    """A class is a direction in a latent space of falling scales; features are rectified and noisy."""
    latent = min(dimensions, 512)
    scales = (np.arange(1, latent + 1) ** -SPECTRUM).astype(np.float32)
    means = generator.standard_normal((marks.shape[1], latent), dtype=np.float32)
    hidden = (signal * marks @ means + generator.standard_normal((len(marks), latent), dtype=np.float32)) * scales
    mixing = generator.standard_normal((latent, dimensions), dtype=np.float32) / np.sqrt(np.sum(scales**2))
    seen = hidden @ mixing + 0.2 * generator.standard_normal((len(marks), dimensions), dtype=np.float32)
    return np.asarray(np.maximum(seen, 0.0), dtype=np.float32)


def _split(features: Floats, labels: Integers, samples: int, classes: int) -> Labelled:
    rows = features[:samples], labels[:samples]
    return Labelled(rows, (features[samples:], labels[samples:]), classes)


def _crop(photograph: npt.NDArray[np.uint8], cell: int, generator: np.random.Generator) -> Image.Image:
    """A 48-pixel crop from a random position in one of 4 x 6 cells."""
    top = 100 * (cell // 6) + int(generator.integers(50))
    left = 105 * (cell % 6) + int(generator.integers(55))
    return Image.fromarray(photograph[top : top + 48, left : left + 48])


def _encoded(architecture: str, size: int, images: list[Image.Image]) -> Floats:
    card = BackboneCard(
        name="benchmark/random",
        title="Random weights",
        architecture=architecture,
        weights=RandomWeights(),
        input=InputCard(size=size),
        facts=FactsCard(method="none"),
    )
    encoder, spec = Encoder.load(card, WeightsFolder(scratch_folder())), preprocessing_for(card, "paper")
    parts = [images[start : start + 64] for start in range(0, len(images), 64)]
    batches = (torch.stack([encoder.prepare(image, spec) for image in part]) for part in parts)
    return np.concatenate([encoder.encode(batch, spec).numpy() for batch in batches])
