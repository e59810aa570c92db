"""Readers of data with dense targets and of ImageNet, on small trees in the real layouts, intact and damaged."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.describe_main import describe
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.download.fetch import ManualFetch, check, fetch
from tasks.datasets.manifest import Manifest, manifest_of
from tasks.datasets.presence import presence
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import many_shot_indices

CATALOG = TaskCatalog.load()


def card(name: str) -> DatasetCard:
    return CATALOG.dataset(name)


def draw(path: Path, size: tuple[int, int] = (12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (100, 50, 200)).save(path)


def mask(path: Path, numbers: list[list[int]] | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(numbers, np.uint8)).save(path)


# --- ADE20K


def ade(root: Path) -> Path:
    base = root / "ADE20K" / "ADEChallengeData2016"
    for folder, word, count in (("training", "train", 3), ("validation", "val", 2)):
        for number in range(count):
            draw(base / "images" / folder / f"ADE_{word}_{number:08d}.jpg")
            mask(base / "annotations" / folder / f"ADE_{word}_{number:08d}.png", np.full((8, 12), number, np.uint8))
    rows = ["Idx\tRatio\tTrain\tVal\tName"]
    rows += [f"{number}\t0.1\t10\t1\tname {number}, other name" for number in range(1, 151)]
    (base / "objectInfo150.txt").write_text("\n".join(rows))
    return base


def test_ade20k_has_150_classes_and_a_mask_per_image_in_which_0_is_unknown(tmp_path: Path) -> None:
    ade(tmp_path)
    dataset = open_dataset(card("ade20k"), tmp_path)
    assert (len(dataset.classes), dataset.classes[0]) == (150, "name 1")
    assert {name: len(split.images) for name, split in dataset.splits.items()} == {"train": 3, "val": 2}
    masks = dataset.splits["train"].targets["masks"]
    assert [int(np.unique(masks[index]).item()) for index in range(3)] == [-1, 0, 1]
    assert masks[0].shape == (8, 12)
    assert masks.classes == dataset.classes
    assert "20,210" in " ".join(manifest_of(dataset, card("ade20k")).problems)


def test_ade20k_manifest_changes_with_a_mask(tmp_path: Path) -> None:
    base = ade(tmp_path)
    before = open_dataset(card("ade20k"), tmp_path)
    path = base / "annotations" / "training" / "ADE_train_00000001.png"
    mask(path, np.random.default_rng(0).integers(0, 150, (8, 12), dtype=np.uint8))
    after = open_dataset(card("ade20k"), tmp_path)
    assert before.manifest_digest != after.manifest_digest
    assert before.splits["train"].images_digest == after.splits["train"].images_digest


def _no_mask(base: Path) -> None:
    (base / "annotations" / "validation" / "ADE_val_00000001.png").unlink()


def _no_classes(base: Path) -> None:
    (base / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n1\t0.1\t10\t1\twall\n")


@pytest.mark.parametrize(
    ("breaking", "message"),
    [(_no_mask, "ADE_val_00000001.png is missing from the 2 images of val"), (_no_classes, "1 lines of classes")],
)
def test_broken_ade20k_is_refused_with_the_file_and_the_way_out(
    breaking: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    breaking(ade(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(card("ade20k"), tmp_path)
    assert "ssl-console data fetch ade20k" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.full((8, 12), 151, np.uint8), "has the number 151, and there are 150 classes, 1 to 150"),
        (np.zeros((8, 12, 3), np.uint8), "RGB pixels, and a mask has one number per pixel"),
        (b"not an image", "cannot be read as a mask"),
    ],
    ids=["label out of range", "three channels", "no image"],
)
def test_a_bad_mask_is_named_when_it_is_read_and_by_a_check_that_decodes(
    content: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | bytes, message: str, tmp_path: Path
) -> None:
    path = ade(tmp_path) / "annotations" / "training" / "ADE_train_00000002.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)
    masks = open_dataset(card("ade20k"), tmp_path).splits["train"].targets["masks"]
    with pytest.raises(DataError, match=message) as caught:
        masks[2]
    assert str(path) in str(caught.value)
    found = describe(card("ade20k"), tmp_path, decode=True)
    assert isinstance(found, Manifest)
    assert any(str(path) in problem for problem in found.problems)


def test_missing_ade20k_is_fetched_by_a_command_and_half_of_it_says_what_is_missing(tmp_path: Path) -> None:
    assert "data fetch ade20k" in presence(card("ade20k"), tmp_path).advice
    base = ade(tmp_path)
    (base / "objectInfo150.txt").unlink()
    report = check(card("ade20k"), tmp_path)
    assert (report.ok, report.presence.status) == (False, "partial")
    assert str(base / "objectInfo150.txt") in str(report.error)


# --- NYUv2


def nyu(root: Path) -> Path:
    """Three images; the second has a pixel without valid depth."""
    base = root / "NYUv2"
    meta = base / "surfacenormal_metadata"
    meta.mkdir(parents=True)
    names = ["000001", "000002", "000003"]
    for name in names:
        draw(base / "all_images" / f"{name}_rgb.png")
    for split, chosen in (("train", names[:2]), ("test", names[2:])):
        records = [{"img": f"{name}_rgb.png", "segm": f"{name}_SN40.png", "width": 12, "height": 8} for name in chosen]
        (meta / f"{split}_SN40.json").write_text(json.dumps(records))
    centres = np.random.default_rng(0).standard_normal((40, 3))
    vocabulary(meta, centres)
    normals = np.zeros((3, 8, 12, 3), np.float32)
    normals[..., 2] = -2
    valid = np.ones((3, 8, 12), np.float32)
    valid[1, 0, 0] = 0
    pack(meta / "all_normals.pklz", {"all_normals": normals, "all_valid_depth_masks": valid, "all_filenames": names})
    return base


def vocabulary(meta: Path, centres: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """A cell that contains a structure, as in the published file."""
    savemat(meta / "vocab40.mat", {"vocabs": np.array([[{"normals": centres}]], object)})


def pack(path: Path, content: object) -> None:
    with gzip.open(path, "wb") as file:
        pickle.dump(content, file, protocol=2)


def opened(root: Path) -> Dataset:
    return open_dataset(card("nyuv2"), root)


def test_nyuv2_has_unit_normals_zeros_where_depth_is_not_valid_and_its_vocabulary(tmp_path: Path) -> None:
    nyu(tmp_path)
    dataset = opened(tmp_path)
    assert {name: len(split.images) for name, split in dataset.splits.items()} == {"train": 2, "test": 1}
    targets = dataset.splits["train"].targets["normals"]
    assert targets[0].shape == (8, 12, 3)
    assert np.allclose(targets[0], [0, 0, -1])
    assert targets[1][0, 0].tolist() == [0, 0, 0]
    assert np.allclose(targets[1][0, 1], [0, 0, -1])
    assert getattr(targets, "codebook").shape == (40, 3)  # noqa: B009 - of this kind of targets alone


def test_nyuv2_is_opened_without_unpacking_and_unpacked_once(tmp_path: Path) -> None:
    meta = nyu(tmp_path) / "surfacenormal_metadata"
    digest = opened(tmp_path).manifest_digest
    assert not (meta / "all_normals.json").exists()
    opened(tmp_path).splits["test"].targets["normals"][0]
    when = (meta / "all_normals.vectors.npy").stat().st_mtime_ns
    opened(tmp_path).splits["train"].targets["normals"][0]
    assert (meta / "all_normals.vectors.npy").stat().st_mtime_ns == when
    assert opened(tmp_path).manifest_digest == digest
    assert not [path for path in meta.iterdir() if path.name.startswith(".")]


def _no_image(base: Path) -> None:
    (base / "all_images" / "000003_rgb.png").unlink()


def _no_list(base: Path) -> None:
    (base / "surfacenormal_metadata" / "test_SN40.json").write_text('[{"img": "00')


def _other_vocabulary(base: Path) -> None:
    vocabulary(base / "surfacenormal_metadata", np.zeros((40, 2)))


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        (_no_image, "000003_rgb.png is missing from the 1 image of test"),
        (_no_list, "test_SN40.json has unexpected content"),
        (_other_vocabulary, r"a vocabulary of the shape \(40, 2\)"),
    ],
)
def test_broken_nyuv2_is_refused_with_the_file_and_the_way_out(
    breaking: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    breaking(nyu(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path)
    assert "nyu_depth_v2" in str(caught.value)


class Hostile:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch hostile",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Hostile(), "requires .*system"),
        ({"all_normals": np.zeros((1, 8, 12, 3)), "all_valid_depth_masks": np.zeros((1, 8, 11))}, "of the shape"),
        ({"other": 1}, "all_normals"),
    ],
    ids=["hostile", "shapes", "keys"],
)
def test_normals_that_are_none_are_refused_and_nothing_is_run(content: object, message: str, tmp_path: Path) -> None:
    path = nyu(tmp_path) / "surfacenormal_metadata" / "all_normals.pklz"
    pack(path, content)
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path).splits["train"].targets["normals"][0]
    assert str(path) in str(caught.value)
    assert not Path("hostile").exists()


def test_an_image_that_the_normals_do_not_know_is_named(tmp_path: Path) -> None:
    base = nyu(tmp_path)
    (base / "all_images" / "000003_rgb.png").rename(base / "all_images" / "000009_rgb.png")
    path = base / "surfacenormal_metadata" / "test_SN40.json"
    path.write_text(path.read_text().replace("000003", "000009"))
    with pytest.raises(DataError, match="no normals of the image 000009"):
        opened(tmp_path).splits["test"].targets["normals"][0]


@pytest.mark.parametrize("name", ["nyuv2", "imagenet"])
def test_what_needs_an_account_or_a_conversion_comes_with_instructions(name: str, tmp_path: Path) -> None:
    with pytest.raises(ManualFetch, match=rf"{name} cannot be fetched automatically: .*https://"):
        fetch(card(name), tmp_path, lambda _progress: None)


# --- ImageNet


@pytest.mark.parametrize("level", ["", "ILSVRC2012", "ILSVRC/Data/CLS-LOC"])
def test_imagenet_is_train_and_val_folders_of_classes_and_val_is_the_test_split(level: str, tmp_path: Path) -> None:
    base = tmp_path / "ImageNet" / level
    for split, count in (("train", 10), ("val", 2)):
        for kind in ("n01440764", "n01443537"):
            for number in range(count):
                draw(base / split / kind / f"{kind}_{number}.JPEG")
    dataset = open_dataset(card("imagenet"), tmp_path)
    assert dataset.classes == ("n01440764", "n01443537")
    roles = many_shot_indices(dataset)
    assert [sum(len(rows) for _, rows in role) for role in (roles.train, roles.val, roles.test)] == [16, 4, 4]
    assert roles.test[0][0] == "val"
    assert any("val folder is the test split" in note for note in dataset.notes)


def test_imagenets_unsorted_validation_images_are_told_apart(tmp_path: Path) -> None:
    draw(tmp_path / "ImageNet" / "train" / "n01440764" / "1.JPEG")
    draw(tmp_path / "ImageNet" / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(DataError, match=r"val .*has no images: .*sorted into classes"):
        open_dataset(card("imagenet"), tmp_path)


# --- NYU Depth v2, depth


def nyu_depth(root: Path, *, lists: str = "nyu_{}.txt") -> Path:
    """DINOv3's layout: two scenes for training, one without number for testing."""
    base = root / "NYU"
    random = np.random.default_rng(0)
    for split, names in (("train", ("kitchen_0001/{}_00045", "bath_0002/{}_00012")), ("test", ("bathroom/{}_00507",))):
        lines = []
        for name in names:
            image, depth = name.format("rgb") + ".jpg", name.format("sync_depth") + ".png"
            draw(base / image)
            numbers = random.integers(0, 10_000, (8, 12)).astype(np.uint16)
            Image.fromarray(numbers).save(base / depth)
            lines.append(f"/{image} /{depth} 518.8579")
        (base / lists.format(split)).write_text("\n".join(lines) + "\n")
    return base


