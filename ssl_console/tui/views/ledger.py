"""Own scores against published ones as lines: a table and a scatter for each published column. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ssl_console.analysis.published.agreement import Ledger, LedgerColumn, LedgerEntry, OtherProtocol
from ssl_console.analysis.published.tables import source_of
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, fit, fit_middle, length, line, wrap
from ssl_console.tui.views.paired_tests import short_name
from ssl_console.tui.widgets.plot import AXIS, GHOST, LABEL, Chart, Series, draw
from ssl_console.workspace.badges import ADVICE, marks

ABOUT = (
    "Own scores and published ones of the same protocol. The allowed difference follows from both intervals, or is the "
    "tolerance stated by the source; an outlier deviates from the differences of the other backbones in its column."
)
SHORTEST_NAME, LONGEST_NAME = 12, 30
NUMBERS = (("measured", 9), ("published", 9), ("differs", 8), ("allowed", 8))
"""Columns of numbers and their widths in cells; the last ones are left out where there is no room."""
WORD = 10
OTHERS_SHOWN = 20
FEWEST_POINTS = 2
MOST_NAMED = 12
"""Points of a scatter up to which all have their names; outliers always have."""
SCATTER_WIDTH, SCATTER_HEIGHT = 76, 16
OUTLIERS = 1
"""Series of the outliers."""


def ledger_lines(found: Ledger, width: int, glyphs: Glyphs) -> list[Line]:
    """A table and a scatter for each column, then the numbers of other protocols."""
    lines = [line(Span(f" {text}", Tone.DIM)) for text in wrap(ABOUT, width - 2)]
    for column in found.columns:
        lines += [(), *_column(column, width), *scatter_lines(column, width, glyphs)]
    if not found.columns:
        lines += [(), line(Span(" no measured result has the protocol of a published score", Tone.WARN))]
    return [*lines, *_others(found.others, width)]


def _column(column: LedgerColumn, width: int) -> Iterator[Line]:
    about, chosen = column.column, "TEST" if column.chosen_on_test else column.column.chosen_on
    flag = Tone.WARN if column.chosen_on_test else Tone.DIM
    title = Span(f" {about.task} {about.metric} [{column.variant}]", Tone.TITLE)
    selection = (Span(f"  {about.table}, settings chosen on: ", Tone.DIM), Span(chosen, flag))
    fits = length((title, *selection)) <= width
    yield from [line(title, *selection)] if fits else [line(title), line(*selection)]
    yield line(Span(_row("backbone", [name for name, _ in NUMBERS], width), Tone.DIM))
    yield from (_entry(one, width) for one in column.entries)
    correlation = "" if column.correlation is None else f", Spearman {column.correlation:.2f}"
    outliers = ", ".join(one.backbone for one in column.outliers) or "none"
    sentence = f"median difference {column.shift:+.2f}{correlation}; outliers: {outliers}; {source_of(about)}"
    yield from (line(Span(f" {text}", Tone.DIM)) for text in wrap(sentence, width - 2))
    doubts = dict.fromkeys(badge for one in column.entries for badge in one.pair.own.badges)
    for badge in doubts:
        yield from (
            line(Span(f" {text}", Tone.WARN))
            for text in wrap(f"{marks([badge])} {badge}: {ADVICE.get(badge, '')}", width - 2)
        )


def _row(name: str, numbers: Sequence[str], width: int) -> str:
    """Name and numbers, with room for a word after them."""
    room = width - 3 - WORD - SHORTEST_NAME
    sizes = [size for _, size in NUMBERS]
    while sum(sizes) + len(sizes) > room:
        sizes.pop()
    shortened = fit_middle(name, min(LONGEST_NAME, SHORTEST_NAME + room - sum(sizes) - len(sizes)))
    return f" {shortened} {' '.join(fit(text, size, 'right') for text, size in zip(numbers, sizes, strict=False))}"


def _entry(one: LedgerEntry, width: int) -> Line:
    pair = one.pair
    own, printed = (
        f"{pair.own.value:.2f}{marks(pair.own.badges)}",
        f"{pair.published.value:.2f}{marks(pair.published.badges)}",
    )
    numbers = _row(one.backbone, (own, printed, f"{pair.difference:+.2f}", f"{pair.allowed:.2g}"), width)
    word = "outlier" if one.outlier else "reproduced" if pair.agrees else "differs"
    tone = Tone.BAD if one.outlier else Tone.GOOD if pair.agrees else Tone.WARN
    return line(numbers, Span(f"  {word}", tone))


def _others(others: tuple[OtherProtocol, ...], width: int) -> Iterator[Line]:
    if not others:
        return
    yield ()
    yield line(Span(" Published under other protocols, never compared", Tone.TITLE))
    for one in others[:OTHERS_SHOWN]:
        flag = ", chosen on the test images" if one.column.chosen_on == "test" else ""
        name = fit_middle(one.backbone, min(LONGEST_NAME, width // 3))
        source = f"{one.column.task} [{one.column.variant}]{flag}"
        first, *rest = wrap(source, width - length(line(name)) - 12)
        yield line(Span(f" {name} {one.value:>7.2f}  {first}", Tone.DIM))
        yield from (line(Span(f" {' ' * length(line(name))}          {text}", Tone.DIM)) for text in rest)
    if len(others) > OTHERS_SHOWN:
        yield line(Span(f" {len(others) - OTHERS_SHOWN} more: y copies the command, --json lists all", Tone.DIM))


def scatter_chart(column: LedgerColumn) -> Chart:
    """Published against own scores with the line of equality; outliers are a series of their own, with their names."""
    ends = [value for one in column.entries for value in (one.pair.published.value, one.pair.own.value)]
    low, high = min(ends), max(ends)
    usual = [one for one in column.entries if not one.outlier]
    equality = Series("equal", ((low, low), (high, high)), "ghost")
    others = [_points(name, found, number) for number, (name, found) in enumerate(
        (("measured", usual), ("outliers", list(column.outliers)))) if found]  # fmt: skip
    return Chart((equality, *others), x=f"published ({column.column.metric})", y="measured here")


def _points(name: str, entries: Sequence[LedgerEntry], number: int) -> Series:
    points = tuple((one.pair.published.value, one.pair.own.value) for one in entries)
    named = number == OUTLIERS or len(entries) <= MOST_NAMED
    labels = tuple(short_name(one.backbone) if named else "" for one in entries)
    return Series(name, points, "points", number, labels)


def scatter_lines(column: LedgerColumn, width: int, glyphs: Glyphs) -> list[Line]:
    """The scatter in characters; nothing for a single backbone."""
    if len(column.entries) < FEWEST_POINTS:
        return []
    drawn = draw(scatter_chart(column), min(width - 2, SCATTER_WIDTH), SCATTER_HEIGHT, glyphs)
    return [(Span(" "), *(Span(text, _tone(colour)) for text, colour in runs)) for runs in drawn]


def _tone(colour: int) -> Tone:
    tones = {OUTLIERS: Tone.BAD, AXIS: Tone.FAINT, GHOST: Tone.FAINT, LABEL: Tone.DIM}
    return tones.get(colour, Tone.ACCENT if colour >= 0 else Tone.PLAIN)
