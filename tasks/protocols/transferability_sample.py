"""Predictors of transfer from a sample: nearest neighbours and transferability scores, the first look at a backbone.

The headline is the accuracy of nearest neighbours (`tasks.protocols.knn`) of a sample of the training images on a
sample of the test images, whose answers are stored, so that backbones can be compared on the same images. LogME,
H-score, NLEEP and PARC (`tasks.protocols.transferability`) are of the same training images. It is descriptive and not
ranked: `choose` measures how often each score misorders backbones on the other datasets of a workspace.

NLEEP is left out where its mixture has fewer than ten images for each component: it would be the most expensive part.
"""

from __future__ import annotations

from dataclasses import replace

from tasks.catalog.analysis_parameters import TransferabilitySampleParameters
from tasks.catalog.protocols import KnnParameters
from tasks.evaluation.inputs import BankInputs
from tasks.metrics.jackknife import scores_of_jackknife
from tasks.metrics.outcome import Outcome
from tasks.protocols import knn, transferability
from tasks.reporter import Reporter

IMAGES_PER_COMPONENT = 10
"""Minimum number of images per component of NLEEP's mixture."""


def evaluate(inputs: BankInputs, parameters: TransferabilitySampleParameters, seed: int, reporter: Reporter) -> Outcome:
    """Let the nearest neighbours vote, and score the bank; the seed initialises NLEEP's mixture."""
    k = parameters.neighbours
    voting = KnnParameters(neighbours=(k,), headline=k, temperature=parameters.temperature)
    votes = knn.evaluate(inputs, voting, seed, reporter)
    needed = parameters.components * len(inputs.classes) * IMAGES_PER_COMPONENT
    components = parameters.components if len(inputs.bank) >= needed else None
    arrays, diagnostics = transferability.scored_bank(inputs, parameters.images, components, seed, reporter)
    return replace(
        votes,
        metrics={**votes.metrics, **scores_of_jackknife(arrays)},
        diagnostics={**votes.diagnostics, **diagnostics},
        predictions={**votes.predictions, **arrays},
    )
