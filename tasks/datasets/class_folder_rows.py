"""Class folders, with or without split folders above or below them; every file is accounted for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from backbones.io.errors import counted
from tasks.datasets.balance import Balance
from tasks.datasets.csv_index import IndexRow
from tasks.datasets.file_kinds import is_leftover, walk, why_not
from tasks.datasets.folder_meanings import Ambiguous, look_again, split_of

SHOWN = 5


def has_class_folders(path: Path) -> bool:
    """Whether there are at least two class folders, also inside split folders."""
    folders = _visible(path)
    within = [child for folder in folders for child in _visible(folder)] if _splits(folders) else folders
    return len({folder.name for folder in within if _holds_images(folder)}) >= 2


def read_folders(path: Path, balance: Balance, *, leave_out: bool, answered: bool = False) -> Iterator[IndexRow]:
    """Class folders, or train, val and test folders of such folders, or class folders of train, val and test folders.

    With `answered`, the first folder is the class whatever is in it. Raises Ambiguous where folders of splits stand
    next to others, a split or a class has no image, or folder or file names suggest something other than classes.
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
    _ask_about_halves(folder, reasons, leave_out=leave_out)


def _ask_about_halves(folder: Path, reasons: dict[str, int], *, leave_out: bool) -> None:
    """Raise Ambiguous for images of unreadable formats, whose omission would make classes smaller."""
    lost = {reason: count for reason, count in reasons.items() if "cannot be decoded" in reason}
    if lost and not leave_out:
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
    return ", ".join(folder.name for folder in folders[:SHOWN])
