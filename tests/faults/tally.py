"""What the suite tried, how often, and what was lost: collected while it runs, kept as JSON, shown in the README.

`$SSL_CONSOLE_FAULTS_FIGURES` names the file that a run writes; `python -m tests.faults.tally` puts the committed one
into the README.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

ENVIRONMENT_VARIABLE = "SSL_CONSOLE_FAULTS_FIGURES"
FIGURES = Path(__file__).parent / "figures.json"
README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- figures of make faults -->\n", "<!-- end of the figures -->\n"


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    tried: str
    """What was done."""
    times: int
    """How often."""
    lost: int
    """Finished results lost or repeated, files damaged, or harm done; whatever the line is about."""
    outcome: str
    """What was seen instead, in a few words."""


@dataclass
class Tally:
    """The figures of one run of the suite."""

    figures: list[Figure] = field(default_factory=list)

    def add(self, tried: str, times: int, outcome: str, *, lost: int = 0) -> None:
        """Note one line."""
        self.figures.append(Figure(tried, times, lost, outcome))

    def write(self) -> None:
        """To the file that the environment names, if it names one."""
        path = os.environ.get(ENVIRONMENT_VARIABLE)
        if path and self.figures:
            machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
            content = {"machine": machine, "figures": [asdict(figure) for figure in self.figures]}
            Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def table(path: Path = FIGURES) -> str:
    """The figures as a Markdown table."""
    content = json.loads(path.read_text())
    head = ["| tried | times | lost | instead |", "| --- | ---: | ---: | --- |"]
    rows = [f"| {one['tried']} | {one['times']:,} | {one['lost']} | {one['outcome']} |" for one in content["figures"]]
    return "\n".join([*head, *rows, "", f"Measured on {content['machine']}.", ""])


def shown(readme: str) -> str:
    """What a README holds between the two marks."""
    return readme.partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Put the committed figures into the README."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    README.write_text(f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
