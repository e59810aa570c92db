"""Pascal VOC 2007 classification: several of 20 labels per image, from `ImageSets/Main/<class>_<split>.txt`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Boxes, Dataset, HeldTargets, SourceSplit, digest_labels, digest_lines
from tasks.datasets.images import JoinedImages
from tasks.datasets.layouts import VOC, VOC_CLASSES, VOC_YEARS
from tasks.datasets.readers.make_splits import file_split, listed_files, missing, read_lines, wrong_content


def read_classification(root: Path, card: DatasetCard) -> Dataset:
    """The official train, val and test splits; labels [n, 20] of 0 and 1.

    An image is positive only if its line has a 1: an object marked difficult (0) counts as absent, as in the paper's
    code (`datasets/voc2007.py`).
    """
    splits = {name: _classification_split(root, card, name) for name in ("train", "val", "test")}
    return Dataset(card.name, VOC_CLASSES, multi_label=True, splits=splits)


def _classification_split(root: Path, card: DatasetCard, name: str) -> SourceSplit:
    columns: list[list[bool]] = []
    images: list[str] = []
    for kind in VOC_CLASSES:
        path = root / VOC / "ImageSets" / "Main" / f"{kind}_{name}.txt"
        marks = _marks(card, path)
        images = images or list(marks)
        if list(marks) != images:
            raise wrong_content(card, path, f"it lists other images than {VOC_CLASSES[0]}_{name}.txt")
        columns.append([mark == 1 for mark in marks.values()])
    labels = np.array(columns, dtype=np.int64).T
    return file_split(card, name, root / VOC / "JPEGImages", [f"{i}.jpg" for i in images], labels, len(VOC_CLASSES))


def _marks(card: DatasetCard, path: Path) -> dict[str, int]:
    """Image name to -1, 0 (difficult) or 1."""
    marks: dict[str, int] = {}
    for line in read_lines(card, path):
        image, _, mark = line.partition(" ")
        if mark.strip() not in {"-1", "0", "1"}:
            raise wrong_content(card, path, f"the line {line!r} is not a name and -1, 0 or 1")
        marks[image] = int(mark)
    return marks


SPLITS = {"train": ((2007, "trainval"), (2012, "trainval")), "test": ((2007, "test"),)}


def read_detection(root: Path, card: DatasetCard) -> Dataset:
    """Images with boxes as targets, and no labels. Raises DataError."""
    splits = {name: _detection_split(root, card, name, parts) for name, parts in SPLITS.items()}
    return Dataset(card.name, VOC_CLASSES, multi_label=True, splits=splits)


def _detection_split(root: Path, card: DatasetCard, name: str, parts: Sequence[tuple[int, str]]) -> SourceSplit:
    boxes: list[Boxes] = []
    frames: list[tuple[int, int] | None] = []
    listed: list[SourceSplit] = []
    annotations = hashlib.sha256()
    for year, image_set in parts:
        base = _base(root, card, year, image_set)
        images = read_lines(card, base / "ImageSets" / "Main" / f"{image_set}.txt")
        no_labels = np.zeros((len(images), 0), np.int64)
        files = [f"JPEGImages/{image}.jpg" for image in images]
        listed.append(file_split(card, name, base, files, no_labels, len(VOC_CLASSES)))
        listed_files(card, name, base, [f"Annotations/{image}.xml" for image in images])
        for image in images:
            path = base / "Annotations" / f"{image}.xml"
            content = _content(card, path)
            annotations.update(hashlib.sha256(content).digest())
            found, frame = _boxes(card, path, content)
            boxes.append(found)
            frames.append(frame)
    labels = np.zeros((len(boxes), 0), np.int64)
    return SourceSplit(
        name=name,
        images=JoinedImages(tuple(one.images for one in listed)),
        labels=labels,
        identifiers=[f"VOC{year}/{i}" for (year, _), one in zip(parts, listed, strict=True) for i in one.identifiers],
        images_digest=digest_lines(one.images_digest for one in listed),
        named_digest=digest_lines(one.named_digest for one in listed),
        newest_change=max(one.newest_change for one in listed),
        labels_digest=digest_labels(labels),
        targets={"boxes": HeldTargets(tuple(boxes), annotations.hexdigest(), VOC_CLASSES, tuple(frames))},
    )


def _base(root: Path, card: DatasetCard, year: int, image_set: str) -> Path:
    """The folder of the year that contains the image list."""
    places = [root / folder for folder in VOC_YEARS[year]]
    lists = [place / "ImageSets" / "Main" / f"{image_set}.txt" for place in places]
    found = [place for place, path in zip(places, lists, strict=True) if path.is_file()]
    if not found:
        raise missing(card, lists[:1])
    return found[0]


def _content(card: DatasetCard, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise missing(card, [path]) from error
    except OSError as error:
        raise wrong_content(card, path, error.strerror or error) from error


def _boxes(card: DatasetCard, path: Path, content: bytes) -> tuple[Boxes, tuple[int, int] | None]:
    """The objects of an image, and its declared width and height."""
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - expat bounds the expansion of entities
        objects = [_object(one) for one in root.iter("object")]
        sides = [int(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height")]
    except (ElementTree.ParseError, ValueError) as error:
        raise wrong_content(card, path, error) from error
    boxes = Boxes(
        corners=np.array([corners for corners, _, _ in objects], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label, _ in objects], np.int64),
        difficult=np.array([difficult for _, _, difficult in objects], np.bool_),
    )
    return boxes, (sides[0], sides[1]) if min(sides) > 0 else None


def _object(element: ElementTree.Element) -> tuple[list[float], int, bool]:
    """Corners, class and difficult flag. Raises ValueError with a description."""
    kind = (element.findtext("name") or "").strip()
    if kind not in VOC_CLASSES:
        raise ValueError(f"an object is named {kind!r}, which is none of the {len(VOC_CLASSES)} classes")
    numbers = [element.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    if None in numbers:
        raise ValueError(f"a {kind} has no bndbox with xmin, ymin, xmax and ymax")
    left, top, right, bottom = (float(number or "") for number in numbers)
    if not (0 <= left <= right and 0 <= top <= bottom):
        raise ValueError(f"a {kind} has the corners {left:g} {top:g} {right:g} {bottom:g}, which are not a box")
    return (
        [max(0.0, left - 1), max(0.0, top - 1), right, bottom],
        VOC_CLASSES.index(kind),
        element.findtext("difficult") == "1",
    )
