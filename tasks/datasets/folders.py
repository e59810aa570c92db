"""Meanings of folders: class folders with or without split folders, common names of splits, and names that suggest
neither.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path, PurePosixPath

from backbones.io.errors import counted
from tasks.datasets.csv_index import Balance, IndexRow
from tasks.datasets.file_kinds import is_leftover, walk, why_not

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
LISTED = 5


def look_again(
    folder: Path, rows: Sequence[IndexRow], balance: Balance, *, leave_out: bool, answered: bool
) -> Iterator[IndexRow]:
    """Rows of the class folders in `folder`, with splits found inside the classes.

    With `answered` the first folder is the class regardless of its content, which is noted. Raises Ambiguous otherwise.
    """
    divided = any(row.split for row in rows)
    inner = _inner_folders(rows, skip=1 if divided else 0)
    names = {name for folders in inner.values() for name in folders}
    if not divided and len({split_of(name) for name in names}) > 1 and all(map(split_of, names)):
        balance.remark("the split is the folder inside each class folder")
        yield from (replace(row, split=split_of(PurePosixPath(row.file).parts[1]) or "") for row in rows)
        return
    _ask_about_depth(folder, inner, balance, answered=answered)
    _ask_about_annotations(folder, _stems(rows, skip=1 if divided else 0), balance, answered=answered)
    yield from _without_masks(folder, rows, balance, leave_out=leave_out, answered=answered)


def _inner_folders(rows: Sequence[IndexRow], skip: int) -> Mapping[str, set[str]]:
    """Folders inside each class, `skip` levels down; an empty name is for images directly in the class."""
    inner: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        parts = PurePosixPath(row.file).parts[skip:]
        inner[parts[0]].add(parts[1] if len(parts) > 2 else "")
    return inner


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
    paths = {row.file: PurePosixPath(row.file).with_suffix("") for row in rows}
    images_by_mask = {
        file: path.with_name(found[1]) for file, path in paths.items() if (found := MASK.fullmatch(path.name))
    }
    stems = set(paths.values())
    masks = {file for file, image in images_by_mask.items() if image in stems}
    if masks and not answered and not leave_out:
        images = counted(len(masks), "image is named like a mask of another", "images are named like masks of others")
        raise Ambiguous(
            f"{folder}: {images}, e.g. {min(masks)}: choose --leave-out to "
            "leave them out, or --layout class-folders where they are images like the others"
        )
    if masks and answered:
        balance.remark(f"{len(masks)} images are named like masks of others and are read, e.g. {min(masks)}")
    for row in rows:
        if row.file in masks and not answered:
            balance.leave_out("images named like masks of others", row.file)
        else:
            yield row


class Ambiguous(ValueError):  # noqa: N818 - a domain word, raised as such
    """The input has several interpretations; the message names them and the deciding option."""


def split_of(name: str) -> str | None:
    """Standard split of a file or column name: `train2017`, `instances_val`, `Training`; None if unknown."""
    words = "".join(sign if sign.isalpha() else " " for sign in name.lower()).split()
    pairs = [first + second for first, second in pairwise(words)]
    return next((SPLIT_WORDS[word] for word in (*pairs, *words) if word in SPLIT_WORDS), None)


def has_class_folders(path: Path) -> bool:
    """Whether there are at least two class folders, also inside split folders."""
    folders = _visible(path)
    within = [child for folder in folders for child in _visible(folder)] if _splits(folders) else folders
    return len({folder.name for folder in within if _holds_images(folder)}) >= 2


def read_folders(path: Path, balance: Balance, *, leave_out: bool, answered: bool = False) -> Iterator[IndexRow]:
    """Class folders, or train, val and test folders of such folders, or class folders of train, val and test folders.

    With `answered`, the first folder is the class regardless of its content. Raises Ambiguous where folders of splits
    stand next to others, a split or a class has no image, or folder or file names suggest something other than classes.
    """
    folders = _visible(path)
    splits = _splits(folders)
    if not splits:
        rows = list(_class_folders(path, path, "", balance, leave_out=leave_out))
        yield from look_again(path, rows, balance, leave_out=leave_out, answered=answered)
        return
    _ask_about_others(path, folders, splits, balance, leave_out=leave_out)
    _flat_images(path, path, balance, leave_out=leave_out)
    for split, alike in groupby(sorted(splits, key=_split_name), key=_split_name):
        together = list(alike)
        if len(together) > 1:
            balance.remark(f"the folders {_names(together)} together are {split}")
        for folder in together:
            rows = list(_class_folders(path, folder, split, balance, leave_out=leave_out))
            yield from look_again(folder, rows, balance, leave_out=leave_out, answered=answered)


def _split_name(folder: Path) -> str:
    return split_of(folder.name) or ""


def _splits(folders: Sequence[Path]) -> list[Path]:
    """Split folders, recognised by name; none if only one folder has such a name, as it may be a class."""
    named = [folder for folder in folders if split_of(folder.name)]
    if len(named) == len(folders):
        return named
    divided = [folder for folder in named if any(_holds_images(child) for child in _visible(folder))]
    return named if divided else []


def _ask_about_others(
    path: Path, folders: Sequence[Path], splits: Sequence[Path], balance: Balance, *, leave_out: bool
) -> None:
    for other in (folder for folder in folders if folder not in splits):
        count = sum(not found.reason for found in walk(other))
        if count and not leave_out:
            raise Ambiguous(
                f"{other} has {counted(count, 'image')} and is next to the splits {_names(splits)}: put "
                "them into a split, or "
                "choose --leave-out"
            )
        for found in walk(other):
            balance.leave_out(f"files in {other.name}, which is not a split", found.path.relative_to(path).as_posix())


def _class_folders(root: Path, folder: Path, split: str, balance: Balance, *, leave_out: bool) -> Iterator[IndexRow]:
    _flat_images(root, folder, balance, leave_out=leave_out)
    empty: list[Path] = []
    reasons: dict[str, int] = defaultdict(int)
    for child in _visible(folder):
        count = 0
        for found in walk(child):
            name = found.path.relative_to(root).as_posix()
            if found.reason:
                balance.leave_out(found.reason, name)
                reasons[found.reason] += 1
            else:
                count += 1
                yield IndexRow(split, name, (child.name,))
        if not count:
            empty.append(child)
    for child in empty:
        _without_images(root, child, balance, leave_out=leave_out)
    lost = {reason: count for reason, count in reasons.items() if "cannot be decoded" in reason}
    if lost and not leave_out:  # classes would be smaller without them
        words = ", ".join(f"{count} {reason}" for reason, count in lost.items())
        raise Ambiguous(f"{folder}: {words}: convert them to PNG or JPEG, or choose --leave-out")


def _without_images(root: Path, child: Path, balance: Balance, *, leave_out: bool) -> None:
    name = child.relative_to(root).as_posix()
    held = [found for found in walk(child) if found.reason and "leftovers" not in found.reason]
    if not held or leave_out:
        balance.leave_out("class folders without images, which are not used as classes", name)
        return
    raise Ambiguous(
        f"{child} has no image that can be read, and {len(held)} {held[0].reason}: its class would vanish: convert the "
        "files, or choose --leave-out"
    )


def _flat_images(root: Path, folder: Path, balance: Balance, *, leave_out: bool) -> None:
    """Raise Ambiguous for images next to class folders, or in a split without any, as they have no class."""
    flat = [path for path in sorted(folder.iterdir()) if not path.is_dir() and not is_leftover(path.name)]
    found = [path for path in flat if not why_not(path)]
    if found and not leave_out:
        where = "has no class folders" if not _visible(folder) else "has images next to its class folders"
        raise Ambiguous(
            f"{folder} {where}: its {counted(len(found), 'image has', 'images have')} no class, e.g. "
            f"{found[0].name}: put them into class "
            "folders, list them in a table with their classes, or choose --leave-out"
        )
    for path in flat:
        kind = "images without a class folder" if path in found else "files next to class folders"
        balance.leave_out(f"{kind} in {folder.name}", path.relative_to(root).as_posix())


def _holds_images(folder: Path) -> bool:
    return any(not found.reason for found in walk(folder))


def _visible(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not is_leftover(child.name))


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(folder.name for folder in folders[:LISTED])
