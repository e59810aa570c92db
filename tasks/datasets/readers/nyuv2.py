"""NYU Depth v2: with the surface normals of Ladicky et al., and as depth estimation uses it.

Normals, as Goyal et al. (2019) prepared them: `all_images/<id>_rgb.*`, `surfacenormal_metadata/{train,test}_SN40.json`,
`all_normals.pklz` and `vocab40.mat` next to these. The masks `*_SN40.png` that the published code trains on are not
needed: a pixel's direction class is its normal's nearest entry of the vocabulary, which is how they were made.

Depth, with the lists and frames of BTS, which DINOv2 and DINOv3 follow: `nyu_train.txt` (24,231 lines) and
`nyu_test.txt` (654), or BTS's own names of both; each line has the path of an image, of its depth (16 bit PNG in
millimetres, 0 where it is not known) and the focal length. Paths may begin with a slash and are below the same folder:
`<scene>/rgb_00045.jpg`, `<scene>/sync_depth_00045.png`.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import pickle
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from backbones.io.files import whole_file, write_array
from backbones.io.image_reading import PIL_FAILURES
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset, DepthMap, NormalMap, SourceSplit, digest_lines
from tasks.datasets.file_states import ReadFile
from tasks.datasets.images import changed_meanwhile
from tasks.datasets.layouts import NYU_LISTS
from tasks.datasets.presence import advice
from tasks.datasets.readers.make_splits import file_split, listed_files, read_lines, wrong_content

PACKED = "all_normals.pklz"
ALLOWED = frozenset(
    {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy.core.numeric", "_frombuffer"),
        ("_codecs", "encode"),
    }
)
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NORMALS_FAILURES = (OSError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError, gzip.BadGzipFile)
MILLIMETRES = 1_000.0
WHOLE_NUMBERS = ("I", "I;16", "I;16B")
"""Pillow's modes of 16 bit PNG files."""
Numbers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class NyuNormals:
    """Normals by index; `codebook` float64 [40, 3] is the published vocabulary of directions."""

    card: DatasetCard
    folder: Path
    identifiers: tuple[str, ...]
    codebook: npt.NDArray[np.float64]
    packed: ReadFile
    """The published pickle file as read."""
    classes: tuple[str, ...] = ()
    _opened: list[_Opened] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.identifiers)

    @property
    def digest(self) -> str:
        """Digest of the file's content, the images, and the vocabulary."""
        return digest_lines([self.packed.digest.hex(), *self.identifiers, self.codebook.tobytes().hex()])

    @property
    def named_digest(self) -> str:
        """Digest of earlier versions, from the file's size."""
        size = self.packed.state[0]
        return digest_lines([f"{PACKED}\t{size}", *self.identifiers, self.codebook.tobytes().hex()])

    def frame(self, index: int) -> tuple[int, int]:
        """Width and height of the normals. Raises `DataError`."""
        rows, columns = self[index].shape[:2]
        return columns, rows

    def __getitem__(self, index: int) -> NormalMap:
        """float32 [h, w, 3], zeros where the depth is invalid; raises `DataError` for an image without normals."""
        if not self._opened:
            self._opened.append(_opened(self.card, self.folder, self.packed.digest.hex()))
        opened, name = self._opened[0], self.identifiers[index]
        if name not in opened.rows:
            raise wrong_content(self.card, self.folder / PACKED, f"it has no normals of the image {name}")
        row = opened.rows[name]
        normals = np.array(opened.normals[row], np.float32)
        length = np.linalg.norm(normals, axis=2)
        known = (opened.valid[row] > 0) & (length > 0)
        if not np.isfinite(length[known]).all():
            raise wrong_content(self.card, self.folder / PACKED, f"the normals of the image {name} are not numbers")
        return cast("NormalMap", np.where(known[:, :, None], normals / np.maximum(length, 1e-12)[:, :, None], 0))


