"""Drawn data: horizontal and vertical stripes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.evaluation_api import Dataset, DatasetCard, array_split


def read(root: Path, card: DatasetCard) -> Dataset:
    """`images` of each split, half of them horizontal."""
    count, random = int(card.reader_arguments["images"]), np.random.RandomState(0)
    labels = np.arange(count) % 2
    splits = {
        name: array_split(card, name, np.stack([_picture(int(label), random) for label in labels]), labels, 2)
        for name in ("train", "test")
    }
    return Dataset(card.name, ("lying", "standing"), multi_label=False, splits=splits)


def _picture(label: int, random: np.random.RandomState) -> np.ndarray:
    lines = np.repeat(random.randint(0, 256, (8, 1)), 8, axis=1)
    grey = np.kron(lines if label == 0 else lines.T, np.ones((4, 4))).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
