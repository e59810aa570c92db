"""Readers of layouts that torchvision does not support or reads differently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.layouts import VOC, VOC_CLASSES
from tasks.datasets.registry import open_dataset

CATALOG = TaskCatalog.load()


def draw(path: Path, value: int = 100, size: tuple[int, int] = (12, 8), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def opened(name: str, root: Path) -> Dataset:
    return open_dataset(CATALOG.dataset(name), root)


def labels(dataset: Dataset, split: str) -> list[int]:
    return [int(label) for label in dataset.splits[split].labels]


# --- Caltech-101


def caltech(root: Path, images: int = 33) -> Path:
    base = root / "Caltech101"
    for kind in ("BACKGROUND_Google", "accordion", "wild_cat"):
        for number in range(1, images + 1):
            draw(base / "caltech101" / "101_ObjectCategories" / kind / f"image_{number:04d}.jpg")
    return base


def test_caltechs_background_is_a_class_and_comes_first(tmp_path: Path) -> None:
    caltech(tmp_path)
    assert opened("caltech101", tmp_path).classes == ("BACKGROUND_Google", "accordion", "wild_cat")


def test_without_split_files_caltech_gets_30_different_images_per_class_and_says_so(tmp_path: Path) -> None:
    caltech(tmp_path)
    dataset = opened("caltech101", tmp_path)
    train, test = (dataset.splits[name] for name in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [30, 30, 30]
    assert np.bincount(test.labels).tolist() == [3, 3, 3]
    assert len({*train.identifiers, *test.identifiers}) == 99
    assert "without replacement" in dataset.notes[0]
    assert opened("caltech101", tmp_path).manifest_digest == dataset.manifest_digest


def test_with_split_files_caltech_follows_them_repeated_lines_included(tmp_path: Path) -> None:
    base = caltech(tmp_path, images=2)
    (base / "train.txt").write_text(
        "accordion/image_0001.jpg 1\naccordion/image_0001.jpg 1\nwild_cat/image_0001.jpg 2\n"
    )
    (base / "test.txt").write_text("BACKGROUND_Google/image_0002.jpg 0\n")
    dataset = opened("caltech101", tmp_path)
    assert dataset.splits["train"].identifiers == (
        *("accordion/image_0001.jpg",) * 2,
        "wild_cat/image_0001.jpg",
    )
    assert (labels(dataset, "train"), labels(dataset, "test"), dataset.notes) == ([1, 1, 2], [0], ())


def test_a_caltech_label_beyond_the_classes_is_an_error(tmp_path: Path) -> None:
    base = caltech(tmp_path, images=2)
    (base / "train.txt").write_text("accordion/image_0001.jpg 102\n")
    (base / "test.txt").write_text("accordion/image_0002.jpg 1\n")
    with pytest.raises(
        DataError, match=r"accordion/image_0001.jpg in train has the label 102, and there are 3 classes"
    ):
        opened("caltech101", tmp_path)


# --- Stanford Cars


def annotate(path: Path, rows: list[tuple[str, int]], *, with_class: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = [("bbox_x1", "O"), *([("class", "O")] if with_class else []), ("fname", "O")]
    table = np.array([(np.uint8(1), *([np.uint8(k)] if with_class else []), f) for f, k in rows], dtype=kind)
    savemat(path, {"annotations": table.reshape(1, -1)})


def cars(base: Path, test_annotations: str) -> None:
    annotate(base / "devkit" / "cars_train_annos.mat", [("00001.jpg", 14), ("00002.jpg", 1)])
    annotate(base / test_annotations, [("00001.jpg", 196)])
    savemat(
        base / "devkit" / "cars_meta.mat", {"class_names": np.array([f"car {n}" for n in range(196)], dtype=object)}
    )
    for name in ("cars_train/00001.jpg", "cars_train/00002.jpg", "cars_test/00001.jpg"):
        draw(base / name)


@pytest.mark.parametrize(
    ("level", "test_annotations"),
    [("", "devkit/cars_test_annos_withlabels.mat"), ("stanford_cars", "cars_test_annos_withlabels.mat")],
)
def test_cars_are_read_in_the_papers_and_in_torchvisions_layout(
    level: str, test_annotations: str, tmp_path: Path
) -> None:
    cars(tmp_path / "Cars" / level, test_annotations)
    dataset = opened("cars", tmp_path)
    assert (labels(dataset, "train"), labels(dataset, "test"), len(dataset.classes)) == ([13, 0], [195], 196)
    assert dataset.splits["train"].identifiers == ("cars_train/00001.jpg", "cars_train/00002.jpg")


def test_a_development_kit_without_test_labels_is_told_from_the_right_one(tmp_path: Path) -> None:
    base = tmp_path / "Cars"
    cars(base, "devkit/cars_test_annos_withlabels.mat")
    annotate(base / "devkit" / "cars_test_annos_withlabels.mat", [("00001.jpg", 1)], with_class=False)
    with pytest.raises(
        DataError, match=r"cars_test_annos_withlabels.mat .*the plain cars_test_annos.mat has no classes"
    ):
        opened("cars", tmp_path)


def test_a_mat_file_that_is_not_one_is_an_error_that_names_it(tmp_path: Path) -> None:
    base = tmp_path / "Cars"
    cars(base, "devkit/cars_test_annos_withlabels.mat")
    (base / "devkit" / "cars_train_annos.mat").write_text("<html>not found</html>" * 20)
    with pytest.raises(DataError, match=r"cars_train_annos.mat has unexpected content"):
        opened("cars", tmp_path)


# --- SUN397


def sun(base: Path) -> None:
    base.mkdir(parents=True)
    (base / "ClassName.txt").write_text("/a/abbey\n/a/apartment_building/outdoor\n/y/youth_hostel\n")
    (base / "Training_01.txt").write_text("/a/abbey/sun_a.jpg\n/y/youth_hostel/sun_b.jpg\n")
    (base / "Testing_01.txt").write_text("/a/apartment_building/outdoor/sun_c.jpg\n")
    for name in ("a/abbey/sun_a.jpg", "y/youth_hostel/sun_b.jpg", "a/apartment_building/outdoor/sun_c.jpg"):
        draw(base / name)


@pytest.mark.parametrize("level", ["", "SUN397"])
def test_sun397_follows_partition_1_and_nested_class_folders(level: str, tmp_path: Path) -> None:
    sun(tmp_path / "SUN397" / level)
    dataset = opened("sun397", tmp_path)
    assert dataset.classes == ("abbey", "apartment_building/outdoor", "youth_hostel")
    assert (labels(dataset, "train"), labels(dataset, "test")) == ([0, 2], [1])


def test_a_sun397_image_of_no_class_is_an_error(tmp_path: Path) -> None:
    sun(tmp_path / "SUN397")
    (tmp_path / "SUN397" / "Testing_01.txt").write_text("/z/zoo/sun_z.jpg\n")
    with pytest.raises(DataError, match=r"Testing_01.txt .*/z/zoo is not in ClassName.txt"):
        opened("sun397", tmp_path)


# --- VOC 2007


def voc(root: Path) -> Path:
    base = root / "VOC2007" / VOC
    (base / "ImageSets" / "Main").mkdir(parents=True)
    images = {"train": ["000012", "000017"], "val": ["000005"], "test": ["000001"]}
    marks = {("car", "000012"): " 1", ("person", "000017"): " 1", ("horse", "000017"): " 0", ("dog", "000001"): " 1"}
    for split, names in images.items():
        for name in names:
            draw(base / "JPEGImages" / f"{name}.jpg")
        for kind in VOC_CLASSES:
            lines = [f"{name} {marks.get((kind, name), '-1')}\n" for name in names]
            (base / "ImageSets" / "Main" / f"{kind}_{split}.txt").write_text("".join(lines))
    return base


def test_voc_has_several_labels_per_image_and_difficult_objects_do_not_count(tmp_path: Path) -> None:
    voc(tmp_path)
    dataset = opened("voc2007", tmp_path)
    assert dataset.multi_label
    train = dataset.splits["train"].labels
    assert train.shape == (2, 20)
    assert [[VOC_CLASSES[c] for c in np.flatnonzero(row)] for row in train] == [["car"], ["person"]]
    assert dataset.splits["val"].labels.sum() == 0
    assert dataset.splits["test"].identifiers == ("000001.jpg",)


def test_voc_class_files_that_list_different_images_are_an_error(tmp_path: Path) -> None:
    path = voc(tmp_path) / "ImageSets" / "Main" / "sofa_train.txt"
    path.write_text("000012 -1\n")
    with pytest.raises(DataError, match=r"sofa_train.txt .*other images than aeroplane_train.txt"):
        opened("voc2007", tmp_path)


def test_a_voc_mark_other_than_minus_1_0_1_is_an_error(tmp_path: Path) -> None:
    (voc(tmp_path) / "ImageSets" / "Main" / "cow_val.txt").write_text("000005 2\n")
    with pytest.raises(DataError, match=r"cow_val.txt .*'000005 2'"):
        opened("voc2007", tmp_path)


# --- ISIC


def isic(root: Path, rows: str) -> None:
    base = root / "ISIC"
    truth = base / "ISIC2018_Task3_Training_GroundTruth" / "ISIC2018_Task3_Training_GroundTruth.csv"
    truth.parent.mkdir(parents=True)
    truth.write_text(f"image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n{rows}")
    for name in ("ISIC_0024306", "ISIC_0024307"):
        draw(base / "ISIC2018_Task3_Training_Input" / f"{name}.jpg")


def test_isic_labels_are_the_hot_columns(tmp_path: Path) -> None:
    isic(tmp_path, "ISIC_0024306,0.0,1.0,0.0,0.0,0.0,0.0,0.0\nISIC_0024307,0.0,0.0,0.0,0.0,0.0,0.0,1.0\n")
    dataset = opened("isic", tmp_path)
    assert (list(dataset.splits), labels(dataset, "all")) == (["all"], [1, 6])
    assert dataset.classes == ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def test_an_isic_row_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    isic(tmp_path, "ISIC_0024306,0.0,1.0\n")
    with pytest.raises(DataError, match=r"GroundTruth.csv .*ISIC_0024306"):
        opened("isic", tmp_path)


def test_data_that_have_to_be_fetched_by_hand_come_with_instructions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ISIC2018_Task3_Training_Input .*missing: .*challenge.isic-archive.com"):
        opened("isic", tmp_path)


# --- ChestX


def chestx(root: Path) -> None:
    base = root / "ChestX"
    rows = {
        "1.png": "Cardiomegaly",
        "2.png": "Cardiomegaly|Effusion",
        "3.png": "No Finding",
        "4.png": "Pneumonia",
        "5.png": "Pneumothorax",
        "6.png": "Hernia",
    }
    base.mkdir()
    lines = [f"{image},{finding},0,57,M\n" for image, finding in rows.items()]
    (base / "Data_Entry_2017.csv").write_text("Image Index,Finding Labels,Follow-up #,Age,Gender\n" + "".join(lines))
    for image in rows:
        draw(base / "images" / image, 77, (40, 30), "L")


def test_chestx_keeps_images_with_exactly_one_of_seven_findings(tmp_path: Path) -> None:
    chestx(tmp_path)
    dataset = opened("chestx", tmp_path)
    assert dataset.splits["all"].identifiers == ("1.png", "5.png")
    assert labels(dataset, "all") == [1, 6]


def test_chestx_images_are_256_pixels_square_and_rgb(tmp_path: Path) -> None:
    chestx(tmp_path)
    image = opened("chestx", tmp_path).splits["all"].images[0]
    assert (image.mode, image.size, image.getpixel((3, 3))) == ("RGB", (256, 256), (77, 77, 77))


def test_a_table_of_another_form_is_an_error(tmp_path: Path) -> None:
    chestx(tmp_path)
    (tmp_path / "ChestX" / "Data_Entry_2017.csv").write_text("image;label\n1.png;Mass\n")
    with pytest.raises(DataError, match=r"Data_Entry_2017.csv .*Image Index"):
        opened("chestx", tmp_path)
