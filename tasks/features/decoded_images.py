"""Cache of decoded images, shared by backbones, as uint8 files of a total size set by the user.

The first backbone that needs a row decodes and stores it; backbones with the same resize and crop read it. Every row
carries a checksum, so that a row that was partially written at a power failure is decoded again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.io.file_digests import canonical
from backbones.io.file_locks import lock
from backbones.io.files import own_opener
from tasks.features.cache_report import (
    DECODED_CHECKS,
    DECODED_PIXELS,
    DECODED_TITLE,
    decoded_splits,
    locked,
    opened,
    remove_locked,
)

CHECK_BYTES = 4
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class DecodedRows:
    """Prepared images of one split, uint8 [3, crop, crop] each; some rows may be missing. Thread-safe."""

    shape: tuple[int, int, int]
    pixels: int
    checks: int
    """File descriptor of the checksums; `pixels` is the one of the images."""
    full: bool = field(default=False)
    """Whether the disk is full; nothing more is stored then."""

    @property
    def row_bytes(self) -> int:
        """Size of one image in bytes."""
        return int(np.prod(self.shape))

    def get(self, row: int) -> Tensor | None:
        """The stored image, or None if it is missing or damaged."""
        check = os.pread(self.checks, CHECK_BYTES, row * CHECK_BYTES)
        if not any(check):
            return None
        found = np.empty(self.row_bytes, np.uint8)
        read = os.preadv(self.pixels, [found.data], row * self.row_bytes)
        if read != self.row_bytes or _check(found.data) != check:
            return None
        return torch.from_numpy(found).view(self.shape)

    def put(self, row: int, image: Tensor) -> None:
        """Store an image, unless its shape differs or the disk is full."""
        if self.full or tuple(image.shape) != self.shape:
            return
        content = image.contiguous().numpy().tobytes()
        try:
            os.pwrite(self.pixels, content, row * self.row_bytes)
            os.pwrite(self.checks, _check(content), row * CHECK_BYTES)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self.full = True


@dataclass(frozen=True)
class DecodedImages:
    """Folder of decoded images with a total size of at most `limit` bytes; the least recently used are evicted."""

    folder: Path
    limit: int

    @classmethod
    def within(cls, folder: Path | None, limit: int) -> DecodedImages | None:
        """The folder with this limit in bytes; None without a folder or room."""
        return cls(folder, limit) if folder and limit else None

    @contextmanager
    def rows(
        self, images_digest: str, count: int, spec: PreprocessingSpec, title: str = ""
    ) -> Iterator[DecodedRows | None]:
        """Decoded images of one split under `spec`; None if they exceed the limit.

        `title` is the label of the split in listings.
        """
        need = count * (3 * spec.crop * spec.crop + CHECK_BYTES)
        if need > self.limit:
            yield None
            return
        path = (self.folder / _name(images_digest, spec)).with_suffix(DECODED_PIXELS)
        with ExitStack() as stack:
            files = self._reserved(stack, path, count, need, f"{title}, {spec.crop} px")
            yield DecodedRows((3, spec.crop, spec.crop), *files) if files else None

    def _reserved(self, stack: ExitStack, path: Path, count: int, need: int, title: str) -> tuple[int, int] | None:
        """The files of one split, opened on `stack`; None if the disk or the limit has no room for them."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self.folder):
                if not self._make_room(need, path):
                    return None
                pixels = stack.enter_context(opened(path, os.O_RDWR | os.O_CREAT))
                checks = stack.enter_context(opened(path.with_suffix(DECODED_CHECKS), os.O_RDWR | os.O_CREAT))
                lock(pixels, path, shared=True)
                os.utime(pixels)
                os.truncate(checks, count * CHECK_BYTES)
                os.truncate(pixels, need - count * CHECK_BYTES)
                with open(path.with_suffix(DECODED_TITLE), "w", encoding="utf-8", opener=own_opener) as file:
                    file.write(title)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return None
        return pixels, checks

    def _make_room(self, need: int, mine: Path) -> bool:
        """Evict unused splits, oldest first, until `need` bytes fit; return whether they do."""
        others = [split for split in decoded_splits(self.folder) if split.path != mine]
        total = sum(split.size for split in others)
        for split in reversed(others):
            if total + need <= self.limit:
                break
            if remove_locked(split.path):
                total -= split.size
        return total + need <= self.limit


def _name(images_digest: str, spec: PreprocessingSpec) -> str:
    """File name: a digest of everything that determines the bytes; the mean only where borders are padded with it."""
    fill = list(spec.mean) if spec.mode == "border" else None
    parts = [images_digest, spec.resize, spec.crop, spec.mode, spec.interpolation, fill]
    return hashlib.sha256(canonical(parts)).hexdigest()[:40]


def _check(content: bytes | memoryview) -> bytes:
    """A non-zero checksum; zero marks a missing row."""
    return max(1, zlib.crc32(content)).to_bytes(CHECK_BYTES, "little")