@dataclass(frozen=True, eq=False)
class _Opened:
    """Memory-mapped arrays: `normals` float32 [n, h, w, 3], `valid` [n, h, w], and each image's row."""

    normals: npt.NDArray[np.float32]
    valid: npt.NDArray[np.uint8]
    rows: dict[str, int]


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        """Allow only numpy's arrays."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it requires {module}.{name}, which is not needed for data and was not run")
        found: object = super().find_class(module, name)
        return found


def _opened(card: DatasetCard, folder: Path, digest: str) -> _Opened:
    """The unpacked files, created if missing or of another pickle."""
    packed, names = folder / PACKED, folder / "all_normals.json"
    try:
        made = json.loads(names.read_text(encoding="utf-8")) if names.exists() else {}
        if not isinstance(made, dict) or made.get("sha256") != digest:
            made = _unpack(packed, folder, digest)
        rows = {name: row for row, name in enumerate(made["names"])}
        normals, valid = (np.load(folder / f"all_normals.{part}.npy", mmap_mode="r") for part in ("vectors", "valid"))
    except PermissionError as error:
        raise DataError(
            f"{error.filename} cannot be written: allow writing, as the normals are unpacked there once"
        ) from error
    except NORMALS_FAILURES as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        raise wrong_content(card, packed, error) from error
    return _Opened(normals, valid, rows)


def _unpack(packed: Path, folder: Path, digest: str) -> dict[str, Any]:
    """Write three files next to the pickle; the list of names is written last and marks them complete."""
    with gzip.open(packed) as file:
        content = _Reader(file, encoding="latin1").load()
    normals, valid = content["all_normals"], content["all_valid_depth_masks"]
    if normals.ndim != 4 or normals.shape[3] != 3 or valid.shape != normals.shape[:3]:
        raise ValueError(f"normals of the shape {normals.shape} with valid pixels of the shape {valid.shape}")
    for part, values in (("vectors", normals.astype(np.float32)), ("valid", valid.astype(np.uint8))):
        write_array(folder / f"all_normals.{part}.npy", values)
    made = {"sha256": digest, "names": [str(name) for name in content["all_filenames"]]}
    with whole_file(folder / "all_normals.json") as file:
        file.write(json.dumps(made).encode())
    return made


META = "surfacenormal_metadata"
FAILURES = (OSError, ValueError, TypeError, LookupError, NotImplementedError, MatReadError)


def read(root: Path, card: DatasetCard) -> Dataset:
    """Train and test with normals; no labels of whole images."""
    codebook = _codebook(card, root / META / "vocab40.mat")
    splits = {name: _split(root, card, name, codebook) for name in ("train", "test")}
    return Dataset(card.name, (), multi_label=False, splits=splits)


def _split(root: Path, card: DatasetCard, name: str, codebook: npt.NDArray[np.float64]) -> SourceSplit:
    files = _files(card, root / META / f"{name}_SN40.json")
    images = [f"all_images/{file}" for file in files]
    split = file_split(card, name, root, images, np.zeros((len(files), 0), np.int64), 0)
    (packed,) = listed_files(card, "normals", root / META, [PACKED])
    normals = NyuNormals(card, root / META, tuple(file.split("_")[0] for file in files), codebook, packed)
    return replace(split, targets={"normals": normals})


def _files(card: DatasetCard, path: Path) -> list[str]:
    """Image names of a list of records with the key `img`."""
    try:
        records: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return [str(record["img"]) for record in records]
    except FAILURES as error:
        raise wrong_content(card, path, error) from error


def _codebook(card: DatasetCard, path: Path) -> npt.NDArray[np.float64]:
    """float64 [40, 3]."""
    try:
        centres = np.asarray(loadmat(str(path))["vocabs"][0][0]["normals"][0][0], np.float64)
    except FAILURES as error:
        raise wrong_content(card, path, error) from error
    if centres.ndim != 2 or centres.shape[1] != 3 or not np.isfinite(centres).all():
        raise wrong_content(card, path, f"a vocabulary of the shape {centres.shape}, not [40, 3]")
    return centres


@dataclass(frozen=True)
class FileDepths:
    """Depth files below a folder."""

    card: DatasetCard
    root: Path
    files: tuple[str, ...]
    contents: tuple[str, ...]
    """SHA-256 of each file, as hexadecimal digits."""
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    @property
    def digest(self) -> str:
        """Digest of the files' contents, in order."""
        return digest_lines(self.contents)

    def __getitem__(self, index: int) -> DepthMap:
        """float32 [h, w] in metres, 0 where unknown; raises `DataError` with the name of a file without depth."""
        return self._numbers(index).astype(np.float32) / np.float32(MILLIMETRES)

    def frame(self, index: int) -> tuple[int, int]:
        """Width and height. Raises `DataError`."""
        rows, columns = self._numbers(index).shape
        return columns, rows

    def _numbers(self, index: int) -> Numbers:
        path, digest = self.root / self.files[index], self.contents[index]
        return read_numbers(
            self.card, path, digest, modes=WHOLE_NUMBERS, kind="depth", needs="depth has 16 bits per pixel"
        )


def read_depth(root: Path, card: DatasetCard) -> Dataset:
    """Train and test with depth; no labels of whole images."""
    splits = {name: _depth_split(root, card, name, names) for name, names in NYU_LISTS.items()}
    return Dataset(card.name, (), multi_label=False, splits=splits)


def _depth_split(root: Path, card: DatasetCard, name: str, lists: tuple[str, ...]) -> SourceSplit:
    path = next((root / one for one in lists if (root / one).exists()), root / lists[0])
    rows = [line.split() for line in sorted(read_lines(card, path))]
    if any(len(row) != 3 for row in rows):
        raise wrong_content(card, path, "a line is not an image, its depth and the focal length")
    images, depths = ([row[place].lstrip("/") for row in rows] for place in (0, 1))
    split = file_split(card, name, root, images, np.zeros((len(rows), 0), np.int64), 0)
    found = listed_files(card, f"{name} (depth)", root, depths)
    targets = FileDepths(card, root, tuple(depths), tuple(one.digest.hex() for one in found))
    return replace(split, targets={"depth": targets})


def read_numbers(
    card: DatasetCard, path: Path, digest: str | None, *, modes: Collection[str], kind: str, needs: str
) -> Numbers:
    """int64 [h, w]. Raises DataError naming the file, for other `modes` of Pillow and for content that has changed.

    `digest` is the SHA-256 that the file had when the dataset was opened, or None; `kind` and `needs` are words of the
    message: what the file should be, and what its pixels need.
    """
    try:
        content = path.read_bytes()
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise changed_meanwhile(path)
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in modes:
                raise ValueError(f"{image.mode} pixels, and {needs}")
            return np.asarray(image, np.int64)
    except (Image.DecompressionBombError, *PIL_FAILURES) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{path} cannot be read as {kind} ({reason}): {advice(card)}") from error
