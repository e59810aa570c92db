"""Curves of runs drawn over each other: by step or time, linear or logarithmic, whole or in part. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ssl_console.tui.widgets.plot import Chart, Point, Series
from ssl_console.workspace.events import Curve
from ssl_console.workspace.result import Result
from ssl_console.workspace.run_observer import RunView

NARROWEST = 1 / 64
"""Smallest displayed fraction of the horizontal axis."""
LONG_S = 600.0
"""Duration from which the time axis is in minutes."""


@dataclass(frozen=True)
class RunCurves:
    """The metrics of a run, and its name in the legend."""

    name: str
    curves: Mapping[str, Curve]


@dataclass(frozen=True)
class Window:
    """Displayed part of the horizontal axis: its ends as fractions of the whole, 0 to 1."""

    low: float = 0.0
    high: float = 1.0

    @property
    def magnification(self) -> int:
        """1 for the whole axis, 2 for half of it."""
        return round(1 / (self.high - self.low))

    def zoomed(self, factor: float) -> Window:
        """A part narrower by `factor`, or wider, with the same middle; at the newest point, with the same end."""
        width = min(1.0, max(NARROWEST, (self.high - self.low) / factor))
        low = 1.0 - width if self.high == 1.0 else (self.low + self.high - width) / 2
        return self._within(low, width)

    def moved(self, step: int) -> Window:
        """Half a width to the right (1) or to the left (-1)."""
        width = self.high - self.low
        return self._within(self.low + step * width / 2, width)

    def contains(self, share: float) -> bool:
        """Whether a point at this fraction of the axis is displayed."""
        return self.low - 1e-9 <= share <= self.high + 1e-9

    @staticmethod
    def _within(low: float, width: float) -> Window:
        low = min(max(0.0, low), 1.0 - width)
        return Window(low, 1.0 if low + width > 1.0 - 1e-9 else low + width)


@dataclass(frozen=True)
class CurveOptions:
    """Options for drawing curves."""

    metric: str | None = None
    """None for the first one."""
    by_time: bool = False
    """Whether the horizontal axis is the time in seconds since the run's start, instead of steps."""
    log: bool = False
    window: Window = Window()

    def next_metric(self, curves: Iterable[RunCurves]) -> CurveOptions:
        """The options with the next metric of these runs."""
        names = metrics_of(curves)
        if not names:
            return self
        index = names.index(self.metric) if self.metric in names else 0
        return replace(self, metric=names[(index + 1) % len(names)])


def curve_chart(runs: Sequence[RunCurves], ghost: RunCurves | None, options: CurveOptions, *, ended: bool) -> Chart:
    """One metric of several runs, and of the best other backbone."""
    names = metrics_of(runs)
    if not names:
        return Chart(note="no curve: this protocol reports none" if ended else "no metric reported yet")
    metric = options.metric if options.metric in names else names[0]
    drawn = [(number, run) for number, run in enumerate(runs) if _is_curve(run.curves.get(metric))]
    series = [Series(run.name, _points(run.curves[metric], options), number=number) for number, run in drawn]
    if ghost is not None and _is_curve(ghost.curves.get(metric)):
        series.insert(0, Series(f"best so far: {ghost.name}", _points(ghost.curves[metric], options), "ghost"))
    without = [run.name for run in runs if not _is_curve(run.curves.get(metric))]
    with_steps = any(step is not None for _, run in drawn for step, _ in run.curves[metric].points)
    x, series = _scaled(series, options, with_steps=with_steps)
    note = _note(metric, without, series, options)
    return Chart(tuple(_cropped(series, options.window)), x, metric, note=note, log_y=options.log)


def metrics_of(runs: Iterable[RunCurves]) -> list[str]:
    """Metrics with at least two points in any of the runs."""
    found = (name for run in runs for name, curve in run.curves.items() if _is_curve(curve))
    return list(dict.fromkeys(found))


def legend_names(runs: Sequence[RunView]) -> list[str]:
    """The runs' backbones, with task and seed where those differ."""
    tasks = len({run.task for run in runs}) > 1
    labels = [f"{run.backbone} {run.task}" if tasks else run.backbone for run in runs]
    counts = Counter(labels)
    return [f"{label} seed {run.seed}" if counts[label] > 1 else label for label, run in zip(labels, runs, strict=True)]


def best_other(results: Sequence[Result], task: str, backbones: Iterable[str]) -> Result | None:
    """The best result on a task from a backbone that is not among these."""
    shown = frozenset(backbones)
    fitting = [r for r in results if r.task == task and r.backbone not in shown and r.source == "mine"]
    key: Callable[[Result], float] = lambda result: result.value if result.higher_is_better else -result.value  # noqa: E731
    return max(fitting, key=key, default=None)


def _is_curve(curve: Curve | None) -> bool:
    return curve is not None and len(curve.points) > 1


def _points(curve: Curve, options: CurveOptions) -> tuple[Point, ...]:
    values = [value for _, value in curve.points]
    if options.by_time:
        return tuple(zip(curve.times, values, strict=True))
    steps = (float(number * curve.stride) if step is None else step for number, (step, _) in enumerate(curve.points))
    return tuple(zip(steps, values, strict=True))


def _scaled(series: list[Series], options: CurveOptions, *, with_steps: bool) -> tuple[str, list[Series]]:
    """Name of the horizontal axis, and the series in its unit."""
    if not options.by_time:
        return ("step" if with_steps else "report"), series
    if max((x for one in series for x, _ in one.points), default=0.0) < LONG_S:
        return "seconds", series
    return "minutes", [replace(one, points=tuple((x / 60, y) for x, y in one.points)) for one in series]


def _note(metric: str, without: Sequence[str], series: Sequence[Series], options: CurveOptions) -> str:
    """The metric, and notes on the displayed part and omitted points."""
    parts = [f"log {metric}" if options.log else metric]
    if options.window.magnification > 1:
        parts.append(f"zoom {options.window.magnification}x")
    hidden = sum(y <= 0 for one in series for _, y in one.points) if options.log else 0
    parts += [f"{hidden} values at or below 0 not drawn"] if hidden else []
    parts += [f"without it: {', '.join(without)}"] if without else []
    return ", ".join(parts)


def _cropped(series: Sequence[Series], window: Window) -> list[Series]:
    """The points within the window."""
    if window.magnification == 1:
        return list(series)
    low = min(x for one in series for x, _ in one.points)
    spread = max(x for one in series for x, _ in one.points) - low or 1.0
    return [
        replace(one, points=tuple(point for point in one.points if window.contains((point[0] - low) / spread)))
        for one in series
    ]
