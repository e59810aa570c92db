"""Similarity of backbones as matrices with heat colours: CKA and mutual nearest neighbours of every pair. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ssl_console.operations.similarity import NEIGHBOURS, Measure, SimilarityMatrix
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.palette import level, sign
from ssl_console.tui.style.text import Line, Span, Tone, fit, line, wrap
from ssl_console.tui.views.paired_tests import short_name

CELL = 7
"""Width of a cell: a space, the number and the sign of its level, a space."""
LONGEST_NAME = 24
MEASURES: Mapping[Measure, str] = {"cka": "CKA", "mutual_knn": f"mutual {NEIGHBOURS}-NN"}


def similarity_lines(matrix: SimilarityMatrix, width: int, glyphs: Glyphs) -> list[Line]:
    """Both matrices, and the features from which they were computed."""
    note = (
        f"stored features of {matrix.images} images of {matrix.dataset}/{matrix.split}; "
        f"chance of mutual {NEIGHBOURS}-NN: {matrix.chance:.3f}"
    )
    shown = [line(Span(f" {part}", Tone.DIM)) for part in wrap(note, width - 2)]
    for measure, title in MEASURES.items():
        shown += [line(""), line(Span(f" {title}", Tone.TITLE)), *_matrix(matrix, measure, width, glyphs)]
    return shown


def _matrix(matrix: SimilarityMatrix, measure: Measure, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Names with numbers, which are the column headers; columns without room are counted."""
    names, values = [short_name(name) for name in matrix.backbones], matrix.values(measure)
    room = 4 + min(max(map(len, names)), LONGEST_NAME)
    columns = max(1, min(len(names), (width - room - 1) // CELL))
    others = [one for at, row in enumerate(values) for to, one in enumerate(row) if at != to and one is not None]
    low, high = min(others, default=0.0), max(others, default=0.0)
    heads = "".join(fit(str(number + 1), CELL, "center") for number in range(columns))
    yield line(Span(" " * room + heads, Tone.DIM))
    for number, (name, row) in enumerate(zip(names, values, strict=True)):
        label = Span(fit(f" {number + 1:>2} {name}", room, ellipsis=glyphs.ellipsis))
        yield line(label, *_cells(row[:columns], number, (low, high), glyphs))
    if columns < len(names):
        yield line(Span(f" {len(names) - columns} more columns: z maximises the view", Tone.DIM))


def _cells(row: Sequence[float | None], own: int, bounds: tuple[float, float], glyphs: Glyphs) -> Iterator[Span]:
    for number, value in enumerate(row):
        if value is None or number == own:
            yield Span(fit(glyphs.none if value is None else "1", CELL, "center"), Tone.FAINT)
        else:
            heat = level(value, *bounds)
            yield Span(fit(f"{value:.2f}{sign(heat, glyphs.steps)}", CELL, "center"), heat=heat)
