"""Export of a ranking to a file and to the clipboard, with a preview."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from backbones.io.errors import counted
from backbones.io.files import write_atomically
from ssl_console.analysis.comparability import apart_document, kept_apart
from ssl_console.analysis.export import EXPORTS, NO_TIES, SHOW_TIES, Format, Notes, data_notes_of, footnotes
from ssl_console.analysis.published import unmarked
from ssl_console.analysis.ranking import Ranking, pick_rows
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Line, Span, Tone, line, wrap
from ssl_console.tui.widgets.styled_text import StyledText, WrappedKeys
from ssl_console.workspace.badges import marks

if TYPE_CHECKING:
    from ssl_console.workspace.predictions import Predictions

SUFFIXES: dict[Format, str] = {"markdown": "md", "csv": "csv", "latex": "tex", "json": "json"}
MOST_NAMED = 8


class ExportDialog(Dialog[None]):
    """Choice of a format for the view."""

    BINDINGS: ClassVar = bindings("export")
    HELP_TEXT = (
        "The file contains the rows and columns that are listed here, in the order of this view, with warnings and "
        "their legend. It is written to the folder in which the console was started; existing files are never "
        "overwritten."
    )

    def __init__(
        self,
        ranking: Ranking,
        hidden: frozenset[str] = frozenset(),
        filters: Sequence[str] = (),
        marks: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._whole, self._hidden, self._filters = ranking, hidden, filters
        self._marks = [row.backbone for row in ranking.rows if unmarked(row.backbone) in marks]
        self._marked_alone = False

    @property
    def _ranking(self) -> Ranking:
        """The exported rows, with aggregates recomputed, in the order of the view."""
        if not self._marked_alone:
            return self._whole
        picked = {row.backbone: row for row in pick_rows(self._whole, self._marks).rows}
        return replace(self._whole, rows=tuple(picked[name] for name in self._marks))

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog small") as panel:
            panel.border_title = "Export"
            yield StyledText(id="contents")
            yield WrappedKeys()

    def on_mount(self) -> None:
        self._show_contents()

    def _show_contents(self) -> None:
        text = self.query_one("#contents", StyledText)
        width = min(72, self.app.size.width - 6)
        marked = (len(self._marks), self._marked_alone)
        text.show(export_lines(self._ranking, Notes(hidden=self._hidden), self._filters, marked, width))
        text.refresh(layout=True)

    def action_marked(self) -> None:
        """Switch between marked rows and all rows."""
        if self._marks:
            self._marked_alone = not self._marked_alone
            self._show_contents()

    def action_write(self, name: Format) -> None:
        """Write the view in this format."""
        app, ranking, results = host(self), self._ranking, host(self).state.results
        hidden = self._hidden
        path, predictions = free_name(Path.cwd(), f"ranking.{SUFFIXES[name]}"), app.backend.session.outputs.predictions

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
        """Write this view as a picture: the table with heat colours."""
        ranking, notes = self._ranking, Notes(hidden=self._hidden)

        def draw(path: Path) -> None:
            from ssl_console.analysis.figures import save_heat_table  # noqa: PLC0415 - loads numpy

            save_heat_table(ranking, path, notes)

        self._picture(f"ranking.{suffix}", draw)

    def action_diagram(self, suffix: str) -> None:
        ranking, predictions = self._ranking, host(self).backend.session.outputs.predictions
        self._picture(f"critical-difference.{suffix}", lambda path: _draw(path, ranking, predictions))

    def action_scatter(self, suffix: str) -> None:
        """Write the scatter of ImageNet accuracy and transfer."""
        ranking, backbones = self._ranking, host(self).state.catalogue.backbones
        top1 = {entry.name: entry.card.facts.imagenet_top1 for entry in backbones}
        accuracies = {name: value for name, value in top1.items() if value is not None}
        self._picture(f"transfer.{suffix}", lambda path: _scatter(path, ranking, accuracies))

    def _picture(self, name: str, draw: Callable[[Path], None]) -> None:
        """Draw a new file of this name. `draw` may raise ConsoleError, e.g. without matplotlib."""
        app, path = host(self), free_name(Path.cwd(), name)
        app.in_background(lambda: draw(path), lambda _: app.notify_user(f"{path} written."), group="export")
        self.dismiss(None)


def _draw(path: Path, ranking: Ranking, predictions: Predictions) -> None:
    """Draw the diagram. Raises ConsoleError without data or without matplotlib."""
    from ssl_console.analysis.badged_results import mark_sentences  # noqa: PLC0415
    from ssl_console.analysis.figures import save_critical_difference  # noqa: PLC0415 - reads arrays, so it loads numpy
    from ssl_console.analysis.rank_intervals import rank_table  # noqa: PLC0415

    try:
        table = rank_table(ranking, predictions, replicates=1)
    except ValueError as error:
        raise ConsoleError(f"there is no critical-difference diagram: {error}") from error
    if table.picture is None:
        raise ConsoleError("a critical-difference diagram requires at least two backbones, all measured on two tasks")
    save_critical_difference(table.picture, path, mark_sentences(table.marked))


def _scatter(path: Path, ranking: Ranking, imagenet: Mapping[str, float]) -> None:
    """Draw the scatter. Raises ConsoleError without data or without matplotlib."""
    from ssl_console.analysis.correlations import settings_of_view  # noqa: PLC0415
    from ssl_console.analysis.figures import save_transfer  # noqa: PLC0415 - as above

    settings = settings_of_view(ranking, imagenet)
    if not settings:
        raise ConsoleError("no backbone of this view has an ImageNet accuracy on its card (facts.imagenet_top1)")
    save_transfer(settings, path)


def free_name(folder: Path, name: str) -> Path:
    """An unused file name, because exports never overwrite files."""
    path = folder / name
    number = 2
    while path.exists():
        path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
        number += 1
    return path


def export_lines(
    ranking: Ranking, notes: Notes, filters: Sequence[str], marked: tuple[int, bool], width: int
) -> list[Line]:
    """Rows, columns, warnings and legends. `marked` is the number of marked rows, and whether only these are
    exported. `filters` describe what the view omits.
    """
    count, alone = marked
    number = counted(len(ranking.rows), "marked row" if alone else "row")
    rows = f"{number}: {_named([row.backbone for row in ranking.rows])}"
    columns = f"{counted(len(ranking.columns), 'column')}: {_named([column.label for column in ranking.columns])}"
    aggregates = f"and {', '.join(one.title for one in notes.aggregates) or 'no aggregates'}"
    paragraphs = [(rows, Tone.PLAIN), (columns, Tone.PLAIN), (aggregates, Tone.DIM)]
    paragraphs += [(f"Left out: {'; '.join(filters)}.", Tone.ACCENT)] if filters else []
    warned = sum(bool(marks(cell.badges)) for row in ranking.rows for cell in row.cells.values())
    if warned:
        paragraphs.append((f"{counted(warned, 'score')} with warnings, marked as in this view.", Tone.WARN))
    legends = len(footnotes(ranking)) + len(data_notes_of(ranking))
    paragraphs.append((f"Lines of legend below the table: {legends or 'none'}.", Tone.DIM))
    if count:
        paragraphs.append((f"a: {'all rows' if alone else 'only the ' + counted(count, 'marked row')}", Tone.KEY))
    paragraphs.append(
        ("Written to a new file in the current folder; tables are also copied to the clipboard.", Tone.DIM)
    )
    return [line(Span(text, tone)) for paragraph, tone in paragraphs for text in wrap(paragraph, width)] + [()]


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
