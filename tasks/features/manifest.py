"""Key of stored features, which contains everything they depend on, and their metadata files. No torch, no numpy."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backbones.catalog.layer_info import LayerColumn, LayerRequest, Storage
from backbones.io.file_digests import canonical

FORMAT = 1
"""Increased when entries of older versions must not be read."""

Decoder = Literal["cpu", "nvjpeg"]
"""Engine that decodes JPEG files: the threads of the CPU, or the GPU."""
NVJPEG_CONDITION = {"decoder": "nvjpeg"}
"""Part of the key of features from images that nvJPEG has decoded."""
Part = None | bool | int | float | str
MANIFEST = "manifest.json"
PLAN = "plan.json"
ARRAY = "features.npy"
SHARDS = "shards"
USED = "used"
"""Empty file whose modification time is the time of the last read."""
PARTIAL = ".partial"
DAMAGED = ".damaged"
LOCK = ".lock"


@dataclass(frozen=True)
class FeatureKey:
    """Complete list of what changes features; batch size, device, host and path are not part of it.

    `backbone` is `backbones.catalog.card.identity(...)` (weights digest, architecture, pooling, preprocessing),
    `images` the digest of one source split's images (content, order, and how they are read), `precision` the arithmetic
    of the encoder. `conditions` are further settings that change features and differ from their defaults (layers,
    engine); defaults are omitted, so that earlier keys stay valid.
    """

    backbone: Mapping[str, Any]
    images: str
    precision: str = "float32"
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Part]:
        """All components under dotted names, e.g. `backbone.preprocessing.size`."""
        whole = {"backbone": self.backbone, "images": self.images, "precision": self.precision, "format": FORMAT}
        return flattened({**self.conditions, **whole})

    @property
    def digest(self) -> str:
        """Name of the entry: 40 hexadecimal digits."""
        return digest_parts(self.parts)


def digest_parts(parts: Mapping[str, Part]) -> str:
    """Name of the entry with these components."""
    return hashlib.sha256(canonical(dict(parts))).hexdigest()[:40]


def layer_request_of(parts: Mapping[str, Part]) -> LayerRequest | None:
    """Layer-wise features described by these components; None for pooled features."""
    if "layers.blocks" not in parts:
        return None
    return LayerRequest.model_validate({"blocks": parts["layers.blocks"], "storage": parts["layers.storage"]})


def flattened(value: object, prefix: str = "") -> dict[str, Part]:
    """Flatten nested mappings and sequences to dotted names. Raises TypeError for values that are not JSON."""
    if isinstance(value, Mapping):
        children: list[tuple[str, object]] = [(str(name), child) for name, child in value.items()]
    elif isinstance(value, list | tuple):
        children = [(str(place), child) for place, child in enumerate(value)]
    elif value is None or isinstance(value, bool | int | float | str):
        return {prefix: value}
    else:
        raise TypeError(f"{prefix} = {value!r} is a {type(value).__name__}: only JSON values can name features")
    dotted = prefix and f"{prefix}."
    return {name: leaf for place, child in children for name, leaf in flattened(child, f"{dotted}{place}").items()}


class DamagedEntryError(Exception):
    """An entry that contradicts its manifest; the message names file and problem."""


class FeatureRecord(BaseModel):
    """Frozen model that accepts fields of newer versions."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ExtractionPlan(FeatureRecord):
    """An extraction in progress: `plan.json` of a `.partial` folder."""

    format: int = FORMAT
    key: str
    parts: dict[str, Part]
    backbone: str
    """Backbone of the run that computed the entry; a label for listings, not part of the key."""
    dataset: str
    split: str
    rows: int
    """Number of images (rows of the array)."""
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
    """Throughput of the attempt that completed the entry (decoding, preprocessing and encoding); None if no image was
    encoded."""
    array_bytes: int
    """Size of `features.npy` in bytes, including the header."""
    storage: Storage = "float32"
    columns: tuple[LayerColumn, ...] = ()
    """Meaning of the columns of layer-wise features, in order; empty for pooled features."""
    earlier_key: str = ""
    """Key of the entry in an earlier version, from file names and sizes; empty for entries created with a content-based
    key."""


def read_manifest(folder: Path) -> FeatureManifest:
    """The manifest of a complete entry. Raises FileNotFoundError if missing, DamagedEntryError if invalid."""
    path = folder / MANIFEST
    try:
        manifest = FeatureManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DamagedEntryError(f"{path} cannot be read: {error.errors()[0]['msg']}") from error
    if manifest.key != folder.name or manifest.key != digest_parts(manifest.parts):
        raise DamagedEntryError(f"{path} describes the entry {manifest.key[:12]}, not the one whose folder it is in")
    return manifest


def read_plan(folder: Path) -> ExtractionPlan | None:
    """The plan of an unfinished extraction; None if it is missing or unreadable."""
    try:
        return ExtractionPlan.model_validate_json((folder / PLAN).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def check_size(folder: Path, manifest: FeatureManifest) -> None:
    """Raise DamagedEntryError if `features.npy` is missing or its size differs from the manifest."""
    path = folder / ARRAY
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise DamagedEntryError(f"{path} is missing") from error
    if size != manifest.array_bytes:
        raise DamagedEntryError(f"{path} holds {size} bytes, its manifest records {manifest.array_bytes}")


class FeatureError(Exception):
    """Features could not be computed. The message names backbone, split and a fix."""


class NotFiniteError(FeatureError):
    """The backbone computed NaN or infinity."""


class OutOfMemoryError(FeatureError):
    """A single image does not fit the device's memory."""


class DiskFullError(FeatureError):
    """The disk is full. Finished shards are kept, and the next attempt resumes from them."""
