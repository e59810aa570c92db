"""The critical-difference picture: mean ranks on a line, and bars over what Nemenyi's test cannot tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssl_console.statistics.friedman import cliques

MARK, RULE, BAR = "●", "·", "┃"


@dataclass(frozen=True)
class CriticalDifference:
    """What the picture shows."""

    mean_ranks: Mapping[str, float]
    """By backbone; 1 is best."""
    difference: float
    """Mean ranks further apart than this differ, says Nemenyi at 5 %."""
    p_value: float
    """Friedman's, with Iman and Davenport's correction: whether there is any difference at all."""

    @property
    def order(self) -> list[str]:
        """Best first."""
        return sorted(self.mean_ranks, key=lambda name: (self.mean_ranks[name], name))

    @property
    def bars(self) -> list[tuple[str, ...]]:
        """Groups that cannot be told apart, best first."""
        return cliques(self.mean_ranks, self.difference)


def as_text(picture: CriticalDifference, columns: int = 40) -> list[list[str]]:
    """One line per backbone, best first: its name, a scale of `columns` from rank 1 to the last, the rank, the bars."""
    last = max(len(picture.mean_ranks), 2)
    return [
        [name, _scale(picture.mean_ranks[name], last, columns), f"{picture.mean_ranks[name]:.2f}", _bars(picture, name)]
        for name in picture.order
    ]


def _scale(rank: float, last: int, columns: int) -> str:
    place = round((rank - 1) / (last - 1) * (columns - 1))
    return RULE * place + MARK + RULE * (columns - 1 - place)


def _bars(picture: CriticalDifference, name: str) -> str:
    return " ".join(BAR if name in bar else " " for bar in picture.bars).rstrip()
