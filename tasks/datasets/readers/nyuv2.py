"""NYU Depth v2 with the surface normals of Ladicky et al., as Goyal et al. (2019) prepared them.

Layout: `all_images/<id>_rgb.*`, `surfacenormal_metadata/{train,test}_SN40.json`, `all_normals.pklz` and `vocab40.mat`
next to these. The masks `*_SN40.png` that the published code trains on are not needed: a pixel's direction class is its
normal's nearest entry of the vocabulary, which is how they were made.
"""

from __future__ import annotations

import errno
import gzip
import json
import pickle
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from backbones.io.files import whole_file, write_array
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset, SourceSplit, digest_lines
from tasks.datasets.dense_targets import NormalMap
from tasks.datasets.file_states import ReadFile
from tasks.datasets.readers.make_splits import file_split, listed_files, wrong_content

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
