"""Images that lie elsewhere: symbolic links out of a dataset's folder are followed, and told."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from tasks.datasets.dataset import SourceSplit
from tasks.datasets.images import FileImages


def notes_on_links(splits: Iterable[SourceSplit]) -> Iterator[str]:
    """A sentence per split some of whose images are reached through a link that leads out of their folder.

    The folder itself may be a link: that is how data roots are put together.
    """
    for split in splits:
        if isinstance(split.images, FileImages):
            out = list(_leading_out(split.images))
            if out:
                first, place = out[0]
                yield (
                    f"{len(out)} images of {split.name} are links that lead out of {split.images.root}: "
                    f"{first} is {place}"
                )


def _leading_out(images: FileImages) -> Iterator[tuple[str, Path]]:
    """Name and true place of each. One `lstat` a file; the folders are looked up once."""
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
