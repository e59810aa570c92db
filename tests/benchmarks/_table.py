"""The benchmark table of the README, generated from the JSON files only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks._record import Document, Figure, Row, short

BEGIN = "<!-- benchmarks: made by `make bench-table` -->"
END = "<!-- end of benchmarks -->"


def table(documents: Sequence[Document]) -> str:
    """Markdown: comparisons, figures with a limit, and the machine."""
    ratios = [line for document in documents for line in _ratios(document)]
    limits = [line for document in documents for line in _limits(document)]
    if not ratios and not limits:
        return "Nothing is measured yet: `make bench`, then `make bench-table`.\n"
    parts = [
        "| Ours | compared with | speed ratio, clock time | by processor time | goal |\n|---|---|---|---|---|",
        *ratios,
        "",
        "| Figure | measured | at most |\n|---|---|---|" if limits else "",
        *limits,
        "",
        _machines(documents),
    ]
    return "\n".join(parts) + "\n"


def write(readme: Path, documents: Sequence[Document]) -> None:
    """Insert the table between the markers. Raises ValueError if the file has none."""
    readme.write_text(replaced(readme.read_text(encoding="utf-8"), table(documents)), encoding="utf-8")


def replaced(text: str, made: str) -> str:
    """`text` with the content between its markers replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for the table: the markers {BEGIN} and {END} have to stand there")
    return f"{before}{BEGIN}\n{made}{END}{after}"


def _ratios(document: Document) -> Iterator[str]:
    shown = [row for row in document.rows if row.headline]
    if shown:
        yield f"| **{_safe(document.title)}** | | | | |"
    yield from map(_row, shown)


def _row(row: Row) -> str:
    goal = "" if row.goal is None else f"{short(row.goal)}x"
    return f"| {_safe(row.work)} | {_safe(row.other)} | {row.wall} | {row.cpu} | {goal} |"


def _limits(document: Document) -> Iterator[str]:
    shown = [figure for figure in document.figures if figure.limit is not None]
    if shown:
        yield f"| **{_safe(document.title)}** | | |"
    yield from map(_figure, shown)


def _figure(figure: Figure) -> str:
    over = "" if figure.within else " (over)"
    return f"| {_safe(figure.name)} | {short(figure.value)} {figure.unit}{over} | {figure.limit:g} {figure.unit} |"


def _machines(documents: Sequence[Document]) -> str:
    """A sentence for every machine and set of versions, with the highest load."""
    found: dict[tuple[str, ...], float] = {}
    for machine in (document.machine for document in documents):
        versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
        key = (f"{machine.processor}, {machine.cores} cores", f"Python {machine.python}, {versions}", machine.day)
        found[key] = max(found.get(key, 0.0), machine.load_before)
    return "\n".join(
        f"{place}; {versions}; {day}; load before a benchmark began at most {load:.1f}. "
        "Median and, in brackets, lowest and highest over the turns; both ways in the same run."
        for (place, versions, day), load in found.items()
    )


def _safe(text: str) -> str:
    return text.replace("|", "\\|")
