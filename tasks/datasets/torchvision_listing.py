"""Images and labels as torchvision's dataset classes list them, wherever the layout begins.

torchvision wants its own folder level above some layouts (`root/flowers-102/jpg`); the paper's code does without. A
symbolic link in a temporary folder stands for that level, so that one class reads both.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.card import DatasetCard
from tasks.datasets.dataset import DataError
from tasks.datasets.listing import wrong_content

FAILURES = (RuntimeError, ValueError, LookupError, TypeError, OSError, EOFError, pickle.UnpicklingError)
"""What torchvision's classes raise for annotation files that are missing, cut short or of another dataset."""

Make = Callable[[Path, str], Any]
"""Makes torchvision's dataset from its root folder and the name of a split."""


@dataclass(frozen=True)
class Listing:
    """One split: POSIX paths relative to the layout's folder, their labels, and the class names."""

    files: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]


def list_splits(
    card: DatasetCard, base: Path, make: Make, splits: Mapping[str, str], level: str = ""
) -> dict[str, Listing]:
    """List the splits of a layout that begins in `base`.

    `splits` gives torchvision's name for each of ours; `level` is the folder that torchvision adds to its root.

    Raises:
        DataError: torchvision cannot read the annotations.
    """
    with torchvision_root(base, level) as root, as_data_error(card, base):
        return {ours: _listing(make(root, theirs), root / level) for ours, theirs in splits.items()}


@contextmanager
def torchvision_root(base: Path, level: str) -> Iterator[Path]:
    """A folder in which `level` leads to `base`; `base` itself when there is no level."""
    if not level:
        yield base
        return
    with tempfile.TemporaryDirectory(prefix="dataset-") as folder:
        link = Path(folder) / level
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(base.absolute(), target_is_directory=True)
        yield Path(folder)


@contextmanager
def as_data_error(card: DatasetCard, path: Path) -> Iterator[None]:
    """Turn what torchvision raises about files below `path` into a DataError."""
    try:
        yield
    except DataError:
        raise
    except FAILURES as error:
        raise wrong_content(card, path, error) from error


def _listing(dataset: Any, base: Path) -> Listing:  # noqa: ANN401 - torchvision is not typed
    paths = getattr(dataset, "_image_files", None)
    if paths is None:
        paths = dataset._images
    return Listing(
        files=tuple(Path(path).relative_to(base).as_posix() for path in paths),
        labels=tuple(int(label) for label in dataset._labels),
        classes=tuple(getattr(dataset, "classes", ())),
    )
