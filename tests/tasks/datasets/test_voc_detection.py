"""Pascal VOC 07+12 for detection, on miniatures of the real layout, intact and damaged."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.describe_main import describe
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.layouts import VOC_YEARS
from tasks.datasets.manifest import Manifest
from tasks.datasets.presence import presence
from tasks.datasets.registry import open_dataset

CARD = TaskCatalog.load().dataset("voc07")
LAYOUTS = range(3)
DOG = ("dog", (48, 240, 195, 371), 0)
PERSON = ("person", (8, 12, 352, 498), 1)


def annotation(objects: Sequence[tuple[str, Sequence[float], int]]) -> str:
    """As in the challenge's files, including parts of persons."""
    parts = "<part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>10</xmax><ymax>10</ymax></bndbox></part>"
    text = "".join(
        f"<object><name>{name}</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>"
        f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>{parts}</object>"
        for name, (x0, y0, x1, y1), difficult in objects
    )
    return f"<annotation><folder>VOC2007</folder><size><width>353</width></size>{text}</annotation>"


def put(
    base: Path,
    image_set: str,
    images: Sequence[str],
    objects: Sequence[tuple[str, Sequence[float], int]] = (DOG, PERSON),
) -> None:
    for folder in ("ImageSets/Main", "JPEGImages", "Annotations"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / "ImageSets" / "Main" / f"{image_set}.txt").write_text("".join(f"{image}\n" for image in images))
    for number, image in enumerate(images):
        Image.new("RGB", (353, 500), (100 * number, 0, 0)).save(base / "JPEGImages" / f"{image}.jpg")
        (base / "Annotations" / f"{image}.xml").write_text(annotation(objects))


def base(root: Path, year: int, layout: int = 0) -> Path:
    return root / VOC_YEARS[year][layout]


def tree(root: Path, layout: int = 0) -> Path:
    put(base(root, 2007, layout), "trainval", ["000005", "000007"])
    put(base(root, 2007, layout), "test", ["000001"])
    put(base(root, 2012, layout), "trainval", ["2008_000002"], [("cat", (1, 1, 45.5, 60), 0)])
    return root


def opened(root: Path) -> Dataset:
    return open_dataset(CARD, root)


