"""Options of every benchmark, and the folder of its JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
"""Results from which the README's table is generated."""
QUICK_RESULTS = ROOT / "build" / "benchmarks"
"""Results of quick runs, unless another folder is given."""


class _Quick(argparse.Action):
    """Parse the options; quick runs use small sizes and another folder by default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        namespace.quick = True
        if namespace.results == RESULTS:
            namespace.results = QUICK_RESULTS


def parser(description: str | None) -> argparse.ArgumentParser:
    """`--quick` (a minute at most), `--full` (every size, however long), `--results`."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    made.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="where the JSON goes")
    sizes = made.add_mutually_exclusive_group()
    sizes.add_argument("--full", action="store_true", help="every size, however long it takes")
    sizes.add_argument("--quick", action=_Quick, nargs=0, default=False, help="a minute at most, to see that it works")
    return made
