"""Feature store: features are read if stored, otherwise computed once, by one process and those that assist it.

<root>/<key>/            features.npy, manifest.json     complete; appears by one rename
<root>/<key>.partial/    plan.json, shards/              unfinished; the next attempt resumes from its shards
<root>/<key>.damaged-*/                                  set aside because it contradicts its manifest
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backbones.catalog.card import PreprocessingSpec
from backbones.catalog.layer_info import LayerRequest
from backbones.io.file_locks import POLL_S, exclusive
from backbones.io.files import touch_own
from tasks.datasets.dataset import SourceSplit
from tasks.features.decoded_images import DecodedImages, DecodedRows
from tasks.features.earlier_entries import adopt, are_same, earlier_entry, is_older, sample
from tasks.features.extraction import EncoderLike, Extraction, Machine, SplitImages
from tasks.features.manifest import (
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
    FeatureKey,
    FeatureManifest,
    read_manifest,
)
from tasks.features.shards import open_array, rows_in_shards
from tasks.features.unfinished_entry import SharedShards, UnfinishedEntry, encoder_of, output_of
from tasks.reporter import Reporter

AnyFloats = npt.NDArray[np.floating]

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
MEGABYTE = 1e6


@dataclass(frozen=True)
class FeatureRequest:
    """Features to load or compute, with the names used in messages."""

    key: FeatureKey
    backbone: str
    dataset: str
    split: SourceSplit
    spec: PreprocessingSpec
    layers: LayerRequest | None = None
    """Layer-wise features; None: pooled features as specified on the backbone's card."""


@dataclass(frozen=True)
class Features:
    """Features of one source split, in its order."""

    values: AnyFloats
    """[n, d], memory-mapped, read-only; float32, or float16 for layer-wise features stored in half precision."""
    manifest: FeatureManifest
    encoded: int
    """Number of images encoded during this call; 0 if all features were stored."""
    assisted: int = 0
    """Number of them that other processes have encoded."""


@dataclass(frozen=True)
class _Encoded:
    """Numbers of images encoded for an entry: all, and those of processes that assisted."""

    images: int
    assisted: int


