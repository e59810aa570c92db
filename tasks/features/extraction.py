"""Feature extraction: threads decode ahead of the encoder; the batch size is reduced when memory runs out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, tee
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.cpu.free_cores import usable_cores
from backbones.cpu.threads import FollowingThreads
from backbones.io.errors import counted
from backbones.model.preprocessing import Picture
from tasks.datasets.dataset import ImageSource
from tasks.datasets.images import several_pixels
from tasks.features.batches import GROWS_FROM, LARGEST, BatchGrowth, PreparedImages, card_reader
from tasks.features.decoded_images import DecodedRows
from tasks.features.device_decoding import DeviceDecodedImages
from tasks.features.manifest import Decoder, NotFiniteError, OutOfMemoryError
from tasks.reporter import Reporter

Floats = npt.NDArray[np.float32]

BATCHES_AHEAD = 3
"""Batches prepared in advance for the encoder."""
BATCHES_BEGUN = {"cpu": 1, "cuda": 2}
"""Batches that may still be running when the next one is started: a GPU has two left while the host writes features
to disk."""
FEWEST_DECODERS, MOST_DECODERS = 4, 32
MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


class EncoderLike(Protocol):
    """Interface of `backbones.model.encoder.Encoder` that the store uses."""

    @property
    def dimension(self) -> int:
        """Length of a feature vector."""

    def prepare(self, image: Picture, spec: PreprocessingSpec) -> Tensor:
        """Prepare an image as uint8 [3, h, w]."""

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        """Encode uint8 [b, 3, h, w] to float32 [b, d] on the device, possibly asynchronously."""


@dataclass
class Machine:
    """Execution settings, none of which changes a result, except for `decoder`.

    `batch_size` is reduced when memory runs out, and from 64 on doubled while the device has free memory.
    """

    batch_size: int = 64
    decode_threads: int = min(MOST_DECODERS, max(FEWEST_DECODERS, usable_cores()))
    shard_rows: int = 512
    patience_s: float = 30.0
    """Seconds to wait for the shards of other processes that make no progress."""
    decoder: Decoder = "cpu"
    """Engine that decodes JPEG files; unlike the other settings, `nvjpeg` changes features, and is in their key."""
    cuda_graphs: bool = False
    """Whether an encoder on a GPU may use CUDA graphs, where these were measured to be equal and faster."""
    forward_pass: str = ""
    """How the last forward passes were computed, where that was decided by measurement; set by the extraction."""


@dataclass(frozen=True)
class SplitImages:
    """Images of one split, with the names used in messages."""

    backbone: str
    split: str
    """`dataset/split`."""
    images: ImageSource
    identifiers: Sequence[str]


@dataclass(frozen=True)
class _Computing:
    """Features of one batch being copied to the host. The copy starts at once and does not wait for later batches."""

    row: int
    """Row of its first image."""
    features: Tensor
    done: torch.cuda.Event | None = None

    @classmethod
    def begun(cls, row: int, features: Tensor) -> _Computing:
        """Start the copy of `features` [b, d], which may still be under computation."""
        if features.device.type != "cuda":
            return cls(row, features)
        host = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
        host.copy_(features, non_blocking=True)
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(features.device))
        return cls(row, host, done)

    def numbers(self) -> Floats:
        """Features [b, d], after waiting for the copy."""
        if self.done is not None:
            self.done.synchronize()
        return np.array(self.features.cpu().numpy(), dtype=np.float32)


@dataclass(frozen=True)
class Extraction:
    """Extraction of one split with one encoder."""

    source: SplitImages
    encoder: EncoderLike
    spec: PreprocessingSpec
    machine: Machine
    reporter: Reporter
    decoded: DecodedRows | None = None
    """Cache of images decoded for other backbones, to which this extraction adds its own."""
    growth: BatchGrowth = field(init=False)
    threads: FollowingThreads = field(init=False, default_factory=FollowingThreads)

    def __post_init__(self) -> None:
        size = self.machine.batch_size
        largest = LARGEST if size >= GROWS_FROM else size
        object.__setattr__(self, "growth", BatchGrowth(largest, card_reader(self._device)))

    def shards(self, wanted: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Floats]]:
        """First row and features [m, d] of each wanted range of rows, in order.

        A range is taken from the iterator when the preparation of its images begins. No batch extends beyond the end of
        a range, so a range's features do not depend on the others. The number of threads follows the cores that are
        free when a range begins, for networks whose features do not depend on it: a batch that is compared is encoded
        twice. Raises NotFiniteError, OutOfMemoryError, and the exceptions of the images (`DataError`).
        """
        prepared, numbered, wanted = tee(wanted, 3)
        with self._encoding(), closing(self._prepared(prepared)) as images:
            encoded = self._encoded(images, numbered)
            for start, stop in wanted:
                self._follow_free_cores()
                parts, missing = [], stop - start
                while missing:
                    parts.append(next(encoded))
                    missing -= len(parts[-1])
                yield start, np.concatenate(parts)

    def _follow_free_cores(self) -> None:
        if not self._on_card:
            self.threads.update()

    @contextmanager
    def _encoding(self) -> Iterator[None]:
        """Release the CUDA graphs of an encoder that uses them at the end of this extraction."""
        forwards, finish = (getattr(self.encoder, name, None) for name in ("forwards", "finish"))
        if forwards is not None:
            forwards.enabled = self.machine.cuda_graphs
        try:
            yield
        finally:
            self.machine.forward_pass = (finish() if finish else "") or self.machine.forward_pass

    def _prepared(self, wanted: Iterable[tuple[int, int]]) -> PreparedImages | DeviceDecodedImages:
        if self.machine.decoder == "nvjpeg":
            return DeviceDecodedImages(
                self.source.images,
                self.spec,
                lambda row: next(iter(self._prepare([row]))),
                self._batches(wanted),
                self._device or torch.device("cpu"),
                threads=self.machine.decode_threads,
                ahead=BATCHES_AHEAD,
            )
        return PreparedImages(
            self._prepare,
            self._batches(wanted),
            threads=self.machine.decode_threads,
            ahead=BATCHES_AHEAD,
            pinned=self._on_card,
        )

    def _batches(self, wanted: Iterable[tuple[int, int]]) -> Iterator[range]:
        """Rows of each batch, none of which extends beyond the end of a range."""
        for start, stop in wanted:
            row = start
            while row < stop:
                end = min(row + self.machine.batch_size, stop)
                yield range(row, end)
                row = end

    @property
    def _device(self) -> torch.device | None:
        device = getattr(self.encoder, "device", None)
        return device if isinstance(device, torch.device) else None

    @property
    def _on_card(self) -> bool:
        return self._device is not None and self._device.type == "cuda"

    def _prepare(self, rows: Sequence[int]) -> Iterator[Tensor]:
        """Prepared images of the rows, in order; those decoded for other backbones are read."""
        known = [self.decoded.get(row) for row in rows] if self.decoded else [None] * len(rows)
        missing = [row for row, image in zip(rows, known, strict=True) if image is None]
        pictures = several_pixels(self.source.images, missing)
        for row, image in zip(rows, known, strict=True):
            if image is not None:
                yield image
                continue
            prepared = self.encoder.prepare(next(pictures), self.spec)
            if self.decoded:
                self.decoded.put(row, prepared)
            yield prepared

    def _encoded(self, images: Iterator[Tensor], wanted: Iterable[tuple[int, int]]) -> Iterator[Floats]:
        """Features [b, d] batch by batch; the next one is computed while results are copied from the device."""
        begun: deque[_Computing] = deque()
        most = BATCHES_BEGUN["cuda" if self._on_card else "cpu"]
        rows = (row for start, stop in wanted for row in range(start, stop))
        for batch in images:
            first = next(islice(rows, len(batch) - 1, None)) - len(batch) + 1
            begun.append(_Computing.begun(first, self._encode(batch)))
            self.machine.batch_size = self.growth.after(self.machine.batch_size, len(batch))
            if len(begun) > most:
                yield self._taken(begun.popleft())
        while begun:
            yield self._taken(begun.popleft())

    def _taken(self, computing: _Computing) -> Floats:
        """Features of one batch on the CPU."""
        features = computing.numbers()
        self._check_finite(features, computing.row)
        self.reporter.advance(len(features))
        return features

    def _encode(self, batch: Tensor) -> Tensor:
        """Features [b, d] of a batch, in parts where it was prepared before batches had to shrink."""
        if (count := len(batch)) <= self.machine.batch_size:
            features = self._try(batch)
            if features is not None:
                return features
            self.machine.batch_size = max(1, count // 2)
            self.growth.failed(count)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.reporter.warn(f"memory ran out at {count} images a batch; continuing with {self.machine.batch_size}")
        return torch.cat([self._encode(part) for part in torch.split(batch, self.machine.batch_size)])

    def _try(self, batch: Tensor) -> Tensor | None:
        """Features, or None if they did not fit; the tensors of this frame are freed before the batch is retried."""
        try:
            return self.threads.compute(partial(self.encoder.encode, batch, self.spec), batch.shape)
        except (RuntimeError, MemoryError) as error:
            out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
            if not out_of_memory and not any(message in str(error) for message in MEMORY_MESSAGES):
                raise
            if len(batch) == 1:
                raise OutOfMemoryError(self._no_room(error)) from error
            return None

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
                f"{self.source.backbone} gives NaN or infinity on {len(wrong)} of {counted(len(features), 'image')} of "
                f"{self.source.split}, first {first}: check its weights, or use float32 precision"
            )
