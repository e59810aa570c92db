"""Further test sets of a dataset: other images of its classes, read along with it as splits named `shift ...`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from backbones.io.errors import counted
from tasks.datasets.dataset import DataError, Dataset, SourceSplit, digest_labels

SHIFT = "shift "
TEST_NAMES = ("test", "val", "all", "train")
OTHER = -1
"""Label of an image whose class the dataset does not have."""


def with_shifts(base: Dataset, shifts: Mapping[str, Dataset]) -> Dataset:
    """The dataset with one more split for each shift, labelled with the dataset's classes.

    Raises `DataError` when a shift has no class of the dataset, or several labels an image.
    """
    splits, notes = dict(base.splits), list(base.notes)
    for name, shift in shifts.items():
        numbers = class_numbers(base, shift)
        split = next(shift.splits[one] for one in TEST_NAMES if one in shift.splits)
        labels = numbers[split.labels]
        splits[f"{SHIFT}{name}"] = replace(
            split, name=f"{SHIFT}{name}", labels=labels, labels_digest=digest_labels(labels), targets={}
        )
        notes.extend(_unused(base, name, shift, labels))
    return replace(base, splits=splits, notes=tuple(notes))


def class_numbers(base: Dataset, shift: Dataset) -> npt.NDArray[np.int64]:
    """The dataset's class of every class of a shift, by name; `OTHER` for those that it does not have.

    Folders 0, 1, 2, ... (ImageNet-V2) are numbers of the dataset's classes in their order. Raises `DataError`.
    """
    if base.multi_label or shift.multi_label:
        raise DataError(f"{base.name} and {shift.name} must have one label an image to be compared")
    known = {name: number for number, name in enumerate(base.classes)}
    if not set(shift.classes) & set(known) and all(name.isdigit() for name in shift.classes):
        numbers = np.array([int(name) for name in shift.classes], np.int64)
        if numbers.max() < len(base.classes):
            return numbers
    found = np.array([known.get(name, OTHER) for name in shift.classes], np.int64)
    if (found == OTHER).all():
        raise DataError(
            f"{shift.name} has no class of {base.name}: its folders {', '.join(shift.classes[:3])} ... must have the "
            f"names {', '.join(base.classes[:3])} ..., or be numbers from 0"
        )
    return found


def without_shifts(dataset: Dataset) -> Dataset:
    """The dataset with its own splits alone."""
    return replace(dataset, splits={name: one for name, one in dataset.splits.items() if not name.startswith(SHIFT)})


def shifts_of(dataset: Dataset) -> dict[str, SourceSplit]:
    """The further test sets, by their names."""
    return {name.removeprefix(SHIFT): one for name, one in dataset.splits.items() if name.startswith(SHIFT)}


def _unused(base: Dataset, name: str, shift: Dataset, labels: npt.NDArray[np.int64]) -> list[str]:
    count = int((labels == OTHER).sum())
    if not count:
        return []
    unknown = [each for each, number in zip(shift.classes, class_numbers(base, shift), strict=True) if number == OTHER]
    named = ", ".join(unknown[:3]) + (" ..." if len(unknown) > 3 else "")
    images = counted(count, f"image of {name} is", f"images of {name} are")
    return [f"{images} left out: {base.name} has no class {named}"]
