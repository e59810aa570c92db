"""Class folders, and decoding of single images."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import many_shot_indices

CATALOG = TaskCatalog.load()


def draw(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (value, 50, 200)).save(path)


def own(path: Path) -> Dataset:
    return open_dataset(CATALOG.dataset(f"imagefolder:{path}"), Path("/nowhere"))


def labels(dataset: Dataset, split: str) -> list[int]:
    return [int(label) for label in dataset.splits[split].labels]


def test_eurosat_is_one_split_of_class_folders(tmp_path: Path) -> None:
    for name in ("River/River_1.jpg", "Forest/Forest_1.jpg", "Forest/Forest_2.jpg"):
        draw(tmp_path / "EuroSAT" / "2750" / name)
    dataset = open_dataset(CATALOG.dataset("eurosat"), tmp_path)
    assert (dataset.classes, labels(dataset, "all")) == (("Forest", "River"), [0, 0, 1])


def test_cropdiseases_uses_the_train_folder_only(tmp_path: Path) -> None:
    draw(tmp_path / "CropDiseases/dataset/train/Apple___scab/1.JPG")
    draw(tmp_path / "CropDiseases/dataset/train/Grape___healthy/1.JPG")
    draw(tmp_path / "CropDiseases/dataset/test/Apple___scab/2.JPG")
    dataset = open_dataset(CATALOG.dataset("cropdiseases"), tmp_path)
    assert dataset.splits["all"].identifiers == ("Apple___scab/1.JPG", "Grape___healthy/1.JPG")


def test_any_folder_of_class_folders_is_a_dataset_with_a_derived_test_split(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        for number in range(10):
            draw(tmp_path / kind / f"{number}.png")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    draw(tmp_path / ".thumbnails" / "1.png")
    (tmp_path / "empty").mkdir()
    dataset = own(tmp_path)
    assert (dataset.classes, len(dataset.splits["all"].images)) == (("cat", "dog"), 20)
    ((_, test),) = many_shot_indices(dataset).test
    assert np.bincount(dataset.splits["all"].labels[test]).tolist() == [2, 2]
    assert "fifth" in dataset.notes[0]


def test_train_val_and_test_folders_are_splits_with_common_classes(tmp_path: Path) -> None:
    for place in ("train/cat/1.png", "train/dog/2.png", "valid/dog/3.png", "test/dog/4.png", "test/cat/5.png"):
        draw(tmp_path / place)
    dataset = own(tmp_path)
    assert {name: labels(dataset, name) for name in dataset.splits} == {"train": [0, 1], "val": [1], "test": [0, 1]}
    assert dataset.notes == ()


def test_a_val_folder_without_a_test_folder_is_the_test_split_and_the_dataset_says_so(tmp_path: Path) -> None:
    for number in range(10):
        draw(tmp_path / "train" / f"class{number % 2}" / f"{number}.png")
        draw(tmp_path / "val" / f"class{number % 2}" / f"{number}.png")
    dataset = own(tmp_path)
    split = many_shot_indices(dataset)
    assert [name for name, _ in split.test] == ["val"]
    assert [(name, len(part)) for name, part in split.val] == [("train", 2)]
    assert "val folder is the test split" in dataset.notes[0]


def test_a_folder_without_class_folders_is_an_error_that_says_what_it_must_hold(tmp_path: Path) -> None:
    draw(tmp_path / "1.png")
    with pytest.raises(DataError, match=r"<class> is missing: the folder must contain one folder of images per class"):
        own(tmp_path)


def test_class_folders_without_any_image_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match="has no images"):
        own(tmp_path)


def test_a_folder_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}/gone is missing"):
        own(tmp_path / "gone")


def test_the_digest_of_images_names_their_content_and_not_where_they_lie_or_what_they_are_called(
    tmp_path: Path,
) -> None:
    for place in ("here", "there"):
        for kind in ("cat", "dog"):
            draw(tmp_path / place / kind / "1.png")
    here, there = own(tmp_path / "here"), own(tmp_path / "there")
    assert here.manifest_digest == there.manifest_digest
    (tmp_path / "there" / "cat" / "1.png").write_bytes(b"longer than before" * 100)
    assert own(tmp_path / "there").splits["all"].images_digest != here.splits["all"].images_digest
    (tmp_path / "here" / "cat" / "1.png").rename(tmp_path / "here" / "cat" / "2.png")
    assert own(tmp_path / "here").splits["all"].images_digest == here.splits["all"].images_digest


def with_image(root: Path, name: str, content: bytes) -> Dataset:
    draw(root / "a" / "whole.png")
    draw(root / "b" / "whole.png")
    (root / "b" / name).write_bytes(content)
    return own(root)


def jpeg(path: Path) -> bytes:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["text", "empty", "cut jpeg", "cut png"])
def test_a_broken_image_raises_a_data_error_that_names_the_file(kind: str, tmp_path: Path) -> None:
    png = tmp_path / "whole.png"
    draw(png)
    content = {
        "text": b"<html>404</html>",
        "empty": b"",
        "cut jpeg": jpeg(tmp_path / "whole.jpg")[:900],
        "cut png": png.read_bytes()[:45],
    }[kind]
    dataset = with_image(tmp_path / "set", "broken.jpg", content)
    with pytest.raises(DataError, match=r"set/b/broken.jpg cannot be decoded .*data check imagefolder:"):
        dataset.splits["all"].images[1]
    assert dataset.splits["all"].images[2].size == (12, 8)


def test_a_png_of_50000_by_50000_pixels_is_refused_and_does_not_fill_the_memory(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    dataset = with_image(tmp_path, "bomb.png", bomb)
    with pytest.raises(DataError, match=r"b/bomb.png is too large an image to decode"):
        dataset.splits["all"].images[1]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        *(
            ("L", 9, 9),
            ("LA", (9, 255), 9),
            ("LA", (9, 0), 255),
            ("RGBA", (9, 9, 9, 255), 9),
            ("RGBA", (9, 9, 9, 0), 255),
        ),
        *(("P", 0, 0), ("1", 1, 255), ("I;16", 0x8321, 0x83), ("I;16", 0x0432, 0x86)),
    ],
)
def test_every_mode_becomes_rgb(mode: str, value: int | tuple[int, ...], expected: int, tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        Image.new(mode, (5, 4), value).save(tmp_path / kind / "1.png")
    image = own(tmp_path).splits["all"].images[0]
    assert (image.mode, image.getpixel((2, 2))) == ("RGB", (expected,) * 3)


def test_floating_point_pixels_are_refused_with_the_way_out(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        Image.new("F", (5, 4), 0.5).save(tmp_path / kind / "1.tiff")
    with pytest.raises(DataError, match=r"a/1.tiff cannot be decoded .*8 bits per channel"):
        own(tmp_path).splits["all"].images[0]


def test_an_own_folder_names_what_it_leaves_out_and_never_takes_splits_for_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for kind in ("cat", "dog"):
            for number in range(3):
                draw(tmp_path / split / kind / f"{number}.png", 10 * number + (split == "test"))
    draw(tmp_path / "train" / "cat" / ".ipynb_checkpoints" / "0.png")
    (tmp_path / "train" / "dog" / "3.gif").write_bytes((tmp_path / "train/dog/0.png").read_bytes())
    draw(tmp_path / "extra" / "1.png")
    dataset = own(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert {name: len(split.images) for name, split in dataset.splits.items()} == {"train": 7, "test": 6}
    assert dataset.splits["train"].identifiers[0] == "cat/0.png"
    notes = " ".join(dataset.notes)
    assert "files in extra, which is not a split: 1" in notes
    assert "files in .ipynb_checkpoints: 1" in notes
