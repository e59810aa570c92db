"""From lists of files or arrays, and labels, to source splits with their digests. Files are only `stat`-ed."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Labels, SourceSplit, digest_labels, digest_lines
from tasks.datasets.images import ArrayImages, FileImages
from tasks.datasets.presence import advice


def file_split(
    card: DatasetCard,
    name: str,
    root: Path,
    files: Sequence[str],
    labels: Iterable[int] | Labels,
    classes: int,
    resize: tuple[int, int] | None = None,
) -> SourceSplit:
    """A source split of image files (POSIX paths relative to `root`).

    `images_digest` is taken over one line per image, relative path and size in bytes, in order: a changed, added,
    removed or reordered file is another split; a file changed in place without changing its size is not noticed.

    Raises:
        DataError: files are missing, there are none, or a label is not a class.
    """
    sizes = listed_sizes(card, name, root, files)
    lines = [f"{file}\t{size}" for file, size in zip(files, sizes, strict=True)]
    if resize is not None:
        lines.append(f"resized to {resize[0]} x {resize[1]}")
    checked = _checked(card, name, files, labels, classes)
    images = FileImages(card.name, root, tuple(files), resize)
    return SourceSplit(name, images, checked, images.files, digest_lines(lines), digest_labels(checked))


def array_split(
    card: DatasetCard,
    name: str,
    arrays: npt.NDArray[np.uint8],
    labels: Iterable[int] | Labels,
    classes: int,
    *,
    identifiers: Sequence[str] = (),
    digests: tuple[str, str] | None = None,
) -> SourceSplit:
    """A source split of images in memory, uint8 [n, height, width, 3].

    The digests of images and labels are taken over their bytes, unless `digests` gives names for both.

    Raises:
        DataError: there are no images, or a label is not a class.
    """
    names = tuple(identifiers) or tuple(f"{name}/{index}" for index in range(len(arrays)))
    checked = _checked(card, name, names, labels, classes)
    whole = np.ascontiguousarray(arrays)
    if digests is None:
        digests = hashlib.sha256(str(whole.shape).encode() + whole.data).hexdigest(), digest_labels(checked)
    return SourceSplit(name, ArrayImages(whole), checked, names, *digests)


def listed_sizes(card: DatasetCard, split: str, root: Path, files: Sequence[str]) -> list[int]:
    """Bytes of every file (POSIX paths relative to `root`). Raises DataError for none at all, for missing ones,
    and for what is no file: to read a pipe is to wait for ever.
    """
    if not files:
        raise DataError(f"{card.name}: the split {split} in {root} has no images: {advice(card)}")
    sizes: list[int] = []
    absent: list[Path] = []
    for file in files:
        path = root / file
        try:
            found = path.stat()
        except OSError:
            absent.append(path)
            continue
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{card.name}: {path} is no file but a device, a pipe or a folder: remove it from {split}")
        sizes.append(found.st_size)
    if absent:
        again = f"remove {root} and {advice(card)}" if card.download == "automatic" else advice(card)
        raise DataError(f"{card.name}: {_first_of(absent)} missing from the {len(files)} images of {split}: {again}")
    return sizes


def label_by_folder(files: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """Class names, sorted, and labels per split, of files whose path's first part names the class."""
    classes = sorted({file.partition("/")[0] for names in files.values() for file in names})
    number = {name: index for index, name in enumerate(classes)}
    return tuple(classes), {s: [number[file.partition("/")[0]] for file in names] for s, names in files.items()}


def wrong_content(card: DatasetCard, path: Path, problem: object) -> DataError:
    """The error for an annotation file that is there but does not say what it should."""
    return DataError(f"{card.name}: {path} is not what this dataset has there ({problem}): {advice(card)}")


def missing(card: DatasetCard, paths: Sequence[Path]) -> DataError:
    """The error for key files that are not there."""
    return DataError(f"{card.name}: {_first_of(paths)} missing: {advice(card)}")


def read_lines(card: DatasetCard, path: Path) -> list[str]:
    """The lines of a text file that are not empty, stripped. Raises DataError when it cannot be read."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise missing(card, [path]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise wrong_content(card, path, error) from error


def _first_of(paths: Sequence[Path]) -> str:
    """`a/b.jpg and 3 more are`, to be followed by what they are."""
    return f"{paths[0]} is" if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more are"


def _checked(
    card: DatasetCard, split: str, names: Sequence[str], labels: Iterable[int] | Labels, classes: int
) -> Labels:
    """Labels as int64 [n] or [n, classes], each known to be a class of its image."""
    array = np.asarray(labels if isinstance(labels, np.ndarray) else list(labels), dtype=np.int64)
    if len(array) != len(names) or not len(names):
        raise DataError(f"{card.name}: {len(names)} images but {len(array)} labels in {split}: {advice(card)}")
    top = 1 if array.ndim == 2 else classes - 1
    wrong = np.argwhere((array < 0) | (array > top))
    if len(wrong):
        place = tuple(wrong[0])
        raise DataError(
            f"{card.name}: {names[place[0]]} in {split} has the label {array[place]}, "
            f"and there are {classes} classes, 0 to {classes - 1}: {advice(card)}"
        )
    array.flags.writeable = False
    return array
