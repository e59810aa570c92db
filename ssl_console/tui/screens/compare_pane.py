"""The pane next to the table of Compare: a chart, the differences, the classes or the images of the cursor's task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, get_args

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.analysis.layer_curves import LayerCurve, layer_curve
from ssl_console.operations.disagreements import DisagreeingImages, disagreeing_images
from ssl_console.operations.similarity import SimilarityMatrix, matrix_or_reason
from ssl_console.tui.host import host
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Line, Span, Tone, line, wrap
from ssl_console.tui.views.compare import CompareTable, CostAxis
from ssl_console.tui.views.compare_pane import (
    ClassScores,
    class_lines,
    disagreement_lines,
    layer_chart,
    similarity_lines,
)
from ssl_console.tui.views.paired_tests import forest
from ssl_console.tui.widgets.graphics import ChartView, ImageView
from ssl_console.tui.widgets.styled_text import Lines, StyledText
from ssl_console.workspace.events import Curve

PaneView = Literal["differences", "transfer", "cost", "curves", "classes", "images", "similarity"]
VIEWS: tuple[PaneView, ...] = get_args(PaneView)


class ComparePane(Vertical):
    """One view at a time, of the task and the backbone under the cursor of the table."""

    def __init__(self) -> None:
        super().__init__(id="chart-pane")
        self.view: PaneView = "differences"
        self.axis: CostAxis = "parameters"
        self._curves: dict[str, Mapping[str, Curve]] = {}
        self._layers: dict[str, LayerCurve | None] = {}
        self._recalls: dict[str, ClassScores] = {}
        self._images: dict[tuple[str, str], DisagreeingImages | str] = {}
        self._matrices: dict[tuple[str, tuple[str, ...]], SimilarityMatrix | str] = {}
        self._asked: set[object] = set()
        self._shown: tuple[CompareTable, str] | None = None

    def compose(self) -> ComposeResult:
        """Names of the views, and one widget for each kind."""
        yield StyledText(id="tabs", classes="hint")
        yield ChartView(id="chart")
        yield Lines(id="text")
        yield ImageView(id="sheet")

    def turn(self, step: int) -> None:
        """Switch to another view."""
        self.view = VIEWS[(VIEWS.index(self.view) + step) % len(VIEWS)]

    def show(self, comparison: CompareTable, other: str) -> None:
        """Show the view of the comparison's task, of `other` against the base."""
        self._shown = comparison, other
        kind = "chart" if self.view in {"transfer", "cost", "curves"} else "text"
        images = self.images if self.view == "images" else None
        self.query_one("#chart").display = kind == "chart"
        self.query_one("#text").display = kind == "text"
        self.query_one("#sheet").display = images is not None and images.sheet is not None
        tabs = [Span(f" {name} ", Tone.TITLE if name == self.view else Tone.DIM) for name in VIEWS]
        about = other if self.view == "differences" else comparison.task or "mean over all tasks"
        self.query_one("#tabs", StyledText).show([line(*tabs, Span(f"  {about}", Tone.FAINT))])
        match self.view:
            case "transfer":
                self._chart.show(comparison.transfer())
            case "cost":
                self._chart.show(comparison.cost(self.axis))
            case "curves" if comparison.shows_layers:
                self._chart.show(layer_chart(comparison.backbones, self._known_layer_curves(comparison)))
            case "curves":
                self._chart.show(comparison.curves(self._known_curves(comparison)))
            case _:
                self.query_one("#text", Lines).show(self._lines(comparison, other))
        if images is not None and images.sheet is not None:
            self.query_one(ImageView).show([images.sheet])

    @property
    def _chart(self) -> ChartView:
        return self.query_one("#chart", ChartView)

    def _lines(self, comparison: CompareTable, other: str) -> list[Line]:
        base, task = comparison.base, comparison.task
        if self.view == "differences":
            return forest(
                comparison.paired, other, base, comparison.keys, task or "", self._width, render_context(self).glyphs
            )
        if task is None:
            return [line(Span(" move to a task", Tone.DIM))]
        if self.view == "similarity":
            dataset = next(column.dataset for column in comparison.columns if column.label == task)
            return self._similarity_lines(dataset, comparison.backbones)
        one, two = comparison.run_of(other, task), comparison.run_of(base, task)
        if one is None or two is None:
            return [line(Span(" both backbones need a result measured in this workspace", Tone.DIM))]
        return self._pair_lines((other, base), (one, two))

    def _pair_lines(self, names: tuple[str, str], runs: tuple[str, str]) -> list[Line]:
        """Classes or images of two backbones' runs."""
        if self.view == "classes":
            ours, theirs = self._class_scores(runs[0]), self._class_scores(runs[1])
            if ours is None or theirs is None:
                return _READING
            return class_lines(names, (ours, theirs), self._width, render_context(self).glyphs)
        images = self._disagreement(runs)
        if isinstance(images, DisagreeingImages):
            return disagreement_lines(names, images, self._width)
        return _READING if images is None else self._wrapped(images)

    def _similarity_lines(self, dataset: str, names: tuple[str, ...]) -> list[Line]:
        session = host(self).backend.session
        self._read(
            ("similarity", dataset, names),
            lambda: matrix_or_reason(session, dataset, names),
            lambda found: self._matrices.update({(dataset, names): found}),  # type: ignore[dict-item]
        )
        found = self._matrices.get((dataset, names))
        if isinstance(found, SimilarityMatrix):
            return similarity_lines(found, self._width, render_context(self).glyphs)
        return _READING if found is None else self._wrapped(found)

    def _wrapped(self, text: str) -> list[Line]:
        return [line(Span(f" {part}", Tone.DIM)) for part in wrap(text, self._width - 2)]

    @property
    def _width(self) -> int:
        """Cells of a line, without those of a scroll bar, which appears only after wrapping."""
        text = self.query_one("#text")
        return max(30, (text.outer_size.width or self.size.width) - text.styles.scrollbar_size_vertical)

    # -- reading --------------------------------------------------------------------------------------------------

    @property
    def images(self) -> DisagreeingImages | None:
        """The images on which the two backbones under the cursor disagree, when they have been read."""
        if self._shown is None:
            return None
        comparison, other = self._shown
        runs = (comparison.run_of(name, comparison.task or "") or "" for name in (other, comparison.base))
        found = self._images.get((next(runs), next(runs)))
        return found if isinstance(found, DisagreeingImages) else None

    def _read(self, key: object, work: Callable[[], object], take: Callable[[object], object]) -> None:
        """Read something once, in a thread, and show it afterwards."""
        if key in self._asked:
            return
        self._asked.add(key)

        def taken(found: object) -> None:
            take(found)
            if self._shown is not None and self.is_mounted:
                self.show(*self._shown)

        host(self).in_background(work, taken, group=f"compare {key}")

    def _class_scores(self, run_id: str) -> ClassScores | None:
        session = host(self).backend.session
        self._read(
            ("classes", run_id),
            lambda: session.class_scores(run_id),
            lambda found: self._recalls.update({run_id: found}),  # type: ignore[dict-item]
        )
        return self._recalls.get(run_id)

    def _disagreement(self, runs: tuple[str, str]) -> DisagreeingImages | str | None:
        session = host(self).backend.session
        self._read(
            ("images", runs),
            lambda: disagreeing_images(session, *runs),
            lambda found: self._images.update({runs: found}),  # type: ignore[dict-item]
        )
        return self._images.get(runs)

    def _known_layer_curves(self, comparison: CompareTable) -> dict[str, LayerCurve]:
        """The layer curves of the compared backbones that have been read."""
        session, found = host(self).backend.session, {}

        def read(run_id: str) -> LayerCurve | None:
            record = session.outputs.record(run_id)
            return None if record is None else layer_curve(record)

        for name, run_id in comparison.runs.items():
            self._read(
                ("layers", run_id),
                partial(read, run_id),
                lambda curve, run_id=run_id: self._layers.update({run_id: curve}),  # type: ignore[misc]
            )
            if (curve := self._layers.get(run_id)) is not None:
                found[name] = curve
        return found

    def _known_curves(self, comparison: CompareTable) -> dict[str, Mapping[str, Curve]]:
        """The curves of the compared backbones on the cursor's task that have been read."""
        backend, found = host(self).backend, {}
        for name in comparison.backbones:
            run_id = comparison.run_of(name, comparison.task or "")
            if run_id is None:
                continue
            self._read(
                ("curves", run_id),
                lambda run_id=run_id: backend.curves(run_id),  # type: ignore[misc]
                lambda curves, run_id=run_id: self._curves.update({run_id: curves}),  # type: ignore[misc]
            )
            if run_id in self._curves:
                found[name] = self._curves[run_id]
        return found


_READING = [line(Span(" reading ...", Tone.DIM))]
