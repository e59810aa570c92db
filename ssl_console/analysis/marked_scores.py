"""Marked scores of a table, for views that do not show the scores themselves. Pure; needs no numpy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from ssl_console.analysis.ranking import Ranking
from ssl_console.workspace.badges import LEGEND, MARK, NO_DOUBT, marks

NAMED = 4
MOST_NAMED = 20
"""Maximum number of scores named in a sentence; the others are counted."""


@dataclass(frozen=True)
class MarkedScore:
    """A score with warnings."""

    backbone: str
    column: str
    run_id: str
    badges: tuple[str, ...]

    @property
    def marks(self) -> str:
        """Suffix of the score."""
        return marks(self.badges)

    def __str__(self) -> str:
        reasons = [name for name in self.badges if name not in NO_DOUBT]
        return f"{self.backbone} on {self.column}" + (f" ({', '.join(reasons)}; {self.run_id})" if reasons else "")


def marked_scores(ranking: Ranking) -> tuple[MarkedScore, ...]:
    """Marked scores of a table, row by row."""
    return tuple(
        MarkedScore(row.backbone, label, cell.run_id, cell.badges)
        for row in ranking.rows
        for label, cell in row.cells.items()
        if cell.badges
    )


def mark_sentences(marked: Sequence[MarkedScore]) -> list[str]:
    """One sentence per mark: its meaning, and the scores that have it."""
    found = []
    for mark, meaning in LEGEND.items():
        scores = [str(one) for one in marked if mark in one.marks]
        if scores:
            shown = scores[: NAMED if mark == MARK else MOST_NAMED]
            more = f" and {len(scores) - len(shown)} more" if len(scores) > len(shown) else ""
            found.append(f"{mark} {meaning}: {'; '.join(shown)}{more}")
    return found


def marked_document(marked: Iterable[MarkedScore]) -> list[dict[str, object]]:
    """Marked scores for `--json`."""
    return [asdict(one) for one in marked]


def legend(badges: Iterable[Sequence[str]]) -> dict[str, str]:
    """The marks of scores with these badges, and their meaning."""
    found = {mark for names in badges for mark in marks(names)}
    return {mark: meaning for mark, meaning in LEGEND.items() if mark in found}
