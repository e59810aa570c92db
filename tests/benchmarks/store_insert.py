"""Time of adding one result as the results file grows, compared with TinyDB's storage in the same run.

    python -m tests.benchmarks.store_insert [--sizes 1000 10000] [--repeats 9]

Both write the same rows; ours takes the lock, reads the file afresh, syncs it to disk and keeps a backup, the other
rewrites in place with what it holds in memory.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import count
from pathlib import Path
from statistics import median

from tinydb import TinyDB

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import ResultStore
from tests.benchmarks._comparison import in_turns, row
from tests.benchmarks._options import parser
from tests.benchmarks._record import Figure, Row, keep, tell

BUDGET_MS = {1_000: 20.0, 10_000: 150.0}


def a_result(number: int) -> Result:
    """A row of typical length."""
    return Result(
        run_id=f"{number:012x}",
        key=f"{number:064x}",
        backbone=f"paper/backbone-{number % 40}",
        task=f"linear/dataset-{number % 25}",
        column=f"{number % 25:064x}",
        seed=number // 1000,
        metric="accuracy",
        value=71.25,
        ci_low=70.1,
        ci_high=72.4,
        n=10_000,
        finished=1.7e9 + number,
        duration_s=93.2,
        images_per_s=412.7,
        memory_mb=2048.5,
        device="cuda:0",
    )


def compared(size: int, repeats: int) -> tuple[list[Row], list[Figure]]:
    """Adding one result, both methods alternately; and reading all."""
    with tempfile.TemporaryDirectory() as folder, TinyDB(Path(folder) / "plain.json") as database:
        workspace = Workspace(Path(folder) / "workspace").create()
        store, table, fresh = ResultStore(workspace), database.table("results"), count(size)
        store.add(map(a_result, range(size)))
        table.insert_multiple(a_result(number).model_dump(mode="json") for number in range(size))
        ways = {
            "ours": lambda: store.add([a_result(next(fresh))]),
            "fifty": lambda: store.add([a_result(next(fresh)) for _ in range(50)]),
            "TinyDB": lambda: table.insert(a_result(next(fresh)).model_dump(mode="json")),
            "read": lambda: ResultStore(workspace).results(),
        }
        found = in_turns(ways, repeats)
    times = {name: 1000 * median(timing.wall_s for timing in timings) for name, timings in found.items()}
    rows = [row(f"one result added to {size:,}", "TinyDB's own storage, held open", found["ours"], found["TinyDB"])]
    figures = [
        Figure(f"one result added to {size:,}", times["ours"], "ms", BUDGET_MS.get(size)),
        Figure(f"50 results added to {size:,} at once", times["fifty"], "ms"),
        Figure(f"reading {size:,} results anew", times["read"], "ms"),
    ]
    return rows, figures


def main() -> int:
    """Print and store the results."""
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000])
    options.add_argument("--repeats", type=int, default=9)
    given = options.parse_args()
    rows: list[Row] = []
    figures: list[Figure] = []
    for size in given.sizes[:1] if given.quick else given.sizes:
        found = compared(size, given.repeats)
        rows, figures = [*rows, *found[0]], [*figures, *found[1]]
    for line in (*rows, *figures):
        tell(line)
    keep("store_insert", "Adding one result", rows, given.results, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
