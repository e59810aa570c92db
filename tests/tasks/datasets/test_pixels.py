"""Pixels that need more than decoding: transparency, orientation, and more than 8 bits."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tasks.datasets.dataset import DataError
from tasks.datasets.importing.messages import ImportResult
from tasks.datasets.registry import open_dataset
from tests.tasks.datasets.messy import add, folders, notes_text, numbered, picture, save


def written(root: Path, change: Callable[[Path, int], None]) -> ImportResult:
    """Class folders with a test split whose files are written by `change`."""
    for name, number in numbered():
        save(root / "train" / name / f"{number}.png", number)
        path = root / "test" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        change(path, number)
    return add(root)


def first_of(found: ImportResult, split: str = "test") -> Image.Image:
    return open_dataset(found.card, Path("/")).splits[split].images[0]


def test_hidden_colour_under_transparency_is_not_seen_and_the_background_is_part_of_the_key(tmp_path: Path) -> None:
    def clear(path: Path, number: int) -> None:
        layer = picture(number).convert("RGBA")
        layer.putalpha(0)
        layer.save(path)

    found = written(tmp_path / "data", clear)
    assert first_of(found).getextrema() == ((255, 255),) * 3
    assert "20 images of test: transparent, composited on white (#ffffff)" in notes_text(found)
    black = add(tmp_path / "data", background="black")
    assert first_of(black).getextrema() == ((0, 0),) * 3
    assert black.card.manifest != found.card.manifest


@pytest.mark.parametrize("ending", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_images_are_turned_as_exif_says_and_counted(ending: str, tmp_path: Path) -> None:
    def lying(path: Path, number: int) -> None:
        image = picture(number).resize((8, 4))
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, ending, exif=exif)

    found = written(tmp_path / "data", lying)
    assert first_of(found).size == (4, 8)
    if ending != "TIFF":
        assert "20 images of test: rotated by their EXIF orientation" in notes_text(found)
        stored = add(tmp_path / "data", orientation="stored")
        assert first_of(stored).size == (8, 4)
        assert stored.card.manifest != found.card.manifest


def test_deep_greys_are_scaled_by_one_number_for_the_whole_dataset(tmp_path: Path) -> None:
    def twelve_bits(path: Path, number: int) -> None:
        values = np.full((8, 8), 4095, np.uint16)
        values[: number % 8] = 100 * (number + 1)
        Image.fromarray(values).save(path)

    found = written(tmp_path / "data", twelve_bits)
    assert first_of(found).getextrema() == ((255, 255),) * 3
    assert "scaled as 12-bit values" in notes_text(found)
    assert "also in train" not in notes_text(found)


def test_a_reading_without_effect_leaves_the_key_as_it_is(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    manifests = {add(root, **wish).card.manifest for wish in ({}, {"background": "black"}, {"orientation": "stored"})}
    assert len(manifests) == 1


Deep = npt.NDArray[np.uint16]
"""[h, w, channels]."""


def png16(values: Deep) -> bytes:
    """A PNG of 16-bit grey with alpha, colour, or colour with alpha, which Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, channels = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff16(values: Deep, order: str, *, packed: bool) -> bytes:
    """A TIFF of 16-bit colour, `order` < or >, with one strip, uncompressed or compressed by deflate."""
    height, width, channels = values.shape
    strip = values.astype(f"{order}u2").tobytes()
    strip = zlib.compress(strip) if packed else strip
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    place = 8 + 2 + 9 * 12 + 4
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, place), (259, 3, 1, 8 if packed else 1)]
    tags += [(262, 3, 1, 2), (273, 4, 1, place + len(bits)), (277, 3, 1, channels), (278, 4, 1, height)]
    tags += [(279, 4, 1, len(strip))]
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value))
        for tag, kind, count, value in tags
    )
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", len(tags))
    return head + entries + bytes(4) + bits + strip


