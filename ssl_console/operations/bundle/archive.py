"""The zip file: written in one form, and only read in that form. Nothing in it is ever executed or unpickled.

Members are stored uncompressed, so the file cannot unpack to more than its size. The file's comment is the SHA-256 of
all bytes before the digest in it: a flipped byte is detected anywhere, even where zip readers do not look.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from backbones.io.files import own_opener
from ssl_console.analysis.badged_results import BadgeSources

LABEL = b"sha256:"
DIGITS = 64
MOST_MEMBERS = 200_000
LARGEST_TEXT = 1 << 28
"""Maximum size of a JSON file or table in bytes."""
CHUNK = 1 << 20
NAMES = re.compile(
    r"bundle\.json|README\.txt|(records|specs|manifests)/[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}\.json"
    r"|predictions/[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}\.npz"
    r"|tables/[a-z-]{1,40}\.(json|csv|md)"
)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PRIVATE = 0o600 << 16
_ENCRYPTED = 0x1


class NotABundle(Exception):  # noqa: N818 - an answer, not a fault
    """The file does not have the form that `write` produces; the message names it and the reason."""


def write(path: Path, members: Iterable[tuple[str, bytes | Path]]) -> str:
    """Write members, from memory or from files, in this order; return the digest of the file. Raises OSError."""
    with (
        open(path, "xb", opener=own_opener) as whole,
        zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        for name, content in members:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = _PRIVATE
            archive.writestr(info, content if isinstance(content, bytes) else content.read_bytes())
        archive.comment = LABEL + b"0" * DIGITS
    digest = _digest(path)
    with path.open("r+b") as file:
        file.seek(-DIGITS, 2)
        file.write(digest.encode())
    return digest


@dataclass
class Archive:
    """A bundle open for reading."""

    path: Path
    _file: zipfile.ZipFile

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Open a file. Raises NotABundle for anything that was not written by `write`, FileNotFoundError."""
        try:
            file = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise NotABundle(
                f"{path} cannot be read as a zip file ({error}): it is damaged, or not a bundle"
            ) from error
        for problem in _problems(file.infolist(), path.stat().st_size):
            file.close()
            raise NotABundle(f"{path}: {problem}: not a bundle, so nothing was read")
        return cls(path, file)

    def close(self) -> None:
        self._file.close()

    @property
    def names(self) -> list[str]:
        return self._file.namelist()

    def read(self, name: str) -> bytes:
        """Content of one member. Raises KeyError when it is missing, ValueError when it is damaged or too large."""
        info = self._file.getinfo(name)
        if not name.endswith(".npz") and info.file_size > LARGEST_TEXT:
            raise ValueError(f"{info.file_size:,} bytes exceed the limit for a table or record")
        try:
            return self._file.read(info)
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise ValueError(str(error)) from error

    @property
    def digest(self) -> str:
        """Digest of the file according to its comment, as printed by `bundle`."""
        return self._file.comment.removeprefix(LABEL).decode(errors="replace")[:DIGITS]

    @property
    def whole(self) -> bool:
        """Whether every byte is unchanged, including the zip file's own directory."""
        return self._file.comment == LABEL + _digest(self.path).encode()


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _digest(path: Path) -> str:
    """Digest of all bytes except the digest at the end."""
    found, left = hashlib.sha256(), max(0, path.stat().st_size - DIGITS)
    with path.open("rb") as file:
        while left and (chunk := file.read(min(CHUNK, left))):
            found.update(chunk)
            left -= len(chunk)
    return found.hexdigest()


def _problems(members: list[zipfile.ZipInfo], size: int) -> Iterator[str]:
    if len(members) > MOST_MEMBERS:
        yield f"it has {len(members):,} members"
    if len({one.filename for one in members}) != len(members):
        yield "two members have the same name"
    if sum(one.compress_size for one in members) > size:
        yield "its members overlap"
    for one in members:
        if not NAMES.fullmatch(one.filename):
            yield f"it has a member {one.filename[:80]!r}"
        if one.compress_type != zipfile.ZIP_STORED or one.file_size != one.compress_size:
            yield f"{one.filename} is compressed"
        if one.external_attr >> 16 and stat.S_IFMT(one.external_attr >> 16) not in (0, stat.S_IFREG):
            yield f"{one.filename} is a link or another special file"
        if one.flag_bits & _ENCRYPTED:
            yield f"{one.filename} is encrypted"


INDEX, README = "bundle.json", "README.txt"
FORMAT = 3
"""2: tables have estimates and marks. 3: their marks are also derived from the facts about backbones in the index."""


class Listed(BaseModel):
    """One member."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sha256: str
    bytes: int


class Index(BaseModel):
    """`bundle.json`: list of members, and how the tables were derived from the records."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = FORMAT
    made_by: str
    """Version of this package."""
    created: float
    """Seconds since the epoch."""
    columns: tuple[tuple[str, str], ...] | None = None
    """The tables' columns as (task, variant); None for everything."""
    twins: dict[str, str] = Field(default_factory=dict)
    """By backbone, the untrained one of its architecture that the tables compare it with."""
    seen_datasets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """By backbone, the datasets that the tables mark as seen in pre-training."""
    files: dict[str, Listed] = Field(default_factory=dict)
    """Every other member but the README."""

    @property
    def badge_sources(self) -> BadgeSources:
        """Facts that marks in the tables are derived from."""
        return BadgeSources(self.twins, {name: frozenset(found) for name, found in self.seen_datasets.items()})


def record(run_id: str) -> str:
    """Member with the `result.json` of a run."""
    return f"records/{run_id}.json"


def spec(run_id: str) -> str:
    """Member with the `run.json` of a run."""
    return f"specs/{run_id}.json"


def predictions(run_id: str) -> str:
    """Member with the `predictions.npz` of a run."""
    return f"predictions/{run_id}.npz"


def manifest(digest: str) -> str:
    """Member with the content of a dataset, by the digest in results' keys."""
    return f"manifests/{digest}.json"


def run_id(name: str) -> str:
    """Run id in the name of a run's member."""
    return name.partition("/")[2].rpartition(".")[0]


LARGEST = 1 << 32
"""Maximum size of all arrays together, unpacked, in bytes."""
LARGE, MOST_SHRUNK = 1 << 28, 200
"""Above this size in bytes, arrays compressed to less than a two-hundredth are a decompression bomb: predictions
do not compress that well.
"""
KINDS = "biuf"
"""Booleans, integers, floats."""


def read_arrays(content: bytes) -> Mapping[str, npt.NDArray[np.generic]]:
    """Arrays of an `npz` file by name. Raises ValueError for anything but arrays of numbers."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = file.infolist()
            if sum(member.file_size for member in members) > LARGEST:
                raise ValueError(f"its arrays are larger than {LARGEST:,} bytes")
            if sum(member.file_size for member in members) > max(LARGE, MOST_SHRUNK * len(content)):
                raise ValueError(f"its arrays unpack to more than {MOST_SHRUNK} times their size")
            return {member.filename.removesuffix(".npy"): _array(file, member) for member in members}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise ValueError(f"its arrays cannot be read: {error}") from error


def _array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[np.generic]:
    with file.open(member) as stream:
        shape, fortran, kind = _header(stream)
        if kind.kind not in KINDS or kind.hasobject:
            raise ValueError(f"{member.filename} holds {kind}, not numbers")
        data = stream.read()
    if math.prod(shape) * kind.itemsize != len(data):
        raise ValueError(f"{member.filename} declares shape {shape} of {kind}, but has {len(data):,} bytes")
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"array format {version} is not supported")
    shape, fortran, kind = read(stream)
    return shape, fortran, kind
