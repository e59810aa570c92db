"""Evaluation of the protocol `echo`, with the provenance of a real evaluation, so that plan and result keys agree."""

from __future__ import annotations

import time
from typing import Any

from backbones.catalog.card import BackboneCard, identity, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from tasks.catalog.spec import TaskSpec
from tasks.datasets.card import DatasetCard
from tasks.datasets.manifest import Manifest, manifests
from tasks.evaluation.result import Evaluation, EvaluationPaths, Provenance
from tasks.metrics.outcome import Interval, Outcome
from tasks.reporter import Reporter
from tests.ssl_console.cli.echo import EchoParameters

STEPS = 20
HOSTILE = "\x1b[31mred\x1b[0m \x1b]0;title\x07tail"
"""Output as a library might print it: it must never reach a terminal unescaped."""


def evaluate_task(
    card: BackboneCard,
    task: TaskSpec,
    dataset_card: DatasetCard,
    *,
    seed: int,
    paths: EvaluationPaths,
    reporter: Reporter,
    **_machine: Any,
) -> Evaluation:
    """Report progress, then return the number or fail."""
    parameters = task.typed_parameters()
    assert isinstance(parameters, EchoParameters)
    _note(paths, f"{card.name} {task.name} {seed}")
    print(HOSTILE)
    reporter.phase("echoing", STEPS, "images")
    for _ in range(STEPS):
        time.sleep(parameters.seconds / STEPS)
        reporter.advance()
    if parameters.fate == "raise":
        raise ValueError("told to fail")
    value = parameters.value + seed
    outcome = Outcome("accuracy", {"accuracy": value}, Interval(value - 1, value + 1), {"test": 100})
    return Evaluation(outcome, facts_of(card, dataset_card, paths))


def facts_of(card: BackboneCard, dataset_card: DatasetCard, paths: EvaluationPaths) -> Provenance:
    """Provenance as of a real evaluation of the backbone and the data."""
    digest = WeightsFolder(paths.weights).state(card).digest
    answer = manifests([dataset_card], paths.data, paths.weights.parent / "cache")[dataset_card.name]
    assert digest is not None
    assert isinstance(answer, Manifest)
    about: Any = identity(card, digest, preprocessing_for(card, "paper"))
    return Provenance(about, digest, answer.digest, dimension=1, encoded=0, hits={}, images_per_s=None)


def _note(paths: EvaluationPaths, line: str) -> None:
    with (paths.features / "journal").open("a") as file:
        file.write(line + "\n")
