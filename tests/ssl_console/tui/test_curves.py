"""Overlaid curves of runs: by step or time, linear or logarithmic, whole or magnified."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ssl_console.tui.app import AppOptions
from ssl_console.tui.screens.live_curve import CurvePane
from ssl_console.tui.style.glyphs import UNICODE
from ssl_console.tui.views.curves import CurveOptions, RunCurves, Window, curve_chart, metrics_of
from ssl_console.tui.widgets.plot import Chart, Series, draw, log_axis
from ssl_console.workspace.events import CURVE_POINTS, Curve, Event, fold
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.test_screens import app_of, shown, table


def curve(*values: float, seconds: float = 2.0) -> Curve:
    result = Curve()
    for number, value in enumerate(values):
        result = result.after(10.0 * number, value, seconds * number)
    return result


LOSS = RunCurves("demo/mae", {"loss": curve(4.0, 2.0, 1.0, 0.5, 0.25)})
ACCURACY = RunCurves("demo/simclr", {"accuracy": curve(10.0, 30.0), "loss": curve(8.0, 4.0)})


def chart(*runs: RunCurves, options: CurveOptions | None = None, ghost: RunCurves | None = None) -> Chart:
    return curve_chart(runs, ghost, options or CurveOptions(), ended=True)


def test_runs_with_the_metric_are_overlaid_and_those_without_are_named() -> None:
    drawn = chart(LOSS, ACCURACY, options=CurveOptions(metric="accuracy"), ghost=RunCurves("demo/best", LOSS.curves))
    assert [(series.name, series.number) for series in drawn.series] == [("demo/simclr", 1)]
    assert drawn.note == "accuracy, without it: demo/mae"
    both = chart(LOSS, ACCURACY, ghost=RunCurves("demo/best", LOSS.curves))
    assert [series.name for series in both.series] == ["best so far: demo/best", "demo/mae", "demo/simclr"]
    assert metrics_of([LOSS, ACCURACY]) == ["loss", "accuracy"]


def test_curves_are_drawn_over_steps_or_seconds_or_minutes() -> None:
    by_time = CurveOptions(by_time=True)
    assert [x for x, _ in chart(LOSS).series[0].points] == [0, 10, 20, 30, 40]
    assert chart(LOSS).x == "step"
    assert [x for x, _ in chart(LOSS, options=by_time).series[0].points] == [0, 2, 4, 6, 8]
    assert chart(LOSS, options=by_time).x == "seconds"
    long = RunCurves("long", {"loss": curve(4.0, 2.0, 1.0, seconds=600.0)})
    assert [x for x, _ in chart(long, options=by_time).series[0].points] == [0, 10, 20]
    assert chart(long, options=by_time).x == "minutes"


def test_time_counts_from_the_start_of_the_attempt_and_survives_thinning() -> None:
    events = [Event("started", 100.0), *(Event("metric", 101.0 + n, name="loss", value=1.0) for n in range(600))]
    loss = fold(events).metrics["loss"]
    assert len(loss.times) == len(loss.points) <= CURVE_POINTS
    assert loss.times[:2] == (1.0, 3.0)


def test_values_that_have_no_logarithm_are_counted_and_left_out() -> None:
    signed = RunCurves("signed", {"loss": curve(100.0, 10.0, 1.0, 0.0, -1.0)})
    drawn = chart(signed, options=CurveOptions(log=True))
    assert drawn.log_y
    assert drawn.note == "log loss, 2 values at or below 0 not drawn"
    lines = ["".join(text for text, _ in runs) for runs in draw(drawn, 60, 12, UNICODE)]
    assert any(line.lstrip().startswith("100") for line in lines)
    assert any(line.lstrip().startswith("1┤") for line in lines)


def test_a_logarithmic_axis_over_many_decades_has_few_ticks() -> None:
    assert log_axis([1e-6, 1e6], most=5).ticks == (1e-6, 1e-3, 1.0, 1e3, 1e6)


def test_zoom_keeps_the_newest_end_else_the_middle_and_moves_by_halves() -> None:
    half = Window().zoomed(2)
    assert (half.low, half.high, half.magnification) == (0.5, 1.0, 2)
    earlier = half.moved(-1)
    assert (earlier.low, earlier.high) == (0.25, 0.75)
    assert (earlier.zoomed(2).low, earlier.zoomed(2).high) == (0.375, 0.625)
    assert earlier.moved(-5).low == 0.0
    assert half.moved(3) == half
    assert half.zoomed(0.5) == half.zoomed(0.25) == Window()


def test_a_magnified_chart_has_the_points_of_its_part() -> None:
    drawn = chart(LOSS, options=CurveOptions(window=Window(0.5, 1.0)))
    assert [x for x, _ in drawn.series[0].points] == [20, 30, 40]
    assert drawn.note == "loss, zoom 2x"


def test_overlaid_curves_end_in_markers_that_tell_them_apart_without_colour() -> None:
    one = Series("one", ((0.0, 1.0), (1.0, 2.0)), number=0)
    other = Series("other", ((0.0, 2.0), (1.0, 1.0)), number=1)
    lines = "\n".join("".join(text for text, _ in runs) for runs in draw(Chart((one, other)), 40, 10, UNICODE))
    assert "─● one" in lines
    assert "─▲ other" in lines
    assert lines.count("●") == lines.count("▲") == 2
    alone = "\n".join("".join(text for text, _ in runs) for runs in draw(Chart((one,)), 40, 10, UNICODE))
    assert "── one" in alone
    assert "●" not in alone


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_marked_runs_are_drawn_over_each_other_with_the_best_other_backbone_behind(
    used: Workspace, opened: Opener, size: tuple[int, int]
) -> None:
    filled.go_on(used, "cccccccccccc", "demo/simclr", "linear/digits", done=62, seed=1)
    async with opened(used, AppOptions(mode="live"), size=size) as pilot:
        pane = pilot.app.screen.query_one(CurvePane)
        await pilot.press("slash", *"task:linear/digits", "enter")
        rows = list(table(pilot).rows.keys)
        runs = app_of(pilot).state.runs
        await pilot.press("space")
        assert table(pilot).row == rows[0], "marking does not move the cursor"
        assert "1 marked" in shown(pilot, "#summary")
        await pilot.press("down", "space", "down")
        await until(pilot, lambda: len([s for s in pane.chart.series if s.kind == "curve"]) == 3)
        names = [series.name for series in pane.chart.series]
        assert names[0].startswith("best so far: ")
        assert all(any(runs[name].backbone in shown for shown in names) for name in rows[:3]), names
        numbers = {series.name: series.number for series in pane.chart.series if series.kind == "curve"}
        await pilot.press("up")
        await until(pilot, lambda: len([s for s in pane.chart.series if s.kind == "curve"]) == 2)
        kept = {series.name: series.number for series in pane.chart.series if series.kind == "curve"}
        assert kept.items() <= numbers.items(), "a run keeps its colour wherever the cursor is"
        await pilot.press("asterisk")
        assert f"{len(rows)} marked" in shown(pilot, "#summary")
        await pilot.press("asterisk")
        assert "marked" not in shown(pilot, "#summary")


async def test_scale_axis_and_zoom_are_chosen_by_keys(used: Workspace, opened: Opener) -> None:
    async with opened(used, AppOptions(mode="live")) as pilot:
        pane = pilot.app.screen.query_one(CurvePane)
        await pilot.press("slash", *"state:done", "enter", "L")
        await until(pilot, lambda: pane.chart.series)
        assert pane.chart.log_y
        whole = len(pane.chart.series[-1].points)
        await pilot.press("L", "t", "i")
        assert (pane.chart.log_y, pane.chart.x) == (False, "seconds")
        newest = pane.chart.series[-1].points
        assert whole / 3 < len(newest) < whole * 2 / 3
        await pilot.press("z", "left")
        assert pane.chart.series[-1].points[0][0] < newest[0][0]
        await pilot.press("h", "0", "z", "t")
        assert (len(pane.chart.series[-1].points), pane.chart.x) == (whole, "step")
        assert replace(pane.options, metric=None) == CurveOptions()
