"""The exact regularisation path on problems drawn by a seed, by default the date, compared with the alternatives.

    python -m tests.benchmarks.linear_path_drawn [--seed N] [--count 6] [--work 5e7] [--threads 1 2]

Every row is a whole selection over 45 values of C: path, validation, final fit. The alternatives: scikit-learn as it is
(stopped after 100 iterations), scikit-learn until it is as near to the optimum as ours, scikit-learn's newton-cholesky
where its Hessian fits, and torch's L-BFGS for each C. scikit-learn has the number of threads with which it is fastest
here, found by a few strengths of the same problem. The slow ones are stopped after `--limit` times our time, which
makes their ratio a lower bound. The distance to the optimum of the path is computed in float64 by Newton's method
written apart from the solver, at `--checked` strengths.
"""

from __future__ import annotations

import functools
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from backbones.cpu.malloc import keep_freed_memory
from tasks.solvers.logistic import Settings, StrengthSelection, solve_path
from tests.benchmarks import _sweeps as sweeps
from tests.benchmarks._comparison import Timing, row, timed
from tests.benchmarks._drawn import DrawnProblem, drawn, seed_of_the_day
from tests.benchmarks._features import Labelled
from tests.benchmarks._gap import Reference
from tests.benchmarks._options import parser
from tests.benchmarks._record import Row, keep, overall, tell
from tests.benchmarks.linear_path import AS_IS, GRID, TO_THE_GAP, goal, score, selected
from tests.benchmarks.linear_path_cuda import Sweep as TorchSweep

NEWTON_CHOLESKY, TORCH = "scikit-learn, newton-cholesky", "torch L-BFGS for each C"
GOALS = {AS_IS: 6.0, TO_THE_GAP: 20.0, NEWTON_CHOLESKY: None, TORCH: None}
T = TypeVar("T")
HESSIAN = 3_000  # classes times dimensions up to which newton-cholesky is run
PROBE = 9  # every ninth strength is fitted to find scikit-learn's number of threads


def main() -> int:
    """Print every row and the geometric means."""
    given = _options()
    keep_freed_memory()
    problems = drawn(given.seed, given.count, given.work)
    tell(f"seed {given.seed}, {len(problems)} problems of at most {given.work:.0e} samples x dimensions x classes")
    rows: list[Row] = []
    for problem in problems:
        rows += compared(problem, given)
        means = [overall(*named) for named in _groups(rows)]
        keep("linear_path_drawn", f"Drawn regularisation paths, seed {given.seed}", [*means, *rows], given.results)
    for mean in means:
        tell(mean)
    return 0


def _options() -> Namespace:
    options = parser(__doc__)
    options.add_argument("--seed", type=int, default=seed_of_the_day(), help="default: the date")
    options.add_argument("--count", type=int, help="number of problems (default 6; quick 2, full 12)")
    options.add_argument("--work", type=float, help="maximum samples x dimensions x classes (default 5e7; full 1e11)")
    options.add_argument("--threads", type=int, nargs="*", help="how many (default: 1, and as many as cores)")
    options.add_argument("--limit", type=float, default=40.0, help="stop slow alternatives after this times our time")
    options.add_argument("--checked", type=int, default=9, help="number of strengths checked in float64")
    options.add_argument("--turns", type=int, default=3, help="how often ours is timed")
    options.add_argument("--others", nargs="*", choices=GOALS, default=list(GOALS), help="compare with these alone")
    given = options.parse_args()
    given.count = given.count or (2 if given.quick else 12 if given.full else 6)
    given.work = given.work or (3e6 if given.quick else 1e11 if given.full else 5e7)
    given.threads = given.threads or sorted({1, os.cpu_count() or 1})
    return given


