from __future__ import annotations

import math

import pytest

from ssl_console.tui.style.glyphs import ASCII, UNICODE, Glyphs
from ssl_console.tui.widgets.plot import GHOST, Chart, Series, draw, linear_axis, log_axis

CURVE = Series("own", tuple((float(x), math.sqrt(x)) for x in range(50)))


def text_of(chart: Chart, width: int = 60, height: int = 12, glyphs: Glyphs = UNICODE) -> list[str]:
    return ["".join(text for text, _ in line) for line in draw(chart, width, height, glyphs)]


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("size", [(16, 5), (40, 8), (120, 40)])
def test_a_chart_fills_its_size_exactly(glyphs: Glyphs, size: tuple[int, int]) -> None:
    chart = Chart((Series("best so far", CURVE.points[::2], "ghost"), CURVE), "step", "accuracy")
    lines = text_of(chart, *size, glyphs)
    assert len(lines) == size[1]
    assert max(map(len, lines)) <= size[0]


def test_a_curve_rises_where_its_values_rise() -> None:
    rows = text_of(Chart((Series("", ((0.0, 0.0), (1.0, 1.0))),)), 40, 12)
    drawn = [line.split("│")[-1].split("┤")[-1] for line in rows[:-2]]
    first = next(line for line in drawn if line.strip())
    last = next(line for line in reversed(drawn) if line.strip())
    assert len(first) - len(first.lstrip()) > len(last) - len(last.lstrip())


def test_a_ghost_never_hides_the_own_curve() -> None:
    same = (Series("ghost", CURVE.points, "ghost"), CURVE)
    colours = {colour for line in draw(Chart(same), 60, 12, UNICODE)[1:-2] for _, colour in line}
    assert GHOST not in colours


@pytest.mark.parametrize("points", [(), ((1.0, math.nan),), ((math.inf, 1.0),)])
def test_a_chart_without_a_number_says_so(points: tuple[tuple[float, float], ...]) -> None:
    assert "nothing yet" in " ".join(text_of(Chart((Series("a", points),), note="nothing yet")))


@pytest.mark.parametrize("points", [((1.0, 5.0),), ((1.0, 5.0), (1.0, 5.0)), ((0.0, 0.0), (0.0, 1e-9))])
def test_a_single_value_is_drawn(points: tuple[tuple[float, float], ...]) -> None:
    assert "●" in "".join(text_of(Chart((Series("a", points, "points"),))))


def test_points_are_named_where_there_is_room() -> None:
    chart = Chart((Series("own", ((1.0, 1.0), (2.0, 2.0)), "points", labels=("moco", "[b]swav")),))
    shown = " ".join(text_of(chart))
    assert "moco" in shown
    assert "[b]swav" in shown


@pytest.mark.parametrize(("low", "high"), [(0, 1), (61.3, 77.2), (-5, 5), (0.001, 0.0042), (3, 123456)])
def test_ticks_are_round_and_lie_within(low: float, high: float) -> None:
    axis = linear_axis([low, high], 5)
    assert 2 <= len(axis.ticks) <= 12
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)


def test_a_logarithmic_axis_puts_equal_ratios_at_equal_distances() -> None:
    axis = log_axis([1, 1000])
    assert axis.share(10) - axis.share(1) == pytest.approx(axis.share(1000) - axis.share(100))


def test_a_logarithmic_axis_has_ticks_however_short_it_is() -> None:
    for values in ([0.27, 0.37], [23.5, 25.6], [1, 1000], [90, 90]):
        assert len(log_axis(values).ticks) > 1, values
