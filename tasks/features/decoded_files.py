"""Files of decoded images: list and remove."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from backbones.io.file_locks import holding, lock
from backbones.io.files import open_own

PIXELS, CHECKS, TITLE, LOCK = ".pixels", ".checks", ".title", ".lock"


@dataclass(frozen=True)
class DecodedSplit:
    """The decoded images of one split at one size."""

    path: Path
    """Its `.pixels` file."""
    title: str
    size: int
    """Reserved size in bytes, including checksums."""
    last_used: float
    """Seconds since the epoch."""


def decoded_splits(folder: Path) -> list[DecodedSplit]:
    """All decoded splits of `folder`, most recently used first. A missing folder counts as empty."""
    found = [split for path in folder.glob(f"*{PIXELS}") if (split := _split(path)) is not None]
    return sorted(found, key=lambda split: split.last_used, reverse=True)


def remove(split: DecodedSplit) -> bool:
    """Remove one split's images; return False if they are in use."""
    with locked(split.path.parent):
        return remove_locked(split.path)


def remove_locked(pixels: Path) -> bool:
    """Remove a file while the caller holds the folder's lock."""
    with suppress(FileNotFoundError, BlockingIOError), opened(pixels, os.O_RDWR) as descriptor:
        lock(descriptor, pixels, wait=False)
        for suffix in (CHECKS, TITLE, PIXELS):
            pixels.with_suffix(suffix).unlink(missing_ok=True)
        return True
    return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the exclusive lock of `folder`."""
    with holding(folder / LOCK, wait=True):
        yield


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """File descriptor of a private file."""
    descriptor = open_own(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _split(pixels: Path) -> DecodedSplit | None:
    try:
        size = pixels.stat().st_size + pixels.with_suffix(CHECKS).stat().st_size
        return DecodedSplit(pixels, _title(pixels), size, pixels.stat().st_mtime)
    except FileNotFoundError:  # removed by another process, or left by an interrupted removal
        return DecodedSplit(pixels, _title(pixels), pixels.stat().st_size, 0.0) if pixels.exists() else None


def _title(pixels: Path) -> str:
    try:
        return pixels.with_suffix(TITLE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return pixels.stem[:12]
