"""VTAB-1k and the published parts of ImageNet, on miniatures of the layouts that users have."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.head_parameters import KShotParameters
from tasks.datasets.dataset import DataError
from tasks.datasets.layouts import IMAGENET_LISTS
from tasks.datasets.readers import class_folders
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import many_shot_indices

CATALOG = TaskCatalog.load()
PETS = CATALOG.dataset("vtab-pets")
COUNTS = {"train800.txt": 8, "val200.txt": 4, "test.txt": 6}


def vtab(root: Path, ending: str = "png", dataset: str = "oxford_iiit_pet") -> Path:
    folder = root / "vtab-1k" / dataset
    for name, count in COUNTS.items():
        (folder / "images" / name[:-4]).mkdir(parents=True)
        files = [f"images/{name[:-4]}/{number:06d}.{ending}" for number in range(count)]
        for number, file in enumerate(files):
            Image.new("RGB", (8, 8), (20 * number, count, 0)).save(folder / file)
        lines = [f"{file} {number % 37}\n" for number, file in enumerate(files)]
        (folder / name).write_text("".join(lines))
    return root


def test_vtab_keeps_its_800_and_200_images_apart_and_tests_on_all(tmp_path: Path) -> None:
    found = open_dataset(PETS, vtab(tmp_path))
    assert {name: len(split.images) for name, split in found.splits.items()} == {"train": 8, "val": 4, "test": 6}
    split = many_shot_indices(found)
    assert [part[0][0] for part in (split.train, split.val, split.test)] == ["train", "val", "test"]
    assert sum(len(rows) for _, rows in split.train_and_val) == 12
    assert found.splits["train"].labels.tolist() == list(range(8))
    assert found.notes == ("29 of 37 classes are not among the 800 training images",)


def test_copies_in_jpeg_are_noted_on_every_result(tmp_path: Path) -> None:
    notes = open_dataset(PETS, vtab(tmp_path, "jpg")).notes
    assert any(note.startswith("18 of 18 images are JPEG") for note in notes)


@pytest.mark.parametrize("line", ["images/a.png", "images/a.png x", "../a.png 1", "/etc/passwd 1", "images/a.png -1"])
def test_a_line_that_is_no_path_with_a_class_is_named(tmp_path: Path, line: str) -> None:
    root = vtab(tmp_path)
    (root / "vtab-1k" / "oxford_iiit_pet" / "val200.txt").write_text(f"{line}\n")
    with pytest.raises(DataError, match=r"val200\.txt has unexpected content"):
        open_dataset(PETS, root)


def test_the_suite_is_of_the_natural_tasks() -> None:
    specs = CATALOG.select(suite="vtab-1k")
    assert [spec.dataset for spec in specs] == [f"vtab-{name}" for name in (
        "caltech101", "cifar100", "dtd", "flowers", "pets", "svhn", "sun397"
    )]  # fmt: skip
    assert all(CATALOG.dataset(spec.dataset).splits == "train-val-test" for spec in specs)


CLASSES = ("n01440764", "n01443537", "n01484850")


def imagenet(root: Path, listed: list[str], file: str = "1percent.txt") -> Path:
    generator = np.random.default_rng(0)
    for part, count in (("train", 5), ("val", 2)):
        for name in CLASSES:
            folder = root / "ImageNet" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{name if part == 'train' else 'x'}_{number}.JPEG")
    path = root / "ImageNet" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in listed))
    return root


def test_a_published_list_chooses_the_training_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["n01484850_3.JPEG", "n01440764_1.JPEG", "n01440764_4.JPEG"]
    root = imagenet(tmp_path, listed)
    card = CATALOG.dataset("imagenet-1pct")
    found = open_dataset(card, root)
    assert found.classes == CLASSES
    assert list(found.splits["train"].identifiers) == [f"{name.partition('_')[0]}/{name}" for name in listed]
    assert found.splits["train"].labels.tolist() == [2, 0, 0]
    assert found.splits["val"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert "1percent.txt is not the published list: its content is another one" in found.notes
    assert "1 of 3 classes are not in the list" in found.notes
    digest = hashlib.sha256((root / "ImageNet" / "1percent.txt").read_bytes()).hexdigest()
    monkeypatch.setitem(class_folders.PUBLISHED, "1percent.txt", digest)
    assert not any("published list:" in note for note in open_dataset(card, root).notes)


def test_every_published_list_has_a_card_and_a_digest() -> None:
    cards = [card for card in CATALOG.datasets.values() if card.reader == "imagenet-subset"]
    assert sorted(str(card.reader_arguments["list"]) for card in cards) == sorted(IMAGENET_LISTS)
    assert set(class_folders.PUBLISHED) == set(IMAGENET_LISTS)
    assert CATALOG.dataset("imagenet-msn-5-set3").reader_arguments["list"] == "imagenet_subsets3/3imgs_class.txt"


@pytest.mark.parametrize("shots", [1, 2, 5])
def test_the_suites_of_msn_fit_every_listed_image_of_three_sets_once(shots: int) -> None:
    specs = CATALOG.select(suite=f"msn-{shots}")
    assert [spec.dataset for spec in specs] == [f"imagenet-msn-{shots}-set{number}" for number in (1, 2, 3)]
    for spec in specs:
        parameters = spec.typed_parameters()
        assert isinstance(parameters, KShotParameters)
        assert (parameters.shots, parameters.shares, parameters.draws) == ((shots,), (), 1)
        assert CATALOG.dataset(spec.dataset).images["train"] == 1_000 * shots


@pytest.mark.parametrize("line", ["n99999999_1.JPEG", "n01440764/n01440764_1.JPEG", "n01440764_77.JPEG"])
def test_a_line_that_names_no_training_image_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match=r"1percent|n01440764_77"):
        open_dataset(CATALOG.dataset("imagenet-1pct"), imagenet(tmp_path, ["n01440764_1.JPEG", line]))


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    root = imagenet(tmp_path, ["n01440764_1.JPEG"])
    with pytest.raises(DataError, match=r"10percent\.txt is missing"):
        open_dataset(CATALOG.dataset("imagenet-10pct"), root)
