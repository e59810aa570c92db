"""Every reader of data on disk, on a small tree in its real layout that is then damaged in every way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.describe_main import describe
from tasks.datasets.dataset import DataError
from tasks.datasets.layouts import LAYOUTS
from tasks.datasets.manifest import Manifest, Unreadable
from tasks.datasets.presence import presence
from tasks.datasets.registry import open_dataset
from tests.tasks.datasets import test_csv_index as own
from tests.tasks.datasets import test_dense as dense
from tests.tasks.datasets import test_keypoint_pairs as keypoint_pairs
from tests.tasks.datasets import test_published_lists as lists
from tests.tasks.datasets import test_revisited as revisited
from tests.tasks.datasets import test_torchvision as torchvision
from tests.tasks.datasets import test_voc_detection as voc

CATALOG = TaskCatalog.load()
Tree = Callable[[Path], object]


def flowers(root: Path) -> None:
    base = root / "Flowers"
    for number in range(1, 7):
        own.draw(base / "jpg" / f"image_{number:05d}.jpg")
    savemat(base / "imagelabels.mat", {"labels": np.array([[77, 1, 102, 2, 1, 5]], np.uint8)})
    sets = {"trnid": [[2, 6]], "valid": [[3, 4]], "tstid": [[1, 5]]}
    savemat(base / "setid.mat", {name: np.array(ids, np.uint16) for name, ids in sets.items()})


def food(root: Path) -> None:
    base = root / "Food" / "food-101"
    (base / "meta").mkdir(parents=True)
    for split, names in {"train": ["ramen/1", "waffles/2"], "test": ["waffles/3"]}.items():
        lists = {kind: [name for name in names if name.startswith(kind)] for kind in ("ramen", "waffles")}
        (base / "meta" / f"{split}.json").write_text(json.dumps(lists))
        for name in names:
            own.draw(base / "images" / f"{name}.jpg")


def class_folders(folder: str) -> Tree:
    def make(root: Path) -> None:
        for name in ("first/1.jpg", "first/2.jpg", "second/3.jpg"):
            own.draw(root / folder / name)

    return make


def imagenet(root: Path) -> None:
    for split in ("train", "val"):
        class_folders(f"ImageNet/{split}")(root)


def isic(root: Path) -> None:
    rows = ("ISIC_0024306,0.0,1.0,0.0,0.0,0.0,0.0,0.0", "ISIC_0024307,0.0,0.0,0.0,0.0,0.0,0.0,1.0")
    own.isic(root, "\n".join(rows))


def vtab(folder: str) -> Tree:
    return lambda root: lists.vtab(root, dataset=folder)


def part_of_imagenet(file: str) -> Tree:
    return lambda root: lists.imagenet(root, ["n01440764_1.JPEG", "n01443537_2.JPEG", "n01484850_3.JPEG"], file)


def buildings(name: str) -> Tree:
    return lambda root: revisited.tree(root, revisited.ground_truth(), name)


TREES: dict[str, Tree] = {
    "ade20k": dense.ade,
    "aircraft": lambda root: torchvision.aircraft(root / "Aircraft"),
    "caltech101": own.caltech,
    "cars": lambda root: own.cars(root / "Cars", "devkit/cars_test_annos_withlabels.mat"),
    "chestx": own.chestx,
    "cropdiseases": class_folders("CropDiseases/dataset/train"),
    "dtd": lambda root: torchvision.dtd(root / "DTD"),
    "eurosat": class_folders("EuroSAT/2750"),
    "flowers": flowers,
    "food": food,
    "imagenet": imagenet,
    "imagenet-1pct": part_of_imagenet("1percent.txt"),
    "imagenet-10pct": part_of_imagenet("10percent.txt"),
    **{
        f"imagenet-msn-{shots}-set{number}": part_of_imagenet(
            f"imagenet_subsets{number}/{3 if (number, shots) == (3, 5) else shots}imgs_class.txt"
        )
        for number in (1, 2, 3)
        for shots in (1, 2, 5)
    },
    "isic": isic,
    "nyuv2": dense.nyu,
    "nyuv2-depth": dense.nyu_depth,
    "pets": lambda root: torchvision.pets(root / "Pets"),
    "roxford5k": buildings("roxford5k"),
    "rparis6k": buildings("rparis6k"),
    "spair-71k": keypoint_pairs.tree,
    "sun397": lambda root: own.sun(root / "SUN397"),
    "voc07": voc.tree,
    "voc2007": own.voc,
    "vtab-caltech101": vtab("caltech101"),
    "vtab-cifar100": vtab("cifar"),
    "vtab-dtd": vtab("dtd"),
    "vtab-flowers": vtab("oxford_flowers102"),
    "vtab-pets": vtab("oxford_iiit_pet"),
    "vtab-sun397": vtab("sun397"),
    "vtab-svhn": vtab("svhn"),
}
"""All except CIFAR, whose images are not files and whose files are verified by checksums, and further test sets, which
`tests/tasks/protocols/test_robustness.py` reads."""


@pytest.fixture(autouse=True)
def _any_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision verifies checksums of the real flowers' tables, which a miniature does not have."""
    monkeypatch.setattr("torchvision.datasets.flowers102.check_integrity", lambda *_: True)


