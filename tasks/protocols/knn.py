"""Weighted cosine nearest neighbours on frozen features: k in 10, 20, 100, 200, temperature 0.07, headline k = 20.

Source: eval/knn.py of facebookresearch/dinov2 (the evaluation of InstDisc with DINO's settings). Nothing is chosen on
validation data, so training and validation images vote together.

Publications report the best k, some the best temperature, on the test images. The best of the k above and of
`TEMPERATURES` is stored as the diagnostic `chosen_on_test`, next to the score, and is never the score.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from tasks.catalog.protocols import KnnParameters
from tasks.evaluation.inputs import BankInputs, Predictor
from tasks.metrics.outcome import Json, Outcome, chosen_on_test
from tasks.metrics.scoring import all_scores, chance_diagnostics, check_metric, interval, score, without_left_open
from tasks.reporter import Reporter
from tasks.solvers.nearest_neighbours import Neighbours, nearest, votes_of

Votes = npt.NDArray[np.float32]
TEMPERATURES = (0.02, 0.04, 0.07, 0.1, 0.2)
"""Temperatures, with that of the parameters, among which `chosen_on_test` is the best."""


def evaluate(inputs: BankInputs, parameters: KnnParameters, seed: int, reporter: Reporter) -> Outcome:
    """Classify every test image by its k most similar training images, for each k; `seed` has no effect."""
    del seed
    check_metric(inputs.metric, inputs.test.labels)
    bank, test = inputs.bank, inputs.test
    counts = tuple(sorted({*parameters.neighbours, parameters.headline}))
    if counts[-1] > len(bank):
        reporter.warn(f"only {len(bank)} training images: every k above that uses them all")

    found = nearest(test.features, bank.features, counts[-1], device=inputs.device, reporter=reporter)
    known = torch.from_numpy(np.array(bank.labels))
    known = known.to(torch.int64) if known.ndim == 1 else known.to(torch.float32)
    votes = votes_of(found, known, counts, classes=len(inputs.classes), temperature=parameters.temperature)
    labels = without_left_open(votes[0], test.labels)[1]
    rankings = [without_left_open(scores, test.labels)[0] for scores in votes]
    for count, scores in zip(counts, rankings, strict=True):
        reporter.metric(inputs.metric, score(inputs.metric, scores, labels), step=count)

    chosen = rankings[counts.index(parameters.headline)]
    by_count = {f"{inputs.metric}@{k}": score(inputs.metric, v, labels) for k, v in zip(counts, rankings, strict=True)}
    return Outcome(
        headline=inputs.metric,
        metrics={**all_scores(chosen, labels), **by_count},
        interval=interval(inputs.metric, chosen, labels),
        samples={"train": inputs.trained_on[0], "val": inputs.trained_on[1], "test": len(test)},
        hyperparameters={"k": parameters.headline},
        diagnostics={
            "chosen_on_test": _optimism(found, known, counts, inputs, parameters),
            **chance_diagnostics(labels),
        },
        predictions={
            "index": test.index,
            "label": labels,
            **_predictions(dict(zip(counts, rankings, strict=True)), parameters.headline, labels.ndim == 2),
        },
    )


def predictor(inputs: BankInputs, parameters: KnnParameters, reporter: Reporter) -> Predictor:
    """Predicted classes of images by the votes of their `parameters.headline` neighbours."""
    del reporter  # a search for each part
    known = torch.from_numpy(np.array(inputs.bank.labels)).to(torch.int64)

    def predict(features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        found = nearest(features, inputs.bank.features, parameters.headline, device=inputs.device)
        (votes,) = votes_of(
            found, known, (parameters.headline,), classes=len(inputs.classes), temperature=parameters.temperature
        )
        return np.asarray(votes.argmax(axis=1), dtype=np.int64)

    return predict


def _optimism(
    found: Neighbours, known: torch.Tensor, counts: tuple[int, ...], inputs: BankInputs, parameters: KnnParameters
) -> dict[str, Json]:
    """The best score over k and temperature on the test images, from the neighbours of the one search."""
    scores: dict[tuple[int, float], float] = {}
    for temperature in sorted({*TEMPERATURES, parameters.temperature}):
        votes = votes_of(found, known, counts, classes=len(inputs.classes), temperature=temperature)
        for count, one in zip(counts, votes, strict=True):
            scores[count, temperature] = score(inputs.metric, *without_left_open(one, inputs.test.labels))
    choices = [f"k = {count}, temperature {temperature:g}" for count, temperature in scores]
    return chosen_on_test(list(scores.values()), choices, scores[parameters.headline, parameters.temperature])


def _predictions(votes: Mapping[int, Votes], headline: int, several: bool) -> dict[str, npt.NDArray[np.generic]]:
    """Of the headline k under the plain name, of every k with the suffix `@k`: class scores for several labels per
    image, else the predicted class (and, for the headline, the class votes).
    """
    if several:
        return {"scores": votes[headline], **{f"scores@{k}": found for k, found in votes.items()}}
    chosen = {f"predicted@{k}": found.argmax(axis=1).astype(np.int32) for k, found in votes.items()}
    return {"predicted": chosen[f"predicted@{headline}"], "scores": votes[headline].astype(np.float16), **chosen}
