"""Object annotations as labels of whole images: Pascal VOC's XML files and COCO's JSON."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.datasets.csv_index import Balance, IndexRow, inside, is_file, shown
from tasks.datasets.file_kinds import ENDINGS
from tasks.datasets.folders import split_of

VOC_SPLITS = ("train", "val", "test")


def voc_base(path: Path) -> Path | None:
    """The folder that contains JPEGImages and Annotations: the path itself or up to two levels below."""
    candidates = [path, *sorted(path.glob("*/")), *sorted(path.glob("*/*/"))]
    return next((c for c in candidates if (c / "JPEGImages").is_dir() and (c / "Annotations").is_dir()), None)


def read_voc(path: Path, balance: Balance) -> Iterator[IndexRow]:
    """A row per annotated image with the names of its objects.

    A class whose only objects are marked difficult is ignored in that image: neither a positive nor a negative example.
    """
    base = voc_base(path)
    assert base is not None
    splits = _voc_splits(base)
    for annotation in sorted((base / "Annotations").glob("*.xml")):
        images = (base / "JPEGImages" / f"{annotation.stem}{ending}" for ending in ENDINGS)
        image = next((path for path in images if path.is_file()), None)
        if image is None:
            raise ValueError(f"{annotation} has no image {annotation.stem} in {base / 'JPEGImages'}")
        objects = list(_voc_objects(annotation))
        names = tuple(dict.fromkeys(name for name, difficult in objects if not difficult))
        ignored = tuple(dict.fromkeys(name for name, difficult in objects if difficult and name not in names))
        place = image.relative_to(path).as_posix()
        if ignored:
            balance.leave_out("labels of images in which all objects of the class are difficult, ignored there", place)
        yield IndexRow(splits.get(annotation.stem, ""), place, names, ignored=ignored)


def coco_files(path: Path) -> list[Path]:
    """JSON files that have images, annotations and categories."""
    if path.is_file():
        return [path] if path.suffix == ".json" and _is_coco(path) else []
    return [file for file in sorted({*path.glob("*.json"), *path.glob("annotations/*.json")}) if _is_coco(file)]


def read_coco(path: Path, balance: Balance) -> Iterator[IndexRow]:
    """A row per image with the names of its objects' categories.

    A class whose only objects are crowds is ignored in that image: neither a positive nor a negative example.
    """
    root = path.parent if path.is_file() else path
    for file in coco_files(path):
        content = json.loads(file.read_text(encoding="utf-8"))
        try:
            yield from _coco_rows(root, file, content, balance)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} is not in COCO format: {type(error).__name__}: {shown(str(error))}") from error


def _coco_rows(
    root: Path,
    file: Path,
    content: Any,  # noqa: ANN401 - any JSON value
    balance: Balance,
) -> Iterator[IndexRow]:
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    found: dict[int, dict[str, None]] = defaultdict(dict)
    crowds: dict[int, dict[str, None]] = defaultdict(dict)
    for annotation in content["annotations"]:
        of_kind = crowds if annotation.get("iscrowd") else found
        of_kind[annotation["image_id"]][names[annotation["category_id"]]] = None
    for image in content["images"]:
        place = _coco_image(root, file, str(image["file_name"]))
        ignored = tuple(name for name in crowds[image["id"]] if name not in found[image["id"]])
        if ignored:
            balance.leave_out("labels of images in which all objects of the class are crowds, ignored there", place)
        yield IndexRow(split_of(file.stem) or "", place, tuple(found[image["id"]]), ignored=ignored)


def _voc_splits(base: Path) -> dict[str, str]:
    """Split by image name, from `ImageSets/Main`; for an image in several lists, the last split."""
    found: dict[str, str] = {}
    for split in VOC_SPLITS:
        file = base / "ImageSets" / "Main" / f"{split}.txt"
        if file.is_file():
            names = (line.split()[0] for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
            found.update(dict.fromkeys(names, split))
    return found


def _voc_objects(annotation: Path) -> Iterator[tuple[str, bool]]:
    """Name of every object, and whether it is marked difficult."""
    try:
        root = ET.parse(annotation).getroot()  # noqa: S314 - expat of Python 3.11 limits entity expansion
    except ET.ParseError as error:
        raise ValueError(f"{annotation} is not XML: {error}") from error
    for item in root.iter("object"):
        yield (item.findtext("name") or "").strip(), (item.findtext("difficult") or "0").strip() == "1"


def _is_coco(file: Path) -> bool:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= set(content)


def _coco_image(root: Path, file: Path, name: str) -> str:
    """The image next to its annotations, in a folder named like the split, or in `images`."""
    split = file.stem.removeprefix("instances_")
    for folder in (root, root / split, root / "images", root / "images" / split, file.parent):
        if is_file(folder / name):
            return inside(root, folder / name)
    raise ValueError(
        f"{file} names {shown(name)}, which is neither in {root} nor in {root / split} or {root / 'images'}"
    )
