"""Text tables in common encodings and with common separators, with the line number of every row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SEPARATORS = ("\t", ";", ",", "|")
NAMES = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "|"}
HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class TextTable:
    """A table with a header; rows are parsed from `text` on access."""

    path: Path
    head: tuple[str, ...]
    separator: str
    text: str
    encoding: str

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and cells by column, stripped. Raises ValueError with the line number for a ragged row."""
        lines = csv.reader(io.StringIO(self.text, newline=""), delimiter=self.separator)
        next(lines, None)
        try:
            for cells in lines:
                if any(cell.strip() for cell in cells):
                    yield lines.line_num, self._row(cells, lines.line_num)
        except csv.Error as error:
            raise ValueError(f"{self.path}, line {lines.line_num}: {error}: save the table again") from error

    def _row(self, cells: Sequence[str], line: int) -> dict[str, str]:
        if len(cells) > len(self.head) and any(cell.strip() for cell in cells[len(self.head) :]):
            raise ValueError(
                f"{self.path}, line {line} has {len(cells)} cells, the header {len(self.head)}: put cells that hold a "
                f"{NAMES[self.separator].removesuffix('s')} into quotes"
            )
        return dict(zip(self.head, [cell.strip() for cell in cells] + [""] * len(self.head), strict=False))


class JsonLines(TextTable):
    """A table of one JSON object per line, as `metadata.jsonl` of the Hugging Face imagefolder layout."""

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and values by name, as text. Raises ValueError with the line number for a line that is not an
        object."""
        for number, line in enumerate(self.text.splitlines(), start=1):
            if line.strip():
                yield number, dict.fromkeys(self.head, "") | _values(self.path, number, line)


def _values(path: Path, number: int, line: str) -> dict[str, str]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: not JSON ({error}): write one object on each line") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}, line {number}: not a JSON object: write one on each line")
    return {str(name): _as_text(value) for name, value in found.items()}


def _as_text(value: object) -> str:
    """A value as cell text; list items are joined by |."""
    if isinstance(value, list):
        return "|".join(map(_as_text, value))
    return "" if value is None else str(value).strip()


def read_table(path: Path) -> TextTable:
    """A table with detected encoding and separator. Raises ValueError with file and line, and OSError."""
    text, encoding = decoded(path)
    if path.suffix.lower() == ".jsonl":
        lines = ((number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip())
        keys = dict.fromkeys(name for number, line in lines for name in _values(path, number, line))
        return JsonLines(path, tuple(keys), "", text, encoding)
    separator = _separator(path, text)
    head = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
    names = tuple(name.strip() for name in head)
    return TextTable(path, names, separator, text, encoding)


def decoded(path: Path) -> tuple[str, str]:
    """Text of a file, and its encoding: UTF-8, UTF-16 with or without a byte order mark, else Windows' Latin-1.

    Raises ValueError with file and line for bytes that are invalid in all of these.
    """
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decode(path, content, "utf-16"), "UTF-16"
    start = content[:HEAD_BYTES]
    if start.count(0) > len(start) // 4:
        little = start[1::2].count(0) > start[::2].count(0)
        return _decode(path, content, "utf-16-le" if little else "utf-16-be"), "UTF-16"
    try:
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        return _decode(path, content, "cp1252"), "Latin-1"


def _decode(path: Path, content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: the byte {content[error.start]:#04x} fits no known encoding (UTF-8, UTF-16, "
            "Latin-1): save the file as UTF-8"
        ) from error


def _separator(path: Path, text: str) -> str:
    """The separator that divides the first line into most columns; by the file's suffix if none does."""
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    first = next(iter(text.splitlines()), "")
    counts = {one: len(next(csv.reader([first], delimiter=one), [])) for one in (usual, *SEPARATORS)}
    best = max(counts, key=lambda one: counts[one])
    return best if counts[best] > 1 else usual
