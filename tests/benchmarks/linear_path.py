"""The exact regularisation path beside scikit-learn's sweep over the same 45 values of C.

    python -m tests.benchmarks.linear_path [--full] [--sizes N ...] [--gap-limit 110] [--threads 1 2]

By default both with one thread, and then with one for every core, as by default. Memory that
is freed is kept, as in a worker, which makes both faster.

Every row is a whole selection: path, validation, final fit. Ours is converged at every C. Three others: scikit-learn as
it is (cut off after 100 iterations), the scaling of the release that the paper used, and scikit-learn without a limit
until it is as near to the optimum as ours; that one is stopped after `--gap-limit` times our time, which makes its
ratio a lower bound. Printed and kept besides: by how much our objective exceeds the other's, at worst.
"""

from __future__ import annotations

import functools
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from backbones.cpu.malloc import keep_freed_memory
from tasks.metrics.classification import mean_average_precision
from tasks.solvers.logistic import Settings, StrengthGrid, StrengthSelection, fit_selected, solve_path
from tests.benchmarks import _sweeps as sweeps
from tests.benchmarks._comparison import row, timed
from tests.benchmarks._features import SIZES, Labelled
from tests.benchmarks._options import parser
from tests.benchmarks._record import Row, keep, overall, tell

GRID = StrengthGrid.of_weight_decays(-6, 5, 45, extensible=False)
QUICK = (0, 5)
GAP = Settings().tolerance
AS_IS, PAPER, TO_THE_GAP = "scikit-learn as it is", "the paper's scaling", "scikit-learn to the same gap"
GOALS = {AS_IS: 10.0, PAPER: 20.0, TO_THE_GAP: 100.0}


def main() -> int:
    """Print every row and the geometric means."""
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="*", help=f"numbers from 0 to {len(SIZES) - 1}")
    options.add_argument("--gap-limit", type=float, help="stop scikit-learn after so many times our time (default 110)")
    options.add_argument("--turns", type=int, default=2, help="how often ours is timed")
    options.add_argument("--threads", type=int, nargs="*", help="how many (default: 1, and as many as cores)")
    options.add_argument("--others", nargs="+", choices=GOALS, default=list(GOALS), help="compare with these alone")
    given = options.parse_args()
    chosen = given.sizes if given.sizes is not None else range(len(SIZES)) if given.full else QUICK
    limit = given.gap_limit or (110.0 if given.full else 5.0)
    keep_freed_memory()
    found: list[Row] = []
    for threads in given.threads or sorted({1, os.cpu_count() or 1}):
        rows: list[Row] = []
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            for number in chosen:
                name = list(SIZES)[number]
                rows += compared(name, SIZES[name](), limit, given, threads)
                keep(_document(threads), "Regularisation path, 45 values of C", [*means(rows), *rows], given.results)
        found += means(rows)
    for mean in found:
        tell(mean)
    return 0


def means(rows: Sequence[Row]) -> list[Row]:
    """Geometric mean over the sizes, by the number of threads and the alternative."""
    found = []
    for threads in sorted({int(str(one.facts["threads"])) for one in rows}):
        for other, goal in GOALS.items():
            same = [one for one in rows if one.other == other and one.facts["threads"] == threads]
            if same:
                name = f"geometric mean over {len(same)} sizes, {_threads(threads)}"
                found.append(overall(name, same, goal))
    return found


def _document(threads: int) -> str:
    return "linear_path" if threads == 1 else f"linear_path_{_threads(threads).replace(' ', '_')}"


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def compared(name: str, data: Labelled, limit: float, given: Namespace, threads: int) -> list[Row]:
    """One size: ours, and the alternatives, which are timed once between our turns."""
    first, selection = timed(lambda: selected(data))
    mine = {trial.strength: trial.objective for trial in selection.trials}
    gap = max(trial.gap or 0.0 for trial in selection.trials)
    unlimited = sweeps.ToTheGap(goal(data, mine), limit * first.cpu_s)
    known: dict[str, sweeps.Fit] = {AS_IS: sweeps.scikit_learn, PAPER: sweeps.paper_scaling, TO_THE_GAP: unlimited}
    ways = {other: known[other] for other in given.others}
    ours, theirs, facts = [first], {}, {}
    for other, fit in ways.items():
        theirs[other], sweep = timed(functools.partial(sweeps.sweep, data, GRID.strengths, score, fit))
        facts[other] = {} if fit is unlimited else excess(data, mine, sweep)
        ours += [timed(lambda: selected(data))[0] for _ in range(given.turns - 1)]
    rows = [
        row(
            f"{name}, {_threads(threads)}",
            other,
            ours,
            [theirs[other]],
            at_least=other == TO_THE_GAP and unlimited.stopped,
            headline=False,
            gap=gap,
            passes=selection.passes,
            threads=threads,
            **facts[other],
        )
        for other in ways
    ]
    for one in rows:
        tell(one)
    return rows


def goal(data: Labelled, mine: Mapping[float, float]) -> Callable[[sweeps.Problem], float]:
    """Objective that scikit-learn has to reach: as far above ours as ours may be above the optimum."""
    if not data.multi_label:
        return lambda problem: mine[problem.strength] * (1 + GAP)
    path = solve_path(*data.train, [2 * strength for strength in GRID.strengths])
    goals = {}
    for solution in path.solutions:
        weights = np.column_stack([solution.intercept.numpy(), solution.weights.numpy()]).astype(np.float64)
        goals[solution.strength] = sweeps.label_objectives(weights, *data.train, solution.strength / 2)
    return lambda problem: goals[problem.strength][problem.label or 0] * (1 + GAP)


def selected(data: Labelled) -> StrengthSelection:
    """Our whole selection."""
    return fit_selected(data.train, data.validation, GRID, score, classes=data.classes)


def score(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.generic]) -> float:
    """Accuracy or mean average precision, in percent."""
    if targets.ndim == 2:
        return mean_average_precision(logits, targets.astype(np.int64))
    return 100 * float(np.mean(logits.argmax(axis=1) == targets))


def excess(data: Labelled, mine: Mapping[float, float], sweep: sweeps.Sweep) -> dict[str, float]:
    """Maximum relative excess of our objective over the alternative's, and vice versa."""
    theirs = {c: sweeps.objective(weights, *data.train, c) for c, weights in sweep.weights.items()}
    ours_over = max(mine[c] / theirs[c] - 1 for c in mine)
    return {"ours above theirs, at worst": ours_over, "theirs above ours": max(theirs[c] / mine[c] - 1 for c in mine)}


if __name__ == "__main__":
    sys.exit(main())
