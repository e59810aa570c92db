"""Exact regularisation paths of logistic regression, and selection of a strength on validation data."""

from tasks.solvers.logistic.lbfgs_published import fit_published
from tasks.solvers.logistic.model_selection import (
    LabelledPool,
    Score,
    StrengthSelection,
    TestScore,
    Trial,
    fit_selected,
)
from tasks.solvers.logistic.objective import Settings, StrengthGrid
from tasks.solvers.logistic.regularisation_path import solve_path
from tasks.solvers.logistic.solution import Path, Solution

__all__ = [
    "LabelledPool",
    "Path",
    "Score",
    "Settings",
    "Solution",
    "StrengthGrid",
    "StrengthSelection",
    "TestScore",
    "Trial",
    "fit_published",
    "fit_selected",
    "solve_path",
]
