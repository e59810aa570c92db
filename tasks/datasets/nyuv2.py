"""NYU Depth v2 with the surface normals of Ladicky et al., as Goyal et al. (2019) prepared them.

Layout: `all_images/<id>_rgb.*`, `surfacenormal_metadata/{train,test}_SN40.json`, `all_normals.pklz` and `vocab40.mat`
beside these. The masks `*_SN40.png` that the published code trains on are not needed: a pixel's direction class is its
normal's nearest entry of the vocabulary, which is how they were made.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset, SourceSplit
from tasks.datasets.listing import file_split, wrong_content
from tasks.datasets.nyuv2_normals import NyuNormals

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
    normals = NyuNormals(card, root / META, tuple(file.split("_")[0] for file in files), codebook)
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
