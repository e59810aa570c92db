"""Label-free scores of frozen features: RankMe, effective rank of the covariance, and alpha-ReQ.

Sources: Garrido et al., RankMe, ICML 2023 (25,600 images; its authors compare runs of one method alone); Agrawal et
al., alpha-ReQ, NeurIPS 2022. They are descriptive and never ranked: their correlation with accuracy depends on the
backbones compared. LiDAR, which requires several views of every image, is in `tasks.protocols.lidar`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tasks.catalog.analysis_parameters import LabelFreeParameters
from tasks.evaluation.inputs import BankInputs
from tasks.metrics.jackknife import interval_of_jackknife, scores_of_jackknife
from tasks.metrics.outcome import Outcome
from tasks.metrics.spectrum import alpha_req, effective_rank, rankme
from tasks.reporter import Reporter
from tasks.solvers.moments import Moments, grouped_moments, jackknife_arrays
from tasks.training.checkpoint import spread_over

SCORES: dict[str, Callable[[Moments], float]] = {
    "rankme": lambda moments: rankme(moments.gram),
    "effective-rank": lambda moments: effective_rank(moments.covariance),
    "alpha-req": lambda moments: alpha_req(moments.covariance),
}


def evaluate(inputs: BankInputs, parameters: LabelFreeParameters, seed: int, reporter: Reporter) -> Outcome:
    """Score the training images' features; `seed` has no effect."""
    del seed
    bank = inputs.bank.features
    rows = np.asarray(spread_over(len(bank), parameters.images))
    reporter.phase("moments", len(rows), "images")
    groups = grouped_moments(bank, np.zeros(len(bank), np.int64), rows, 1, inputs.device)
    arrays = jackknife_arrays(groups, SCORES)
    metrics = scores_of_jackknife(arrays)
    defined = {name: value for name, value in metrics.items() if np.isfinite(value)}
    if "alpha-req" not in defined:
        reporter.warn("alpha-ReQ is not defined: the features have too few directions")
    return Outcome(
        headline="rankme",
        metrics=defined,
        interval=interval_of_jackknife(arrays, "rankme"),
        samples={"train": len(rows)},
        diagnostics={"dimension": bank.shape[1]},
        predictions={name: arrays[name] for name in arrays if name.removeprefix("jackknife:") in defined},
    )
