"""The 1,797 handwritten digits of 8 x 8 pixels that scikit-learn carries (UCI optical recognition, test part)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.listing import array_split
from tasks.shapes.digits import TRAIN_GLYPHS

INK = 16
"""The darkest value in scikit-learn's arrays."""


def read(root: Path, card: DatasetCard) -> Dataset:  # noqa: ARG001 - every reader has this signature
    """RGB images of 8 x 8 pixels; the first 900 are for training, the 897 others for testing.

    Rendered digit scenes make the same cut, and the demo backbones were pre-trained on the first 900 alone.
    """
    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / INK)).astype(np.uint8)
    images = np.repeat(grey[:, :, :, None], 3, axis=3)
    labels = bunch.target.astype(np.int64)
    classes = tuple(str(digit) for digit in bunch.target_names)
    train, test = np.split(np.arange(len(labels)), [TRAIN_GLYPHS])
    splits = {
        name: array_split(
            card, name, images[part], labels[part], len(classes), identifiers=[f"digit/{index}" for index in part]
        )
        for name, part in (("train", train), ("test", test))
    }
    return Dataset(card.name, classes, multi_label=False, splits=splits)
