"""Open a dataset: from its card to its images and labels."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from backbones.io.card_files import suggest
from tasks.datasets.card import DatasetCard
from tasks.datasets.content_digests import ContentDigests, using
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.image_effects import settle
from tasks.datasets.layouts import LAYOUTS
from tasks.datasets.presence import files_place, folders_of, presence, signed_files
from tasks.datasets.readers.make_splits import missing
from tasks.datasets.shifts import with_shifts


class Read(Protocol):
    """Signature of a dataset reader."""

    def __call__(self, root: Path, card: DatasetCard) -> Dataset:
        """List images and labels of the layout in `root` without decoding images.

        Raises:
            DataError: a file is missing or has invalid content.
        """
        ...


def open_dataset(
    card: DatasetCard, data_root: Path, cache_folder: Path | None = None, *, digests: ContentDigests | None = None
) -> Dataset:
    """Find a dataset's files, list them and their labels, and compute the digests of those that may have changed.

    Digests are stored in `cache_folder`, if given. `digests` replaces the stored ones.

    Raises:
        DataError: the reader is unknown, or the data are missing or invalid.
    """
    if card.reader not in LAYOUTS:
        close = suggest(card.reader, LAYOUTS)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(LAYOUTS)}"
        raise DataError(f"there is no reader {card.reader!r} for datasets: {hint}")
    found = presence(card, data_root)
    if found.status != "present":
        raise missing(card, found.missing)
    read = _reader(card)
    place = files_place(card, data_root, cache_folder) if cache_folder is not None else None
    with using(digests or ContentDigests.load(place)) as used:
        dataset = settle(read(found.base, card))
        dataset = with_shifts(dataset, {one.name: _shift(one, data_root) for one in card.shifts})
        used.files([path for path in map(str, signed_files(card, data_root)) if os.path.isfile(path)])  # noqa: PTH113
    for folder in folders_of(card, used.used):
        used.list_folder(folder)
    if place is not None:
        used.record().write(place)
    return dataset


def _reader(card: DatasetCard) -> Read:
    module, _, function = LAYOUTS[card.reader].reader.partition(":")
    return cast("Read", getattr(import_module(module), function or "read"))


def _shift(card: DatasetCard, data_root: Path) -> Dataset:
    """A further test set, whose files' digests are remembered with those of the dataset."""
    return settle(_reader(card)(presence(card, data_root).base, card))
