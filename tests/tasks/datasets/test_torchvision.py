"""Readers that use torchvision's dataset classes, on miniatures of the real layouts."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import CIFAR10, CIFAR100, Flowers102

from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.registry import open_dataset

CATALOG = TaskCatalog.load()


def card(name: str) -> DatasetCard:
    return CATALOG.dataset(name)


def draw(path: Path, value: int = 100, size: tuple[int, int] = (12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value % 256, 50, 200)).save(path)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def labels(dataset: Dataset, split: str) -> list[int]:
    return [int(label) for label in dataset.splits[split].labels]


def write_batch(path: Path, key: str, classes: list[int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).integers(0, 256, (len(classes), 3072), dtype=np.uint8)
    path.write_bytes(pickle.dumps({"data": data, key: classes, "filenames": ["x.png"] * len(classes)}, protocol=2))


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two images per batch; torchvision's checksums are replaced by the miniature's."""
    folder = tmp_path / "CIFAR10" / CIFAR10.base_folder
    for number in range(1, 6):
        write_batch(folder / f"data_batch_{number}", "labels", [number % 10, 3], number)
    write_batch(folder / "test_batch", "labels", [9, 0, 1], 6)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"kind {n}" for n in range(10)]}))
    monkeypatch.setattr(
        CIFAR10, "train_list", [[f"data_batch_{n}", md5(folder / f"data_batch_{n}")] for n in range(1, 6)]
    )
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(folder / "test_batch")]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(folder / "batches.meta")})
    return tmp_path


def test_cifar10_batches_become_rgb_images_in_batch_order(cifar10: Path) -> None:
    dataset = open_dataset(card("cifar10"), cifar10)
    assert {name: len(split.images) for name, split in dataset.splits.items()} == {"train": 10, "test": 3}
    assert labels(dataset, "train") == [1, 3, 2, 3, 3, 3, 4, 3, 5, 3]
    raw = pickle.loads((cifar10 / "CIFAR10" / CIFAR10.base_folder / "data_batch_1").read_bytes())["data"][1]
    image = dataset.splits["train"].images[1]
    assert (image.mode, image.size) == ("RGB", (32, 32))
    assert np.array_equal(np.asarray(image), raw.reshape(3, 32, 32).transpose(1, 2, 0))
    assert dataset.classes == tuple(f"kind {n}" for n in range(10))


def test_cifar_lying_directly_in_the_data_root_is_found(cifar10: Path, tmp_path: Path) -> None:
    before = open_dataset(card("cifar10"), cifar10).manifest_digest
    shutil.move(cifar10 / "CIFAR10" / CIFAR10.base_folder, tmp_path / CIFAR10.base_folder)
    assert open_dataset(card("cifar10"), tmp_path).manifest_digest == before


def test_a_foreign_cifar_batch_is_refused_before_it_is_unpickled(cifar10: Path) -> None:
    batch = cifar10 / "CIFAR10" / CIFAR10.base_folder / "data_batch_2"
    trace = cifar10 / "executed"

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (trace,)

    batch.write_bytes(pickle.dumps(Attack()))
    with pytest.raises(DataError, match=r"cifar-10-batches-py.*ssl-console data fetch cifar10"):
        open_dataset(card("cifar10"), cifar10)
    assert not trace.exists()


def test_cifar100_has_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "CIFAR100" / CIFAR100.base_folder
    write_batch(folder / "train", "fine_labels", [99, 0, 42], 1)
    write_batch(folder / "test", "fine_labels", [7], 2)
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"fine {n}" for n in range(100)]}))
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5(folder / "train")]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5(folder / "test")]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5(folder / "meta")})
    dataset = open_dataset(card("cifar100"), tmp_path)
    assert labels(dataset, "train") == [99, 0, 42]
    assert len(dataset.classes) == 100


def aircraft(base: Path) -> None:
    (base / "data").mkdir(parents=True)
    (base / "data" / "variants.txt").write_text("707-320\nA300B4\nSpitfire\n")
    parts = {"train": ["707-320", "A300B4"], "val": ["Spitfire"], "test": ["A300B4", "Spitfire", "707-320"]}
    number = 0
    for split, variants in parts.items():
        lines = []
        for variant in variants:
            number += 1
            draw(base / "data" / "images" / f"{number:07d}.jpg", number)
            lines.append(f"{number:07d} {variant}\n")
        (base / "data" / f"images_variant_{split}.txt").write_text("".join(lines))


def dtd(base: Path) -> None:
    parts = {"train": ["banded", "dotted"], "val": ["dotted"], "test": ["dotted"]}
    (base / "labels").mkdir(parents=True)
    for split, classes in parts.items():
        names = [f"{name}/{name}_{split}.jpg" for name in classes]
        for name in names:
            draw(base / "images" / name)
        (base / "labels" / f"{split}1.txt").write_text("".join(f"{name}\n" for name in names))


def pets(base: Path) -> None:
    (base / "annotations").mkdir(parents=True)
    for split, names in {"trainval": ["Abyssinian_1", "great_pyrenees_2"], "test": ["great_pyrenees_3"]}.items():
        lines = [f"{name} {1 if name[0] == 'A' else 2} 1 1\n" for name in names]
        (base / "annotations" / f"{split}.txt").write_text("".join(lines))
        for name in names:
            draw(base / "images" / f"{name}.jpg")


