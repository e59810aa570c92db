"""Opening a dataset: from its card to its images and labels."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

from backbones.cardfile import suggest
from tasks.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.layouts import OUTSIDE_READERS
from tasks.datasets.listing import missing
from tasks.datasets.presence import presence


class Read(Protocol):
    """What every reader module has under the name `read`."""

    def __call__(self, root: Path, card: DatasetCard) -> Dataset:
        """List images and labels of the layout that begins in `root`; decode nothing.

        Raises:
            DataError: a file is missing or says something that this dataset cannot say.
        """
        ...


READERS: Mapping[str, str] = MappingProxyType(
    {
        **OUTSIDE_READERS,
        "cifar10": "cifar",
        "cifar100": "cifar",
        "aircraft": "aircraft",
        "caltech101": "caltech101",
        "cars": "cars",
        "dtd": "dtd",
        "flowers": "flowers",
        "food": "food",
        "pets": "pets",
        "sun397": "sun397",
        "voc2007": "voc2007",
        "voc-detection": "voc_detection",
        "ade20k": "ade20k",
        "nyuv2": "nyuv2",
        "imagenet": "class_folders",
        "cropdiseases": "class_folders",
        "eurosat": "class_folders",
        "imagefolder": "class_folders",
        "listed": "listed",
        "isic": "isic",
        "chestx": "chestx",
        "digits": "digits",
        "shapes": "rendered",
    }
)
"""Reader to module, of this package unless it has a dot; imported when used: some need torchvision (seconds)."""


def open_dataset(card: DatasetCard, data_root: Path) -> Dataset:
    """Find a dataset's files, list them and their labels.

    Raises:
        DataError: the reader is unknown, or the data are missing or not what they should be.
    """
    if card.reader not in READERS:
        close = suggest(card.reader, READERS)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(READERS)}"
        raise DataError(f"there is no reader {card.reader!r} for datasets: {hint}")
    found = presence(card, data_root)
    if found.status != "present":
        raise missing(card, found.missing)
    name = READERS[card.reader]
    read = cast("Read", import_module(name if "." in name else f"tasks.datasets.{name}").read)
    return read(found.base, card)
