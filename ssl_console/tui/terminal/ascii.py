"""Nearest ASCII sign of every cell, for terminals without Unicode."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

NEAREST = {
    **dict.fromkeys("─━╸╴╶═", "-"),
    **dict.fromkeys("│┃┤├║", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘┬┴┼┏┓┗┛", "+"),
    **dict.fromkeys("▁▂▃▏▎▍▔", " "),
    **dict.fromkeys("▄▅▆▇█▌▋▊▉▐▀", "#"),
    "↑": "^",
    "↓": "v",
    "←": "<",
    "→": ">",
    "…": "~",
    "—": "-",
    "–": "-",  # noqa: RUF001
    "×": "x",  # noqa: RUF001
    "±": "~",
    "†": "*",
    "°": " ",
}
OTHER = "?"


def plain(cells: Iterable[str]) -> list[str]:
    """The cells in ASCII; those behind a wide character, which are empty, become cells of their own."""
    return [cell if cell.isascii() and cell else nearest(cell) for cell in cells]


@lru_cache(maxsize=4096)
def nearest(cell: str) -> str:
    """One ASCII sign for a cell: a letter without its accent, a sign that looks like it, else a question mark."""
    if cell in NEAREST:
        return NEAREST[cell]
    first = unicodedata.normalize("NFKD", cell)[:1]
    return first if first.isascii() and first.isprintable() and first else OTHER
