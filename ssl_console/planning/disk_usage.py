"""Disk space that a launch needs, estimated from what earlier runs have stored.

Features take the same number of bytes for every image of a backbone, and are stored once for all protocols on a
dataset. The rest is a run's folder, about as large as earlier folders of its protocol.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from backbones.catalog.layer_info import LayerRequest
from ssl_console.planning.plan import Candidate
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result
from tasks.catalog.protocols import PROTOCOLS
from tasks.features.cache_report import CacheEntry, entries
from tasks.features.manifest import layer_request_of

FOLDERS_MEASURED = 20
"""Number of run folders of a protocol, newest first, that are measured."""


@dataclass(frozen=True)
class Disk:
    """Required and available disk space, in bytes."""

    needed: int | None
    """None while nothing comparable has been measured in this workspace."""
    free: int
    layers: int = 0
    """Bytes of layer-wise features, which are known in advance; a part of `needed`."""

    @property
    def enough(self) -> bool:
        """Whether the required space, if known, is available."""
        return max(self.needed or 0, self.layers) < self.free


@dataclass(frozen=True)
class StoredFeatures:
    """Content of the feature store."""

    there: frozenset[tuple[str, str]]
    """Backbone and dataset of complete pooled features."""
    per_image: Mapping[str, float]
    """Bytes per image, by backbone."""
    images: Mapping[str, int]
    """Number of images of all splits, by dataset."""
    layers: frozenset[tuple[str, str, LayerRequest]] = frozenset()
    """Backbone, dataset and kind of complete layer-wise features."""

    @classmethod
    def of(cls, found: Iterable[CacheEntry]) -> StoredFeatures:
        """Summary of the entries of the store."""
        sizes: dict[str, list[float]] = defaultdict(list)
        rows: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        layers: set[tuple[str, str, LayerRequest]] = set()
        for entry in found:
            plan = entry.plan
            if plan is None or entry.state != "complete" or not plan.rows:
                continue
            request = layer_request_of(plan.parts)
            if request is not None:
                layers.add((plan.backbone, plan.dataset, request))
            else:
                sizes[plan.backbone].append(entry.size / plan.rows)
                rows[plan.backbone, plan.dataset][plan.split] = plan.rows
        images: dict[str, int] = {}
        for (_, dataset), splits in rows.items():
            images[dataset] = max(images.get(dataset, 0), sum(splits.values()))
        per_image = {name: median(values) for name, values in sizes.items()}
        return cls(frozenset(rows), per_image, images, frozenset(layers))

    def bytes_for(self, backbone: str, dataset: str) -> float | None:
        """Estimated size of features in bytes; uses another backbone's size where this one has none stored."""
        if (backbone, dataset) in self.there:
            return 0.0
        per_image = self.per_image.get(backbone, median(self.per_image.values()) if self.per_image else None)
        images = self.images.get(dataset)
        return None if per_image is None or images is None else per_image * images


def disk_for(workspace: Workspace, to_run: Sequence[Candidate], results: Iterable[Result]) -> Disk:
    """Disk space in the workspace that these runs require, and the free space."""
    stored, folders = StoredFeatures.of(entries(workspace.features)), _folder_sizes(workspace, results)
    featured = {(one.backbone.name, one.dataset.name) for one in to_run if PROTOCOLS[one.task.protocol].reads_features}
    parts = [stored.bytes_for(*pair) for pair in featured]
    parts += [folders.get(one.task.protocol) for one in to_run]
    known = [part for part in parts if part is not None]
    wanted = {(one.backbone.name, one.dataset.name, one.layers): one.layer_bytes for one in to_run if one.layers}
    layers = sum(size for entry, size in wanted.items() if entry not in stored.layers)
    needed = round(sum(known)) + layers if len(known) == len(parts) else None
    return Disk(needed, _free(workspace.root), layers)


def _folder_sizes(workspace: Workspace, results: Iterable[Result]) -> dict[str, float]:
    """By protocol, the median size of the newest run folders, in bytes."""
    newest: dict[str, list[Path]] = defaultdict(list)
    for result in sorted(results, key=lambda result: -result.finished):
        paths = newest[result.protocol_name]
        if len(paths) < FOLDERS_MEASURED:
            paths.append(workspace.runs / result.run_id)
    sizes = {protocol: [size for path in paths if (size := _size(path))] for protocol, paths in newest.items()}
    return {protocol: median(found) for protocol, found in sizes.items() if found}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _free(folder: Path) -> int:
    """Free bytes at the folder, or at its future location."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free