WRITERS: dict[str, Callable[[Deep], bytes]] = {
    ".png": png16,
    ".little.tif": lambda values: tiff16(values, "<", packed=False),
    ".big.tif": lambda values: tiff16(values, ">", packed=False),
    ".little.packed.tif": lambda values: tiff16(values, "<", packed=True),
    ".big.packed.tif": lambda values: tiff16(values, ">", packed=True),
}


def deep_colours(root: Path, ending: str, values: Callable[[int], Deep]) -> ImportResult:
    for name, number in numbered():
        path = root / ("train" if number % 10 < 5 else "test") / name / f"{number}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(WRITERS[ending](values(number)))
    return add(root)


def noise(number: int, top: int, channels: int = 3) -> Deep:
    found = np.random.default_rng(number).integers(0, top + 1, (6, 5, channels), np.uint16)
    found[0, 0] = top
    return found


@pytest.mark.parametrize("ending", WRITERS)
def test_deep_colours_are_scaled_by_one_number_as_greys_are_and_never_read_as_black(
    ending: str, tmp_path: Path
) -> None:
    found = deep_colours(tmp_path / "data", ending, lambda number: noise(number, 4095 if number else 1023))
    splits = open_dataset(found.card, Path("/")).splits
    for split in splits.values():
        for index, name in enumerate(split.identifiers):
            number = int(Path(name).name.partition(".")[0])
            expected = noise(number, 4095 if number else 1023) >> 4
            assert np.array_equal(np.asarray(split.images[index]), expected), "also of an image that is darker"
    assert "10 images of train, 10 images of test: 16-bit values, all scaled as 12-bit values" in notes_text(found)


def test_colours_that_use_all_16_bits_are_read_as_pillow_reads_them(tmp_path: Path) -> None:
    found = deep_colours(tmp_path / "data", ".png", lambda number: noise(number, 65535))
    split = open_dataset(found.card, Path("/")).splits["train"]
    assert np.array_equal(np.asarray(split.images[1]), noise(1, 65535) >> 8)


@pytest.mark.parametrize("opaque", [4095, 65535])
def test_alpha_of_deep_colours_is_opaque_in_either_scale(opaque: int, tmp_path: Path) -> None:
    def values(number: int) -> Deep:
        found = noise(number, 4095, 4)
        found[:, :, 3] = opaque
        found[0, 0, 3] = 0 if number == 0 else opaque
        return found

    found = deep_colours(tmp_path / "data", ".png", values)
    split = open_dataset(found.card, Path("/")).splits["train"]
    assert np.array_equal(np.asarray(split.images[1]), values(1)[:, :, :3] >> 4)
    assert split.images[0].getpixel((0, 0)) == (255, 255, 255)
    assert "1 image of train: transparent" in notes_text(found)


def test_grey_with_alpha_of_which_the_lower_bits_alone_are_used_is_refused_and_not_read_as_black(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match="16-bit greys with transparency of which only the lower part is used"):
        deep_colours(tmp_path / "data", ".png", lambda number: noise(number, 4095, 2))


def test_deep_colours_in_separate_planes_are_refused_as_they_would_be_read_as_other_numbers(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    whole = tiff16(noise(0, 65535), "<", packed=False)
    rows_per_strip = struct.pack("<HHII", 278, 4, 1, 6)
    planes = struct.pack("<HHIHH", 284, 3, 1, 2, 0)
    assert rows_per_strip in whole
    (root / "ant" / "planes.tif").write_bytes(whole.replace(rows_per_strip, planes))
    assert "16-bit colours in separate planes are not decoded correctly" in notes_text(add(root))


@pytest.mark.parametrize("value", [-1000, 70_000])
def test_values_below_black_or_above_16_bits_are_refused_and_not_clipped(value: int, tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    values = np.zeros((8, 8), np.int32)
    values[0, 0] = value
    Image.fromarray(values).save(root / "ant" / "deep.tif")
    assert "1 image cannot be read" in notes_text(add(root))
    assert f"{min(value, 0)} to {max(value, 0)}, for which neither black nor white is defined" in notes_text(add(root))
