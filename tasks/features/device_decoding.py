"""JPEG files decoded by nvJPEG and resized on the device, an alternative to the decoding threads.

Its pixels differ from theirs by some grey levels (another inverse transform, another upsampling of colour, resizing in
float32), so features contain the engine in their key. Files for which the two differ by more (other formats, CMYK,
images to be rotated, incomplete files) are prepared by the threads.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.cpu.threads import one_core_threads
from backbones.io.image_reading import is_plain_jpeg
from backbones.model.preprocessing import prepare_decoded
from tasks.datasets.dataset import ImageSource
from tasks.datasets.images import ReadImages
from tasks.features.manifest import Decoder
from tasks.reporter import Reporter

NOTE = (
    "images were decoded and resized by nvJPEG (decoder in config.toml), whose pixels differ by some grey levels from "
    "those of other results"
)
END = b"\xff\xd9"
"""Last bytes of a complete JPEG file."""
Decode = Callable[[list[Tensor], torch.device], list[Tensor]]


def usable_decoder(wanted: Decoder, device: str, reporter: Reporter) -> Decoder:
    """The engine that decodes: `wanted`, or the CPU with a warning where nvJPEG cannot be used."""
    if wanted == "cpu":
        return "cpu"
    problem = "the device is not a GPU" if not device.startswith("cuda") else _problem(torch.device(device))
    if not problem:
        reporter.warn(NOTE)
        return "nvjpeg"
    reporter.warn(f'nvJPEG cannot be used ({problem}), so images are decoded on the CPU as with decoder = "cpu"')
    return "cpu"


def _problem(device: torch.device) -> str:
    """Reason why a small image cannot be decoded on the device; empty if it can."""
    content = io.BytesIO()
    Image.new("RGB", (16, 16)).save(content, "JPEG")
    try:
        decode_on(_as_tensors([content.getvalue()]), device)
    except (ImportError, RuntimeError, ValueError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def decode_on(contents: list[Tensor], device: torch.device) -> list[Tensor]:
    """Files uint8 [bytes] as RGB uint8 [3, h, w] on the device; on a CPU by libjpeg. Raises RuntimeError, and
    ImportError where torchvision has no decoders, as announced for versions after 0.29.
    """
    from torchvision.io import ImageReadMode, decode_jpeg  # noqa: PLC0415 - may be missing, and issues a warning when it is used

    return list(decode_jpeg(contents, mode=ImageReadMode.RGB, device=device))


def _as_tensors(contents: Sequence[bytes]) -> list[Tensor]:
    return [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in contents]


@dataclass
class DeviceDecodedImages:
    """Batches of prepared images uint8 [b, 3, crop, crop] on a device, in order.

    Threads read files ahead of the device, and prepare by `prepare` (row to uint8 [3, crop, crop]) those that it cannot
    decode. `batches` gives the rows of each batch, and is advanced when a batch is started.
    """

    images: ImageSource
    spec: PreprocessingSpec
    prepare: Callable[[int], Tensor]
    batches: Iterator[Sequence[int]]
    device: torch.device
    threads: int
    ahead: int
    decode: Decode = decode_on
    decoded: int = 0
    """Number of images decoded on the device so far."""
    _waiting: deque[list[tuple[int, Future[bytes | Tensor]]]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._pool = one_core_threads(self.threads, "read")

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        """The next batch. Raises the exceptions of reading and preparing its images."""
        while len(self._waiting) <= self.ahead and (rows := next(self.batches, None)) is not None:
            self._waiting.append([(row, self._pool.submit(self._read, row)) for row in rows])
        if not self._waiting:
            raise StopIteration
        found = {row: task.result() for row, task in self._waiting.popleft()}
        decoded = self._decoded({row: content for row, content in found.items() if isinstance(content, bytes)})
        prepared = {row: one.to(self.device) for row, one in found.items() if isinstance(one, Tensor)} | decoded
        return torch.stack([prepared[row] for row in found]).contiguous(memory_format=torch.channels_last)

    def close(self) -> None:
        """Discard the batches in preparation."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, row: int) -> bytes | Tensor:
        if isinstance(self.images, ReadImages):
            content, reading = self.images.content(row), self.images.reading_of(row)
            if content.rstrip(b"\0").endswith(END) and is_plain_jpeg(content, reading):
                return content
        return self.prepare(row)

    def _decoded(self, contents: Mapping[int, bytes]) -> dict[int, Tensor]:
        """Prepared images by row; a file that nvJPEG rejects is prepared by `prepare`."""
        if not contents:
            return {}
        try:
            pixels = self.decode(_as_tensors(list(contents.values())), self.device)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            if len(contents) == 1:
                return {row: self.prepare(row).to(self.device) for row in contents}
            return {row: one for entry in contents.items() for row, one in self._decoded(dict([entry])).items()}
        self.decoded += len(contents)
        return {row: prepare_decoded(one, self.spec) for row, one in zip(contents, pixels, strict=True)}
