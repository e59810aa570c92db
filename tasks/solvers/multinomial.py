"""Multinomial logistic regression without intercept at one given strength, for few images. Needs torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Floats = npt.NDArray[np.float64]
ITERATIONS = 500
TOLERANCE = 1e-5
"""Tolerance of the largest gradient entry, relative to its value at zero weights."""


def fit_multinomial(
    features: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    classes: int,
    penalty: float,
    device: str = "cpu",
) -> tuple[Floats, bool]:
    """Weights [classes, d] that minimise the sum of cross-entropies plus `penalty` / 2 times the squared weights.

    `features` [n, d]. Also returns whether the solver converged.
    """
    rows = torch.from_numpy(np.asarray(features, np.float64)).to(device)
    targets = torch.from_numpy(np.asarray(labels, np.int64)).to(device)
    weights = torch.zeros(classes, rows.shape[1], dtype=torch.float64, device=device, requires_grad=True)
    guessed = torch.full((classes, 1), 1 / classes, dtype=torch.float64, device=device)
    start = guessed @ rows.sum(dim=0, keepdim=True) - functional.one_hot(targets, classes).double().T @ rows
    tolerance = TOLERANCE * float(start.abs().max())
    optimiser = torch.optim.LBFGS(
        [weights],
        max_iter=ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (
            functional.cross_entropy(rows @ weights.T, targets, reduction="sum") + penalty / 2 * weights.square().sum()
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(objective)  # type: ignore[no-untyped-call]
    objective()
    assert weights.grad is not None
    return weights.detach().cpu().numpy(), float(weights.grad.abs().max()) <= 1.01 * tolerance