@pytest.mark.parametrize("lists", ["nyu_{}.txt", "nyudepthv2_{}_files_with_gt.txt"])
def test_nyu_depth_is_in_metres_in_the_order_of_the_sorted_lists(tmp_path: Path, lists: str) -> None:
    base = nyu_depth(tmp_path, lists=lists)
    dataset = open_dataset(card("nyuv2-depth"), tmp_path)
    train = dataset.splits["train"]
    assert list(train.identifiers) == ["bath_0002/rgb_00012.jpg", "kitchen_0001/rgb_00045.jpg"]
    with Image.open(base / "bath_0002/sync_depth_00012.png") as stored:
        assert np.allclose(train.targets["depth"][0], np.asarray(stored, np.float64) / 1000)
    assert len(dataset.splits["test"].images) == 1
    assert "24,231" in " ".join(manifest_of(dataset, card("nyuv2-depth")).problems)


def test_nyu_depth_changes_its_digest_with_a_depth_and_names_a_broken_one(tmp_path: Path) -> None:
    base = nyu_depth(tmp_path)
    before = open_dataset(card("nyuv2-depth"), tmp_path)
    path = base / "bathroom/sync_depth_00507.png"
    Image.new("RGB", (12, 8)).save(path)
    after = open_dataset(card("nyuv2-depth"), tmp_path)
    assert before.manifest_digest != after.manifest_digest
    with pytest.raises(DataError, match=r"sync_depth_00507.png cannot be read as depth \(RGB pixels"):
        after.splits["test"].targets["depth"][0]
    with pytest.raises(DataError, match="changed after the dataset was opened"):
        before.splits["test"].targets["depth"][0]
    path.unlink()
    with pytest.raises(DataError, match=r"sync_depth_00507\.png is missing"):
        open_dataset(card("nyuv2-depth"), tmp_path)


def test_a_list_of_nyu_depth_that_has_other_columns_is_refused(tmp_path: Path) -> None:
    base = nyu_depth(tmp_path)
    (base / "nyu_test.txt").write_text("bathroom/rgb_00507.jpg bathroom/sync_depth_00507.png\n")
    with pytest.raises(DataError, match="an image, its depth and the focal length"):
        open_dataset(card("nyuv2-depth"), tmp_path)
