"""Recall of two backbones on every class, and the test images on which they disagree, as lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, fit, line, wrap
from ssl_console.tui.views.paired_tests import short_name

if TYPE_CHECKING:
    from ssl_console.operations.disagreements import DisagreeingImages, NamedImage

ClassScores = Sequence[tuple[str, float, int]]
"""Name of a class, recall in percent, and number of its test images."""


def class_lines(
    names: tuple[str, str], scores: tuple[ClassScores, ClassScores], width: int, glyphs: Glyphs
) -> list[Line]:
    """Recall of every class for both, by descending difference."""
    theirs = {name: recall for name, recall, _ in scores[1]}
    rows = [(name, recall, theirs[name], images) for name, recall, images in scores[0] if name in theirs]
    if not rows:
        return [line(Span(" this task has no single predicted class for each test image", Tone.DIM))]
    rows.sort(key=lambda row: (-abs(row[1] - row[2]), row[0]))
    room = max(8, width - 34)
    one, other = (fit(short_name(name), 8, "right", glyphs.ellipsis) for name in names)
    head = line(Span(f" {fit('class', room, ellipsis=glyphs.ellipsis)}{one}{other}    diff.  images", Tone.DIM))
    return [head, *(_class_line(row, room, glyphs) for row in rows)]


def _class_line(row: tuple[str, float, float, int], room: int, glyphs: Glyphs) -> Line:
    name, ours, theirs, images = row
    difference = ours - theirs
    tone = Tone.DIM if abs(difference) < 0.05 else Tone.GOOD if difference > 0 else Tone.BAD
    return line(
        f" {fit(name, room, ellipsis=glyphs.ellipsis)}{ours:8.1f}{theirs:8.1f}",
        Span(f"{difference:+8.1f}", tone),
        Span(f"{images:8d}", Tone.DIM),
    )


def disagreement_lines(names: tuple[str, str], images: DisagreeingImages, width: int) -> list[Line]:
    """Number of images that only one classifies correctly, and the names of the first ones."""
    found, (one, other) = images.found, (short_name(name) for name in names)
    counts = (
        f"{one} right, {other} wrong: {len(found.only_first)}",
        f"{other} right, {one} wrong: {len(found.only_second)}",
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
    return [*lines, *(line(Span(f" {image_text(image)}", Tone.DIM)) for image in images.only_first)]


def image_text(image: NamedImage) -> str:
    """An image and both predictions, in one line."""
    return f"{image.name}  {image.label}: {image.first} | {image.second}"
