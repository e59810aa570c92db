"""The head of a LaTeX table, with the protocols above their datasets. Needs `\\usepackage{booktabs}`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby


def grouped_head(titles: Sequence[str], escape: Callable[[str], str]) -> list[str]:
    """The head for unescaped titles: one line, or two with rules between where titles are `protocol/dataset`."""
    halves = [_halves(title) for title in titles]
    if not any(group for group, _ in halves):
        return [" & ".join(map(escape, titles)) + r" \\"]
    above, rules, first = [], [], 1
    for group, members in groupby(group for group, _ in halves):
        count = len(list(members))
        above += [rf"\multicolumn{{{count}}}{{c}}{{{escape(group)}}}"] if group else [""] * count
        rules += [rf"\cmidrule(lr){{{first}-{first + count - 1}}}"] if group else []
        first += count
    return [" & ".join(above) + r" \\", " ".join(rules), " & ".join(escape(name) for _, name in halves) + r" \\"]


def _halves(title: str) -> tuple[str, str]:
    """Protocol and dataset of a title; an empty protocol for titles of another form."""
    protocol, _, dataset = title.partition("/")
    return (protocol, dataset) if protocol and dataset else ("", title)
