"""Stored features: read when they are there, otherwise encoded once, by one process.

<root>/<key>/            features.npy, manifest.json     complete; appears by one rename
<root>/<key>.partial/    plan.json, shards/              begun; the next attempt carries on from its shards
<root>/<key>.damaged-*/                                  set aside because it was not what its manifest said
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backbones.catalog.card import PreprocessingSpec
from backbones.io.files import exclusive, sync_folder, touch_own, write_durably
from tasks.datasets.dataset import SourceSplit
from tasks.features.decoded_images import DecodedImages, DecodedRows
from tasks.features.extraction import EncoderLike, Extraction, Machine, SplitImages
from tasks.features.key import FeatureKey
from tasks.features.manifest import (
    ARRAY,
    DAMAGED,
    LOCK,
    MANIFEST,
    PARTIAL,
    PLAN,
    SHARDS,
    USED,
    DamagedEntryError,
    DiskFullError,
    ExtractionPlan,
    FeatureManifest,
    Shard,
    read_manifest,
)
from tasks.features.shards import boundaries, finished_shards, join, open_array, rows_in_shards, write_shard
from tasks.reporter import Reporter

Floats = npt.NDArray[np.float32]

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
MEGABYTE = 1e6


@dataclass(frozen=True)
class FeatureRequest:
    """Which features are wanted, and how messages call them."""

    key: FeatureKey
    backbone: str
    dataset: str
    split: SourceSplit
    spec: PreprocessingSpec


@dataclass(frozen=True)
class Features:
    """Features of one source split, in its order."""

    values: Floats
    """[n, d] float32, memory-mapped, read-only."""
    manifest: FeatureManifest
    encoded: int
    """Images that this call sent through the encoder; 0 when everything was stored already."""


@dataclass(frozen=True)
class FeatureStore:
    """One folder of features, shared by every process that is given it."""

    root: Path
    machine: Machine = field(default_factory=Machine)
    decoded: DecodedImages | None = None
    """Where backbones share decoded images; None: each decodes for itself."""

    def holds(self, key: FeatureKey) -> bool:
        """Whether a complete entry is there (not whether it is intact)."""
        return (self.root / key.digest / MANIFEST).is_file()

    def features(self, request: FeatureRequest, encoder: Callable[[], EncoderLike], reporter: Reporter) -> Features:
        """The wanted features; `encoder` is called only if some are missing.

        Raises `FeatureError` (NaN, memory, disk), `DataError` (images) and whatever `encoder` raises.
        """
        stored = self._stored(request)
        if stored is not None:
            return stored
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive(self._path(request, LOCK), _Waiting(self._path(request, PARTIAL), request, reporter)):
            self._set_damaged_aside(request, reporter)
            return self._stored(request) or self._extracted(request, encoder(), reporter)

    def _path(self, request: FeatureRequest, suffix: str = "") -> Path:
        return self.root / f"{request.key.digest}{suffix}"

    def _stored(self, request: FeatureRequest) -> Features | None:
        self._adopt(request)
        try:
            return self._opened(request, encoded=0)
        except (FileNotFoundError, DamagedEntryError):
            return None

    def _adopt(self, request: FeatureRequest) -> None:
        """Give an entry whose key was made of names and sizes the key of content, where every file is older than it."""
        split = request.split
        if not split.named_digest or self.holds(request.key):
            return
        earlier = self.root / replace(request.key, images=split.named_digest).digest
        try:
            manifest = read_manifest(earlier)
            if split.newest_change < manifest.created:
                renamed = manifest.model_copy(update={"key": request.key.digest, "parts": request.key.parts})
                write_durably(earlier / MANIFEST, [renamed.model_dump_json(indent=1).encode()])
                earlier.rename(self._path(request))
                sync_folder(self.root)
        except (OSError, DamagedEntryError):
            return  # another process was faster, or there is nothing that can be used

    def _opened(self, request: FeatureRequest, encoded: int) -> Features:
        folder = self._path(request)
        manifest = read_manifest(folder)
        values = open_array(folder, manifest)
        _mark_used(folder)
        return Features(values, manifest, encoded)

    def _set_damaged_aside(self, request: FeatureRequest, reporter: Reporter) -> None:
        folder = self._path(request)
        try:
            if folder.exists():
                open_array(folder, read_manifest(folder))
        except (DamagedEntryError, FileNotFoundError) as error:
            folder.rename(self._path(request, f"{DAMAGED}-{time.time_ns()}"))
            reporter.warn(f"stored features were damaged and are computed again: {error}")

    def _extracted(self, request: FeatureRequest, encoder: EncoderLike, reporter: Reporter) -> Features:
        partial = self._path(request, PARTIAL)
        try:
            encoded = self._finish(partial, request, encoder, reporter)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise DiskFullError(_no_room(partial, request)) from error
        return self._opened(request, encoded)

    def _finish(self, partial: Path, request: FeatureRequest, encoder: EncoderLike, reporter: Reporter) -> int:
        """Compute the missing shards, join all, make the entry visible; returns the number of images encoded."""
        plan = _begin(partial, request)
        all_shards = boundaries(plan.rows, self.machine.shard_rows)
        done = finished_shards(partial / SHARDS, encoder.dimension, all_shards)
        missing = [bounds for bounds in all_shards if bounds not in {(s.start, s.stop) for s in done}]
        todo = sum(stop - start for start, stop in missing)
        reporter.phase(f"encoding {request.split.name}", todo, "images")
        begun = time.perf_counter()
        with self._decoded_rows(request) as decoded:
            extraction = _extraction(request, encoder, self.machine, reporter, decoded)
            new = [write_shard(partial / SHARDS, start, rows) for start, rows in extraction.shards(missing)]
        speed = todo / max(time.perf_counter() - begun, 1e-9) if todo else None
        _complete(partial, self._path(request), plan, sorted([*done, *new], key=_start), encoder.dimension, speed)
        return todo

    def _decoded_rows(self, request: FeatureRequest) -> AbstractContextManager[DecodedRows | None]:
        if self.decoded is None:
            return nullcontext()
        split = request.split
        title = f"{request.dataset}/{split.name}"
        return self.decoded.rows(split.images_digest, len(split.images), request.spec, title)


@dataclass
class _Waiting:
    """Report the progress of another process, from the shards that it finishes."""

    partial: Path
    request: FeatureRequest
    reporter: Reporter
    reported: int | None = None

    def __call__(self) -> None:
        rows = len(self.request.split.images)
        if self.reported is None:
            self.reporter.phase("waiting for features", rows, "images")
            self.reported = 0
        done = min(rows_in_shards(self.partial / SHARDS), rows)
        if done > self.reported:
            self.reporter.advance(done - self.reported)
            self.reported = done


def _begin(partial: Path, request: FeatureRequest) -> ExtractionPlan:
    (partial / SHARDS).mkdir(mode=0o700, parents=True, exist_ok=True)
    plan = ExtractionPlan(
        key=request.key.digest,
        parts=request.key.parts,
        backbone=request.backbone,
        dataset=request.dataset,
        split=request.split.name,
        rows=len(request.split.images),
    )
    write_durably(partial / PLAN, [plan.model_dump_json(indent=1).encode()])
    return plan


def _extraction(
    request: FeatureRequest, encoder: EncoderLike, machine: Machine, reporter: Reporter, decoded: DecodedRows | None
) -> Extraction:
    split = request.split
    source = SplitImages(request.backbone, f"{request.dataset}/{split.name}", split.images, split.identifiers)
    return Extraction(source, encoder, request.spec, machine, reporter, decoded)


def _complete(
    partial: Path, final: Path, plan: ExtractionPlan, shards: list[Shard], dimension: int, images_per_s: float | None
) -> None:
    """Everything is written before the rename; only the shards, useless from then on, are removed after it."""
    array_bytes = join(partial / SHARDS, shards, partial / ARRAY, dimension)
    manifest = FeatureManifest(
        **plan.model_dump(),
        dimension=dimension,
        shards=tuple(shards),
        images_per_s=images_per_s,
        array_bytes=array_bytes,
    )
    write_durably(partial / MANIFEST, [manifest.model_dump_json(indent=1).encode()])
    partial.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(final / SHARDS, ignore_errors=True)


def _start(shard: Shard) -> int:
    return shard.start


def _mark_used(folder: Path) -> None:
    """Note the time for `cache prune`. A store that cannot be written to is still a store, so a refusal is no error."""
    try:
        touch_own(folder / USED)
    except OSError:
        return


def _no_room(partial: Path, request: FeatureRequest) -> str:
    rows = len(request.split.images)
    done = rows_in_shards(partial / SHARDS)
    free = shutil.disk_usage(partial.parent).free / MEGABYTE
    return (
        f"the disk is full ({free:.0f} MB free): features of {request.backbone} on {request.dataset}/"
        f"{request.split.name} cannot be written to {partial}; make room (`ssl-console cache prune`) and retry: "
        f"{done} of {rows} images are kept"
    )
