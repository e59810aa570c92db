"""The engine that decodes on the device, on a CPU: libjpeg stands for nvJPEG, everything around it is the same."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import pytest
import torch
from PIL import Image
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.model.preprocessing import prepare
from tasks.datasets.images import FileImages, pixels_of
from tasks.features.device_decoding import Decode, DeviceDecodedImages, decode_on, usable_decoder
from tests.benchmarks._photographs import MEAN, STD, photographs
from tests.tasks.workspace_fixture import Listener

CPU = torch.device("cpu")
SPEC = PreprocessingSpec("paper", 48, 40, "shorter", "bicubic", MEAN, STD)
GREY_LEVELS = 2
"""Largest difference of a pixel: resized in float32 instead of bytes, and by another libjpeg."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> FileImages:
    """Photographs, then a rotated one, a CMYK one, one in PNG, and one whose end is missing."""
    folder = tmp_path_factory.mktemp("images")
    found = photographs(folder, 6, (100, 75)).images
    assert isinstance(found, FileImages)
    plain = Image.open(found.path(0)).convert("RGB")
    exif = plain.getexif()
    exif[0x0112] = 6
    plain.save(found.root / "rotated.jpg", exif=exif)
    plain.convert("CMYK").save(found.root / "cmyk.jpg")
    plain.save(found.root / "other.png")
    (found.root / "short.jpg").write_bytes(found.path(0).read_bytes()[:-2])
    return FileImages(found.dataset, found.root, (*found.files, "rotated.jpg", "cmyk.jpg", "other.png", "short.jpg"))


def on_device(
    images: FileImages, rows: Sequence[int], decode: Decode = decode_on, spec: PreprocessingSpec = SPEC, size: int = 4
) -> tuple[list[Tensor], int]:
    """Prepared images, and how many of them the device has decoded."""

    def by_threads(row: int) -> Tensor:
        return prepare(pixels_of(images, row), spec)

    batches = (rows[start : start + size] for start in range(0, len(rows), size))
    made = DeviceDecodedImages(images, spec, by_threads, batches, CPU, threads=2, ahead=2, decode=decode)
    with closing(made):
        return [image for batch in made for image in batch], made.decoded


@pytest.mark.parametrize("mode", ["shorter", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_those_of_the_threads_but_for_rounding(images: FileImages, mode: str, interpolation: str) -> None:
    spec = PreprocessingSpec("paper", 48, 40, mode, interpolation, MEAN, STD)  # type: ignore[arg-type]
    found, decoded = on_device(images, range(6), spec=spec)
    assert decoded == 6
    for row, image in enumerate(found):
        expected = prepare(pixels_of(images, row), spec)
        assert image.dtype == torch.uint8
        assert (image.int() - expected.int()).abs().max() <= GREY_LEVELS


def test_what_the_device_would_read_otherwise_is_prepared_by_the_threads(images: FileImages) -> None:
    found, decoded = on_device(images, range(9))
    assert decoded == 6
    for row in range(6, 9):
        assert torch.equal(found[row], prepare(pixels_of(images, row), SPEC))


def test_an_incomplete_file_is_left_to_the_threads(images: FileImages) -> None:
    refused: list[int] = []

    def by_threads(row: int) -> Tensor:
        refused.append(row)
        return torch.zeros(3, 40, 40, dtype=torch.uint8)

    with closing(DeviceDecodedImages(images, SPEC, by_threads, iter([[0, 9]]), CPU, threads=1, ahead=1)) as batches:
        next(batches)
    assert refused == [9]


def test_a_file_that_the_device_refuses_is_prepared_by_the_threads_and_the_others_are_not(images: FileImages) -> None:
    broken = images.content(2)

    def decode(contents: list[Tensor], device: torch.device) -> list[Tensor]:
        if any(bytes(content.numpy()) == broken for content in contents):
            raise RuntimeError("nvjpegDecode failed: 5")
        return decode_on(contents, device)

    found, decoded = on_device(images, range(4), decode)
    assert decoded == 3
    assert torch.equal(found[2], prepare(pixels_of(images, 2), SPEC))


def test_memory_that_runs_out_is_no_refusal(images: FileImages) -> None:
    def decode(contents: list[Tensor], device: torch.device) -> list[Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        on_device(images, range(4), decode)


@pytest.mark.parametrize(("device", "reason"), [("cpu", "the device is not a GPU"), ("cuda:0", "")])
def test_without_nvjpeg_the_cpu_decodes_and_the_result_carries_the_reason(device: str, reason: str) -> None:
    if device != "cpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    listener = Listener()
    assert usable_decoder("nvjpeg", device, listener) == "cpu"
    (warning,) = listener.warnings
    assert warning.startswith(f"nvJPEG cannot be used ({reason}")
    assert usable_decoder("cpu", device, Listener()) == "cpu"


def test_where_nvjpeg_can_be_used_every_result_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.features.device_decoding._problem", lambda _device: "")
    listener = Listener()
    assert usable_decoder("nvjpeg", "cuda:0", listener) == "nvjpeg"
    assert "pixels differ by some grey levels" in listener.warnings[0]
