"""From images to feature rows: threads decode ahead of the encoder, batches shrink when memory runs out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.model.preprocessing import Picture, stack
from tasks.datasets.dataset import ImageSource
from tasks.datasets.images import pixels_of
from tasks.features.decoded_images import DecodedRows
from tasks.features.manifest import NotFiniteError, OutOfMemoryError
from tasks.reporter import Reporter

Floats = npt.NDArray[np.float32]

BATCHES_AHEAD = 3
"""Batches of prepared images kept ready for the encoder."""
BATCHES_BEGUN = 1
"""Batches that a device may still be computing while the next one is begun."""
MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")


class EncoderLike(Protocol):
    """What the store needs of `backbones.model.encoder.Encoder`."""

    @property
    def dimension(self) -> int:
        """Length of a feature vector."""

    def prepare(self, image: Picture, spec: PreprocessingSpec) -> Tensor:
        """One image as uint8 [3, h, w]."""

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        """uint8 [b, 3, h, w] to float32 [b, d] on its device, which may still be computing them."""


@dataclass
class Machine:
    """How this machine works; nothing here can change a number. `batch_size` shrinks when memory runs out."""

    batch_size: int = 64
    decode_threads: int = min(8, os.cpu_count() or 1)
    shard_rows: int = 512


@dataclass(frozen=True)
class SplitImages:
    """The images of one split, and how messages call them."""

    backbone: str
    split: str
    """`dataset/split`."""
    images: ImageSource
    identifiers: Sequence[str]


@dataclass(frozen=True)
class Extraction:
    """One encoder over one split."""

    source: SplitImages
    encoder: EncoderLike
    spec: PreprocessingSpec
    machine: Machine
    reporter: Reporter
    decoded: DecodedRows | None = None
    """Images that another backbone has had decoded already, and where this one leaves the rest."""

    def shards(self, wanted: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Floats]]:
        """First row and features [m, d] of each wanted range of rows, in order.

        Raises NotFiniteError, OutOfMemoryError, and what the images raise (`DataError`).
        """
        rows = (row for start, stop in wanted for row in range(start, stop))
        with closing(self._prepared(rows)) as images:
            encoded = self._encoded(images, wanted)
            for start, stop in wanted:
                parts, missing = [], stop - start
                while missing:
                    parts.append(next(encoded))
                    missing -= len(parts[-1])
                yield start, np.concatenate(parts)

    def _prepared(self, rows: Iterable[int]) -> Generator[Tensor]:
        """Prepared images in order; a few threads run ahead (decoding and resizing release the interpreter lock)."""
        pool = ThreadPoolExecutor(self.machine.decode_threads, thread_name_prefix="decode")
        waiting: deque[Future[Tensor]] = deque()
        try:
            for row in rows:
                waiting.append(pool.submit(self._prepare, row))
                if len(waiting) > BATCHES_AHEAD * self.machine.batch_size:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, row: int) -> Tensor:
        known = self.decoded.get(row) if self.decoded else None
        if known is not None:
            return known
        image = self.encoder.prepare(pixels_of(self.source.images, row), self.spec)
        if self.decoded:
            self.decoded.put(row, image)
        return image

    def _encoded(self, images: Iterator[Tensor], wanted: Sequence[tuple[int, int]]) -> Iterator[Floats]:
        """Features [b, d] batch by batch, none of which reaches over the end of a range.

        While numbers are taken from the device, it has the next batch to compute.
        """
        begun: deque[tuple[int, Tensor]] = deque()
        for start, stop in wanted:
            row = start
            while row < stop:
                batch = stack(list(islice(images, min(self.machine.batch_size, stop - row))))
                begun.append((row, self._encode(batch)))
                row += len(batch)
                if len(begun) > BATCHES_BEGUN:
                    yield self._taken(*begun.popleft())
        while begun:
            yield self._taken(*begun.popleft())

    def _taken(self, row: int, computed: Tensor) -> Floats:
        """The numbers of one batch, which begins at `row`."""
        features = np.asarray(computed.cpu().numpy(), dtype=np.float32)
        self._check_finite(features, row)
        self.reporter.advance(len(features))
        return features

    def _encode(self, batch: Tensor) -> Tensor:
        features = self._try(batch)
        if features is not None:
            return features
        self._shrink(len(batch))
        return torch.cat([self._encode(part) for part in torch.split(batch, self.machine.batch_size)])

    def _try(self, batch: Tensor) -> Tensor | None:
        """Features, or None when they did not fit: the caller goes on only after this frame let its tensors go."""
        try:
            return self.encoder.encode(batch, self.spec)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise OutOfMemoryError(self._no_room(error)) from error
            return None

    def _shrink(self, failed: int) -> None:
        self.machine.batch_size = max(1, failed // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.reporter.warn(f"memory ran out at {failed} images a batch; going on with {self.machine.batch_size}")

    def _no_room(self, error: BaseException) -> str:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return (
            f"{self.source.backbone}: not even one image of {self.source.split} fits the device's memory ({reason}); "
            "free the device, choose a larger one, or run on the CPU"
        )

    def _check_finite(self, features: Floats, row: int) -> None:
        wrong = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(wrong):
            first = self.source.identifiers[row + int(wrong[0])]
            raise NotFiniteError(
                f"{self.source.backbone} gives NaN or infinity on {len(wrong)} of {len(features)} images of "
                f"{self.source.split}, first {first}: check its weights, or use float32 precision"
            )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch (on any device) or the interpreter had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in MEMORY_MESSAGES)
