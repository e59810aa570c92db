"""Boards that the user has added to the ledger of published scores: tables in the folder `ledger` of the workspace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from backbones.io.files import write_atomically
from ssl_console.analysis.published.board_files import BoardFileError, read_board
from ssl_console.analysis.published.tables import PublishedColumn, PublishedTable, references, source_of, tables
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError

FOLDER = "ledger"
Number = float | tuple[float, float]


@dataclass(frozen=True)
class PublishedRow:
    """One published score."""

    backbone: str
    about: str
    """Description of a backbone without a card; empty for one with a card."""
    column: PublishedColumn
    value: float
    remark: str
    """Reason for which it is not comparable with the others of its column."""


def added_boards(session: Session) -> tuple[PublishedTable, ...]:
    """Tables that the user has added, by file name. Raises ConsoleError for a damaged file."""
    folder = session.workspace.root / FOLDER
    return tuple(_read(path) for path in sorted(folder.glob("*.json")))


def add_board(session: Session, path: Path) -> tuple[PublishedTable, Path]:
    """Convert a board's file, or check a table, and store it under the name of the file. An earlier one is replaced.

    Returns the table and the stored file. Raises ConsoleError for a file that cannot be read or has another format.
    """
    table = _read(path) if path.suffix == ".json" else _converted(session, path)
    target = session.workspace.root / FOLDER / f"{path.stem}.json"
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(target, table.model_dump_json(indent=1, exclude_defaults=True).encode())
    return table, target


def published_rows(session: Session) -> Iterator[PublishedRow]:
    """Every published score: the paper's, those of others, those of the boards that were added."""
    boards = added_boards(session)
    replaced = {column.key for board in boards for column in board.columns}
    for table in (*tables(), *references(), *boards):
        for place, column in enumerate(table.columns):
            if column.key in replaced and table not in boards:
                continue
            for name, numbers in table.rows.items():
                if (value := _value(numbers[place])) is not None:
                    yield PublishedRow(name, table.others.get(name, ""), column, value, table.remarks.get(name, ""))


def row_document(row: PublishedRow) -> dict[str, object]:
    """A published score as JSON."""
    column = row.column
    return {
        "backbone": row.backbone,
        "about": row.about or None,
        "task": column.task,
        "metric": column.metric,
        "variant": column.variant,
        "key": column.key,
        "value": row.value,
        "higher_is_better": column.higher_is_better,
        "protocol": column.protocol or None,
        "chosen_on": column.chosen_on,
        "provenance": column.provenance,
        "where": column.table,
        "source": source_of(column),
        "remark": row.remark or None,
    }


def _value(number: Number | None) -> float | None:
    return number[0] if isinstance(number, tuple) else number


def _read(path: Path) -> PublishedTable:
    try:
        table = PublishedTable.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConsoleError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConsoleError(f"{path} is not a table of published scores: {place}: {first['msg']}") from error
    lengths = {name: len(numbers) for name, numbers in table.rows.items() if len(numbers) != len(table.columns)}
    if lengths:
        name, length = next(iter(lengths.items()))
        raise ConsoleError(f"{path}: row {name} has {length} numbers for {len(table.columns)} columns")
    columns = tuple(one if one.source else one.model_copy(update={"source": table.source}) for one in table.columns)
    return table.model_copy(update={"columns": columns})


def _converted(session: Session, path: Path) -> PublishedTable:
    cards: dict[str, str] = {}  # names of backbones by the timm tag of their weights; of several, the first
    for name, card in session.backbones.cards.items():
        if card.weights.kind == "timm":
            cards.setdefault(card.weights.tag, name)
    try:
        return read_board(path, path.read_text(encoding="utf-8"), cards)
    except OSError as error:
        raise ConsoleError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConsoleError(f"{path} is not text in UTF-8: {error.reason} at byte {error.start}") from error
    except BoardFileError as error:
        raise ConsoleError(str(error)) from error