def _groups(rows: Sequence[Row]) -> list[tuple[str, list[Row], float | None]]:
    """Rows of the same alternative and number of threads, with a name and the goal."""
    keys = sorted({(int(str(one.facts["threads"])), one.other) for one in rows})
    found = []
    for threads, other in keys:
        same = [one for one in rows if one.other == other and one.facts["threads"] == threads]
        found.append((f"geometric mean over {len(same)} drawn problems, {_threads(threads)}", same, GOALS[other]))
    return found


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def compared(problem: DrawnProblem, given: Namespace) -> list[Row]:
    """One problem: ours with each number of threads, alternately with the others at the number that suits them."""
    data = problem.data()
    fastest = fastest_threads(data, given.threads)
    ours = {threads: [_with_threads(threads, lambda: selected(data))] for threads in given.threads}
    selection = ours[given.threads[0]][0][1]
    limit = given.limit * ours[given.threads[0]][0][0].cpu_s
    theirs: dict[str, tuple[Timing, bool]] = {}
    for other, sweep in _others(problem, data, selection, limit).items():
        if other in given.others:
            timing, stopped = _with_threads(fastest if other != TORCH else given.threads[-1], sweep)
            theirs[other] = timing, stopped
            for threads in given.threads if len(ours[given.threads[0]]) < given.turns else ():
                ours[threads].append(_with_threads(threads, lambda: selected(data)))
    facts: dict[str, Any] = {
        "score": selection.score,
        "converged": selection.converged,
        "gap in float64, at worst": checked_gap(data, given.checked),
        "passes": selection.passes,
        "threads of scikit-learn": fastest,
    }
    rows = [
        row(
            problem.name,
            other,
            [one[0] for one in ours[threads]],
            [timing],
            at_least=stopped,
            headline=False,
            threads=threads,
            **facts,
        )
        for threads in given.threads
        for other, (timing, stopped) in theirs.items()
    ]
    for one in rows:
        tell(one)
    return rows


def _with_threads(threads: int, work: Callable[[], T]) -> tuple[Timing, T]:
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        return timed(work)


def fastest_threads(data: Labelled, counts: Sequence[int]) -> int:
    """Number of threads with which scikit-learn needs the least wall time for a few strengths."""
    if len(counts) == 1:
        return counts[0]
    few = functools.partial(sweeps.sweep, data, GRID.strengths[::PROBE], score, sweeps.scikit_learn)
    return min(counts, key=lambda count: _with_threads(count, few)[0].wall_s)


def _others(
    problem: DrawnProblem, data: Labelled, selection: StrengthSelection, limit: float
) -> dict[str, Callable[[], bool]]:
    """By name, a whole selection that returns whether it was stopped at `limit` seconds."""
    mine = {trial.strength: trial.objective for trial in selection.trials}
    if problem.classes == 2 and not data.multi_label:
        mine = binary_objectives(data)
    unlimited = sweeps.ToTheGap(goal(data, mine), limit)
    cholesky = sweeps.Limited(sweeps.newton_cholesky, limit)
    found: dict[str, Callable[[], bool]] = {
        AS_IS: lambda: sweeps.sweep(data, GRID.strengths, score, sweeps.scikit_learn).stopped,
        TO_THE_GAP: lambda: bool(sweeps.sweep(data, GRID.strengths, score, unlimited)) and unlimited.stopped,
    }
    columns = 1 if data.multi_label or problem.classes == 2 else problem.classes
    if columns * problem.dimensions <= HESSIAN:
        found[NEWTON_CHOLESKY] = lambda: bool(sweeps.sweep(data, GRID.strengths, score, cholesky)) and cholesky.stopped
    if not data.multi_label:
        found[TORCH] = lambda: not TorchSweep(data, "cpu").run()
    return found


def binary_objectives(data: Labelled) -> dict[float, float]:
    """Optima by C as scikit-learn defines them for two classes: half the penalty of a softmax."""
    path = solve_path(data.train[0], data.train[1][:, None], GRID.strengths)
    return {one.strength: one.objective for one in path.solutions}


def checked_gap(data: Labelled, count: int) -> float:
    """The largest relative distance to the optimum in float64, over `count` strengths from one end to the other."""
    if not count:
        return float("nan")
    reference = Reference.of(*data.train)
    factor = 2.0 if data.multi_label else 1.0
    path = solve_path(*data.train, [factor * one for one in GRID.rising], settings=Settings())
    picked = np.unique(np.linspace(0, len(GRID.strengths) - 1, count).astype(int))
    return max(
        reference.gap(one.weights.double().numpy(), one.intercept.double().numpy(), one.strength)
        for one in (path.solutions[place] for place in picked)
    )


if __name__ == "__main__":
    sys.exit(main())
