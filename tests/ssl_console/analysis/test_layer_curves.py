"""Layer curves: read from results of `layers`, the newest of each backbone, drawn over relative depth."""

from __future__ import annotations

from typing import Any

import pytest

from ssl_console.analysis.layer_curves import curves_of, layer_curve
from ssl_console.tui.views.compare_pane import layer_chart
from ssl_console.workspace.result import ResultRecord
from tests.ssl_console.analysis.test_rank_intervals import result


def record(backbone: str, depth: int, finished: float = 1.0, **diagnostics: Any) -> ResultRecord:
    curve = [
        {"block": block, "pooling": pooling, "score": 10.0 * block, "low": 1.0, "high": 99.0, "validation_score": 5}
        for pooling in ("mean", "cls")
        for block in range(depth, 0, -1)
    ]
    return ResultRecord.model_validate(
        {
            "result": result(backbone, "layers/cars", 50.0, protocol="layers", finished=finished),
            "metrics": {"accuracy": 50.0},
            "interval_method": "wilson",
            "samples": {},
            "hyperparameters": {"block": depth, "pooling": "cls"},
            "diagnostics": {"curve": curve, "blocks": depth, **diagnostics},
        }
    )


def test_a_curve_has_every_place_by_rising_depth() -> None:
    curve = layer_curve(record("a", 4))
    assert curve is not None
    assert [(point.block, point.pooling) for point in curve.points[:4]] == [
        (1, "cls"),
        (1, "mean"),
        (2, "cls"),
        (2, "mean"),
    ]
    assert [point.depth for point in curve.chosen] == [25.0, 50.0, 75.0, 100.0]


def test_of_two_results_the_newest_counts() -> None:
    found = curves_of([record("b", 2), record("a", 4, 5.0), record("a", 2, 3.0)])
    assert [(curve.backbone, len(curve.chosen)) for curve in found] == [("a", 4), ("b", 2)]


@pytest.mark.parametrize("damaged", [{"curve": 3}, {"blocks": None}, {"curve": [{"block": "x"}]}])
def test_results_without_a_curve_have_none(damaged: dict[str, Any]) -> None:
    assert layer_curve(record("a", 2, **damaged)) is None


def test_backbones_of_different_depth_are_drawn_over_the_same_axis() -> None:
    curves = {curve.backbone: curve for curve in curves_of([record("own/a", 4), record("own/b", 2)])}
    chart = layer_chart(("own/a", "own/b", "own/c"), curves)
    assert [one.name for one in chart.series] == ["a cls", "b cls"]
    assert chart.series[1].points == ((50.0, 10.0), (100.0, 20.0))
    assert layer_chart(("own/c",), curves).note == "no layer curve is stored for these backbones"
