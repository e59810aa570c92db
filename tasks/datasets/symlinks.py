"""Symbolic links out of a dataset's folder: followed and reported."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from backbones.io.errors import counted
from tasks.datasets.dataset import SourceSplit
from tasks.datasets.images import FileImages


def notes_on_links(splits: Iterable[SourceSplit]) -> Iterator[str]:
    """A sentence per split with images reached through a link out of their folder.

    The folder itself may be a link, as is common in data roots.
    """
    for split in splits:
        if isinstance(split.images, FileImages):
            out = list(_leading_out(split.images))
            if out:
                first, place = out[0]
                links = counted(
                    len(out),
                    f"image of {split.name} is a link that leads",
                    f"images of {split.name} are links that lead",
                )
                yield f"{links} out of {split.images.root}: {first} is {place}"


def _leading_out(images: FileImages) -> Iterator[tuple[str, Path]]:
    """Name and real path of each such image. One `lstat` per file; folders are resolved once."""
    root = images.root.resolve()
    folders: dict[str, bool] = {}
    for name in images.files:
        path = images.root / name
        parent = os.path.dirname(path)  # noqa: PTH120 - once per image
        if parent not in folders:
            folders[parent] = Path(parent).resolve().is_relative_to(root)
        linked = stat.S_ISLNK(path.lstat().st_mode)
        if not folders[parent] or linked:
            place = path.resolve()
            if not place.is_relative_to(root):
                yield name, place
