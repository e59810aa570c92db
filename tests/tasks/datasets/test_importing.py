"""Import of a user's datasets: every common layout is detected, splits are stored, and problems are reported."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.datasets.csv_index import IndexRow, index_text, read_index
from tasks.datasets.dataset import Dataset
from tasks.datasets.folders import Ambiguous, split_of
from tasks.datasets.importing.main import run_import
from tasks.datasets.importing.messages import (
    DatasetProblem,
    ImportOptions,
    ImportProgress,
    ImportRequest,
    ImportResult,
)
from tasks.datasets.importing.messages import import_dataset as import_in_a_process
from tasks.datasets.manifest import manifest_of
from tasks.datasets.presence import presence, signature
from tasks.datasets.registry import open_dataset

CLASSES = ("ant", "bee", "cow")
EACH = 8


def picture(number: int) -> Image.Image:
    """A picture that differs from those of other numbers."""
    random = np.random.default_rng(number)
    small = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize((96, 80), Image.Resampling.BICUBIC)


def save(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number).save(path)
    return path


def numbered() -> list[tuple[str, int]]:
    """Class and number of every picture."""
    return [(name, EACH * place + index) for place, name in enumerate(CLASSES) for index in range(EACH)]


def of_split(number: int) -> str:
    return "train" if number % EACH < 6 else "test"


def class_folders(root: Path) -> Path:
    for name, number in numbered():
        save(root / name / f"{number}.jpg", number)
    return root


def split_folders(root: Path) -> Path:
    for name, number in numbered():
        save(root / of_split(number) / name / f"{number}.jpg", number)
    return root


def split_files(root: Path) -> Path:
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for name, number in numbered():
        save(root / "images" / f"{number}.jpg", number)
        lines[of_split(number)].append(f"images/{number}.jpg {name}")
    for split, content in lines.items():
        (root / f"{split}.txt").write_text("\n".join(content))
    return root


def csv_table(root: Path) -> Path:
    rows = ["image_id,species,split"]
    for name, number in numbered():
        save(root / "pictures" / f"{number}.png", number)
        rows.append(f"{number},{name},{of_split(number)}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def voc(root: Path) -> Path:
    base = root / "VOCdevkit" / "VOC2012"
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for name, number in numbered():
        save(base / "JPEGImages" / f"{number}.jpg", number)
        lists[of_split(number)].append(str(number))
        other = CLASSES[number % 3]
        (base / "Annotations").mkdir(exist_ok=True)
        (base / "Annotations" / f"{number}.xml").write_text(
            f"<annotation><object><name>{name}</name><difficult>0</difficult></object>"
            f"<object><name>{other}</name><difficult>1</difficult></object></annotation>"
        )
    for split, names in lists.items():
        path = base / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names))
    return root


def coco(root: Path) -> Path:
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        chosen = [(n, k) for n, k in numbered() if (of_split(k) == "train") == (split == "train")]
        for _, number in chosen:
            save(root / f"{split}2017" / f"{number}.jpg", number)
        content = {
            "images": [{"id": number, "file_name": f"{number}.jpg"} for _, number in chosen],
            "categories": [{"id": 10 + place, "name": name} for place, name in enumerate(CLASSES)],
            "annotations": [{"image_id": k, "category_id": 10 + CLASSES.index(n), "bbox": []} for n, k in chosen],
        }
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return root


def webdataset(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        with tarfile.open(root / f"{split}-000000.tar", "w") as archive:
            for name, number in numbered():
                if of_split(number) == split:
                    image = io.BytesIO()
                    picture(number).save(image, "JPEG")
                    for ending, content in (("jpg", image.getvalue()), ("json", json.dumps({"label": name}).encode())):
                        member = tarfile.TarInfo(f"{number:04}.{ending}")
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))
    return root


LAYOUTS: dict[str, tuple[Callable[[Path], Path], str, dict[str, int]]] = {
    "class folders": (class_folders, "class-folders", {"train": 18, "test": 6}),
    "split folders": (split_folders, "class-folders", {"train": 18, "test": 6}),
    "split files": (split_files, "split-files", {"train": 18, "test": 6}),
    "csv": (csv_table, "csv", {"train": 18, "test": 6}),
    "voc": (voc, "voc", {"train": 18, "test": 6}),
    "coco": (coco, "coco", {"train": 18, "val": 6}),
    "webdataset": (webdataset, "webdataset", {"train": 18, "test": 6}),
}


def brought(path: Path, folder: Path, **wish: object) -> tuple[ImportResult, Dataset]:
    order = ImportRequest(
        path=str(path), name="mine", index=str(folder / "mine.csv"), wish=ImportOptions.model_validate(wish)
    )
    found = run_import(order, lambda _progress: None)
    return found, open_dataset(found.card, folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_recognised_with_its_splits_labels_and_images(tmp_path: Path, layout: str) -> None:
    write, kind, counts = LAYOUTS[layout]
    found, dataset = brought(write(tmp_path / "data"), tmp_path)
    assert (found.layout, found.card.images) == (kind, counts)
    assert dataset.classes == CLASSES
    assert found.card.manifest == dataset.manifest_digest
    assert {name: len(split.images) for name, split in dataset.splits.items()} == counts
    first = dataset.splits["train"]
    assert first.images[0].size == (96, 80)
    assert (first.labels[0] if first.labels.ndim == 1 else first.labels[0].tolist()) in (0, [1, 0, 0])
    assert not [warned for warned in found.warnings if warned.kind != "small images"]


def test_checkpoints_called_tar_are_no_shards(tmp_path: Path) -> None:
    path = class_folders(tmp_path / "data")
    (path / "model_best.pth.tar").write_bytes(b"PK")
    assert brought(path, tmp_path)[0].layout == "class-folders"


def test_splits_that_are_derived_are_stratified_seeded_and_stored(tmp_path: Path) -> None:
    path = class_folders(tmp_path / "data")
    first, _ = brought(path, tmp_path)
    rows = read_index(tmp_path / "mine.csv", multi_label=False)
    assert [sum(row.split == "test" and row.labels == (name,) for row in rows) for name in CLASSES] == [2, 2, 2]
    save(path / "ant" / "late.jpg", 99)
    assert open_dataset(first.card, tmp_path).manifest_digest == first.card.manifest
    again, _ = brought(class_folders(tmp_path / "copy"), tmp_path)
    other, _ = brought(tmp_path / "copy", tmp_path, seed=1)
    assert again.card.manifest == first.card.manifest
    assert other.card.manifest != first.card.manifest
    assert "drawn with seed 1" in other.notes[0]


def test_the_same_picture_in_training_and_test_is_found_in_another_format_and_size(tmp_path: Path) -> None:
    path = split_folders(tmp_path / "data")
    copy = picture(0).resize((60, 50))
    copy.save(path / "test" / "ant" / "copy.png")
    found, _ = brought(path, tmp_path)
    (warned,) = [warned for warned in found.warnings if warned.kind == "duplicates"]
    assert warned.count == 1
    assert warned.examples == ("train/ant/0.jpg = test/ant/copy.png",)


def test_tiny_classes_and_classes_that_are_never_trained_are_told(tmp_path: Path) -> None:
    path = split_folders(tmp_path / "data")
    save(path / "test" / "yak" / "1.jpg", 77)
    found, _ = brought(path, tmp_path)
    assert {warned.kind: warned.examples for warned in found.warnings} == {
        "tiny classes": ("yak",),
        "untrained classes": ("yak",),
    }


def test_unreadable_images_are_told_and_left_out_on_request(tmp_path: Path) -> None:
    path = split_folders(tmp_path / "data")
    (path / "train" / "bee" / "broken.jpg").write_bytes(b"nothing")
    found, _ = brought(path, tmp_path)
    assert [(warned.kind, warned.count) for warned in found.warnings] == [("unreadable", 1)]
    without, dataset = brought(path, tmp_path, skip_unreadable=True)
    assert not without.warnings
    assert not any("broken" in name for name in dataset.splits["train"].identifiers)
    assert without.card.manifest == dataset.manifest_digest


def test_a_table_and_class_folders_together_are_asked_about(tmp_path: Path) -> None:
    path = csv_table(class_folders(tmp_path / "data"))
    with pytest.raises(Ambiguous, match="csv or class-folders: choose by --layout"):
        brought(path, tmp_path)
    found, _ = brought(path, tmp_path, layout="csv")
    assert found.layout == "csv"


def test_two_columns_that_could_be_labels_are_asked_about(tmp_path: Path) -> None:
    path = csv_table(tmp_path / "data")
    table = path / "labels.csv"
    table.write_text(table.read_text().replace("image_id,species,split", "image_id,species,label"))
    with pytest.raises(Ambiguous, match="--label-column: species, label"):
        brought(path, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: (path / "labels.csv").write_text("a,b\n1,2\n"), "no known layout"),
        (lambda path: (path / "pictures" / "3.png").unlink(), "names '3', which is neither"),
    ],
)
def test_a_dataset_that_cannot_be_used_says_why(tmp_path: Path, spoil: Callable[[Path], object], words: str) -> None:
    path = csv_table(tmp_path / "data")
    for image in (path / "pictures").iterdir():
        if "no layout" in words:
            image.unlink()
    spoil(path)
    with pytest.raises(ValueError, match=words):
        brought(path, tmp_path)


def test_an_index_that_changes_is_another_signature_and_a_changed_image_another_manifest(tmp_path: Path) -> None:
    path = split_folders(tmp_path / "data")
    found, _ = brought(path, tmp_path)
    before = signature(found.card, tmp_path)
    assert presence(found.card, tmp_path).status == "present"
    index = tmp_path / "mine.csv"
    index.write_text(index.read_text().replace("test,", "val,"))
    assert signature(found.card, tmp_path) != before
    assert "changed since it was added" in manifest_of(open_dataset(found.card, tmp_path), found.card).problems[-1]


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [IndexRow("train", 'a,"b".jpg', ("x", "y")), IndexRow("test", "s.tar/1.jpg", ("x",), 512, 99)]
    (tmp_path / "index.csv").write_text(index_text(rows))
    assert read_index(tmp_path / "index.csv", multi_label=True) == rows


@pytest.mark.parametrize(
    ("word", "split"), [("instances_train2017", "train"), ("Validation", "val"), ("dev", "val"), ("things", None)]
)
def test_splits_are_known_by_their_usual_words(word: str, split: str | None) -> None:
    assert split_of(word) == split


def test_a_process_of_its_own_tells_progress_and_what_is_wrong(tmp_path: Path) -> None:
    reports: list[ImportProgress] = []
    order = ImportRequest(path=str(split_files(tmp_path / "data")), name="mine", index=str(tmp_path / "mine.csv"))
    assert import_in_a_process(order, reports.append).layout == "split-files"
    assert reports
    assert reports[0].total == 24
    with pytest.raises(DatasetProblem, match="does not exist"):
        import_in_a_process(order.model_copy(update={"path": str(tmp_path / "nowhere")}), reports.append)
