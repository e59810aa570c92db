"""Regularisation paths of features and targets: checks, classes that can be fitted, and the solver that suits them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbones.cpu.threads import threads_for
from tasks.solvers.logistic.eigenbasis import Design
from tasks.solvers.logistic.host_path import HostPathSolver, representable, suited
from tasks.solvers.logistic.objective import Binary, Likelihood, Multinomial, Settings, TwoClasses
from tasks.solvers.logistic.path_solver import PathSolver, design_of
from tasks.solvers.logistic.solution import ABSENT, Classes, Path, Solution

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

    `features` [n, d] of any float type; `targets` int [n] for softmax regression over `classes` (default: the largest
    target plus 1), or 0/1 [n, k] for k independent binary regressions. Every solution's objective is within about the
    tolerance of the optimum, relative, unless its `converged` is false. `on_step` is called with every solution and its
    index in `strengths`. Raises ValueError for NaN, for shapes that do not match and for strengths that are not
    positive.
    """
    rows, known = checked_features(features), as_tensor(targets).to(settings.device)
    if len(known) != len(rows):
        raise ValueError(f"{len(known)} targets for {len(rows)} rows of features")
    if not len(strengths) or min(strengths) <= 0:
        raise ValueError(f"strengths must be positive, got {list(strengths)}")
    likelihood, present = likelihood_of(known, classes)
    found: dict[int, Solution] = {}
    with threads_for(rows.numel() * likelihood.classes):
        walk = solver_over(rows, likelihood, present, settings)
        for place in np.argsort(strengths, kind="stable"):
            solution = walk.advance(float(strengths[place]))
            found[int(place)] = solution
            if on_step is not None:
                on_step(int(place), solution)
    return Path(tuple(found[place] for place in range(len(strengths))))


def solver_over(
    features: Tensor, likelihood: Likelihood, classes: Classes, settings: Settings, held: int = 0
) -> PathSolver:
    """The solver that suits `features` [n, d] float32 in their eigenbasis; they may be on another device.

    `held`: number of other samples that will be transformed.
    """
    return solver_of(design_of(features, likelihood, settings, held), likelihood, classes, settings)


def solver_of(design: Design, likelihood: Likelihood, classes: Classes, settings: Settings) -> PathSolver:
    """The solver that suits `design`: small problems are solved in NumPy, and those that need double precision."""
    if suited(design, likelihood):
        return HostPathSolver(design, likelihood, classes, settings)
    return PathSolver(design, likelihood, classes, settings, HostPathSolver if representable(design) else None)


def as_tensor(values: Array) -> Tensor:
    """`values` on their device; a copy of an array that torch cannot share (read-only or not contiguous by rows)."""
    return values if isinstance(values, Tensor) else torch.from_numpy(np.require(values, requirements=["C", "W"]))


def checked_features(features: Array) -> Tensor:
    """Features [n, d] as float32 on their device. Raises ValueError for another shape and for NaN or infinity."""
    if features.ndim != 2 or not len(features):
        raise ValueError(f"features must be [samples, dimensions], got {tuple(features.shape)}")
    rows = as_tensor(features).to(torch.float32)
    if bool(torch.isfinite(rows.sum())):
        return rows
    finite = torch.isfinite(rows).all(dim=1)
    if not bool(finite.all()):
        bad = int((~finite).nonzero()[0])
        raise ValueError(f"features hold NaN or infinity, first in row {bad}, {int((~finite).sum())} rows in all")
    return rows


def likelihood_of(targets: Tensor, classes: int | None) -> tuple[Likelihood, Classes]:
    """The likelihood over the classes that can be fitted: present ones, and for 0/1 labels also absent for some
    samples."""
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
    fixed = torch.full((total,), ABSENT, device=targets.device)
    if len(solved) == 2:
        return TwoClasses(targets == solved[1]), Classes(total, solved, fixed, paired=True)
    rank = torch.cumsum(count > 0, dim=0) - 1
    return Multinomial(rank[targets.long()], len(solved)), Classes(total, solved, fixed)