LAYOUTS = {
    "aircraft": (aircraft, "Aircraft", "fgvc-aircraft-2013b"),
    "dtd": (dtd, "DTD", "dtd/dtd"),
    "pets": (pets, "Pets", "oxford-iiit-pet"),
}
EXPECTED = {
    "aircraft": {"train": [0, 1], "val": [2], "test": [1, 2, 0]},
    "dtd": {"train": [0, 1], "val": [1], "test": [1]},
    "pets": {"train": [0, 1], "test": [1]},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_papers_layout_gives_images_and_labels(name: str, tmp_path: Path) -> None:
    make, folder, _ = LAYOUTS[name]
    make(tmp_path / folder)
    dataset = open_dataset(card(name), tmp_path)
    assert {split: labels(dataset, split) for split in dataset.splits} == EXPECTED[name]
    for split in dataset.splits.values():
        assert [image.size for image in (split.images[i] for i in range(len(split.images)))] == [(12, 8)] * len(
            split.images
        )


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("in_folder", [True, False])
def test_torchvisions_extra_folder_level_gives_the_same_dataset(name: str, in_folder: bool, tmp_path: Path) -> None:
    make, folder, level = LAYOUTS[name]
    make(tmp_path / "paper" / folder)
    make(tmp_path / "torchvision" / (folder if in_folder else "") / level)
    paper, other = (open_dataset(card(name), tmp_path / root) for root in ("paper", "torchvision"))
    assert other.manifest_digest == paper.manifest_digest


def test_dtd_numbers_its_classes_over_all_splits_together(tmp_path: Path) -> None:
    dtd(tmp_path / "DTD")
    dataset = open_dataset(card("dtd"), tmp_path)
    assert dataset.classes == ("banded", "dotted")
    assert labels(dataset, "test") == [1]  # torchvision alone would return 0: the test split has one class


def test_an_annotation_line_that_is_cut_short_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    pets(tmp_path / "Pets")
    (tmp_path / "Pets" / "annotations" / "trainval.txt").write_text("Abyssinian_1 1 1\n")
    with pytest.raises(DataError, match=rf"pets: {tmp_path / 'Pets'} .*data fetch pets"):
        open_dataset(card("pets"), tmp_path)


def test_a_label_out_of_range_is_an_error_that_names_image_and_label(tmp_path: Path) -> None:
    pets(tmp_path / "Pets")
    (tmp_path / "Pets" / "annotations" / "test.txt").write_text("great_pyrenees_3 38 1 1\n")
    with pytest.raises(DataError, match=r"great_pyrenees_3.jpg in test has the label 37, and there are 2 classes"):
        open_dataset(card("pets"), tmp_path)


def test_an_image_that_is_missing_is_found_when_the_dataset_is_opened(tmp_path: Path) -> None:
    aircraft(tmp_path / "Aircraft")
    (tmp_path / "Aircraft/data/images/0000002.jpg").unlink()
    with pytest.raises(DataError, match=r"Aircraft/data/images/0000002.jpg"):
        open_dataset(card("aircraft"), tmp_path)


def test_flowers_are_read_from_their_mat_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "Flowers"
    for number in range(1, 7):
        draw(base / "jpg" / f"image_{number:05d}.jpg")
    savemat(base / "imagelabels.mat", {"labels": np.array([[77, 1, 102, 2, 1, 5]], np.uint8)})
    sets = {"trnid": [[2, 6]], "valid": [[3, 4]], "tstid": [[1, 5]]}
    savemat(base / "setid.mat", {name: np.array(ids, np.uint16) for name, ids in sets.items()})
    sums = {key: (file, md5(base / file)) for key, file in (("label", "imagelabels.mat"), ("setid", "setid.mat"))}
    monkeypatch.setattr(Flowers102, "_file_dict", {**Flowers102._file_dict, **sums})
    dataset = open_dataset(card("flowers"), tmp_path)
    assert {split: labels(dataset, split) for split in dataset.splits} == {
        "train": [0, 4],
        "val": [101, 1],
        "test": [76, 0],
    }
    assert dataset.classes[:2] == ("pink primrose", "hard-leaved pocket orchid")
    assert list(dataset.classes) == list(Flowers102.classes)


def test_food_is_read_from_its_json_files(tmp_path: Path) -> None:
    base = tmp_path / "Food" / "food-101"
    parts = {"train": {"waffles": ["waffles/1"], "ramen": ["ramen/2", "ramen/3"]}, "test": {"waffles": ["waffles/4"]}}
    (base / "meta").mkdir(parents=True)
    for split, content in parts.items():
        (base / "meta" / f"{split}.json").write_text(json.dumps(content))
        for name in (name for names in content.values() for name in names):
            draw(base / "images" / f"{name}.jpg")
    dataset = open_dataset(card("food"), tmp_path)
    assert dataset.classes == ("ramen", "waffles")
    assert (labels(dataset, "train"), labels(dataset, "test")) == ([1, 0, 0], [1])
    assert dataset.splits["train"].identifiers == ("waffles/1.jpg", "ramen/2.jpg", "ramen/3.jpg")


def test_a_json_file_cut_short_is_an_error(tmp_path: Path) -> None:
    base = tmp_path / "Food" / "food-101"
    draw(base / "images" / "ramen" / "1.jpg")
    (base / "meta").mkdir()
    (base / "meta" / "train.json").write_text('{"ramen": ["ramen/1"')
    (base / "meta" / "test.json").write_text("{}")
    with pytest.raises(DataError, match=r"food: .*Food has unexpected content .*data fetch food"):
        open_dataset(card("food"), tmp_path)