def test_train_is_trainval_of_both_years_and_test_is_that_of_2007(tmp_path: Path) -> None:
    dataset = opened(tree(tmp_path))
    names = {split: list(one.identifiers) for split, one in dataset.splits.items()}
    assert names == {
        "train": [
            "VOC2007/JPEGImages/000005.jpg",
            "VOC2007/JPEGImages/000007.jpg",
            "VOC2012/JPEGImages/2008_000002.jpg",
        ],
        "test": ["VOC2007/JPEGImages/000001.jpg"],
    }
    train = dataset.splits["train"]
    assert (len(train.images), len(train.targets["boxes"]), train.labels.shape) == (3, 3, (3, 0))
    assert [train.images[index].size for index in range(3)] == [(353, 500)] * 3
    assert [int(np.asarray(train.images[index])[0, 0, 0]) // 40 for index in range(2)] == [0, 2]


def test_corners_count_from_zero_and_exclude_the_far_end(tmp_path: Path) -> None:
    train = opened(tree(tmp_path)).splits["train"].targets["boxes"]
    first, last = train[0], train[2]
    assert first.corners.tolist() == [[47, 239, 195, 371], [7, 11, 352, 498]]
    assert [train.classes[label] for label in first.labels] == ["dog", "person"]
    assert first.difficult.tolist() == [False, True]
    assert last.corners.tolist() == [[0, 0, 45.5, 60]]


def test_an_image_without_objects_has_no_boxes(tmp_path: Path) -> None:
    put(base(tree(tmp_path), 2007), "test", ["000001"], [])
    only = opened(tmp_path).splits["test"].targets["boxes"][0]
    assert (only.corners.shape, only.labels.dtype, only.difficult.dtype) == ((0, 4), np.int64, np.bool_)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_known_layout_is_found_and_is_the_same_data(tmp_path: Path, layout: int) -> None:
    usual = opened(tree(tmp_path / "usual")).manifest_digest
    root = tree(tmp_path / "other", layout)
    assert presence(CARD, root).status == "present"
    assert opened(root).manifest_digest == usual


def test_a_changed_box_is_other_data(tmp_path: Path) -> None:
    before = opened(tree(tmp_path)).manifest_digest
    put(base(tmp_path, 2007), "test", ["000001"], [("dog", (48, 240, 195, 372), 0), PERSON])
    assert opened(tmp_path).manifest_digest != before


def test_a_year_that_is_missing_is_named_with_the_command(tmp_path: Path) -> None:
    shutil.rmtree(tree(tmp_path) / "VOC2012")
    found = presence(CARD, tmp_path)
    assert (found.status, found.advice) == ("partial", "run `ssl-console data fetch voc07`")
    assert found.missing[0] == base(tmp_path, 2012) / "ImageSets" / "Main" / "trainval.txt"
    with pytest.raises(DataError, match=r"VOC2012.*trainval\.txt and 1 more are missing"):
        opened(tmp_path)


@pytest.mark.parametrize("name", ["JPEGImages/000007.jpg", "Annotations/000007.xml"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (base(tree(tmp_path), 2007) / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing.*data fetch voc07"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("objects", "problem"),
    [
        ([("unicorn", (1, 1, 9, 9), 0)], "an object is named 'unicorn', which is none of the 20 classes"),
        ([("dog", (9, 1, 3, 9), 0)], "a dog has the corners 9 1 3 9, which are not a box"),
        ([("dog", (9, 1, float("nan"), 9), 0)], "which are not a box"),
    ],
)
def test_an_object_that_cannot_be_is_told_with_its_file(
    tmp_path: Path, objects: list[tuple[str, Sequence[float], int]], problem: str
) -> None:
    put(base(tree(tmp_path), 2007), "test", ["000001"], objects)
    with pytest.raises(DataError, match=rf"000001\.xml has unexpected content \({problem}|{problem}"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "<annotation><object>", "<annotation><object><name>dog</name></object></annotation>"]
)
def test_a_torn_annotation_is_told_with_its_file(tmp_path: Path, content: str) -> None:
    (base(tree(tmp_path), 2007) / "Annotations" / "000005.xml").write_text(content)
    with pytest.raises(DataError, match=r"000005\.xml has unexpected content"):
        opened(tmp_path)


def test_a_broken_image_is_found_by_decoding_and_numbers_are_compared(tmp_path: Path) -> None:
    (base(tree(tmp_path), 2007) / "JPEGImages" / "000001.jpg").write_bytes(b"not an image")
    answer = describe(CARD, tmp_path, decode=True)
    assert isinstance(answer, Manifest)
    assert answer.problems[:2] == ("3 images in train, published are 16,551", "1 image in test, published are 4,952")
    assert "000001.jpg cannot be decoded" in answer.problems[2]


def lying(path: Path, sides: tuple[int, int]) -> None:
    """A picture with these sides as stored, to be rotated by a quarter turn."""
    image = Image.new("RGB", sides, (9, 9, 9))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, exif=exif)


@pytest.mark.parametrize(("declared", "sides"), [((353, 500), (353, 500)), ((500, 353), (500, 353))])
def test_an_image_is_turned_only_where_its_boxes_were_made_on_the_turned_image(
    declared: tuple[int, int], sides: tuple[int, int], tmp_path: Path
) -> None:
    place = base(tree(tmp_path), 2007)
    lying(place / "JPEGImages" / "000001.jpg", (500, 353))
    path = place / "Annotations" / "000001.xml"
    size = f"<size><width>{declared[0]}</width><height>{declared[1]}</height></size>"
    path.write_text(path.read_text().replace("<size><width>353</width></size>", size))
    assert opened(tmp_path).splits["test"].images[0].size == sides


def test_boxes_that_fit_neither_frame_of_their_image_are_refused(tmp_path: Path) -> None:
    place = base(tree(tmp_path), 2007)
    lying(place / "JPEGImages" / "000001.jpg", (500, 353))
    path = place / "Annotations" / "000001.xml"
    size = "<size><width>100</width><height>80</height></size>"
    path.write_text(path.read_text().replace("<size><width>353</width></size>", size))
    with pytest.raises(DataError, match=r"000001\.jpg is 500 x 353 pixels as stored and 353 x 500 .*for 100 x 80"):
        opened(tmp_path)