@dataclass(frozen=True)
class FeatureStore:
    """A folder of features, shared between processes."""

    root: Path
    machine: Machine = field(default_factory=Machine)
    decoded: DecodedImages | None = None
    """Cache of decoded images shared by backbones; None: not shared."""

    def holds(self, key: FeatureKey) -> bool:
        """Whether a complete entry exists (its integrity is not checked)."""
        return (self.root / key.digest / MANIFEST).is_file()

    def features(self, request: FeatureRequest, encoder: Callable[[], EncoderLike], reporter: Reporter) -> Features:
        """Load the requested features; `encoder` is only called if some are missing.

        Raises `FeatureError` (NaN, memory, disk), `DataError` (images) and the exceptions of `encoder`.
        """
        return self.together((request,), encoder, reporter)[0]

    def together(
        self, requests: Sequence[FeatureRequest], encoder: Callable[[], EncoderLike], reporter: Reporter
    ) -> list[Features]:
        """Load several features of one split by one backbone; missing ones are computed in one pass over the images.

        Raises as `features` does.
        """
        stored = [self._stored(request) for request in requests]
        if None not in stored:
            return [features for features in stored if features is not None]
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as locks:
            for request in sorted(requests, key=lambda request: request.key.digest):
                waiting = _Waiting(self._path(request, PARTIAL), request, reporter)
                locks.enter_context(exclusive(self._path(request, LOCK), waiting))
                self._set_damaged_aside(request, reporter)
            missing = [request for request in requests if self._stored(request) is None]
            made = self._made(missing, encoder(), reporter) if missing else {}
            return [self._opened(request, made.get(request.key.digest)) for request in requests]

    def assist(
        self,
        requests: Sequence[FeatureRequest],
        encoder: Callable[[], EncoderLike],
        reporter: Reporter,
        while_waiting: Callable[[], None],
    ) -> int:
        """Compute shards of features of one split, which another process extracts with `together`, until they are
        complete; return the number of images encoded by this call.

        `while_waiting` is called several times a second while there is nothing to compute; it raises to end the call.
        Raises as `features` does.
        """
        encoded = 0
        while missing := [request for request in requests if not self.holds(request.key)]:
            if all((self._path(request, PARTIAL) / PLAN).exists() for request in missing):
                encoded += self._assist(missing, encoder(), reporter)
            while_waiting()
            time.sleep(POLL_S)
        return encoded

    def keep(
        self, request: FeatureRequest, values: AnyFloats, encoder: EncoderLike, reporter: Reporter, speed: float | None
    ) -> None:
        """Store features [n, d] that were computed outside of the store, in the order of the split. Raises
        `FeatureError`.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive(self._path(request, LOCK), _Waiting(self._path(request, PARTIAL), request, reporter)):
            self._set_damaged_aside(request, reporter)
            if self._stored(request) is not None:
                return
            begun = self._begun(request, encoder)
            for start, stop in sorted(begun.missing):
                begun.write(start, values[start:stop])
            begun.complete(self._path(request), speed)

    def _assist(self, requests: Sequence[FeatureRequest], encoder: EncoderLike, reporter: Reporter) -> int:
        """Compute shards without a claim, until there are none; return their number of images."""
        begun = [self._begun(request, encoder, joins=True) for request in requests]
        with SharedShards(begun, reporter, self.machine.patience_s) as shared, suppress(FileNotFoundError):
            if shared.reserve():
                self._compute(requests[0], shared, encoder, reporter)
        return shared.own_rows

    def _path(self, request: FeatureRequest, suffix: str = "") -> Path:
        return self.root / f"{request.key.digest}{suffix}"

    def _stored(self, request: FeatureRequest) -> Features | None:
        self._adopt(request)
        try:
            return self._opened(request)
        except (FileNotFoundError, DamagedEntryError):
            return None

    def _adopt(self, request: FeatureRequest) -> None:
        """Reuse an entry with a name-based key if it is newer than every file of the dataset."""
        if self.holds(request.key):
            return
        entry = earlier_entry(self.root, request.key, request.split)
        if entry is not None and is_older(request.split, request.dataset, entry):
            with suppress(OSError):  # another process was first
                adopt(self.root, request.key, entry)

    def _made(
        self, requests: Sequence[FeatureRequest], encoder: EncoderLike, reporter: Reporter
    ) -> dict[str, _Encoded]:
        """Create the entries of the requests; return the images encoded for each, by key."""
        missing = [request for request in requests if not self._adopted(request, encoder, reporter)]
        try:
            encoded = self._finish(missing, encoder, reporter) if missing else _Encoded(0, 0)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise DiskFullError(_no_room(self._path(missing[0], PARTIAL), missing[0])) from error
        return {request.key.digest: encoded for request in missing}

    def _adopted(self, request: FeatureRequest, encoder: EncoderLike, reporter: Reporter) -> bool:
        """Reuse an entry with a name-based key if a sample of images has the stored features."""
        entry = earlier_entry(self.root, request.key, request.split)
        if entry is None:
            return False
        try:
            stored = open_array(self.root / entry.key, entry)
        except (DamagedEntryError, FileNotFoundError):
            return False
        rows = sample(request.split, entry.created)
        reporter.phase(f"comparing {request.split.name} with features of an earlier version", len(rows), "images")
        ranges = [(row, row + 1) for row in rows]
        extraction = _extraction(request, encoder, self.machine, reporter, None)
        encoded = np.concatenate([row for _, row in extraction.shards(ranges)])
        if not are_same(np.asarray(stored[rows]), encoded, request.key.precision):
            return False
        adopt(self.root, request.key, entry)
        reporter.warn(
            f"{request.split.name}: features of an earlier version are used: {len(rows)} of {entry.rows} images were "
            "encoded again and gave the same"
        )
        return True

    def _opened(self, request: FeatureRequest, encoded: _Encoded | None = None) -> Features:
        folder = self._path(request)
        manifest = read_manifest(folder)
        values = open_array(folder, manifest)
        with suppress(OSError):  # the time of last use, for `cache prune`; a store may be read-only
            touch_own(folder / USED)
        return (
            Features(values, manifest, encoded.images, encoded.assisted) if encoded else Features(values, manifest, 0)
        )

    def _set_damaged_aside(self, request: FeatureRequest, reporter: Reporter) -> None:
        folder = self._path(request)
        try:
            if folder.exists():
                open_array(folder, read_manifest(folder))
        except (DamagedEntryError, FileNotFoundError) as error:
            folder.rename(self._path(request, f"{DAMAGED}-{time.time_ns()}"))
            reporter.warn(f"stored features were damaged and are computed again: {error}")

    def _finish(self, requests: Sequence[FeatureRequest], encoder: EncoderLike, reporter: Reporter) -> _Encoded:
        """Compute the missing shards that no other process computes, join all, and publish the entries."""
        begun = [self._begun(request, encoder) for request in requests]
        with SharedShards(begun, reporter, self.machine.patience_s) as shared:
            todo = sum(stop - start for start, stop in shared.missing)
            reporter.phase(f"encoding {requests[0].split.name}", todo, "images")
            spent_s = self._compute(requests[0], shared, encoder, reporter)
            while shared.missing:
                shared.wait()
                spent_s += self._compute(requests[0], shared, encoder, reporter)
        speed = shared.own_rows / max(spent_s, 1e-9) if shared.own_rows else None
        for request, one in zip(requests, begun, strict=True):
            one.complete(self._path(request), speed)
        return _Encoded(todo, max(0, todo - shared.own_rows))

    def _compute(
        self, request: FeatureRequest, shared: SharedShards, encoder: EncoderLike, reporter: Reporter
    ) -> float:
        """Compute shards as long as there are any without a claim; return the duration in seconds."""
        started, split = time.perf_counter(), request.split
        shared_rows: AbstractContextManager[DecodedRows | None] = nullcontext()
        if self.decoded is not None and self.machine.decoder == "cpu":  # the stored pixels are those of the CPU
            title = f"{request.dataset}/{split.name}"
            shared_rows = self.decoded.rows(split.images_digest, len(split.images), request.spec, title)
        with shared_rows as decoded:
            combined = encoder_of(encoder, [one.output for one in shared.entries])
            extraction = _extraction(request, combined, self.machine, reporter, decoded)
            for start, rows in extraction.shards(shared.claimable()):
                shared.store(start, rows)
        return time.perf_counter() - started

    def _begun(self, request: FeatureRequest, encoder: EncoderLike, *, joins: bool = False) -> UnfinishedEntry:
        output = output_of(encoder, request.layers)
        plan, identifiers = _plan(request), request.split.identifiers
        begin = UnfinishedEntry.join_in if joins else UnfinishedEntry.begin
        return begin(self._path(request, PARTIAL), plan, identifiers, output, self.machine.shard_rows)


@dataclass
class _Waiting:
    """Report the progress of another process from its finished shards."""

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


def _plan(request: FeatureRequest) -> ExtractionPlan:
    return ExtractionPlan(
        key=request.key.digest,
        parts=request.key.parts,
        backbone=request.backbone,
        dataset=request.dataset,
        split=request.split.name,
        rows=len(request.split.images),
    )


def _extraction(
    request: FeatureRequest, encoder: EncoderLike, machine: Machine, reporter: Reporter, decoded: DecodedRows | None
) -> Extraction:
    split = request.split
    source = SplitImages(request.backbone, f"{request.dataset}/{split.name}", split.images, split.identifiers)
    return Extraction(source, encoder, request.spec, machine, reporter, decoded)


def _no_room(partial: Path, request: FeatureRequest) -> str:
    rows = len(request.split.images)
    done = rows_in_shards(partial / SHARDS)
    free = shutil.disk_usage(partial.parent).free / MEGABYTE
    return (
        f"the disk is full ({free:.0f} MB free): features of {request.backbone} on {request.dataset}/"
        f"{request.split.name} cannot be written to {partial}; make room (`ssl-console cache prune`) and retry: "
        f"{done} of {rows} images are stored"
    )
