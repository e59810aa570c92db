"""Score by depth: layer curves of backbones on one task, from results of `layers`. Pure; no numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssl_console.workspace.result import ResultRecord

PROTOCOL = "layers"


@dataclass(frozen=True)
class LayerPoint:
    """One block and pooling."""

    block: int
    """Number of the block, from 1."""
    depth: float
    """Depth in percent of the backbone's blocks."""
    pooling: str
    score: float
    low: float
    high: float
    """The 95 % interval."""
    validation_score: float


@dataclass(frozen=True)
class LayerCurve:
    """All stored blocks and poolings of one backbone, by ascending block."""

    backbone: str
    task: str
    pooling: str
    """Pooling selected on validation images."""
    block: int
    points: tuple[LayerPoint, ...]

    @property
    def chosen(self) -> tuple[LayerPoint, ...]:
        """The points of the selected pooling."""
        return tuple(point for point in self.points if point.pooling == self.pooling)


def layer_curve(record: ResultRecord) -> LayerCurve | None:
    """The curve of a result; None for results of other protocols, and for damaged ones."""
    curve, blocks = record.diagnostics.get("curve"), record.diagnostics.get("blocks")
    block, pooling = record.hyperparameters.get("block"), record.hyperparameters.get("pooling")
    if record.result.protocol_name != PROTOCOL or not isinstance(curve, list) or not isinstance(blocks, int):
        return None
    if not isinstance(block, int) or not isinstance(pooling, str):
        return None
    points = [_point(one, blocks) for one in curve if isinstance(one, Mapping)]
    known = sorted((one for one in points if one is not None), key=lambda one: (one.block, one.pooling))
    return LayerCurve(record.result.backbone, record.result.task, pooling, block, tuple(known)) if known else None


def _point(given: Mapping[str, object], blocks: int) -> LayerPoint | None:
    block, pooling = given.get("block"), given.get("pooling")
    numbers = [given.get(name) for name in ("score", "low", "high", "validation_score")]
    values = [float(one) for one in numbers if isinstance(one, int | float)]
    if not isinstance(block, int) or not isinstance(pooling, str) or len(values) < len(numbers):
        return None
    return LayerPoint(block, 100 * block / max(blocks, 1), pooling, *values)


def curves_of(records: Sequence[ResultRecord]) -> list[LayerCurve]:
    """Curves by task and backbone; of several results on one task, the newest."""
    newest: dict[tuple[str, str], tuple[float, LayerCurve]] = {}
    for record in records:
        curve = layer_curve(record)
        if curve is not None:
            key = curve.task, curve.backbone
            newest[key] = max(newest.get(key, (0.0, curve)), (record.result.finished, curve), key=lambda pair: pair[0])
    return [curve for _, (_, curve) in sorted(newest.items())]
