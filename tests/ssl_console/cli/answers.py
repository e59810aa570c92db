"""A protocol with answers of single images: `$SSL_CONSOLE_PROTOCOLS=tests.ssl_console.cli.answers`.

`own/first` is right on nineteen of twenty images, other backbones on two of three. Scored in parts, it waits after the
first ones until the run is cancelled.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.catalog.protocol import ProtocolSpec

if TYPE_CHECKING:
    from backbones.catalog.card import BackboneCard
    from tasks.catalog.spec import TaskSpec
    from tasks.datasets.card import DatasetCard
    from tasks.evaluation.result import Evaluation, EvaluationPaths
    from tasks.reporter import Reporter

IMAGES, PART = 400, 120
PATIENCE_S = 120


@dataclass(frozen=True)
class AnswersParameters:
    """Parameters that have no effect."""

    preprocessing: str = "paper"


PROTOCOLS = (
    ProtocolSpec(
        name="answers",
        version=1,
        family="answers",
        presets={"default": AnswersParameters()},
        module="tests.ssl_console.cli.answers",
        summary="right on a share of the images",
        needs=("echo",),
        evaluation="tests.ssl_console.cli.answers",
        predictor="tests.ssl_console.cli.answers:never_called",
    ),
)


def evaluate_task(
    card: BackboneCard,
    task: TaskSpec,
    dataset_card: DatasetCard,
    *,
    paths: EvaluationPaths,
    reporter: Reporter,
    **_machine: Any,
) -> Evaluation:
    """Write the answers to some images if they are wanted in parts, else return all of them."""
    import numpy as np  # noqa: PLC0415 - not for the declaration

    from tasks.datasets.splits import scoring_order  # noqa: PLC0415 - not for the declaration
    from tasks.evaluation.result import Evaluation  # noqa: PLC0415 - not for the declaration
    from tasks.metrics.outcome import Interval, Outcome  # noqa: PLC0415 - not for the declaration
    from tests.ssl_console.cli.echo_evaluation import facts_of  # noqa: PLC0415 - not for the declaration

    del task
    wrong = np.arange(IMAGES) % (20 if card.name == "own/first" else 3) == 0
    if paths.part is not None:
        order = scoring_order(IMAGES)
        with paths.part.open("wb") as file:
            np.savez(file, index=order, label=np.ones(IMAGES), predicted=1 - wrong[order[:PART]])
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            reporter.advance()
            time.sleep(0.05)
    value = 100.0 * float(1 - wrong.mean())
    answers = {"index": np.arange(IMAGES), "label": np.ones(IMAGES), "predicted": 1 - wrong}
    outcome = Outcome(
        "accuracy", {"accuracy": value}, Interval(value - 1, value + 1), {"test": IMAGES}, predictions=answers
    )
    return Evaluation(outcome, facts_of(card, dataset_card, paths))
