"""The regularisation path of logistic regression, every strength solved to its optimum.

From strong to weak regularisation. A step along the path starts at the best point in the span of the last solutions,
found on the margins alone; then preconditioned gradients, each together with the last two steps, are minimised over
until the certificate holds. In the eigenbasis of the features the Hessian is nearly diagonal: class k and direction
j have about q_k s_j^2 + lam, with q_k the mean of p (1 - p) and s_j^2 the second moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.logistic.likelihood import Binary, Likelihood, Multinomial
from tasks.logistic.settings import Settings
from tasks.logistic.solution import ABSENT, Classes, Path, Solution
from tasks.logistic.walk import Walk

DEFAULTS = Settings()
OnStep = Callable[[int, Solution], None]
Array = npt.NDArray[np.generic] | Tensor


def solve_path(
    features: Array,
    targets: Array,
    strengths: Sequence[float],
    *,
    classes: int | None = None,
    settings: Settings = DEFAULTS,
    on_step: OnStep | None = None,
) -> Path:
    """Minimise the summed log-loss times C plus |W|^2 / 2 at every C of `strengths`, intercept free.

    `features` [n, d] in any float type; `targets` int [n] for softmax regression over `classes` (default: the
    largest target plus 1), or 0/1 [n, k] for k independent binary regressions. Every solution's objective is within
    about the tolerance of the optimum, relative, unless its `converged` says otherwise. `on_step` hears of every
    solution as it is found, with its place in `strengths`. Raises ValueError on NaN, on shapes that do not fit and
    on strengths that are not positive.
    """
    rows, known = checked_features(features), as_tensor(targets).to(settings.device)
    if len(known) != len(rows):
        raise ValueError(f"{len(known)} targets for {len(rows)} rows of features")
    if not len(strengths) or min(strengths) <= 0:
        raise ValueError(f"strengths must be positive, got {list(strengths)}")
    likelihood, present = likelihood_of(known, classes)
    walk = Walk.over(rows, likelihood, present, settings)
    found: dict[int, Solution] = {}
    for place in np.argsort(strengths, kind="stable"):
        solution = walk.advance(float(strengths[place]))
        found[int(place)] = solution
        if on_step is not None:
            on_step(int(place), solution)
    return Path(tuple(found[place] for place in range(len(strengths))))


def as_tensor(values: Array) -> Tensor:
    """`values` where they are; a copy of an array that torch cannot share: read-only, or not in rows."""
    return values if isinstance(values, Tensor) else torch.from_numpy(np.require(values, requirements=["C", "W"]))


def checked_features(features: Array) -> Tensor:
    """Features [n, d] as float32, where they are. Raises ValueError on another shape and on NaN or infinity."""
    if features.ndim != 2 or not len(features):
        raise ValueError(f"features must be [samples, dimensions], got {tuple(features.shape)}")
    rows = as_tensor(features).to(torch.float32)
    finite = torch.isfinite(rows).all(dim=1)
    if not bool(finite.all()):
        bad = int((~finite).nonzero()[0])
        raise ValueError(f"features hold NaN or infinity, first in row {bad}, {int((~finite).sum())} rows in all")
    return rows


def likelihood_of(targets: Tensor, classes: int | None) -> tuple[Likelihood, Classes]:
    """The likelihood over the classes that can be fitted: those present, and for labels also absent somewhere."""
    if targets.ndim == 2:
        labels = targets.T.to(torch.float32)
        share = labels.mean(dim=1)
        solved = torch.nonzero((share > 0) & (share < 1)).flatten()
        fixed = torch.where(share > 0.5, -ABSENT, ABSENT)
        return Binary(labels[solved].contiguous()), Classes(len(labels), solved, fixed)
    total = int(targets.max()) + 1 if classes is None else classes
    count = torch.bincount(targets.long(), minlength=total)
    if len(count) > total:
        raise ValueError(f"target {len(count) - 1} is not one of {total} classes")
    solved = torch.nonzero(count).flatten()
    rank = torch.cumsum(count > 0, dim=0) - 1
    fixed = torch.full((total,), ABSENT, device=targets.device)
    return Multinomial(rank[targets.long()], len(solved)), Classes(total, solved, fixed)
