"""Charts as lines of text: axes with round numbers, curves, ghosts, points with markers and names. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import clean, fit, wrap

SeriesIndex = int
"""Index of a series, or one of the negative constants."""
GHOST: SeriesIndex = -1
AXIS: SeriesIndex = -2
LABEL: SeriesIndex = -3
NOTHING: SeriesIndex = -4

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character by row and column of the dot."""


@dataclass
class Canvas:
    """A canvas of `width` x `height` cells; dots count from the upper left."""

    width: int
    height: int
    braille: bool
    dot: str = "*"
    _masks: dict[tuple[int, int], int] = field(default_factory=dict)
    _signs: dict[tuple[int, int], str] = field(default_factory=dict)
    _colours: dict[tuple[int, int], SeriesIndex] = field(default_factory=dict)

    @property
    def dots_x(self) -> int:
        """Number of dots per row."""
        return self.width * 2 if self.braille else self.width

    @property
    def dots_y(self) -> int:
        """Number of dots per column."""
        return self.height * 4 if self.braille else self.height

    def point(self, x: int, y: int, colour: SeriesIndex) -> None:
        """Draw one dot; no effect outside of the canvas."""
        if not (0 <= x < self.dots_x and 0 <= y < self.dots_y):
            return
        cell = (x // 2, y // 4) if self.braille else (x, y)
        if colour != GHOST or self._colours.get(cell, GHOST) == GHOST:
            self._colours[cell] = colour
        if self.braille:
            self._masks[cell] = self._masks.get(cell, 0) | _DOTS[y % 4][x % 2]
        else:
            self._signs.setdefault(cell, self.dot)

    def segment(self, start: tuple[int, int], end: tuple[int, int], colour: SeriesIndex) -> None:
        """A straight line of dots; a ghost's is dotted."""
        (x0, y0), (x1, y1) = start, end
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            if colour == GHOST and (x0 + step) % 3 == 2:
                continue
            self.point(round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps), colour)

    def sign(self, column: int, row: int, text: str, colour: SeriesIndex) -> None:
        """Write characters, replacing existing content."""
        for offset, character in enumerate(text):
            if 0 <= column + offset < self.width and 0 <= row < self.height:
                self._signs[column + offset, row] = character
                self._colours[column + offset, row] = colour

    def free(self, column: int, row: int, length: int) -> bool:
        """Whether a cell is on the canvas and empty."""
        if column < 0 or column + length > self.width or not 0 <= row < self.height:
            return False
        cells = ((column + offset, row) for offset in range(length))
        return not any(cell in self._signs or cell in self._masks for cell in cells)

    def row(self, row: int) -> Iterator[tuple[str, SeriesIndex]]:
        """One line as runs of equal colour."""
        text, colour = "", NOTHING
        for column in range(self.width):
            character, next_colour = self._cell(column, row)
            if next_colour != colour and text:
                yield text, colour
                text = ""
            text, colour = text + character, next_colour
        yield text, colour

    def _cell(self, column: int, row: int) -> tuple[str, SeriesIndex]:
        cell = (column, row)
        if cell in self._signs:
            return self._signs[cell], self._colours[cell]
        if cell in self._masks:
            return chr(_BRAILLE | self._masks[cell]), self._colours[cell]
        return " ", NOTHING


Point = tuple[float, float]
TextRun = tuple[str, SeriesIndex]

POINTS = frozenset({"points", "crowd"})
SMALLEST = (16, 5)
"""Minimal size in cells; a smaller chart shows a note instead."""


@dataclass(frozen=True)
class Series:
    """One curve, or one set of points."""

    name: str
    points: tuple[Point, ...]
    kind: str = "curve"
    """`curve`, `ghost` (a curve to compare with), `points`, `crowd` (points of secondary interest), or `front` (a
    thin line without a legend).
    """
    number: int = 0
    """Colour and marker."""
    labels: tuple[str, ...] = ()
    """Names of the points, drawn next to them if there is room."""


@dataclass(frozen=True)
class Chart:
    """Content of a chart."""

    series: tuple[Series, ...] = ()
    x: str = ""
    y: str = ""
    log_x: bool = False
    log_y: bool = False
    note: str = ""
    """Text next to the legend, or alone if there is nothing to draw."""


@dataclass(frozen=True)
class Axis:
    """A range of numbers mapped to dots."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Position of `value` on the axis, 0 to 1."""
        if self.log:
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)


