"""Layer curve: the score of every stored block and pooling of a frozen backbone, from one pass over the images.

Weighted cosine nearest neighbours (eval/knn.py of facebookresearch/dinov2, as the protocol `knn`) on each block's class
token, mean of patches and mean of registers, each after the final norm; for ConvNets on the mean of each stage. The
headline is the block and pooling with the best score on validation images, for which only training images vote; for
test images, training and validation images vote. No publication defines such a curve: nearest neighbours, which need no
tuning per block, are this project's choice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backbones.catalog.layer_info import LayerColumn
from tasks.catalog.head_parameters import LayersParameters
from tasks.evaluation.inputs import ManyShotInputs, Place, RoleLayers
from tasks.features.shards import ColumnRows
from tasks.metrics.outcome import Json, Outcome
from tasks.metrics.scoring import all_scores, check_metric, interval, score
from tasks.reporter import Reporter
from tasks.solvers.nearest_neighbours import classify

Votes = npt.NDArray[np.float32]


def evaluate(inputs: ManyShotInputs, parameters: LayersParameters, seed: int, reporter: Reporter) -> Outcome:
    """Score every block and pooling on validation and test images; the seed has determined the validation images.
    Raises `DataError` if the metric does not match the labels.
    """
    del seed
    check_metric(inputs.metric, inputs.test.labels)
    assert inputs.layers is not None, "the protocol declares layer-wise features"
    columns, train, val, test = inputs.layers.columns, inputs.layers.train, inputs.layers.val, inputs.layers.test
    bank = RoleLayers((*train.parts, *val.parts), columns)
    bank_labels = np.concatenate([inputs.train.labels, inputs.val.labels])
    reporter.phase("layers", len(columns), "places")
    validated: list[float] = []
    votes: dict[str, Votes] = {}
    for column in columns:
        place = (column.block, column.pooling)
        on_val = _votes(train.select([place]), inputs.train.labels, val, place, inputs, parameters)
        validated.append(score(inputs.metric, on_val, inputs.val.labels))
        votes[_name(place)] = _votes(bank.select([place]), bank_labels, test, place, inputs, parameters)
        reporter.metric(inputs.metric, score(inputs.metric, votes[_name(place)], inputs.test.labels), column.block)
        reporter.advance()
    best = columns[int(np.argmax(validated))]
    chosen = votes[_name((best.block, best.pooling))]
    by_place = {f"{inputs.metric}@{name}": score(inputs.metric, one, inputs.test.labels) for name, one in votes.items()}
    return Outcome(
        headline=inputs.metric,
        metrics={**all_scores(chosen, inputs.test.labels), **by_place},
        interval=interval(inputs.metric, chosen, inputs.test.labels),
        samples={"train": len(inputs.train), "val": len(inputs.val), "test": len(inputs.test)},
        hyperparameters={"block": best.block, "pooling": best.pooling},
        diagnostics={"curve": _curve(columns, validated, votes, inputs), "blocks": columns[-1].block},
        predictions=_predictions(votes, chosen, inputs),
    )


def _votes(
    bank: ColumnRows,
    labels: npt.NDArray[np.generic],
    queries: RoleLayers,
    place: Place,
    inputs: ManyShotInputs,
    parameters: LayersParameters,
) -> Votes:
    votes: Votes = classify(
        queries.select([place]),
        bank,
        labels,
        neighbours=(parameters.neighbours,),
        classes=len(inputs.classes),
        temperature=parameters.temperature,
        device=inputs.device,
    )[0]
    return votes


def _name(place: Place) -> str:
    """Name of a block and pooling, e.g. `6-cls`."""
    return f"{place[0]}-{place[1]}"


def _curve(
    columns: tuple[LayerColumn, ...], validated: list[float], votes: dict[str, Votes], inputs: ManyShotInputs
) -> list[Json]:
    """Validation score, test score and interval of the test score, by block and pooling."""
    curve: list[Json] = []
    for column, on_val in zip(columns, validated, strict=True):
        scores = votes[_name((column.block, column.pooling))]
        bounds = interval(inputs.metric, scores, inputs.test.labels)
        point: dict[str, Json] = {"block": column.block, "pooling": column.pooling, "validation_score": on_val}
        point |= {"score": score(inputs.metric, scores, inputs.test.labels), "low": bounds.low, "high": bounds.high}
        curve.append(point)
    return curve


def _predictions(votes: dict[str, Votes], chosen: Votes, inputs: ManyShotInputs) -> dict[str, npt.NDArray[np.generic]]:
    """The predicted class of the selected block and pooling, and of all others with the suffix `@block-pooling`."""
    return {
        "index": inputs.test.index,
        "label": inputs.test.labels,
        "predicted": chosen.argmax(axis=1).astype(np.int32),
        "scores": chosen.astype(np.float16),
        **{f"predicted@{name}": one.argmax(axis=1).astype(np.int32) for name, one in votes.items()},
    }
