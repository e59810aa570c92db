"""Meanings of names: common names of splits, and folders and files whose names suggest something other than classes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

from backbones.io.errors import counted
from tasks.datasets.balance import Balance
from tasks.datasets.csv_index import IndexRow

MASK = re.compile(
    r"(.+?)[ _.-]+(?:mask|seg|segmentation|gt|groundtruth|annotation|label)s?(?:[ _.-]?\d+)?", re.IGNORECASE
)
ANNOTATIONS = frozenset({"mask", "label", "annotation", "segmentation", "groundtruth", "gt"})
SHOWN = 3
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "devel", "validate"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"), "test"),
}


def look_again(
    folder: Path, rows: Sequence[IndexRow], balance: Balance, *, leave_out: bool, answered: bool
) -> Iterator[IndexRow]:
    """Rows of the class folders in `folder`, with splits found inside the classes.

    With `answered` the first folder is the class regardless of its content, which is noted. Raises Ambiguous otherwise.
    """
    divided = any(row.split for row in rows)
    inner = _inner_folders(rows, skip=1 if divided else 0)
    if not divided and _are_splits(inner):
        balance.remark("the split is the folder inside each class folder")
        yield from (replace(row, split=split_of(PurePosixPath(row.file).parts[1]) or "") for row in rows)
        return
    _ask_about_depth(folder, inner, balance, answered=answered)
    _ask_about_annotations(folder, _stems(rows, skip=1 if divided else 0), balance, answered=answered)
    yield from _without_masks(folder, rows, balance, leave_out=leave_out, answered=answered)


def _inner_folders(rows: Sequence[IndexRow], skip: int) -> Mapping[str, set[str]]:
    """Folders inside each class, `skip` levels down; an empty name stands for images of the class itself."""
    inner: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        parts = PurePosixPath(row.file).parts[skip:]
        inner[parts[0]].add(parts[1] if len(parts) > 2 else "")
    return inner


def _are_splits(inner: Mapping[str, set[str]]) -> bool:
    """Whether every class contains only split folders, at least two of them."""
    names = {name for some in inner.values() for name in some}
    return len({split_of(name) for name in names}) > 1 and all(map(split_of, names))


def _ask_about_depth(folder: Path, inner: Mapping[str, set[str]], balance: Balance, *, answered: bool) -> None:
    several = [(name, sorted(some)) for name, some in inner.items() if len(some) > 1 and "" not in some]
    if not several or any("" in some for some in inner.values()):
        return
    name, within = several[0]
    words = (
        f"{folder}: {len(several)} folders contain folders of images, e.g. {name} contains {', '.join(within[:SHOWN])}"
    )
    if not answered:
        raise Ambiguous(
            f"{words}: the classes may be these (add {folder / name}, or list the images in a table); where the first "
            "folder is the class, choose --layout class-folders"
        )
    balance.remark(f"{words}: the first folder is the class")


def _stems(rows: Sequence[IndexRow], skip: int) -> Mapping[str, set[str]]:
    """File stems of the images, by class."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        path = PurePosixPath(row.file)
        found[path.parts[skip]].add(path.stem)
    return found


def _ask_about_annotations(folder: Path, stems: Mapping[str, set[str]], balance: Balance, *, answered: bool) -> None:
    """Raise Ambiguous for a folder such as `masks` whose files have the names of another folder's."""
    named = [name for name in stems if name.lower().removesuffix("s") in ANNOTATIONS]
    others = {stem for name, some in stems.items() if name not in named for stem in some}
    named = [name for name in named if 2 * len(stems[name] & others) > len(stems[name])]
    if not named:
        return
    words = f"{folder}: the folder {named[0]} looks like annotations of the images next to it"
    if not answered:
        raise Ambiguous(f"{words}, and would be a class: where it is one, choose --layout class-folders")
    balance.remark(f"{words}, and is read as a class")


def _without_masks(
    folder: Path, rows: Sequence[IndexRow], balance: Balance, *, leave_out: bool, answered: bool
) -> Iterator[IndexRow]:
    """Handle images with names of other images plus `_mask` or similar, which are not examples of their class."""
    stems = {str(PurePosixPath(row.file).with_suffix("")) for row in rows}
    masks = {row.file for row in rows if _is_mask(PurePosixPath(row.file), stems)}
    if masks and not answered and not leave_out:
        images = counted(len(masks), "image has the name of a mask of another", "images have names of masks of others")
        raise Ambiguous(
            f"{folder}: {images}, e.g. {min(masks)}: choose --leave-out to "
            "leave them out, or --layout class-folders where they are images like the others"
        )
    if masks and answered:
        balance.remark(f"{len(masks)} images have names of masks of others and are read, e.g. {min(masks)}")
    for row in rows:
        if row.file in masks and not answered:
            balance.leave_out("images with names of masks of others", row.file)
        else:
            yield row


def _is_mask(path: PurePosixPath, stems: set[str]) -> bool:
    found = MASK.fullmatch(path.stem)
    return found is not None and str(path.with_name(found[1])) in stems


class Ambiguous(ValueError):  # noqa: N818 - a domain word, raised as such
    """The input has several interpretations; the message names them and the deciding option."""


def split_of(name: str) -> str | None:
    """Standard split of a file or column name: `train2017`, `instances_val`, `Training`; None if unknown."""
    words = "".join(sign if sign.isalpha() else " " for sign in name.lower()).split()
    pairs = [first + second for first, second in pairwise(words)]
    return next((SPLIT_WORDS[word] for word in (*pairs, *words) if word in SPLIT_WORDS), None)
