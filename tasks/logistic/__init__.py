"""Exact regularisation paths of logistic regression, and the choice of a strength on validation data."""

from tasks.logistic.path import solve_path
from tasks.logistic.published import fit_published
from tasks.logistic.selection import Score, Selection, Trial, fit_selected
from tasks.logistic.settings import Grid, Settings
from tasks.logistic.solution import Path, Solution

__all__ = [
    "Grid",
    "Path",
    "Score",
    "Selection",
    "Settings",
    "Solution",
    "Trial",
    "fit_published",
    "fit_selected",
    "solve_path",
]
