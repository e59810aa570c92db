"""Multiverse of the compared backbones: computed by a subprocess from stored features while the dialog is open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.analysis.multiverse import curve_text, pair_of, pairs_of, percent, specification_curve, spreads
from ssl_console.operations.multiverse import multiverse
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Line, Span, Tone, fit, line, wrap
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import Lines
from tasks.features.requests import Advance, MultiverseCard, MultiverseResult, Phase

ABOUT = (
    "All combinations of pooling, blocks, classifier and seed, from stored features: the percentage in which a "
    "backbone is ahead, and the choices that reverse this. Intervals refer to other test images."
)
NAME = 24


class DialogClosedError(Exception):
    """The dialog was closed before the result was complete."""


@dataclass
class MultiverseProgress:
    """Evaluations so far."""

    total: int = 0
    done: int = 0
    closed: bool = False

    def __call__(self, report: Phase | Advance) -> None:
        """Count a report. Raises DialogClosedError, which ends the subprocess."""
        if self.closed:
            raise DialogClosedError
        if isinstance(report, Phase):
            self.total, self.done = report.total or 0, 0
        else:
            self.done += report.count


class MultiverseDialog(Dialog[None]):
    """The verdict of every pair, and the specification curve of the first two."""

    BINDINGS: ClassVar = bindings("panel")
    HELP_TEXT = (
        "All combinations of pooling, blocks, classifier and seed, computed from stored features while this is "
        "open. First the percentage of combinations in which each backbone is first, then for each pair the choices "
        "that change its order, and the specification curve of the compared pair: its combinations sorted by "
        "their difference. An interval contains the percentage over other test images in about 95 % of cases; where it "
        "reaches 50 %, the other backbone may be ahead. Resolutions are included by the card (`--card`) where stored."
    )

    def __init__(self, backbones: Sequence[str], dataset: str) -> None:
        super().__init__()
        self._backbones, self._dataset = tuple(backbones), dataset
        self._progress = MultiverseProgress()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog ranks") as panel:
            panel.border_title = f"Multiverse on {self._dataset}"
            yield Lines([line(Span(" opening stored features ...", Tone.DIM))], id="text")
            yield KeyLine()

    def on_mount(self) -> None:
        """Start the subprocess, and show its progress."""
        self.set_interval(0.5, self._show_progress)
        host(self).in_background(self._work(), self._show, group="multiverse")

    def on_unmount(self) -> None:
        """End the subprocess."""
        self._progress.closed = True

    def _work(self) -> Callable[[], MultiverseResult | str]:
        session, progress = host(self).backend.session, self._progress
        names, dataset = self._backbones, self._dataset

        def work() -> MultiverseResult | str:
            try:
                return multiverse(session, names, dataset, MultiverseCard(), progress)
            except DialogClosedError:
                return "closed"
            except (ConsoleError, ValueError) as error:
                return str(error)

        return work

    def _show_progress(self) -> None:
        if self._progress.total and self._progress.done < self._progress.total:
            text = f" {self._progress.done:,} of {self._progress.total:,} evaluations of stored features"
            self.query_one(Lines).show([line(Span(text, Tone.DIM))])

    def _show(self, found: MultiverseResult | str) -> None:
        if not self.is_attached:
            return
        self._progress.total = 0
        text = self.query_one(Lines)
        width = max(60, text.size.width - 1)
        if isinstance(found, str):
            text.show([line(Span(f" {part}", Tone.WARN)) for part in wrap(found, width - 2)])
        else:
            text.show(multiverse_lines(found, self._backbones, width))


def multiverse_lines(result: MultiverseResult, wanted: Sequence[str], width: int) -> list[Line]:
    """Backbones, sentences of the pairs, and the curve of the first two of `wanted`."""
    lines = [line(Span(f" {part}", Tone.DIM)) for part in wrap(ABOUT, width - 2)]
    head = f" {fit('backbone', NAME)} {fit('first in', 9, 'right')} {fit('mean', 7, 'right')}  lowest to highest"
    lines += [(), line(Span(head, Tone.DIM))]
    for one in spreads(result):
        numbers = f"{percent(one.first):>9} {one.mean:>7.1f}  {one.lowest:.1f} to {one.highest:.1f}"
        lines.append(line(f" {fit(one.backbone, NAME)} {numbers}"))
    shown = pair_of(result, wanted[0], wanted[1])
    others = [pair for pair in pairs_of(result) if pair != shown]
    for place, pair in enumerate((shown, *others)):
        tone = Tone.WARN if pair.open else Tone.STRONG if not place else Tone.PLAIN
        lines += [(), *(line(Span(f" {part}", tone)) for part in wrap(pair.sentence, width - 2))]
    curve = specification_curve(result, shown.first, shown.second)
    lines += [(), *(line(f" {text}") for text in curve_text(curve, shown.first, shown.second, width - 2))]
    notes = [f"{result.metric} on {result.test_images} test images of {result.dataset}", *result.notes]
    return [*lines, (), *(line(Span(f" {part}", Tone.DIM)) for note in notes for part in wrap(note, width - 2))]
