"""Dialogs of Compare: on its backbones, its dataset, and the test images on which two backbones disagree."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.analysis.published import PUBLISHED
from ssl_console.operations.disagreements import DisagreeingImages, NamedImage
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import ConsoleScreen, Dialog
from ssl_console.tui.style.text import Cell, Tone
from ssl_console.tui.views.compare import CompareTable
from ssl_console.tui.views.paired_tests import short_name
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.table_model import Column, TableModel
from ssl_console.tui.widgets.virtual_table import LineTable
from tasks.catalog.protocols import is_descriptive

CLASS_WIDTH = 12


def measured(comparison: CompareTable) -> tuple[str, ...]:
    """The compared backbones without published rows."""
    return tuple(name for name in comparison.backbones if name and not name.endswith(PUBLISHED))


def dataset_at_cursor(screen: ConsoleScreen, comparison: CompareTable) -> str | None:
    """Dataset of the task under the cursor, else of the first task; None where there is no task."""
    columns = comparison.ranking.columns
    column = next((one for one in columns if one.label == comparison.task), next(iter(columns), None))
    return None if column is None else host(screen).backend.session.lookup.dataset_of(column.task)


def open_ladder(screen: ConsoleScreen, comparison: CompareTable) -> None:
    """Open the ladder of the compared backbones."""
    from ssl_console.tui.screens.verdicts import LadderDialog  # noqa: PLC0415 - loads numpy

    names, dataset = measured(comparison), dataset_at_cursor(screen, comparison)
    if dataset is None or len(names) < 2:
        host(screen).notify_user("A ladder compares two measured backbones on a task.")
        return
    screen.app.push_screen(LadderDialog(names, dataset))


def open_judge(screen: ConsoleScreen, comparison: CompareTable, other: str) -> None:
    """Open the judgement of one backbone against the base, over the tasks of the suite, or over all listed tasks."""
    from ssl_console.tui.screens.verdicts import JudgeDialog  # noqa: PLC0415 - loads numpy

    names, base, suite = measured(comparison), comparison.base, screen.state.suite
    tasks = [one.task for one in comparison.ranking.columns if not is_descriptive(one.protocol)]
    if other not in names or base not in names or not (suite or tasks):
        host(screen).notify_user("A judgement compares a measured backbone with another one.")
        return
    screen.app.push_screen(JudgeDialog((other, base), suite, list(dict.fromkeys(tasks))))


def open_race(screen: ConsoleScreen, comparison: CompareTable) -> None:
    """Open the race of the marked backbones, or of all whose weights are present."""
    from ssl_console.tui.screens.verdicts import (  # noqa: PLC0415 - loads numpy
        RaceDialog,
        RaceQuestion,
        has_preset,
    )
    from ssl_console.tui.views.verdicts import suite_rungs  # noqa: PLC0415

    state, dataset = screen.state, dataset_at_cursor(screen, comparison)
    here = [entry.name for entry in state.catalogue.backbones if entry.missing is None]
    names = state.marked if len(state.marked) > 1 else here
    if dataset is None or len(names) < 2:
        host(screen).notify_user("A race needs two backbones with present weights, and a task.")
        return
    suite = state.catalogue.suite.get(state.suite or "")
    preset = suite_rungs(suite.columns, has_preset)[1] if suite else None
    screen.app.push_screen(RaceDialog(RaceQuestion(tuple(names), dataset, preset)))


def open_ledger(screen: ConsoleScreen) -> None:
    """Open the ledger of the shown suite."""
    from ssl_console.tui.screens.ledger import LedgerDialog  # noqa: PLC0415 - reads the published tables

    screen.app.push_screen(LedgerDialog(screen.state.suite))


def open_multiverse(screen: ConsoleScreen, comparison: CompareTable, other: str) -> None:
    """Open all protocols on stored features, of one backbone against the base first."""
    from ssl_console.tui.screens.multiverse import MultiverseDialog  # noqa: PLC0415 - loads numpy

    names = list(dict.fromkeys(name for name in (other, comparison.base, *measured(comparison)) if name))
    names = [name for name in names if not name.endswith(PUBLISHED)]
    dataset = dataset_at_cursor(screen, comparison)
    if dataset is None or len(names) < 2:
        host(screen).notify_user("A multiverse compares two measured backbones on a task.")
        return
    screen.app.push_screen(MultiverseDialog(names, dataset))


class DisagreementDialog(Dialog[None]):
    """Every image with its class and both predictions."""

    BINDINGS: ClassVar = bindings("images")
    HELP_TEXT = (
        "Test images that only one of the two backbones classifies correctly, with their class and both predictions."
    )

    def __init__(self, names: tuple[str, str], images: DisagreeingImages) -> None:
        super().__init__()
        self._names, self._images = names, images
        sides = ((names[0], images.only_first), (names[1], images.only_second))
        self._rows = {f"{side} {one.name}": (name, one) for side, (name, found) in enumerate(sides) for one in found}

    def compose(self) -> ComposeResult:
        """The table and the keys."""
        with Vertical(classes="dialog ranks") as panel:
            panel.border_title = f"{self._names[0]} against {self._names[1]}"
            yield LineTable(id="images", empty="Both backbones agree on every image.")
            yield KeyLine()

    def on_mount(self) -> None:
        table = self.query_one(LineTable)
        one, other = map(short_name, self._names)
        width = max(20, min(96, self.app.size.width - 6) - 4 * (CLASS_WIDTH + 1) - 2)
        columns = (
            Column("right", "right is", CLASS_WIDTH),
            Column("class", "class", CLASS_WIDTH),
            Column("first", one, CLASS_WIDTH),
            Column("second", other, CLASS_WIDTH),
            Column("name", "image", width),
        )
        table.show(TableModel(columns, list(self._rows), self._cell))
        table.focus()

    def _cell(self, key: str, column: Column) -> Cell:
        name, image = self._rows[key]
        texts = {"right": short_name(name), "class": image.label, "first": image.first, "second": image.second}
        return Cell(texts.get(column.key, image.name), Tone.DIM if column.key == "name" else Tone.PLAIN)

    def action_copy(self) -> None:
        """Copy the paths of the images that only the first classifies correctly."""
        host(self).copy(*paths_of(self._images.only_first, *self._names))


def paths_of(images: tuple[NamedImage, ...], right: str, wrong: str) -> tuple[str, str]:
    """Names of images, one per line, and the notification."""
    text = "\n".join(image.name for image in images)
    return (
        text,
        f"{len(images)} images that {short_name(right)} classifies correctly and {short_name(wrong)} does not: copied.",
    )
