"""Untrusted text made safe for terminals and logs: no escape sequences, no control characters, known width, and a bound
on repeated log lines.
"""

from __future__ import annotations

import json
import logging
import re
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movement
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC and other strings: titles, clipboard, links
    r"|\x1b[ -/]*[0-~]?"  # two-character escapes, or a lone one
    r"|\x9b[0-?]*[ -/]*[@-~]?"  # the eight-bit CSI
    r"|[\x90\x98\x9d\x9e\x9f].*?(?:\x07|\x9c|\x1b\\|$)",  # the eight-bit strings
    re.DOTALL,
)
_STEERING = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Control characters that JSON does not escape: eight-bit controls, and marks that change direction or lines."""
_UNPRINTED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that draw nothing, or change the direction or the lines of the surrounding text."""
INTERVAL_S = 60.0
MOST_KEPT = 1000
"""Maximum number of distinct lines that are counted; beyond it the counts are cleared."""


def printable(text: str) -> str:
    """One line of printable text; tabs become spaces, line ends are removed."""
    if text.isprintable():
        return text
    bare = _ESCAPES.sub("", text).replace("\t", " ")
    if bare.isprintable():
        return bare
    return "".join(character for character in bare if unicodedata.category(character) not in _UNPRINTED)


def json_text(content: object, indent: int | None = None) -> str:
    """JSON with every character that could control a terminal escaped by `\\u`; plain JSON escapes few of them."""
    text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def last_state(line: str) -> str:
    """Final state of a line that rewrites itself by carriage returns (a progress bar)."""
    return line.rstrip("\r").rpartition("\r")[2]


def width(text: str) -> int:
    """Columns that printable text occupies in a terminal."""
    return len(text) if text.isascii() else len(text) + sum(_cells(one) - 1 for one in text if not one.isascii())


def align(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset(), gap: str = "  ") -> list[str]:
    """Rows as lines with aligned columns; the columns in `right` are right-aligned."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [gap.join(_padded(row, widths, right)).rstrip() for row in rows]


def align_within(rows: Sequence[Sequence[str]], columns: int) -> list[str]:
    """Aligned rows with every column but the first right-aligned, in as many blocks as the width requires.

    Each block begins with the first column; blocks are separated by an empty line.
    """
    widths = [max(width(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines: list[str] = []
    for block in _blocks(widths, columns):
        picked = [[row[index] for index in (0, *block)] for row in rows]
        lines += [*([""] if lines else []), *align(picked, right=frozenset(range(1, len(block) + 1)))]
    return lines


def _blocks(widths: Sequence[int], columns: int, gap: int = 2) -> list[list[int]]:
    """Indices of the columns in each block, without the first column; a block has at least one."""
    blocks: list[list[int]] = []
    used = columns + 1
    for index, needed in enumerate(widths[1:], 1):
        if used + gap + needed > columns:
            blocks.append([])
            used = widths[0]
        blocks[-1].append(index)
        used += gap + needed
    return blocks


def shorten(text: str, columns: int) -> str:
    """The text truncated to at most `columns`, with an ellipsis where text is omitted."""
    if width(text) <= columns:
        return text
    kept, used = [], 0
    for character in text:
        used += _cells(character)
        if used > columns - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _padded(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> list[str]:
    cells = [
        text.ljust(columns) if text.isascii() else text + " " * (columns - width(text))
        for text, columns in zip(row, widths, strict=True)
    ]
    for index in right:
        cells[index] = " " * (widths[index] - width(row[index])) + row[index]
    return cells


@dataclass(eq=False)
class RateLimit(logging.Filter):
    """Logging filter that passes each line once per interval and then appends the number of suppressed repetitions.

    Lines are equal when their templates and source positions (file and line) are equal; with `by_text`, when their
    texts are.
    """

    interval_s: float = INTERVAL_S
    by_text: bool = False
    clock: Callable[[], float] = time.monotonic
    _seen: dict[object, tuple[float, int]] = field(default_factory=dict)
    """Per line: time at which it was last passed, and the number suppressed since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written, with the number of suppressed ones appended. Lines below WARNING always are."""
        if record.levelno < logging.WARNING:
            return True
        line = record.getMessage() if self.by_text else (record.pathname, record.lineno, record.msg)
        now = self.clock()
        last, left_out = self._seen.get(line, (None, 0))
        if last is not None and now - last < self.interval_s:
            self._seen[line] = last, left_out + 1
            return False
        if len(self._seen) >= MOST_KEPT:
            self._seen.clear()
        self._seen[line] = now, 0
        if left_out:
            record.msg = f"{record.getMessage()} (and {left_out:,} more like it)"
            record.args = None
        return True


class PrintableFormatter(logging.Formatter):
    """Formatter of single lines without escape sequences: names of runs and output of hooks are untrusted."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - named by `logging`
        """Format the record as one printable line."""
        return printable(super().formatMessage(record))
