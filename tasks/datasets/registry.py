"""Opening a dataset: from its card to its images and labels."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

from backbones.io.card_files import suggest
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.layouts import OUTSIDE_READERS
from tasks.datasets.presence import presence
from tasks.datasets.readers.make_splits import missing


class Read(Protocol):
    """Signature of a dataset reader."""

    def __call__(self, root: Path, card: DatasetCard) -> Dataset:
        """List images and labels of the layout that begins in `root`; decode nothing.

        Raises:
            DataError: a file is missing or says something that this dataset cannot say.
        """
        ...


READERS: Mapping[str, str] = MappingProxyType(
    {
        **OUTSIDE_READERS,
        "cifar10": "tasks.datasets.readers.torchvision_datasets:read_cifar",
        "cifar100": "tasks.datasets.readers.torchvision_datasets:read_cifar",
        "aircraft": "tasks.datasets.readers.torchvision_datasets:read_aircraft",
        "caltech101": "tasks.datasets.readers.caltech101:read",
        "cars": "tasks.datasets.readers.cars:read",
        "dtd": "tasks.datasets.readers.torchvision_datasets:read_dtd",
        "flowers": "tasks.datasets.readers.torchvision_datasets:read_flowers",
        "food": "tasks.datasets.readers.torchvision_datasets:read_food",
        "pets": "tasks.datasets.readers.torchvision_datasets:read_pets",
        "sun397": "tasks.datasets.readers.torchvision_datasets:read_sun397",
        "voc2007": "tasks.datasets.readers.voc:read_classification",
        "voc-detection": "tasks.datasets.readers.voc:read_detection",
        "ade20k": "tasks.datasets.readers.ade20k:read",
        "nyuv2": "tasks.datasets.readers.nyuv2:read",
        "imagenet": "tasks.datasets.readers.class_folders:read",
        "cropdiseases": "tasks.datasets.readers.class_folders:read",
        "eurosat": "tasks.datasets.readers.class_folders:read",
        "imagefolder": "tasks.datasets.readers.class_folders:read",
        "listed": "tasks.datasets.readers.csv_index:read",
        "isic": "tasks.datasets.readers.medical:read_isic",
        "chestx": "tasks.datasets.readers.medical:read_chestx",
        "digits": "tasks.datasets.readers.embedded:read_digits",
        "shapes": "tasks.datasets.readers.embedded:read_shapes",
    }
)
"""Reader to `module:function` (`read` unless named); imported on use, as some need torchvision (seconds)."""


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
    module, _, function = READERS[card.reader].partition(":")
    read = cast("Read", getattr(import_module(module), function or "read"))
    return read(found.base, card)