def test_every_dataset_on_disk_has_a_tree() -> None:
    on_disk = {name for name, card in CATALOG.datasets.items() if not LAYOUTS[card.reader].embedded}
    further = {name for name in on_disk if CATALOG.dataset(name).targets == ("shift",)}
    assert on_disk - further == set(TREES) | {"cifar10", "cifar100"}
    assert further == {"imagenet-v2", "imagenet-r", "imagenet-a", "imagenet-sketch"}


@pytest.mark.parametrize("name", TREES)
def test_a_whole_tree_is_read_and_its_numbers_are_compared_with_the_published_ones(tmp_path: Path, name: str) -> None:
    TREES[name](tmp_path)
    card = CATALOG.dataset(name)
    assert presence(card, tmp_path).status == "present"
    found = describe(card, tmp_path, decode=True)
    assert isinstance(found, Manifest), found.error
    assert not any("decoded" in problem for problem in found.problems)
    assert not card.images or any("published" in problem or "expected" in problem for problem in found.problems)


@pytest.mark.parametrize("name", TREES)
def test_each_key_file_that_is_missing_is_named_with_the_way_out(tmp_path: Path, name: str) -> None:
    card = CATALOG.dataset(name)
    TREES[name](tmp_path)
    base = presence(card, tmp_path).base
    for ways in LAYOUTS[card.reader].required:
        moved = []
        for way in ways:
            for path in [base / way] if (base / way).exists() else []:
                away = path.with_name(f"{path.name}.away")
                path.rename(away)
                moved.append((away, path))
        assert moved, ways
        found = presence(card, tmp_path)
        assert found.status in {"partial", "missing"}
        assert moved[0][1] in found.missing
        assert found.advice
        with pytest.raises(DataError, match="missing"):
            open_dataset(card, tmp_path)
        for away, path in moved:
            away.rename(path)
    assert presence(card, tmp_path).status == "present"


@pytest.mark.parametrize("name", TREES)
def test_an_image_that_cannot_be_decoded_is_named_by_a_check(tmp_path: Path, name: str) -> None:
    card = CATALOG.dataset(name)
    TREES[name](tmp_path)
    splits = open_dataset(card, tmp_path).splits
    split = splits.get("train") or next(iter(splits.values()))
    wanted = Path(split.identifiers[0]).name
    images = [
        path for path in tmp_path.rglob(f"{Path(wanted).stem}.*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    ]
    images = [path for path in images if "annotations" not in path.parts]
    assert images
    for path in images:
        path.write_bytes(b"\xff\xd8 no image")
    found = describe(card, tmp_path, decode=True)
    words = found.error if isinstance(found, Unreadable) else " ".join(found.problems)
    assert Path(wanted).stem in words


def relabel_cars(root: Path) -> None:
    own.annotate(root / "Cars" / "devkit" / "cars_train_annos.mat", [("00001.jpg", 197), ("00002.jpg", 1)])


def relabel_flowers(root: Path) -> None:
    savemat(root / "Flowers" / "imagelabels.mat", {"labels": np.array([[77, 103, 102, 2, 1, 5]], np.uint8)})


def replace(path: str, before: str, after: str) -> Tree:
    def change(root: Path) -> None:
        text = (root / path).read_text()
        assert before in text
        (root / path).write_text(text.replace(before, after))

    return change


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("cars", relabel_cars, "00001.jpg in train has the label 196, and there are 196 classes"),
        ("flowers", relabel_flowers, "has the label 102, and there are 102 classes"),
        ("aircraft", replace("Aircraft/data/images_variant_test.txt", "A300B4", "B52"), "Aircraft"),
        ("sun397", replace("SUN397/Testing_01.txt", "/a/apartment_building", "/z/zoo"), "is not in ClassName.txt"),
        ("pets", replace("Pets/annotations/test.txt", " 2 1 1", " 99 1 1"), "has the label 98"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_a_label_that_no_class_has_is_an_error_that_says_where(
    tmp_path: Path, name: str, spoil: Tree, words: str
) -> None:
    TREES[name](tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError) as error:
        open_dataset(CATALOG.dataset(name), tmp_path)
    assert words in str(error.value)
