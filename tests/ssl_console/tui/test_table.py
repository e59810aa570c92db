"""The table widget alone: behaviour of the cursor, and bytes to the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from textual.app import App, ComposeResult
from textual.geometry import Region

from ssl_console.tui.style.glyphs import UNICODE
from ssl_console.tui.style.palette import DARK, Palette, RenderContext
from ssl_console.tui.style.text import Cell
from ssl_console.tui.widgets.table_model import Column, TableModel
from ssl_console.tui.widgets.virtual_table import LineTable

COLUMNS = (Column("name", "name", 12), *(Column(f"c{n}", f"c{n}", 6, "right") for n in range(20)))


@dataclass
class Content:
    """Cells that can be changed, with a count of accesses."""

    keys: Sequence[str]
    changed: dict[tuple[str, str], str] = field(default_factory=dict)
    asked: int = 0

    def rows(self, columns: tuple[Column, ...] = COLUMNS) -> TableModel:
        return TableModel(columns, list(self.keys), self.cell)

    def cell(self, key: str, column: Column) -> Cell:
        self.asked += 1
        return Cell(self.changed.get((key, column.key), key if column.key == "name" else key[-3:]))


class RecordingTable(LineTable):
    """Records the regions it was asked to repaint."""

    def __init__(self) -> None:
        super().__init__(cursor="cell")
        self.repainted: list[Region] = []

    def refresh(self, *regions: Region, **options: bool) -> RecordingTable:
        self.repainted.extend(regions or [Region(0, 0, 999, 999)])
        super().refresh(*regions, **options)
        return self


class TableApp(App[None]):
    """An app with a table only."""

    render_context = RenderContext(Palette.of(DARK), UNICODE)

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[tuple[str | None, str | None]] = []
        self.clicked: list[str | None] = []

    def compose(self) -> ComposeResult:
        yield RecordingTable()

    def on_line_table_moved(self, message: LineTable.Moved) -> None:
        self.moved.append((message.row, message.column))

    def on_line_table_header_clicked(self, message: LineTable.HeaderClicked) -> None:
        self.clicked.append(message.column)

    @property
    def table(self) -> RecordingTable:
        return self.query_one(RecordingTable)

    @property
    def lines(self) -> list[str]:
        return [self.table.render_line(y).text for y in range(self.table.size.height)]


def numbers(count: int) -> list[str]:
    return [f"r{number:05d}" for number in range(count)]


async def test_the_cursor_stays_on_its_row_when_rows_are_sorted_and_filtered() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 20)):
        content = Content(numbers(100))
        app.table.show(content.rows())
        app.table.move_to("r00050", "c3")
        for keys in (list(reversed(numbers(100))), numbers(100)[40:60], numbers(100)):
            app.table.show(Content(keys).rows())
            assert (app.table.row, app.table.column) == ("r00050", "c3")
            assert any("r00050" in line for line in app.lines), "the cursor is in sight"


async def test_a_cursor_whose_row_is_gone_goes_to_a_neighbour() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 20)):
        app.table.show(Content(numbers(10)).rows())
        app.table.move_to("r00009")
        app.table.show(Content(numbers(5)).rows())
        assert app.table.row == "r00004"
        app.table.show(Content([]).rows())
        assert app.table.row is None


async def test_only_cells_in_sight_are_ever_made() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 20)) as pilot:
        content = Content(numbers(50_000))
        app.table.show(content.rows())
        await pilot.pause()
        assert 0 < content.asked < 2000


async def test_one_changed_cell_repaints_one_cell() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 20)) as pilot:
        content = Content(numbers(100))
        app.table.show(content.rows())
        await pilot.pause()
        app.table.repainted.clear()
        content.changed = {("r00003", "c1"): "new", ("r00090", "c1"): "out of sight"}
        app.table.show(content.rows())
        assert [(region.y, region.width, region.height) for region in app.table.repainted] == [(4, 6, 1)]
        await pilot.pause()
        assert "new" in app.lines[4]


async def test_showing_the_same_again_repaints_nothing() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(Content(numbers(100)).rows())
        await pilot.pause()
        app.table.repainted.clear()
        app.table.show(Content(numbers(100)).rows())
        assert app.table.repainted == []


async def test_keys_move_the_cursor_and_say_so() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(Content(numbers(100)).rows())
        app.table.focus()
        await pilot.press("down", "down", "up", "right", "end", "home", "pagedown")
        assert app.moved[:3] == [("r00001", "c0"), ("r00002", "c0"), ("r00001", "c0")]
        assert ("r00099", "c1") in app.moved
        assert app.moved[-1] == ("r00018", "c1")


async def test_columns_beyond_the_edge_are_announced_and_reached() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(Content(numbers(3)).rows())
        app.table.focus()
        assert app.lines[0].rstrip().endswith(UNICODE.right)
        await pilot.press(*["right"] * 19)
        assert app.table.column == "c19"
        assert "c19" in app.lines[0]
        assert UNICODE.left in app.lines[0]
        assert app.lines[0].startswith("name"), "the first column stays"


async def test_clicks_move_the_cursor_and_heads_can_be_clicked() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(Content(numbers(100)).rows())
        await pilot.click(RecordingTable, offset=(22, 5))
        assert (app.table.row, app.table.column) == ("r00004", "c1")
        await pilot.click(RecordingTable, offset=(22, 0))
        assert app.clicked == ["c1"]


async def test_markup_and_escape_sequences_in_a_cell_are_text() -> None:
    app = TableApp()
    async with app.run_test(size=(80, 20)) as pilot:
        content = Content(["a"], {("a", "name"): "[/b]\x1b[2Jx"})
        app.table.show(content.rows())
        await pilot.pause()
        assert "[/b]x" in app.lines[1]
