"""The exact regularisation path on a GPU, beside a sweep of L-BFGS over the same 45 values of C on the same GPU.

    python -m tests.benchmarks.linear_path_cuda [--quick] [--sizes N ...]

Every row is a whole selection: path, validation, final fit, the features sent to the device included. The other way is
what scikit-learn does, written for a GPU: float32, warm starts from weak to strong regularisation, at most 100
iterations for each C. Without a CUDA device nothing is measured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from tasks.solvers.logistic import Settings, StrengthSelection, fit_selected
from tasks.solvers.logistic.device_matrix import ProblemSize
from tests.benchmarks._comparison import row, timed
from tests.benchmarks._features import Labelled, made_up
from tests.benchmarks._options import parser
from tests.benchmarks._record import Figure, Row, keep, tell
from tests.benchmarks.linear_path import GRID, score

DEVICE = "cuda:0"
OTHER = "L-BFGS as scikit-learn runs it, on the same GPU"
ITERATIONS, GRADIENT = 100, 1e-4
GIGABYTE = 1e9
SIZES: Mapping[str, tuple[int, int, int]] = {
    "50,000 x 2,048, 100 classes": (50_000, 2048, 100),
    "50,000 x 2,048, 1,000 classes": (50_000, 2048, 1000),
}
QUICK = {"5,000 x 256, 10 classes": (5_000, 256, 10)}


def main() -> int:
    """Print and store the comparisons, if there is a GPU."""
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="*", help=f"numbers from 0 to {len(SIZES) - 1}")
    given = options.parse_args()
    if not torch.cuda.is_available():
        tell("no CUDA device here: nothing is measured")
        return 0
    sizes = QUICK if given.quick else SIZES
    rows: list[Row] = []
    figures: list[Figure] = []
    for number in range(len(sizes)) if given.sizes is None else given.sizes:
        name = list(sizes)[number]
        found, measured = compared(name, *sizes[name])
        rows, figures = [*rows, found], [*figures, *measured]
        for line in (found, *measured):
            tell(line)
        keep("linear_path_cuda", "Regularisation path on a GPU, 45 values of C", rows, given.results, figures)
    return 0


def compared(
    name: str, samples: int, dimensions: int, classes: int, *, device: str = DEVICE, warm: bool = True
) -> tuple[Row, list[Figure]]:
    """One size; if `warm` ours twice, as libraries are loaded the first time. Memory of a CUDA device only."""
    data = made_up(samples, dimensions, classes, 0.2)
    if warm:
        selected(data, device)
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    ours, selection = timed(lambda: selected(data, device))
    peak = torch.cuda.max_memory_allocated() if cuda else 0
    bound = ProblemSize(len(data.train[0]), dimensions, classes, held=len(data.validation[0])).bytes()
    theirs, sweep = timed(lambda: Sweep(data, device).run())
    mine = {trial.strength: trial.objective for trial in selection.trials}
    facts: dict[str, Any] = {
        "gap": max(trial.gap or 0.0 for trial in selection.trials),
        "passes": selection.passes,
        "converged": selection.converged,
        "products of theirs": sweep.products,
        "ours above theirs, at worst": max(mine[c] / sweep.objectives[c] - 1 for c in mine),
        "theirs above ours, at worst": max(sweep.objectives[c] / mine[c] - 1 for c in mine),
        "C": selection.strength,
        "C of theirs": sweep.strength,
    }
    return row(name, OTHER, [ours], [theirs], **facts), [
        Figure(f"memory of the device, {name}", peak / GIGABYTE, "GB", limit=bound / GIGABYTE, note="limit: as stated")
    ] * cuda


def selected(data: Labelled, device: str = DEVICE) -> StrengthSelection:
    """Our whole selection, on the device."""
    settings = Settings(device=device)
    return fit_selected(data.train, data.validation, GRID, score, classes=data.classes, settings=settings)


@dataclass
class Sweep:
    """The alternative, and its objective."""

    data: Labelled
    device: str
    objectives: dict[float, float] = field(default_factory=dict)
    """By C, in float64."""
    strength: float = 0.0
    products: int = 0

    def run(self) -> Sweep:
        """Select C on validation data, then fit all data with it."""
        train, held = (self._sent(*part) for part in (self.data.train, self.data.validation))
        weights = torch.zeros(self.data.classes, 1 + train[0].shape[1], device=self.device, requires_grad=True)
        best = -1.0
        for strength in sorted(GRID.strengths, reverse=True):
            self._fit(weights, *train, strength)
            self.objectives[strength] = float(_objective(weights.detach().double(), *train, strength))
            accuracy = float((_logits(weights.detach(), held[0]).argmax(dim=1) == held[1]).float().mean())
            if accuracy > best:
                best, self.strength = accuracy, strength
        both = [torch.cat(parts) for parts in zip(train, held, strict=True)]
        self._fit(weights, both[0], both[1], self.strength)
        return self

    def _sent(self, rows: np.ndarray, targets: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(rows).to(self.device), torch.from_numpy(targets).to(self.device)

    def _fit(self, weights: Tensor, rows: Tensor, targets: Tensor, strength: float) -> None:
        optimiser = torch.optim.LBFGS(
            [weights],
            max_iter=ITERATIONS,
            max_eval=2 * ITERATIONS,
            tolerance_grad=GRADIENT,
            tolerance_change=1e-9,
            history_size=10,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            self.products += 2
            loss = _objective(weights, rows, targets, strength)
            (weights.grad,) = torch.autograd.grad(loss, weights)
            return loss.detach()

        step: Callable[[Callable[[], Tensor]], object] = optimiser.step
        step(closure)


def _logits(weights: Tensor, rows: Tensor) -> Tensor:
    return torch.addmm(weights[:, 0], rows, weights[:, 1:].T)


def _objective(weights: Tensor, rows: Tensor, targets: Tensor, strength: float) -> Tensor:
    """Mean loss plus |W|^2 / (2 C n), intercept first and free; float64 block by block."""
    penalty = weights[:, 1:].square().sum() / (2 * strength * len(rows))
    if weights.dtype == torch.float32:
        return F.cross_entropy(_logits(weights, rows), targets) + penalty
    blocks = zip(torch.split(rows, 4096), torch.split(targets, 4096), strict=True)
    losses = [F.cross_entropy(_logits(weights, part.double()), known, reduction="sum") for part, known in blocks]
    return torch.stack(losses).sum() / len(rows) + penalty


if __name__ == "__main__":
    sys.exit(main())