def draw(chart: Chart, width: int, height: int, glyphs: Glyphs) -> list[list[TextRun]]:
    """The chart in `height` lines of `width` cells, each as runs of one colour."""
    points = [point for series in chart.series for point in series.points if _drawable(point, chart)]
    if not points or width < SMALLEST[0] or height < SMALLEST[1]:
        return _only_a_note(chart if not points else Chart(note="too small for a chart"), width, height)
    legend = _legend(chart, width, glyphs)
    area_height = height - 2 - bool(legend)
    y_values, most = [y for _, y in points], max(3, min(8, area_height * 2 // 5))
    y_axis = log_axis(y_values, most) if chart.log_y else linear_axis(y_values, most, margin=0.06)
    labels = [f"{tick:g}" if y_axis.log else _number(tick, y_axis.ticks) for tick in y_axis.ticks]
    gutter = max(len(label) for label in labels) + 1
    scattered = any(series.kind in POINTS for series in chart.series)
    x_values = [x for x, _ in points]
    x_axis = (
        log_axis(x_values)
        if chart.log_x
        else linear_axis(x_values, max(2, (width - gutter) // 12), margin=0.04 * scattered)
    )
    canvas = Canvas(width - gutter, area_height, glyphs.braille, glyphs.dot)
    _draw_series(canvas, chart, x_axis, y_axis, glyphs)
    lines = [legend] if legend else []
    marks = {_row(canvas, y_axis, tick): label for tick, label in zip(y_axis.ticks, labels, strict=True)}
    for row in range(area_height):
        mark = glyphs.tick_mark if row in marks else glyphs.rule_down
        lines.append([(marks.get(row, "").rjust(gutter - 1), LABEL), (mark, AXIS), *canvas.row(row)])
    return [
        *lines,
        [(" " * (gutter - 1) + glyphs.corner + glyphs.rule * canvas.width, AXIS)],
        _x_labels(chart, x_axis, gutter, canvas),
    ]


def linear_axis(values: Sequence[float], ticks: int, *, margin: float = 0.0) -> Axis:
    """About `ticks` round ticks within the values' range; `margin` is the fraction left free at both ends."""
    low, high = min(values), max(values)
    spread = high - low
    if spread == 0:
        low, high = low - (abs(low) * 0.05 or 1.0), high + (abs(high) * 0.05 or 1.0)
    low, high = low - margin * spread, high + margin * spread
    rough = (high - low) / max(1, ticks)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(round(number * step, 10) for number in range(first, last + 1)))


def log_axis(values: Sequence[float], most: int = 12) -> Axis:
    """Ticks at powers of ten, and at 2 and 5 times these; only powers of ten if there would be more than `most`
    ticks; round numbers if there would be fewer than two.
    """
    low, high = min(values) / 1.15, max(values) * 1.15
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
    ticks = tuple(mark for mark in marks if low <= mark <= high)
    if len(ticks) > most:
        powers = [10.0**decade for decade in decades if low <= 10.0**decade <= high]
        ticks = tuple(powers[:: max(1, -(-len(powers) // most))])
    return Axis(low, high, ticks if len(ticks) > 1 else linear_axis([low, high], 4).ticks, log=True)


def _drawable(point: Point, chart: Chart) -> bool:
    finite = math.isfinite(point[0]) and math.isfinite(point[1])
    return finite and (not chart.log_x or point[0] > 0) and (not chart.log_y or point[1] > 0)


def _draw_series(canvas: Canvas, chart: Chart, x_axis: Axis, y_axis: Axis, glyphs: Glyphs) -> None:
    def place(point: Point) -> tuple[int, int]:
        x = round(x_axis.share(point[0]) * (canvas.dots_x - 1))
        return x, round((1 - y_axis.share(point[1])) * (canvas.dots_y - 1))

    drawable = [(s, [place(p) for p in s.points if _drawable(p, chart)]) for s in chart.series]
    for series, places in drawable:
        if series.kind not in POINTS:
            _draw_curve(canvas, places, _colour(series))
            if places and series.kind == "curve" and _overlaid(chart):
                canvas.sign(*_cell(canvas, *places[-1]), _marker(series, glyphs), _colour(series))
    for series, places in sorted(drawable, key=lambda pair: pair[0].kind != "crowd"):
        if series.kind in POINTS:
            for x, y in places:
                canvas.sign(*_cell(canvas, x, y), _marker(series, glyphs), _colour(series))
    for series, places in drawable:
        if series.kind == "points":
            _name_points(canvas, series, places)


def _draw_curve(canvas: Canvas, places: Sequence[tuple[int, int]], colour: SeriesIndex) -> None:
    """Line segments between points. A step before the last one begins a new line."""
    for start, end in zip(places, places[1:] or places, strict=False):
        if end[0] >= start[0]:
            canvas.segment(start, end, colour)


def _colour(series: Series) -> SeriesIndex:
    return {"ghost": GHOST, "front": GHOST, "crowd": LABEL}.get(series.kind, series.number)


def _marker(series: Series, glyphs: Glyphs) -> str:
    return glyphs.dot if series.kind == "crowd" else glyphs.markers[series.number % len(glyphs.markers)]


def _overlaid(chart: Chart) -> bool:
    """Whether there are several curves, each of which ends in its own marker, so that they differ without colour."""
    return sum(series.kind == "curve" for series in chart.series) > 1


def _name_points(canvas: Canvas, series: Series, places: Iterable[tuple[int, int]]) -> None:
    for (x, y), name in zip(places, series.labels, strict=False):
        column, row = _cell(canvas, x, y)
        text = clean(name)
        for left in (column + 2, column - len(text) - 1):
            if canvas.free(left, row, len(text)):
                canvas.sign(left, row, text, LABEL)
                break


def _cell(canvas: Canvas, x: int, y: int) -> tuple[int, int]:
    return (x // 2, y // 4) if canvas.braille else (x, y)


def _row(canvas: Canvas, axis: Axis, value: float) -> int:
    dot = round((1 - axis.share(value)) * (canvas.dots_y - 1))
    return _cell(canvas, 0, dot)[1]


def _x_labels(chart: Chart, axis: Axis, gutter: int, canvas: Canvas) -> list[TextRun]:
    """Tick labels below their positions, with the axis's name at the right end."""
    name = fit(chart.x, min(len(chart.x), canvas.width // 2)) if chart.x else ""
    room = canvas.width - len(name) - (2 if name else 0)
    text = ""
    for tick in axis.ticks:
        label = _number(tick, axis.ticks)
        left = round(axis.share(tick) * (canvas.width - 1)) - len(label) // 2
        left = max(0, min(left, canvas.width - len(label)))
        if left >= len(text) + bool(text) and left + len(label) <= room:
            text = text.ljust(left) + label
    return [(" " * gutter + text.ljust(canvas.width - len(name)) + name, LABEL)]


def _number(value: float, ticks: Sequence[float]) -> str:
    """A tick's label with as many decimals as the ticks need."""
    step = min((abs(b - a) for a, b in pairwise(ticks)), default=abs(value))
    if max((abs(tick) for tick in ticks), default=0) >= 10_000:
        return f"{value / 1000:g}k"
    decimals = next((n for n in range(6) if abs(round(step, n) - step) < step * 1e-6), 6)
    return f"{value:.{decimals}f}"


def _legend(chart: Chart, width: int, glyphs: Glyphs) -> list[TextRun]:
    runs: list[TextRun] = []
    for series in chart.series:
        if series.name and series.kind != "front":
            end = _marker(series, glyphs) if _overlaid(chart) else glyphs.rule
            lines = {"curve": glyphs.rule + end, "ghost": glyphs.dot * 2}
            sign = lines.get(series.kind) or _marker(series, glyphs)
            runs += [(f"{sign} ", _colour(series)), (f"{clean(series.name)}  ", LABEL)]
    if chart.note:
        runs.append((clean(chart.note), LABEL))
    return _cut_runs(runs, width)


def _cut_runs(runs: Sequence[TextRun], width: int) -> list[TextRun]:
    kept: list[TextRun] = []
    left = width
    for text, colour in runs:
        if len(text.rstrip()) > left:
            return [*kept, (fit(text, left), colour)] if left > 0 else kept
        kept.append((text[:left], colour))
        left -= len(text)
    return kept


def _only_a_note(chart: Chart, width: int, height: int) -> list[list[TextRun]]:
    blank: list[list[TextRun]] = [[(" " * width, NOTHING)] for _ in range(height)]
    note = wrap(chart.note or "nothing to draw yet", width - 2) if width > 2 else []
    top = max(0, (height - len(note)) // 2)
    for row, text in enumerate(note[:height], start=top):
        blank[row] = [(fit(text, width, "center"), LABEL)]
    return blank
