"""Reuse of stored features whose key was computed from file names and sizes (earlier versions).

They are reused if no file or folder of the dataset changed since they were computed, or if a sample of images that are
encoded again has the stored features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backbones.io.files import sync_folder, write_durably
from tasks.datasets.dataset import ImageSource, SourceSplit
from tasks.datasets.file_states import state_of
from tasks.datasets.images import JoinedImages, ReadImages
from tasks.features.manifest import MANIFEST, DamagedEntryError, FeatureKey, FeatureManifest, read_manifest

SAMPLE = 256
"""Maximum number of images that are encoded again, from files newer than the features and from the others."""
TOLERANCE = {"float32": 1e-3}
"""Maximum distance between two encodings of an image on different machines, relative to the length of the vector."""
LOW_PRECISION_TOLERANCE = 2e-2
SEED = 0

Floats = npt.NDArray[np.float32]


def earlier_entry(root: Path, key: FeatureKey, split: SourceSplit) -> FeatureManifest | None:
    """The entry of an earlier version for images with these names and sizes, or None."""
    if not split.named_digest:
        return None
    try:
        found = read_manifest(root / replace(key, images=split.named_digest).digest)
    except (OSError, DamagedEntryError):
        return None
    return found if found.rows == len(split.images) else None


def is_older(split: SourceSplit, dataset: str, entry: FeatureManifest) -> bool:
    """Whether the entry is of this dataset and newer than all its files."""
    return entry.dataset == dataset and split.newest_change < entry.created


def adopt(root: Path, key: FeatureKey, entry: FeatureManifest) -> None:
    """Store an entry under its content-based key. Raises OSError if another process did so first."""
    changes = {"key": key.digest, "parts": key.parts, "earlier_key": entry.key}
    renamed = entry.model_copy(update=changes)
    folder = root / entry.key
    write_durably(folder / MANIFEST, [renamed.model_dump_json(indent=1).encode()])
    folder.rename(root / key.digest)
    sync_folder(root)


def sample(split: SourceSplit, since: float) -> list[int]:
    """Indices of images to encode again: files newer than `since` (seconds since the epoch), and a sample of the
    others."""
    newer = {place for place, path in enumerate(_paths(split.images)) if path and state_of(path)[2] / 1e9 >= since}
    others = [place for place in range(len(split.images)) if place not in newer]
    random = np.random.RandomState(SEED)
    return sorted(chosen for some in (sorted(newer), others) for chosen in _some(random, some))


def _some(random: np.random.RandomState, places: Sequence[int]) -> list[int]:
    if len(places) <= SAMPLE:
        return list(places)
    return [places[at] for at in random.choice(len(places), SAMPLE, replace=False)]


def _paths(images: ImageSource) -> list[str | None]:
    if isinstance(images, JoinedImages):
        return [path for part in images.parts for path in _paths(part)]
    if isinstance(images, ReadImages):
        return [str(images.path(place)) for place in range(len(images))]
    return [None] * len(images)


def are_same(stored: Floats, encoded: Floats, precision: str) -> bool:
    """Whether two encodings [n, d] are of the same images."""
    if stored.shape != encoded.shape:
        return False
    apart = np.linalg.norm(stored - encoded, axis=1)
    allowed = TOLERANCE.get(precision, LOW_PRECISION_TOLERANCE)
    return bool((apart <= allowed * np.linalg.norm(stored, axis=1).clip(min=1e-6)).all())
