"""Convert lists of files or arrays, and labels, to source splits with digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from backbones.io.errors import counted
from backbones.io.image_reading import ImageReading
from tasks.datasets.card import DatasetCard
from tasks.datasets.content_digests import NotAFile, Read, current, read_image
from tasks.datasets.dataset import LEFT_OPEN, DataError, Labels, SourceSplit, digest_labels, digest_lines
from tasks.datasets.file_states import ABSENT, ReadFile, newest_change_ns, state_of
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

    `images_digest` is computed over one line per image, the digest of its content, in order: a changed, added, removed
    or reordered image is another split, a renamed one is not.

    Raises:
        DataError: files are missing, there are none, or a label is not a class.
    """
    found = listed_files(card, name, root, files, read_image)
    checked = _checked(card, name, files, labels, classes)
    traits = {place: one.traits for place, one in enumerate(found) if one.traits}
    contents = tuple(one.digest.hex() for one in found)
    images = FileImages(
        card.name, root, tuple(files), resize, reading=reading_of(card), contents=contents, traits=traits
    )
    return SourceSplit(
        name,
        images,
        checked,
        images.files,
        images.digest,
        digest_labels(checked),
        named_digest=_named_digest(files, found, resize),
        newest_change=newest_change(root, files, found),
    )


def reading_of(card: DatasetCard) -> ImageReading:
    """Reading options of a dataset's images."""
    return ImageReading(card.background, card.orientation == "upright")


def newest_change(root: Path, files: Sequence[str], found: Sequence[ReadFile]) -> float:
    """Latest change of the files or their folders, in seconds since the epoch.

    Replacing a folder by renaming another changes the folder's time but not those of its files.
    """
    folders = {PurePosixPath(name) for name in {os.path.dirname(file) for file in files}}  # noqa: PTH120 - once per image
    every = {root / above for folder in folders for above in (folder, *folder.parents)}
    return max(newest_change_ns(found), *(state_of(str(folder))[2] for folder in every)) / 1e9


def _named_digest(files: Sequence[str], found: Sequence[ReadFile], resize: tuple[int, int] | None) -> str:
    lines = [f"{file}\t{one.state[0]}" for file, one in zip(files, found, strict=True)]
    if resize is not None:
        lines.append(f"resized to {resize[0]} x {resize[1]}")
    return digest_lines(lines)


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

    The digests of images and labels are computed over their bytes, unless `digests` contains both.

    Raises:
        DataError: there are no images, or a label is not a class.
    """
    names = tuple(identifiers) or tuple(f"{name}/{index}" for index in range(len(arrays)))
    checked = _checked(card, name, names, labels, classes)
    whole = np.ascontiguousarray(arrays)
    if digests is None:
        digests = hashlib.sha256(str(whole.shape).encode() + whole.data).hexdigest(), digest_labels(checked)
    return SourceSplit(name, ArrayImages(whole), checked, names, *digests)


def listed_files(
    card: DatasetCard, split: str, root: Path, files: Sequence[str], read: Read | None = None
) -> list[ReadFile]:
    """State and digest of every file (POSIX paths relative to `root`). Raises DataError for an empty list, for
    missing files, and for paths that are not files."""
    if not files:
        raise DataError(f"{card.name}: the split {split} in {root} has no images: {advice(card)}")
    paths = [os.path.join(root, file) for file in files]  # noqa: PTH118 - once per image
    try:
        found = current().files(paths, read)
    except NotAFile as error:
        raise DataError(f"{card.name}: {error}: remove it from {split}") from error
    absent = [Path(path) for path, one in zip(paths, found, strict=True) if one.state == ABSENT]
    if absent:
        again = f"remove {root} and {advice(card)}" if card.download == "automatic" else advice(card)
        raise DataError(
            f"{card.name}: {_first_of(absent)} missing from the {counted(len(files), 'image')} of {split}: {again}"
        )
    return found


def label_by_folder(files: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """Class names, sorted, and labels per split, of files whose path begins with the class."""
    classes = sorted({file.partition("/")[0] for names in files.values() for file in names})
    number = {name: index for index, name in enumerate(classes)}
    return tuple(classes), {s: [number[file.partition("/")[0]] for file in names] for s, names in files.items()}


def wrong_content(card: DatasetCard, path: Path, problem: object) -> DataError:
    """Error for an annotation file with invalid content."""
    return DataError(f"{card.name}: {path} has unexpected content ({problem}): {advice(card)}")


def missing(card: DatasetCard, paths: Sequence[Path]) -> DataError:
    """Error for missing key files."""
    return DataError(f"{card.name}: {_first_of(paths)} missing: {advice(card)}")


def read_lines(card: DatasetCard, path: Path) -> list[str]:
    """Non-empty lines of a text file, stripped. Raises DataError if it cannot be read."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise missing(card, [path]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise wrong_content(card, path, error) from error


def _first_of(paths: Sequence[Path]) -> str:
    """`a/b.jpg and 3 more are`, the subject of a sentence."""
    return f"{paths[0]} is" if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more are"


def _checked(
    card: DatasetCard, split: str, names: Sequence[str], labels: Iterable[int] | Labels, classes: int
) -> Labels:
    """Labels as int64 [n] or [n, classes], verified to be valid class indices."""
    array = np.asarray(labels if isinstance(labels, np.ndarray) else list(labels), dtype=np.int64)
    if len(array) != len(names) or not len(names):
        raise DataError(
            f"{card.name}: {counted(len(names), 'image')} but {counted(len(array), 'label')} in {split}: {advice(card)}"
        )
    low, top = (LEFT_OPEN, 1) if array.ndim == 2 else (0, classes - 1)
    wrong = np.argwhere((array < low) | (array > top))
    if len(wrong):
        place = tuple(wrong[0])
        raise DataError(
            f"{card.name}: {names[place[0]]} in {split} has the label {array[place]}, "
            f"and there are {classes} classes, 0 to {classes - 1}: {advice(card)}"
        )
    array.flags.writeable = False
    return array
