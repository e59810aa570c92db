"""Output of a command: data to standard output, messages to standard error.

Untrusted text (cards, logs, paths) passes `printable`, so that it cannot control a terminal.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from ssl_console.system.errors import OperationFailed
from ssl_console.system.safe_text import align, json_text, printable

PIECES_AT_ONCE = 1000


def data(text: str) -> None:
    """Write finished text (CSV, LaTeX, a table) to standard output unchanged.

    Raises BrokenPipeError when its reader has exited, OperationFailed on other errors.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        leave_closed_pipe()
        raise OperationFailed(
            f"standard output cannot be written: {error.strerror or error}; redirect it elsewhere"
        ) from error


def lines(texts: Sequence[str]) -> None:
    """Write lines to standard output."""
    data("".join(f"{printable(text)}\n" for text in texts))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> None:
    """Write aligned columns to standard output."""
    cells = [[printable(text) for text in row] for row in (head, *rows)]
    data("".join(f"{line}\n" for line in align(cells, right)))


def document(content: object) -> None:
    """Write one JSON document to standard output."""
    data(json_text(content, indent=2) + "\n")


def document_of(name: str, rows: Iterable[object]) -> None:
    """Write the JSON document `{name: [rows]}` as `document` would, without holding all of it in memory."""
    pieces = _pieces(name, rows)
    while chunk := list(islice(pieces, PIECES_AT_ONCE)):
        data("".join(chunk))


def _pieces(name: str, rows: Iterable[object]) -> Iterator[str]:
    yield f"{{\n  {json_text(name)}: ["
    separator, end = "\n", "]\n}\n"
    for row in rows:
        yield f"{separator}{json_text(row, indent=2)}".replace("\n", "\n    ")
        separator, end = ",\n", "\n  ]\n}\n"
    yield end


def json_line(content: Mapping[str, object]) -> None:
    """Write one JSON line to standard output and flush it."""
    data(json_text(content) + "\n")


def say(text: str) -> None:
    """Write a message to standard error. A closed standard error is ignored."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()


def terminal_columns() -> int | None:
    """Width of the terminal of standard output; None when it is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def leave_closed_pipe() -> None:
    """Discard buffered output after the reader of standard output has exited."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
