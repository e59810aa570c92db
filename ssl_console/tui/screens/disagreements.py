"""List of test images that one backbone classifies correctly and another wrongly."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.operations.disagreements import DisagreeingImages, NamedImage
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Cell, Tone
from ssl_console.tui.views.paired_tests import short_name
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.table_model import Column, TableModel
from ssl_console.tui.widgets.virtual_table import LineTable

CLASS_WIDTH = 12


class DisagreementDialog(Dialog[None]):
    """Every image with its class and both predictions."""

    BINDINGS: ClassVar = bindings("images")

    def __init__(self, names: tuple[str, str], images: DisagreeingImages) -> None:
        super().__init__()
        self._names, self._images = names, images
        sides = ((names[0], images.only_first), (names[1], images.only_second))
        self._rows = {f"{side} {one.name}": (name, one) for side, (name, found) in enumerate(sides) for one in found}

    def compose(self) -> ComposeResult:
        """The table and the keys."""
        with Vertical(classes="dialog ranks") as panel:
            panel.border_title = f"{self._names[0]} against {self._names[1]}"
            yield LineTable(id="images", empty="They agree on every image.")
            yield KeyLine()

    def on_mount(self) -> None:
        """Fill the table."""
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
    return text, f"{len(images)} images that {short_name(right)} has right and {short_name(wrong)} wrong: copied."
