"""What adding one result costs as the results file grows, beside TinyDB's own storage in the same run.

    python tests/benchmarks/store_insert.py [--sizes 1000 10000] [--repeats 9]

Both write the same rows; ours takes the lock, reads the file afresh, syncs it to disk and keeps a backup, the other
rewrites in place with what it holds in memory. Medians; the budget is printed beside them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tinydb import TinyDB

from ssl_console.result import Result
from ssl_console.store import ResultStore
from ssl_console.workspace import Workspace

BUDGET_MS = {1_000: 20.0, 10_000: 150.0}


def a_result(number: int) -> Result:
    """A row of usual length."""
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


def milliseconds(repeats: int, work: Callable[[int], object]) -> float:
    """Median over `repeats` calls with running numbers."""
    taken = []
    for number in range(repeats):
        begun = time.perf_counter()
        work(number)
        taken.append(1000 * (time.perf_counter() - begun))
    return median(taken)


def ours(size: int, repeats: int, batch: int = 1) -> float:
    """Adding `batch` results to `size`, in one transaction."""
    with tempfile.TemporaryDirectory() as folder:
        store = ResultStore(Workspace(Path(folder)).create())
        store.add(map(a_result, range(size)))
        return milliseconds(
            repeats, lambda n: store.add(map(a_result, range(size + n * batch, size + (n + 1) * batch)))
        )


def theirs(size: int, repeats: int) -> float:
    """The same through `TinyDB(path)`, held open."""
    with tempfile.TemporaryDirectory() as folder, TinyDB(Path(folder) / "results.json") as database:
        table = database.table("results")
        table.insert_multiple(a_result(number).model_dump(mode="json") for number in range(size))
        return milliseconds(repeats, lambda n: table.insert(a_result(size + n).model_dump(mode="json")))


def read(size: int, repeats: int) -> tuple[float, float]:
    """Reading everything with a cold and a warm reader."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder)).create()
        store = ResultStore(workspace)
        store.add(map(a_result, range(size)))
        store.results()
        return milliseconds(repeats, lambda _: ResultStore(workspace).results()), milliseconds(
            repeats, lambda _: store.results()
        )


def main() -> int:
    """Print the table; 1 when a budget is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    kept = True
    print("results   insert ms  budget  50 at once  TinyDB's own   ratio   read cold / warm ms")
    for size in given.sizes:
        mine, many, other = ours(size, given.repeats), ours(size, given.repeats, 50), theirs(size, given.repeats)
        cold, warm = read(size, given.repeats)
        budget = BUDGET_MS.get(size)
        kept &= budget is None or mine <= budget
        print(
            f"{size:7,} {mine:11.1f} {budget or '—':>7} {many:11.1f} {other:13.1f} {other / mine:7.2f} "
            f"{cold:10.1f} / {warm:.3f}"
        )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
