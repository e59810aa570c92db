"""Roles of protocols (train, validation, test, or one pool) derived from a dataset's source splits.

A role is a list of parts, each the name of a source split and indices into it, so that features are stored per source
split and protocols select rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.datasets.dataset import DataError, Dataset, ImageSource, Labels
from tasks.datasets.images import ArrayImages, FileImages, JoinedImages

Indices = npt.NDArray[np.int64]
Selection = tuple[tuple[str, Indices], ...]
"""Parts: (name of a source split, sorted indices into it)."""

HELD_OUT_SHARE = 0.2
"""Fraction of a dataset without a test split that is held out as test (not a rule of the paper)."""


@dataclass(frozen=True)
class ManyShotSplit:
    """The disjoint train, validation and test roles of a many-shot protocol."""

    train: Selection
    val: Selection
    test: Selection

    @property
    def train_and_val(self) -> Selection:
        """Images of the final fit, in source order."""
        parts: dict[str, list[Indices]] = {}
        for name, indices in (*self.train, *self.val):
            parts.setdefault(name, []).append(indices)
        return tuple((name, np.sort(np.concatenate(chosen))) for name, chosen in parts.items())


def many_shot_indices(dataset: Dataset, validation_share: float = 0.2, seed: int = 0) -> ManyShotSplit:
    """Train, validation and test indices of a dataset; images with open labels are used for testing only.

    Published train, val and test splits are used as they are. Without val, the published random part of train is used
    (`published_validation`). Without test, `val` is the test split; with one split only, a stratified fifth of it is.
    `seed` draws another random validation part; test images and published splits do not depend on it.

    Raises:
        DataError: too few images for one of the roles.
    """
    sizes = {name: len(split.images) for name, split in dataset.splits.items()}
    if len(sizes) == 1:
        (name,) = sizes
        rest, test_part = held_out(dataset.splits[name].labels, HELD_OUT_SHARE)
        return _checked(dataset, _with_validation(name, rest, (name, test_part), validation_share, seed))
    test = "test" if "test" in sizes else "val"
    if "train" not in sizes or test not in sizes:
        raise DataError(f"{dataset.name} has the splits {', '.join(sizes)}: expected train and test, or one alone")
    test_role: Selection = ((test, np.arange(sizes[test])),)
    if test == "test" and "val" in sizes:
        train_role, val_role = (((name, np.arange(sizes[name])),) for name in ("train", "val"))
        return _checked(dataset, ManyShotSplit(train_role, val_role, test_role))
    whole = np.arange(sizes["train"])
    return _checked(dataset, _with_validation("train", whole, test_role[0], validation_share, seed))


def scoring_order(count: int) -> Indices:
    """Places [count] of test images, sorted by their index, in the fixed random order in which they are scored in
    parts: its first images are a random sample of all.
    """
    return np.random.default_rng(0).permutation(count)


def _learnable(dataset: Dataset, selection: Selection) -> Selection:
    """Images with known labels only: an open label is neither a positive nor a negative example."""
    return tuple(
        (name, indices[(dataset.splits[name].labels[indices] >= 0).all(axis=1)])
        if dataset.splits[name].labels.ndim == 2
        else (name, indices)
        for name, indices in selection
    )


def pool(dataset: Dataset) -> Selection:
    """All images of all source splits, in the dataset's order (few-shot episodes are drawn from it)."""
    return tuple((name, np.arange(len(split.images))) for name, split in dataset.splits.items())


def select_labels(dataset: Dataset, selection: Selection) -> Labels:
    """Labels of a selection, part by part; [n] or [n, classes]."""
    return np.concatenate([dataset.splits[name].labels[indices] for name, indices in selection])


def published_validation(count: int, share: float = 0.2, seed: int = 0) -> tuple[Indices, Indices]:
    """The paper's random validation split of `count` training images: (train, validation), each sorted.

    `np.random.seed(0)`, shuffle 0..count-1, the first floor(share * count) are validation (ssl-transfer `linear.py`).
    Seeds other than 0 give unpublished splits of the same kind.
    """
    order = np.arange(count)
    np.random.RandomState(seed).shuffle(order)
    first = int(np.floor(share * count))
    return np.sort(order[first:]), np.sort(order[:first])


def held_out(labels: Labels, share: float, seed: int = 0) -> tuple[Indices, Indices]:
    """Split images into (rest, part), each sorted; the part contains `share` of every class, rounded.

    At least one image per class is left in the rest. Multi-label data ([n, classes]) are split without regard to
    labels. The stream of `RandomState` is frozen, so the split is the same with every numpy version.
    """
    random = np.random.RandomState(seed)
    kinds = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
    part: list[Indices] = []
    for kind in np.unique(kinds):
        members = random.permutation(np.flatnonzero(kinds == kind))
        part.append(members[: min(round(share * len(members)), len(members) - 1)])
    chosen = np.sort(np.concatenate(part)) if part else np.zeros(0, np.int64)
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def _with_validation(name: str, members: Indices, test: tuple[str, Indices], share: float, seed: int) -> ManyShotSplit:
    train, val = published_validation(len(members), share, seed)
    return ManyShotSplit(((name, members[train]),), ((name, members[val]),), (test,))


def _checked(dataset: Dataset, drawn: ManyShotSplit) -> ManyShotSplit:
    split = ManyShotSplit(_learnable(dataset, drawn.train), _learnable(dataset, drawn.val), drawn.test)
    for role, selection in (("train", split.train), ("validation", split.val), ("test", split.test)):
        if sum(len(indices) for _, indices in selection) == 0:
            images = sum(len(source.images) for source in dataset.splits.values())
            raise DataError(f"{dataset.name} has {images} images, too few to leave any for {role}: add images")
    return split


def repeated(train: ImageSource, test: ImageSource) -> int | None:
    """Number of images of `test` that are in `train`; None for images that would have to be rendered or unpacked
    first."""
    learnt, asked = _parts(train), _parts(test)
    if all(isinstance(one, ArrayImages) for one in (*learnt, *asked)):
        return _common(_pixels(learnt), _pixels(asked))
    if all(isinstance(one, FileImages) for one in (*learnt, *asked)):
        ours, theirs = _files(learnt), _files(asked)
        lengths = set(ours.values()) & set(theirs.values())  # files of other lengths differ
        first, second = ([path for path, length in files.items() if length in lengths] for files in (ours, theirs))
        return _common(map(_content, first), map(_content, second))
    return None


def _parts(images: ImageSource) -> tuple[ImageSource, ...]:
    return images.parts if isinstance(images, JoinedImages) else (images,)


def _common(train: Iterable[bytes], test: Iterable[bytes]) -> int:
    known = set(train)
    return sum(digest in known for digest in test)


def _pixels(parts: Iterable[ImageSource]) -> list[bytes]:
    return [_sha256(row.tobytes()) for part in parts if isinstance(part, ArrayImages) for row in part.arrays]


def _files(parts: Iterable[ImageSource]) -> dict[Path, int]:
    """Sizes in bytes; missing files are reported elsewhere."""
    paths = (part.root / file for part in parts if isinstance(part, FileImages) for file in part.files)
    return {path: path.stat().st_size for path in paths if path.is_file()}


def _content(path: Path) -> bytes:
    return _sha256(path.read_bytes())


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
