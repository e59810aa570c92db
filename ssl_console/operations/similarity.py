"""Similarity of backbones, from their stored features of a dataset. Imports numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ssl_console.system.errors import ConsoleError
from tasks.features.cache_report import CacheEntry, entries
from tasks.features.manifest import ARRAY, DamagedEntryError, check_size, layer_request_of, read_manifest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ssl_console.analysis.representation_similarity import Similarity
    from ssl_console.operations.session import Session

Measure = Literal["cka", "mutual_knn"]
NEIGHBOURS = 10
"""Number of mutual nearest neighbours, as published."""
MOST_IMAGES = 1_000
"""Maximum number of images, evenly spaced over the split: kernels grow quadratically."""


@dataclass(frozen=True)
class SimilarityMatrix:
    """Every pair of backbones on the images of one split."""

    dataset: str
    split: str
    images: int
    backbones: tuple[str, ...]
    pairs: tuple[Similarity, ...]

    @property
    def chance(self) -> float:
        """Expected mutual nearest neighbours of independent features."""
        return NEIGHBOURS / (self.images - 1)

    def values(self, measure: Measure) -> tuple[tuple[float | None, ...], ...]:
        """A symmetric matrix in the order of the backbones, 1 on its diagonal; None where a measure is undefined."""
        known = {(one.first, one.second): float(getattr(one, measure)) for one in self.pairs}
        known |= {(other, one): value for (one, other), value in known.items()}
        known |= {(one, one): 1.0 for one in self.backbones}
        rows = ((known[one, other] for other in self.backbones) for one in self.backbones)
        return tuple(tuple(value if math.isfinite(value) else None for value in row) for row in rows)


def matrix_or_reason(session: Session, dataset: str, wanted: Sequence[str]) -> SimilarityMatrix | str:
    """The matrix of these backbones, or why there is none."""
    try:
        return similarity_matrix(session, dataset, wanted)
    except ConsoleError as error:
        return str(error)


def stored_datasets(session: Session) -> list[str]:
    """Datasets with stored features of at least two backbones."""
    names: dict[str, set[str]] = {}
    for entry in _pooled(session):
        assert entry.plan is not None
        names.setdefault(entry.plan.dataset, set()).add(entry.plan.backbone)
    return sorted(name for name, backbones in names.items() if len(backbones) > 1)


def similarity_matrix(session: Session, dataset: str, wanted: Sequence[str] = ()) -> SimilarityMatrix:
    """Compare the stored pooled features of a dataset, on test images if available.

    `wanted` restricts the backbones. Nothing is encoded. Raises ConsoleError where fewer than two have features.
    """
    from ssl_console.analysis.representation_similarity import similarities  # noqa: PLC0415 - imports numpy

    chosen = _chosen([one for one in _pooled(session) if one.plan and one.plan.dataset == dataset], wanted)
    missing = [name for name in wanted if name not in chosen]
    if missing or len(chosen) < 2:
        raise ConsoleError(
            f"{', '.join(missing) or dataset} has no stored features on {dataset} to compare: "
            f"`ssl-console run -b BACKBONE -t knn/{dataset}` stores them"
            + (f"; features are stored of {', '.join(found)}" if (found := stored_datasets(session)) else "")
        )
    plan = next(iter(chosen.values())).plan
    assert plan is not None
    step = max(1, -(-plan.rows // MOST_IMAGES))
    try:
        features = {name: _rows(entry, step) for name, entry in sorted(chosen.items())}
        pairs = tuple(similarities(features, NEIGHBOURS))
    except (ValueError, OSError, DamagedEntryError) as error:
        raise ConsoleError(f"{dataset} cannot be compared: {error}") from error
    return SimilarityMatrix(dataset, plan.split, len(range(0, plan.rows, step)), tuple(features), pairs)


def _rows(entry: CacheEntry, step: int) -> npt.NDArray[np.floating]:
    """Every `step`-th row, in memory. Raises DamagedEntryError, OSError, and ValueError for another shape."""
    import numpy as np  # noqa: PLC0415 - not needed to list what is stored

    manifest = read_manifest(entry.path)
    check_size(entry.path, manifest)
    values = np.load(entry.path / ARRAY, mmap_mode="r", allow_pickle=False)
    if values.shape != (manifest.rows, manifest.dimension):
        raise ValueError(f"{entry.path} has rows {values.shape}, its manifest ({manifest.rows}, {manifest.dimension})")
    rows: npt.NDArray[np.floating] = values[::step].copy()
    return rows


def _pooled(session: Session) -> list[CacheEntry]:
    found = entries(session.workspace.features)
    return [one for one in found if one.state == "complete" and one.plan and not layer_request_of(one.plan.parts)]


def _chosen(found: Sequence[CacheEntry], wanted: Sequence[str]) -> dict[str, CacheEntry]:
    """Features of the same images by backbone: of the split and image set that most backbones have, test first."""
    groups: dict[tuple[str, object], dict[str, CacheEntry]] = {}
    for entry in found:  # most recently used first
        assert entry.plan is not None
        if not wanted or entry.plan.backbone in wanted:
            group = groups.setdefault((entry.plan.split, entry.plan.parts.get("images")), {})
            group.setdefault(entry.plan.backbone, entry)
    order = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0][0] != "test"))
    return order[0][1] if order else {}
