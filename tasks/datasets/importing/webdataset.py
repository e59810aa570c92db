"""webdataset shards: tar files in which the members of one sample share the name before the first dot."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tasks.datasets.csv_index import IndexRow
from tasks.datasets.importing.csv_tables import ENDINGS
from tasks.datasets.importing.messages import split_of

LABEL_KEYS = ("label", "cls", "class", "class_name", "category", "target")


def shard_files(path: Path) -> list[Path]:
    """The tar files of a folder and its subfolders, in order; or the one file."""
    if path.is_file():
        return [path] if _is_shard(path) else []
    return sorted(shard for shard in {*path.glob("*.tar"), *path.glob("*/*.tar")} if _is_shard(shard))


def read_shards(path: Path) -> Iterator[IndexRow]:
    """A row per sample that has an image and a label (`.cls`, `.txt`, or `.json` with a label in it).

    The split is told from the shard's name or folder. Raises ValueError for a shard that is damaged or unlabelled.
    """
    root = path.parent if path.is_file() else path
    for shard in shard_files(path):
        name = shard.relative_to(root).as_posix()
        try:
            yield from _samples(shard, name, split_of(shard.stem) or split_of(shard.parent.name) or "")
        except tarfile.TarError as error:
            raise ValueError(f"{shard} is not a whole tar file: {error}") from error


def _samples(shard: Path, name: str, split: str) -> Iterator[IndexRow]:
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, str] = {}
    with tarfile.open(shard, "r:") as archive:
        for member in archive:
            key, _, ending = member.name.partition(".")
            if not member.isfile():
                continue
            if f".{ending.lower()}" in ENDINGS:
                images[key] = member
            elif ending in ("cls", "txt", "json") and (key not in labels or ending == "cls"):
                labels[key] = _label(archive, member, ending)
    unlabelled = [key for key in images if not labels.get(key)]
    if unlabelled:
        raise ValueError(f"{shard}: {len(unlabelled)} samples have no label (.cls, .txt or .json), {unlabelled[0]} say")
    for key, member in images.items():
        yield IndexRow(split, f"{name}/{member.name}", (labels[key],), member.offset_data, member.size)


def _label(archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> str:
    file = archive.extractfile(member)
    text = "" if file is None else file.read().decode("utf-8", "replace").strip()
    if ending != "json":
        return text
    try:
        content = json.loads(text)
    except ValueError:
        return ""
    found = next((content[key] for key in LABEL_KEYS if key in content), "") if isinstance(content, dict) else content
    return str(found)


def _is_shard(path: Path) -> bool:
    """`model.pth.tar` is a checkpoint, by a custom of old."""
    return path.suffix == ".tar" and not path.name.endswith((".pth.tar", ".pt.tar"))
