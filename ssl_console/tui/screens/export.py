"""Export of a ranking to a file and to the terminal's clipboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from backbones.io.files import write_atomically
from ssl_console.analysis.comparability import apart_document, kept_apart
from ssl_console.analysis.export import EXPORTS, NO_TIES, SHOW_TIES, Format, Notes
from ssl_console.analysis.ranking import Ranking
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Span, Tone, line
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import StyledText

if TYPE_CHECKING:
    from ssl_console.workspace.predictions import Predictions

SUFFIXES: dict[Format, str] = {"markdown": "md", "csv": "csv", "latex": "tex", "json": "json"}


class ExportDialog(Dialog[None]):
    """Choice of a format, in which the view is written."""

    BINDINGS: ClassVar = bindings("export")

    def __init__(self, ranking: Ranking, hidden: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._ranking, self._hidden = ranking, hidden

    def compose(self) -> ComposeResult:
        """The panel."""
        rows, columns = len(self._ranking.rows), len(self._ranking.columns)
        with Vertical(classes="dialog small") as panel:
            panel.border_title = "Export"
            yield StyledText(
                [
                    line(f"This view: {rows} rows, {columns} columns, in this order."),
                    line(Span("Written to a file in the current folder, and copied.", Tone.DIM)),
                    (),
                ]
            )
            yield KeyLine()

    def action_write(self, name: Format) -> None:
        """In this format."""
        app, ranking, results = host(self), self._ranking, host(self).state.results
        hidden = self._hidden
        path, predictions = _free_name(Path.cwd(), f"ranking.{SUFFIXES[name]}"), app.backend.session.outputs.predictions

        def taken(text: str) -> None:
            app.copy(text, f"{path} written, and copied.")

        def write() -> str:
            from ssl_console.analysis.rank_intervals import ties_with_best  # noqa: PLC0415 - reads arrays, so it loads numpy

            ties = ties_with_best(ranking, predictions) if name in SHOW_TIES else NO_TIES
            apart = (
                apart_document(kept_apart(results, ranking, app.backend.session.identity)) if name == "json" else None
            )
            text = EXPORTS[name](ranking, Notes(ties, apart, hidden))
            write_atomically(path, text.encode())
            return text

        app.in_background(write, taken, group="export")
        self.dismiss(None)

    def action_draw(self, suffix: str) -> None:
        """Write the critical-difference diagram."""
        ranking, predictions = self._ranking, host(self).backend.session.outputs.predictions
        self._picture(f"ranking.{suffix}", lambda path: _draw(path, ranking, predictions))

    def action_scatter(self, suffix: str) -> None:
        """ImageNet accuracy against transfer."""
        ranking, backbones = self._ranking, host(self).state.catalogue.backbones
        top1 = {entry.name: entry.card.facts.imagenet_top1 for entry in backbones}
        accuracies = {name: value for name, value in top1.items() if value is not None}
        self._picture(f"transfer.{suffix}", lambda path: _scatter(path, ranking, accuracies))

    def _picture(self, name: str, draw: Callable[[Path], None]) -> None:
        app, path = host(self), _free_name(Path.cwd(), name)
        app.in_background(lambda: draw(path), lambda _: app.notify_user(f"{path} written."), group="export")
        self.dismiss(None)


def _draw(path: Path, ranking: Ranking, predictions: Predictions) -> None:
    """Raises ConsoleError when there is nothing to draw, or nothing to draw with."""
    from ssl_console.analysis.figures import save_critical_difference  # noqa: PLC0415 - reads arrays, so it loads numpy
    from ssl_console.analysis.marked_scores import mark_sentences  # noqa: PLC0415
    from ssl_console.analysis.rank_intervals import rank_table  # noqa: PLC0415

    try:
        table = rank_table(ranking, predictions, replicates=1)
    except ValueError as error:
        raise ConsoleError(f"there is no critical-difference diagram: {error}") from error
    if table.picture is None:
        raise ConsoleError("two backbones on two tasks, all measured, are the least for a critical-difference diagram")
    save_critical_difference(table.picture, path, mark_sentences(table.marked))


def _scatter(path: Path, ranking: Ranking, imagenet: Mapping[str, float]) -> None:
    """Raises ConsoleError when there is nothing to draw, or nothing to draw with."""
    from ssl_console.analysis.figures import save_transfer  # noqa: PLC0415 - as above
    from ssl_console.analysis.imagenet_correlation import settings_of_view  # noqa: PLC0415

    settings = settings_of_view(ranking, imagenet)
    if not settings:
        raise ConsoleError("no backbone of this view has an ImageNet accuracy on its card (facts.imagenet_top1)")
    save_transfer(settings, path)


def _free_name(folder: Path, name: str) -> Path:
    """A name that is not taken: an export never writes over anything."""
    path = folder / name
    number = 2
    while path.exists():
        path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
        number += 1
    return path
