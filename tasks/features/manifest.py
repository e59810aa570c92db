"""The records beside stored features: what an entry is made of. Needs neither torch nor numpy."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backbones.catalog.layer_columns import LayerColumn, Storage
from tasks.features.key import FORMAT, Part, digest_parts

MANIFEST = "manifest.json"
PLAN = "plan.json"
ARRAY = "features.npy"
SHARDS = "shards"
USED = "used"
"""An empty file whose time says when the entry was last opened."""
PARTIAL = ".partial"
DAMAGED = ".damaged"
LOCK = ".lock"


class DamagedEntryError(Exception):
    """An entry is not what its manifest says; the message names file and fault."""


class FeatureRecord(BaseModel):
    """Frozen, and open to fields of newer programs."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ExtractionPlan(FeatureRecord):
    """An extraction that has begun: `plan.json` of a `.partial` folder."""

    format: int = FORMAT
    key: str
    parts: dict[str, Part]
    backbone: str
    """Who asked first; a label for listings, not part of the key."""
    dataset: str
    split: str
    rows: int
    """Images, and so rows of the array."""
    created: float = Field(default_factory=time.time)
    """Seconds since the epoch."""


class Shard(FeatureRecord):
    """Rows `start` to `stop` (exclusive) and the SHA-256 of their bytes."""

    start: int
    stop: int
    sha256: str


class FeatureManifest(ExtractionPlan):
    """A complete entry: `manifest.json` next to `features.npy`, [rows, dimension]."""

    dimension: int
    shards: tuple[Shard, ...]
    finished: float = Field(default_factory=time.time)
    images_per_s: float | None
    """Speed of the attempt that finished it: decoding, preprocessing and encoding together; None if all was done."""
    array_bytes: int
    """Size of `features.npy`, header included."""
    storage: Storage = "float32"
    columns: tuple[LayerColumn, ...] = ()
    """Meaning of the columns of layer-wise features, in order; empty for pooled features."""
    earlier_key: str = ""
    """The key that an earlier version gave it, from the names and sizes of files, before it was found to be of the same
    images; empty for others.
    """


def read_manifest(folder: Path) -> FeatureManifest:
    """The manifest of a complete entry. Raises FileNotFoundError without one, DamagedEntryError on a wrong one."""
    path = folder / MANIFEST
    try:
        manifest = FeatureManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DamagedEntryError(f"{path} cannot be read: {error.errors()[0]['msg']}") from error
    if manifest.key != folder.name or manifest.key != digest_parts(manifest.parts):
        raise DamagedEntryError(f"{path} describes the entry {manifest.key[:12]}, not the one whose folder it is in")
    return manifest


def read_plan(folder: Path) -> ExtractionPlan | None:
    """The plan of a begun extraction, None when there is none that can be read."""
    try:
        return ExtractionPlan.model_validate_json((folder / PLAN).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def check_size(folder: Path, manifest: FeatureManifest) -> None:
    """Raise DamagedEntryError when `features.npy` is missing or has another size than its manifest says."""
    path = folder / ARRAY
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise DamagedEntryError(f"{path} is missing") from error
    if size != manifest.array_bytes:
        raise DamagedEntryError(f"{path} holds {size} bytes, its manifest says {manifest.array_bytes}")


class FeatureError(Exception):
    """Features could not be made. The message names backbone, split and the way out."""


class NotFiniteError(FeatureError):
    """The backbone gave NaN or infinity."""


class OutOfMemoryError(FeatureError):
    """Not even a single image fits the device's memory."""


class DiskFullError(FeatureError):
    """No room for the features. What is finished stays, and the next attempt carries on from it."""
