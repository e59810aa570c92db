"""JPEG files are decoded by a faster path than Pillow's, to the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from backbones.catalog.card import PreprocessingSpec
from backbones.io.image_reading import Pixels, pixels
from backbones.model.preprocessing import prepare
from tasks.datasets import images as images_module
from tasks.datasets.dataset import DataError
from tasks.datasets.images import FileImages, pixels_of, several_pixels
from tasks.evaluation.export_features import ListedImages

# New releases of Pillow resize the height of images several times as tall as wide first, unlike the paper's.
SIZES = [
    (500, 375),
    (375, 500),
    (224, 224),
    (225, 226),
    (223, 300),
    (141, 641),
    (1000, 667),
    (33, 31),
    (1, 9),
    (448, 448),
]


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    ramps = np.linspace(0, 1, height)[:, None, None] * np.linspace(0.2, 1, width)[None, :, None] * [1.0, 0.7, 0.3]
    noise = np.random.default_rng(width * height).random((height, width, 3))
    return Image.fromarray(((0.6 * ramps + 0.4 * noise) * 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "options",
    [{"quality": 75}, {"quality": 98, "subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"optimize": True}],
    ids=str,
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_pixels_are_pillows(size: tuple[int, int], options: dict[str, Any], mode: str) -> None:
    content = encoded(picture(*size, mode), **options)
    found = pixels(content)
    assert found is not None
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize(
    "content",
    [
        encoded(picture(40, 30, "CMYK")),
        encoded(picture(40, 30), "PNG"),
        encoded(picture(40, 30))[:-200],
        encoded(picture(40, 30))[:9],
        b"",
    ],
    ids=["CMYK", "PNG", "cut off", "only a header", "empty"],
)
def test_whatever_else_it_is_pillow_is_asked(content: bytes, tmp_path: Path) -> None:
    assert pixels(content) is None
    (tmp_path / "a.jpg").write_bytes(content)
    images = FileImages("some", tmp_path, ("a.jpg",))
    assert answer(lambda: pixels_of(images, 0)) == answer(lambda: images[0])


def test_several_images_are_those_read_one_by_one_in_their_order(tmp_path: Path) -> None:
    kinds = ["JPEG", "PNG", "JPEG", "JPEG"]
    for place, kind in enumerate(kinds):
        (tmp_path / f"{place}.jpg").write_bytes(encoded(picture(40 + place, 30), kind))
    images = FileImages("some", tmp_path, tuple(f"{place}.jpg" for place in range(len(kinds))))
    for some in (
        images,
        replace(images, resize=(20, 10)),
        ListedImages([str(tmp_path / name) for name in images.files]),
    ):
        found = [np.asarray(one) for one in several_pixels(some, [3, 1, 0])]
        assert [one.tobytes() for one in found] == [np.asarray(pixels_of(some, row)).tobytes() for row in (3, 1, 0)]


def test_files_are_read_ahead_of_decoding_up_to_a_number_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    content, decoded = FileImages.content, FileImages.decoded

    def read(self: FileImages, index: int) -> bytes:
        steps.append(f"read {index}")
        return content(self, index)

    def decode(self: FileImages, index: int, content: bytes) -> Pixels | Image.Image:
        steps.append(f"decode {index}")
        return decoded(self, index, content)

    monkeypatch.setattr(FileImages, "content", read)
    monkeypatch.setattr(FileImages, "decoded", decode)
    (tmp_path / "a.jpg").write_bytes(encoded(picture(40, 30)))
    images = FileImages("some", tmp_path, ("a.jpg",) * 3)
    list(images.several(range(3)))
    assert steps == ["read 0", "read 1", "read 2", "decode 0", "decode 1", "decode 2"]
    steps.clear()
    monkeypatch.setattr(images_module, "READ_AHEAD", (tmp_path / "a.jpg").stat().st_size + 1)
    list(images.several(range(3)))
    assert steps == ["read 0", "read 1", "decode 0", "decode 1", "read 2", "decode 2"]


def answer(read: Callable[[], Pixels | Image.Image]) -> str | bytes:
    """Pixels, or the message of the error."""
    try:
        return np.asarray(read()).tobytes()
    except DataError as error:
        return str(error)


def test_an_image_that_pillow_warns_of_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert pixels(encoded(picture(40, 30))) is None
    assert pixels(encoded(picture(40, 20))) is not None


@pytest.mark.parametrize("size", [*SIZES, (640, 480), (1600, 900), (301, 299), (4000, 256)], ids=str)
@pytest.mark.parametrize("crop", [64, 224])
def test_from_file_to_tensor_is_within_one_grey_level_of_the_papers_chain(
    size: tuple[int, int], crop: int, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(picture(*size), quality=90))
    spec = PreprocessingSpec("paper", crop, crop, "shorter", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    ours = prepare(pixels_of(FileImages("some", tmp_path, ("a.jpg",)), 0), spec)
    chain = transforms.Compose(
        [
            transforms.Resize(crop, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(crop),
            transforms.PILToTensor(),
        ]
    )
    difference = (ours.int() - chain(Image.open(tmp_path / "a.jpg").convert("RGB")).int()).abs()
    assert (ours.dtype, ours.shape) == (torch.uint8, (3, crop, crop))
    assert (difference > 1).float().mean() < 1e-4
    assert difference.max() <= (1 if min(size) >= crop else 2), "2 only where an image is made larger"
