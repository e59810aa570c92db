"""Presence of a dataset's key files in its folder. Needs neither numpy nor torch.

Takes a few `stat` calls, so that every listing can show it; `tasks.datasets.check` reads all of the data.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from backbones.io import files
from backbones.io.file_digests import canonical
from tasks.datasets.card import DatasetCard, Layout
from tasks.datasets.file_states import ABSENT, State, state_of
from tasks.datasets.layouts import LAYOUTS

Status = Literal["present", "missing", "partial"]


@dataclass(frozen=True)
class Presence:
    """Presence of a dataset. `base` is the folder of its layout, existing or expected."""

    status: Status
    missing: tuple[Path, ...]
    advice: str
    """One sentence on what to do about the missing paths; empty if the data are present."""
    base: Path


def presence(card: DatasetCard, data_root: Path) -> Presence:
    """Search for the key files of the card's reader below the data root.

    Raises:
        KeyError: the card names a reader that does not exist (a catalogue rejects such cards).
    """
    lacking = next(
        (one for one in (presence(each, data_root) for each in card.shifts) if one.status != "present"), None
    )
    own = _own_presence(card, data_root)
    return own if own.status != "present" or lacking is None else lacking


def _own_presence(card: DatasetCard, data_root: Path) -> Presence:
    layout = LAYOUTS[card.reader]
    if layout.embedded:
        return Presence("present", (), "", data_root)
    looks = [_look(layout, base) for base in _bases(card, layout, data_root)]
    best = min(looks, key=lambda look: len(look.missing))
    if best.status != "present" and all(look.status == "missing" for look in looks):
        best = looks[0]
    return best if best.status == "present" else Presence(best.status, best.missing, advice(card), best.base)


def advice(card: DatasetCard) -> str:
    """Advice for getting a dataset: the command, the card's instructions, or the expected layout of a folder."""
    if card.download == "automatic":
        return f"run `ssl-console data fetch {card.name}`"
    if card.instructions:
        return " ".join(card.instructions.split()) + (f" ({card.page})" if card.page else "")
    if card.reader == "imagefolder":
        return "the folder must contain one folder of images per class, or train, val and test folders of such folders"
    return f"get it from {card.page}" if card.page else "put it there"


def signature(card: DatasetCard, data_root: Path) -> str:
    """Digest of the state of a dataset's key files (path, size, times, inode), its reading, and the reader's source
    code.

    If it is unchanged, earlier results about the dataset are valid, provided that no image was changed in place:
    `tasks.datasets.file_states.FileRecord.holds` checks every file.
    """
    layout = LAYOUTS[card.reader]
    parts: list[object] = [card.reader, dict(card.reader_arguments), card.classes, card.images, _code_digest()]
    parts.extend((card.background, card.orientation))
    if layout.embedded:
        parts.append(_version("scikit-learn"))
    else:
        base = _own_presence(card, data_root).base
        parts.extend(_state(path) for path in _signed_paths(card, layout, base))
    parts.extend((shift.name, signature(shift, data_root)) for shift in card.shifts)
    return hashlib.sha256(canonical(parts)).hexdigest()


def signed_files(card: DatasetCard, data_root: Path) -> list[Path]:
    """Key files and class folders of a dataset that is present."""
    layout = LAYOUTS[card.reader]
    own = [] if layout.embedded else list(_signed_paths(card, layout, _own_presence(card, data_root).base))
    return [*own, *(path for shift in card.shifts for path in signed_files(shift, data_root))]


def folders_of(card: DatasetCard, files: Iterable[str]) -> list[Path]:
    """Folders whose listings define the dataset, at any depth: those of its files, if it has class folders."""
    return (
        [Path(name) for name in dict.fromkeys(map(os.path.dirname, files))]
        if LAYOUTS[card.reader].class_folders
        else []
    )


def files_place(card: DatasetCard, data_root: Path, cache_folder: Path) -> Path:
    """File with the states and digests of a dataset's files: one per dataset and data root."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", card.name)[-60:]
    begin = os.path.join(os.path.abspath(data_root), str(card.reader_arguments.get("path", "")))  # noqa: PTH100, PTH118
    whole = f"{card.name}\0{begin}"
    name = hashlib.sha256(whole.encode()).hexdigest()[:16]
    return cache_folder / "manifests" / f"{readable}.{name}.files"


def _bases(card: DatasetCard, layout: Layout, data_root: Path) -> Iterator[Path]:
    """Possible folders of the layout, most likely first."""
    path = card.reader_arguments.get("path")
    if path is not None:
        yield data_root / str(path)
        return
    folder = data_root / (card.folder or "")
    yield from (folder / base for base in layout.bases)
    if layout.below_root and card.folder:
        yield from (data_root / base for base in layout.bases)


def _look(layout: Layout, base: Path) -> Presence:
    missing = tuple(base / names[0] for names in layout.required if not any((base / name).exists() for name in names))
    if layout.class_folders and not missing and not any(_subfolders(base / layout.class_folders[0])):
        missing = (base / layout.class_folders[0] / "<class>",)
        return Presence("partial", missing, "", base)
    status: Status = "present" if not missing else "partial" if len(missing) < len(layout.required) else "missing"
    return Presence(status, missing, "", base)


def _signed_paths(card: DatasetCard, layout: Layout, base: Path) -> Iterator[Path]:
    yield from (base / name for names in layout.required for name in names)
    yield from (base / name for name in layout.optional)
    if "index" in card.reader_arguments:
        yield base / str(card.reader_arguments["index"])
    for pattern in layout.class_folders:
        for folder in sorted(base.glob(pattern)) if "*" in pattern else (base / pattern,):
            yield from sorted(_subfolders(folder))


def _subfolders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from (Path(entry) for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _state(path: Path) -> tuple[str, State] | None:
    found = state_of(str(path))
    return None if found == ABSENT else (str(path), found)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """SHA-256 over the source code of the readers and the renderer, as other code may read other data."""
    here = Path(__file__).parent
    folders = (here, here / "readers", here.parent / "synthetic")
    sources = sorted(path for folder in folders for path in folder.glob("*.py"))
    whole = hashlib.sha256()
    for path in (*sources, Path(files.__file__).with_name("image_reading.py")):
        whole.update(path.read_bytes())
    return whole.hexdigest()
