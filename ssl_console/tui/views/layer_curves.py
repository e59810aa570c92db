"""Layer curves of several backbones in one chart, over relative depth. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssl_console.analysis.layer_curves import LayerCurve
from ssl_console.tui.widgets.plot import Chart, Series


def layer_chart(backbones: Sequence[str], curves: Mapping[str, LayerCurve]) -> Chart:
    """Score by depth, each backbone with the pooling chosen on its validation images."""
    series = tuple(
        Series(f"{name.rpartition('/')[2]} {curves[name].pooling}", _points(curves[name]), number=number)
        for number, name in enumerate(backbones)
        if name in curves
    )
    if not series:
        return Chart(note="no layer curve is kept for these backbones")
    return Chart(series, "depth in % of the blocks", "score", note="pooling chosen on validation images")


def _points(curve: LayerCurve) -> tuple[tuple[float, float], ...]:
    return tuple((point.depth, point.score) for point in curve.chosen)
