"""`layer-curve`: score by block and pooling of every backbone that was measured by `layers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ssl_console.analysis.layer_curves import PROTOCOL, LayerCurve, curves_of
from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError

HEAD = ("task", "backbone", "block", "depth", "pooling", "score", "95 % interval", "validation", "")


def layer_curves(session: Session, datasets: Sequence[str], backbones: Sequence[str], *, as_json: bool) -> None:
    """Print the curves of own results. Raises ConsoleError where there are none."""
    wanted = [
        one
        for one in session.badged_results()
        if one.source == "mine"
        and one.protocol_name == PROTOCOL
        and (not datasets or one.dataset_name in datasets)
        and (not backbones or one.backbone in backbones)
    ]
    records = [record for one in wanted if (record := session.record(one.run_id)) is not None]
    curves = curves_of(records)
    if not curves:
        raise ConsoleError("no layer curve was measured of these: `ssl-console run -b BACKBONE -t layers/DATASET`")
    if as_json:
        stdout.document({"curves": [asdict(curve) for curve in curves]})
        return
    stdout.table(HEAD, [row for curve in curves for row in _rows(curve)], right=frozenset({2, 3, 5, 7}))


def _rows(curve: LayerCurve) -> list[tuple[str, ...]]:
    return [
        (
            curve.task,
            curve.backbone,
            str(point.block),
            f"{point.depth:.0f} %",
            point.pooling,
            f"{point.score:.1f}",
            f"{point.low:.1f} to {point.high:.1f}",
            f"{point.validation_score:.1f}",
            "chosen" if (point.block, point.pooling) == (curve.block, curve.pooling) else "",
        )
        for point in curve.points
    ]
