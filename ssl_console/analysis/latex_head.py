"""The head of a LaTeX table, with the protocols above their datasets. Needs `\\usepackage{booktabs}`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby


def grouped_head(titles: Sequence[str], escape: Callable[[str], str]) -> list[str]:
    """The head for unescaped titles: one line, or two with rules between where titles are `protocol/dataset`."""
    halves = [title.partition("/") for title in titles]
    if not any(after for _, _, after in halves):
        return [" & ".join(map(escape, titles)) + r" \\"]
    names = [after or before for before, _, after in halves]
    above, rules, first = [], [], 1
    for group, members in groupby(before if after else "" for before, _, after in halves):
        count = len(list(members))
        above += [rf"\multicolumn{{{count}}}{{c}}{{{escape(group)}}}"] if group else [""] * count
        rules += [rf"\cmidrule(lr){{{first}-{first + count - 1}}}"] if group else []
        first += count
    return [" & ".join(above) + r" \\", " ".join(rules), " & ".join(map(escape, names)) + r" \\"]
