"""webdataset shards: tar files in which the members of a sample share folder and base name up to its first dot."""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backbones.io.errors import counted
from tasks.datasets.balance import Balance
from tasks.datasets.csv_index import IndexRow
from tasks.datasets.file_kinds import ENDINGS, is_leftover
from tasks.datasets.folder_meanings import Ambiguous, split_of
from tasks.datasets.importing.messages import ImportOptions
from tasks.datasets.shards import compression_of

LABEL_KEYS = ("label", "cls", "class", "class_name", "category", "target")
LABELS = ("cls", "txt", "json")
NO_LABEL = frozenset({"", "nan", "null", "<na>"})
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar.zst")


def shard_files(path: Path) -> list[Path]:
    """Tar files of a folder and its subfolders, in order, including compressed ones; or the single file."""
    if path.is_file():
        return [path] if _is_shard(path) else []
    return sorted(shard for shard in {*path.glob("*"), *path.glob("*/*")} if _is_shard(shard) and shard.is_file())


def read_shards(path: Path, wish: ImportOptions, balance: Balance) -> Iterator[IndexRow]:
    """A row per sample with an image and a label (`.cls`, `.txt`, or `.json` with a label).

    The split is from the shard's name or folder. Raises Ambiguous for a shard without samples, and ValueError for one
    that is damaged, unlabelled, or compressed other than by gzip.
    """
    root = path.parent if path.is_file() else path
    for shard in shard_files(path):
        name = shard.relative_to(root).as_posix()
        split = split_of(shard.stem) or split_of(shard.parent.name) or ""
        try:
            rows = list(_samples(shard, name, split, balance))
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise ValueError(f"{shard} is not a whole tar file: {error}") from error
        if not rows and not wish.leave_out:
            raise Ambiguous(f"{shard} has no sample with an image: write it again, or choose --leave-out")
        if not rows:
            balance.leave_out("shards without a sample", name)
        yield from rows


@dataclass
class _Sample:
    """Members of one sample."""

    images: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    """By suffix, e.g. `png` or `seg.png`."""
    labels: dict[str, str | None] = field(default_factory=dict)
    """By suffix; None for an explicit null label."""

    @property
    def label(self) -> str | None:
        """The label; None for null, empty without a label file."""
        return next((self.labels[ending] for ending in LABELS if self.labels.get(ending, "") != ""), "")

    @property
    def unused(self) -> list[str]:
        """Suffixes of further label files."""
        return [ending for ending in LABELS if self.labels.get(ending, "") != ""][1:]


def _samples(shard: Path, name: str, split: str, balance: Balance) -> Iterator[IndexRow]:
    samples: dict[str, _Sample] = {}
    compression = compression_of(shard)
    if compression not in ("", "gzip"):
        raise ValueError(
            f"{shard} is compressed by {compression}, and images are read in tar files that are plain or "
            "compressed by gzip: unpack it to a plain .tar first"
        )
    with tarfile.open(shard, "r:gz" if compression else "r:") as archive:
        for member in archive:
            if member.isfile():
                _take(archive, member, samples, f"{name}/{member.name}", balance)
    pictured = {key: sample for key, sample in samples.items() if sample.images}
    unlabelled = [key for key, sample in pictured.items() if sample.label == ""]
    if pictured and len(unlabelled) == len(pictured):
        raise ValueError(
            f"{shard}: {counted(len(unlabelled), 'sample has', 'samples have')} no label (.cls, .txt or "
            f".json), e.g. {unlabelled[0]}"
        )
    for key, sample in samples.items():
        if not sample.images:
            balance.leave_out("samples without an image", f"{name}/{key}")
        elif not sample.label:
            balance.leave_out("samples without a label", f"{name}/{key}")
        else:
            member = _image(shard, key, sample, balance)
            for ending in sample.unused:
                balance.leave_out(f"files of labels or captions that end in .{ending}", f"{name}/{key}.{ending}")
            yield IndexRow(split, f"{name}/{member.name}", (sample.label,), member.offset_data, member.size)


def _take(
    archive: tarfile.TarFile, member: tarfile.TarInfo, samples: dict[str, _Sample], where: str, balance: Balance
) -> None:
    """Add a member to its sample. `./` before names and dots in folders are not part of a sample's key."""
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    base, _, ending = parts[-1].partition(".")
    if not base or any(is_leftover(part) for part in parts):
        balance.leave_out("leftovers in shards", where)
        return
    sample = samples.setdefault("/".join([*parts[:-1], base]), _Sample())
    if f".{ending.lower().rpartition('.')[2]}" in ENDINGS:
        sample.images[ending.lower()] = member
    elif ending in LABELS:
        sample.labels[ending] = _label(archive, member, ending)
    else:
        balance.leave_out(f"members that end in .{ending}" if ending else "members without an ending", where)


def _image(shard: Path, key: str, sample: _Sample, balance: Balance) -> tarfile.TarInfo:
    """The picture of a sample: the member with a plain suffix, or the only one. Raises ValueError."""
    plain = [ending for ending in sample.images if "." not in ending] or list(sample.images)
    if len(plain) > 1:
        raise ValueError(f"{shard}: the sample {key} has several images, {', '.join(plain)}: keep one as .{plain[0]}")
    for ending, member in sample.images.items():
        if ending != plain[0]:
            balance.leave_out(f"further images that end in .{ending}", member.name)
    return sample.images[plain[0]]


def _label(archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> str | None:
    file = archive.extractfile(member)
    text = "" if file is None else file.read().decode("utf-8", "replace").strip()
    if ending != "json":
        return None if text.lower() in NO_LABEL else text
    try:
        content = json.loads(text)
    except ValueError:
        return ""
    if isinstance(content, dict):
        content = next((content[key] for key in LABEL_KEYS if key in content), "")
    return None if content is None or str(content).lower() in NO_LABEL - {""} else str(content)


def _is_shard(path: Path) -> bool:
    """`model.pth.tar` is conventionally a checkpoint."""
    name = path.name.lower()
    return name.endswith((".tar", *COMPRESSED)) and not name.endswith((".pth.tar", ".pt.tar")) and not is_leftover(name)
