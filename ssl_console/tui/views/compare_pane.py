"""Contents of the pane of Compare: layer curves, classes and images that differ, similarity matrices. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ssl_console.analysis.layer_curves import LayerCurve
from ssl_console.operations.similarity import NEIGHBOURS, Measure, SimilarityMatrix
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.palette import level, sign
from ssl_console.tui.style.text import Line, Span, Tone, fit, line, wrap
from ssl_console.tui.views.paired_tests import short_name
from ssl_console.tui.widgets.plot import Chart, Series

if TYPE_CHECKING:
    from ssl_console.operations.disagreements import DisagreeingImages

ClassScores = Sequence[tuple[str, float, int]]
"""Name of a class, recall in percent, and number of its test images."""
CELL = 7
"""Width of a cell: a space, the number and the sign of its level, a space."""
LONGEST_NAME = 24
MEASURES: Mapping[Measure, str] = {"cka": "CKA", "mutual_knn": f"mutual {NEIGHBOURS}-NN"}


def layer_chart(backbones: Sequence[str], curves: Mapping[str, LayerCurve]) -> Chart:
    """Score by depth, each backbone with the pooling chosen on its validation images."""
    series = tuple(
        Series(
            f"{short_name(name)} {curves[name].pooling}",
            tuple((point.depth, point.score) for point in curves[name].chosen),
            number=number,
        )
        for number, name in enumerate(backbones)
        if name in curves
    )
    if not series:
        return Chart(note="no layer curve is stored for these backbones")
    return Chart(series, "depth in % of the blocks", "score", note="pooling chosen on validation images")


def class_lines(
    names: tuple[str, str], scores: tuple[ClassScores, ClassScores], width: int, glyphs: Glyphs
) -> list[Line]:
    """Recall of every class for both, by descending difference."""
    theirs = {name: recall for name, recall, _ in scores[1]}
    rows = [(name, recall, theirs[name], images) for name, recall, images in scores[0] if name in theirs]
    if not rows:
        return [line(Span(" this task has no single predicted class for each test image", Tone.DIM))]
    rows.sort(key=lambda row: (-abs(row[1] - row[2]), row[0]))
    number = min(max(len(short_name(name)) + 2 for name in names), max(8, width // 5))
    room = max(8, width - 2 * number - 17)
    one, other = (fit(short_name(name), number - 2, "right", glyphs.ellipsis) for name in names)
    head = line(Span(f" {fit('class', room, ellipsis=glyphs.ellipsis)}  {one}  {other}   diff.  images", Tone.DIM))
    return [head, *(_class_line(row, room, number, glyphs) for row in rows)]


def _class_line(row: tuple[str, float, float, int], room: int, number: int, glyphs: Glyphs) -> Line:
    name, ours, theirs, images = row
    difference = ours - theirs
    tone = Tone.DIM if abs(difference) < 0.05 else Tone.GOOD if difference > 0 else Tone.BAD
    return line(
        f" {fit(name, room, ellipsis=glyphs.ellipsis)}{ours:{number}.1f}{theirs:{number}.1f}",
        Span(f"{difference:+8.1f}", tone),
        Span(f"{images:8d}", Tone.DIM),
    )


def disagreement_lines(names: tuple[str, str], images: DisagreeingImages, width: int) -> list[Line]:
    """Number of images that only one classifies correctly, and the first ones with their class and both predictions."""
    found, (first, second) = images.found, (short_name(name) for name in names)
    counts = (
        f"{first} right, {second} wrong: {len(found.only_first)}",
        f"{second} right, {first} wrong: {len(found.only_second)}",
        f"both right: {found.both}, both wrong: {found.neither}, of {found.images:,} test images",
    )
    lines = [line(Span(f" {text}", Tone.STRONG)) for count in counts for text in wrap(count, width - 2)]
    lines += [
        line(
            Span(" enter", Tone.KEY),
            Span(" lists them, ", Tone.DIM),
            Span("y", Tone.KEY),
            Span(" copies the paths", Tone.DIM),
        )
    ]
    texts = (f" {one.name}  {one.label}: {one.first} | {one.second}" for one in images.only_first)
    return [*lines, *(line(Span(text, Tone.DIM)) for text in texts)]


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
