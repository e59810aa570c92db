"""Figures of the suite: tests, repetitions and losses, collected while it runs, stored as JSON, shown in a README.

    tally.add("a feature shard, damaged", times=60, outcome="found by its digest and computed again", lost=0)

Rows with the same `tried` are added up, also those of other processes (`pytest -n`). The figures of a run are written
to the file that `$SSL_CONSOLE_FAULTS_FIGURES` names; rows of that file which this run did not try stay.
`python -m tests.faults.tally` puts those that are committed into the README.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT_VARIABLE = "SSL_CONSOLE_FAULTS_FIGURES"
FIGURES = Path(__file__).parent / "figures.json"
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- figures of make faults -->\n", "<!-- end of the figures -->\n"
PROPERTY = "fault figure"
"""Key of a test report's figures, sent to the process that writes them."""


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    group: str
    """Subject in a word or two; rows of one group are adjacent."""
    tried: str
    """Injected fault."""
    times: int
    """Number of times."""
    lost: int
    """Finished results lost or repeated, files damaged, or other harm."""
    outcome: str
    """Observed behaviour, in a few words."""


@dataclass(frozen=True)
class Tally:
    """Figures of one test; they count if the test passes."""

    group: str
    properties: list[tuple[str, object]]
    """Properties of the test's report."""

    def add(self, tried: str, times: int, outcome: str, *, lost: int = 0) -> None:
        """Add a row."""
        self.properties.append((PROPERTY, asdict(Figure(self.group, tried, times, lost, outcome))))


@dataclass
class Figures:
    """Figures of one run of the suite."""

    found: dict[tuple[str, str], Figure] = field(default_factory=dict)

    def take(self, report: pytest.TestReport) -> None:
        """Add those of a test that passed."""
        for name, value in report.user_properties:
            if name == PROPERTY and report.when == "call" and report.passed and isinstance(value, dict):
                self._add(Figure(**value))

    def _add(self, one: Figure) -> None:
        place = one.group, one.tried
        before = self.found.get(place, Figure(*place, 0, 0, ""))
        self.found[place] = Figure(*place, before.times + one.times, before.lost + one.lost, one.outcome)

    def write(self, seconds: float) -> None:
        """Write them to the file named by the environment variable, if any."""
        path = Path(os.environ.get(ENVIRONMENT_VARIABLE, ""))
        if path.name and self.found:
            before: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"seconds": 0, "figures": []}
            kept = {(row["group"], row["tried"]): Figure(**row) for row in before["figures"]}
            rows = [figure for _, figure in sorted({**kept, **self.found}.items())]
            machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
            total = max(round(seconds), before["seconds"])
            content = {"machine": machine, "seconds": total, "figures": [asdict(row) for row in rows]}
            path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def table(path: Path = FIGURES) -> str:
    """The figures as a Markdown table."""
    content = json.loads(path.read_text())
    head = ["| | tried | times | lost | instead |", "|---|---|---:|---:|---|"]
    minutes = max(1, round(content["seconds"] / 60))
    foot = f"Measured on {content['machine']}, in {minutes} minute{'s' if minutes != 1 else ''}."
    return "\n".join([*head, *_rows(content["figures"]), "", foot, ""])


def _rows(figures: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """The name of a group is in its first row only."""
    group = ""
    for one in figures:
        name = "" if one["group"] == group else f"**{one['group']}**"
        group = one["group"]
        yield f"| {name} | {one['tried']} | {one['times']:,} | {one['lost']} | {one['outcome']} |"


def lost(path: Path = FIGURES) -> list[str]:
    """Faults that lost something."""
    return [row["tried"] for row in json.loads(path.read_text())["figures"] if row["lost"]]


def shown(readme: str) -> str:
    """Text of a README between the two marks."""
    return readme.partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Write the committed figures into the README. Exits with 1 if any fault lost something."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    README.write_text(f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}")
    if harm := lost():
        raise SystemExit(f"{len(harm)} of the faults lost something: {'; '.join(harm)}")


if __name__ == "__main__":
    main()
