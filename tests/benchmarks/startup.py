"""Start times of commands, compared with an empty interpreter and with the libraries they import.

python -m tests.benchmarks.startup
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from statistics import median

from tests.benchmarks._comparison import Timing, in_turns
from tests.benchmarks._options import parser
from tests.benchmarks._record import Figure, keep, tell

LIMITED: tuple[tuple[str, ...], ...] = (("--help",), ("backbones", "--json"))
MORE: tuple[tuple[str, ...], ...] = (("tasks", "--json"), ("runs", "--json"), ("rank", "--json"))
LIMIT_S = 0.4
BARE, LIBRARIES = "python -c pass", "python -c 'import typer, pydantic'"


def main() -> int:
    """Every command and both reference programs alternately."""
    given = parser(__doc__).parse_args()
    ways = {
        BARE: functools.partial(started, "-c", "pass"),
        LIBRARIES: functools.partial(started, "-c", "import typer, pydantic"),
        **{
            " ".join(("ssl-console", *command)): functools.partial(started, "-m", "ssl_console", *command)
            for command in (*LIMITED, *MORE)
        },
    }
    found = in_turns(ways, 2 if given.quick else 7)
    figures = list(chain.from_iterable(measured(number, name, found) for number, name in enumerate(list(ways)[2:])))
    for figure in figures:
        tell(figure)
    keep("startup", "Start times of commands", [], given.results, figures)
    return 0


def measured(number: int, name: str, found: Mapping[str, Sequence[Timing]]) -> Iterator[Figure]:
    """Minimum CPU seconds of one command over all turns, and the ratio to the reference programs."""
    limit = LIMIT_S if number < len(LIMITED) else None
    yield Figure(name, min(timing.cpu_s for timing in found[name]), "s of CPU", limit, "best of all turns")
    for other in (BARE, LIBRARIES):
        times = [mine.cpu_s / theirs.cpu_s for mine, theirs in zip(found[name], found[other], strict=True)]
        yield Figure(f"{name} / {other}", median(times), "x", note=f"{min(times):.1f} to {max(times):.1f}, by CPU")


def started(*arguments: str) -> None:
    """Run `python -P ARGUMENTS` to its end."""
    subprocess.run([sys.executable, "-P", *arguments], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
