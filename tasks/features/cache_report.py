"""Contents of the caches: list entries of features and decoded images, explain a missing one, prune.

Reads only manifests and file sizes, so that the console needs neither torch nor numpy.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backbones.io.file_locks import exclusive_now, holding, lock
from backbones.io.files import open_own
from tasks.features.manifest import (
    DAMAGED,
    LOCK,
    PARTIAL,
    PLAN,
    USED,
    DamagedEntryError,
    ExtractionPlan,
    FeatureKey,
    Part,
    layer_request_of,
    read_manifest,
    read_plan,
)

State = Literal["complete", "partial", "damaged"]
DECODED_PIXELS, DECODED_CHECKS, DECODED_TITLE, DECODED_LOCK = ".pixels", ".checks", ".title", ".lock"


@dataclass(frozen=True)
class CacheEntry:
    """One folder of the feature store."""

    path: Path
    state: State
    plan: ExtractionPlan | None
    """Provenance of the entry: a `FeatureManifest` when complete, None when it cannot be read."""
    size: int
    """Size on disk in bytes."""
    last_used: float
    """Time of the last read or write, in seconds since the epoch."""

    @property
    def key(self) -> str:
        """Digest of the key, as in the folder name."""
        return self.path.name.split(".")[0]

    @property
    def title(self) -> str:
        """`backbone on dataset/split`, named by the run that computed it."""
        if self.plan is None:
            return self.path.name
        layers = ", layers" if layer_request_of(self.plan.parts) else ""
        return f"{self.plan.backbone} on {self.plan.dataset}/{self.plan.split}{layers}"


def entries(root: Path) -> list[CacheEntry]:
    """All entries of the store, most recently used first. A missing folder is an empty store."""
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    found = [entry for folder in folders if (entry := _entry(folder)) is not None]
    return sorted(found, key=lambda entry: entry.last_used, reverse=True)


@dataclass(frozen=True)
class KeyDifference:
    """One differing component of a feature key."""

    part: str
    wanted: Part
    stored: Part


@dataclass(frozen=True)
class Explanation:
    """Reason why features are or are not in the store."""

    key: str
    nearest: CacheEntry | None
    """The entry itself, or the one that shares most components with it; None if no entry shares backbone or images."""
    differences: tuple[KeyDifference, ...]

    @property
    def stored(self) -> bool:
        """Whether the features are stored and complete."""
        return self.nearest is not None and not self.differences and self.nearest.state == "complete"

    @property
    def sentence(self) -> str:
        if self.nearest is None:
            return f"nothing stored shares this backbone or these images: {self.key[:12]} has never been encoded here"
        if self.stored:
            return f"stored: {self.nearest.title}, {self.nearest.path}"
        if not self.differences:
            return f"begun but not finished: {self.nearest.title}; the next run continues it, {self.nearest.path}"
        changed = "; ".join(f"{d.part} is {_shown(d.wanted)}, stored is {_shown(d.stored)}" for d in self.differences)
        return f"not stored. Nearest is {self.nearest.title} ({self.nearest.key[:12]}), which differs: {changed}"


def why(root: Path, wanted: FeatureKey) -> Explanation:
    """Compare a key with the stored entries and list the components in which the nearest one differs."""
    parts, digest = wanted.parts, wanted.digest
    backbone = [name for name in parts if name.startswith("backbone.")]
    candidates = []
    for entry in entries(root):
        if entry.plan is None or entry.state == "damaged":
            continue
        stored = entry.plan.parts
        different = tuple(
            KeyDifference(name, parts.get(name), stored.get(name))
            for name in sorted({*parts, *stored})
            if parts.get(name) != stored.get(name)
        )
        same_backbone = all(parts[name] == stored.get(name) for name in backbone)
        if entry.key == digest or same_backbone or parts["images"] == stored.get("images"):
            candidates.append((len(different), entry.state != "complete", different, entry))
    if not candidates:
        return Explanation(digest, None, ())
    _, _, different, nearest = min(candidates, key=lambda candidate: candidate[:2])
    return Explanation(digest, nearest, different)


@dataclass(frozen=True)
class Pruning:
    """Policy of `cache prune`. Damaged entries are always removed; entries that are being written never are."""

    unused_for_s: float | None = None
    keep_bytes: int | None = None
    """Maximum total size in bytes; the least recently used entries are removed first."""
    partials: bool = False
    orphan: Callable[[ExtractionPlan], bool] | None = None
    """Predicate of entries that no known backbone or dataset uses."""


@dataclass(frozen=True)
class Removal:
    """An entry to be removed, with the reason."""

    entry: CacheEntry
    reason: str


def to_prune(found: list[CacheEntry], pruning: Pruning, now: float) -> list[Removal]:
    """Entries of `found` that the policy removes at time `now`."""
    reasons = {entry.path: reason for entry in found if (reason := _reason(entry, pruning, now))}
    kept = 0
    for entry in sorted(found, key=lambda entry: entry.last_used, reverse=True):
        if entry.path not in reasons:
            kept += entry.size
            if pruning.keep_bytes is not None and kept > pruning.keep_bytes:
                kept -= entry.size
                reasons[entry.path] = "to make room"
    return [Removal(entry, reasons[entry.path]) for entry in found if entry.path in reasons]


def prune(root: Path, pruning: Pruning, now: float) -> list[Removal]:
    """Remove the entries selected by the policy and return them. Entries that are being written are skipped."""
    return [removal for removal in to_prune(entries(root), pruning, now) if _remove(removal.entry)]


def _entry(folder: Path) -> CacheEntry | None:
    try:
        state, plan = _described(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        record = next((folder / name for name in (USED, PLAN) if (folder / name).exists()), folder)
        used = max(record.stat().st_mtime, folder.stat().st_mtime)
        return CacheEntry(folder, state, plan, size, used)
    except FileNotFoundError:  # removed or renamed by another process meanwhile
        return None


def _described(folder: Path) -> tuple[State, ExtractionPlan | None]:
    if DAMAGED in folder.name:  # its manifest, if any, belongs to another folder name
        return "damaged", None
    if folder.name.endswith(PARTIAL):
        return "partial", read_plan(folder)
    try:
        return "complete", read_manifest(folder)
    except (DamagedEntryError, FileNotFoundError):
        return "damaged", None


def _shown(part: Part) -> str:
    text = "absent" if part is None else str(part)
    return f"{text[:12]}…" if len(text) > 40 else text


def _reason(entry: CacheEntry, pruning: Pruning, now: float) -> str | None:
    if entry.state == "damaged":
        return "damaged"
    if entry.state == "partial" and pruning.partials:
        return "never finished"
    if pruning.unused_for_s is not None and now - entry.last_used > pruning.unused_for_s:
        return f"not used for {(now - entry.last_used) / 86400:.0f} days"
    if pruning.orphan is not None and entry.plan is not None and pruning.orphan(entry.plan):
        return "no known backbone or dataset uses it"
    return None


def _remove(entry: CacheEntry) -> bool:
    """Remove an entry: rename it first, so that readers never find an incomplete entry under its name."""
    with exclusive_now(entry.path.with_name(f"{entry.key}{LOCK}")) as held:
        if not held or not entry.path.exists():
            return False
        going = entry.path.rename(entry.path.with_name(f"{entry.key}{DAMAGED}-{time.time_ns()}"))
        if going.is_symlink():  # a link created by the user: its target is not part of the store
            going.unlink()
        else:
            shutil.rmtree(going)
        return True


@dataclass(frozen=True)
class DecodedSplit:
    """The decoded images of one split at one size."""

    path: Path
    """Its `.pixels` file."""
    title: str
    size: int
    """Reserved size in bytes, including checksums."""
    last_used: float
    """Seconds since the epoch."""


def decoded_splits(folder: Path) -> list[DecodedSplit]:
    """All decoded splits of `folder`, most recently used first. A missing folder counts as empty."""
    found = [split for path in folder.glob(f"*{DECODED_PIXELS}") if (split := _split(path)) is not None]
    return sorted(found, key=lambda split: split.last_used, reverse=True)


def remove(split: DecodedSplit) -> bool:
    """Remove one split's images; return False if they are in use."""
    with locked(split.path.parent):
        return remove_locked(split.path)


def remove_locked(pixels: Path) -> bool:
    """Remove a file while the caller holds the folder's lock."""
    with suppress(FileNotFoundError, BlockingIOError), opened(pixels, os.O_RDWR) as descriptor:
        lock(descriptor, pixels, wait=False)
        for suffix in (DECODED_CHECKS, DECODED_TITLE, DECODED_PIXELS):
            pixels.with_suffix(suffix).unlink(missing_ok=True)
        return True
    return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the exclusive lock of `folder`."""
    with holding(folder / DECODED_LOCK, wait=True):
        yield


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """File descriptor of a private file."""
    descriptor = open_own(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _split(pixels: Path) -> DecodedSplit | None:
    try:
        size = pixels.stat().st_size + pixels.with_suffix(DECODED_CHECKS).stat().st_size
        return DecodedSplit(pixels, _title(pixels), size, pixels.stat().st_mtime)
    except FileNotFoundError:  # removed by another process, or left by an interrupted removal
        return DecodedSplit(pixels, _title(pixels), pixels.stat().st_size, 0.0) if pixels.exists() else None


def _title(pixels: Path) -> str:
    try:
        return pixels.with_suffix(DECODED_TITLE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return pixels.stem[:12]
