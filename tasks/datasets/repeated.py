"""Test images that are training images, too: equal files, or equal pixels where images lie in memory.

Looked at before a training, so it has to be cheap: a file is read only when one of the other split is as long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tasks.datasets.dataset import ImageSource
from tasks.datasets.images import ArrayImages, FileImages, JoinedImages


def repeated(train: ImageSource, test: ImageSource) -> int | None:
    """How many images of `test` are in `train`; None for images that would have to be made or unpacked first."""
    learnt, asked = _parts(train), _parts(test)
    if all(isinstance(one, ArrayImages) for one in (*learnt, *asked)):
        return _common(_pixels(learnt), _pixels(asked))
    if all(isinstance(one, FileImages) for one in (*learnt, *asked)):
        return _equal_files(_files(learnt), _files(asked))
    return None


def _parts(images: ImageSource) -> tuple[ImageSource, ...]:
    return images.parts if isinstance(images, JoinedImages) else (images,)


def _common(train: Iterable[bytes], test: Iterable[bytes]) -> int:
    known = set(train)
    return sum(digest in known for digest in test)


def _pixels(parts: Iterable[ImageSource]) -> list[bytes]:
    return [_sha256(row.tobytes()) for part in parts if isinstance(part, ArrayImages) for row in part.arrays]


def _files(parts: Iterable[ImageSource]) -> dict[Path, int]:
    """Lengths in bytes; files that are gone are left to whoever needs them."""
    paths = (part.root / file for part in parts if isinstance(part, FileImages) for file in part.files)
    return {path: path.stat().st_size for path in paths if path.is_file()}


def _equal_files(train: dict[Path, int], test: dict[Path, int]) -> int:
    lengths = set(train.values()) & set(test.values())
    learnt, asked = ([path for path, length in files.items() if length in lengths] for files in (train, test))
    return _common(map(_content, learnt), map(_content, asked))


def _content(path: Path) -> bytes:
    return _sha256(path.read_bytes())


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
