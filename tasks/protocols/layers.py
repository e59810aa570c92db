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
from tasks.evaluation.inputs import LayerInputs, ManyShotInputs, Place, Predictor, RoleLayers
from tasks.features.shards import AnyFloats
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
    columns, (bank, bank_labels) = inputs.layers.columns, _bank(inputs, inputs.layers)
    reporter.phase("layers", len(columns), "places")
    validated: list[float] = []
    votes: dict[str, Votes] = {}
    for column in columns:
        place = (column.block, column.pooling)
        validated.append(_validated(place, inputs, inputs.layers, parameters))
        votes[_name(place)] = _votes(bank, bank_labels, inputs.layers.test, place, inputs, parameters)
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


def predictor(inputs: ManyShotInputs, parameters: LayersParameters, reporter: Reporter) -> Predictor:
    """Predicted classes of layer-wise features by the selected block and pooling; test images are not read."""
    assert inputs.layers is not None, "the protocol declares layer-wise features"
    layers, (bank, labels) = inputs.layers, _bank(inputs, inputs.layers)
    places = [(column.block, column.pooling) for column in layers.columns]
    reporter.phase("layers", len(places), "places")
    best = places[int(np.argmax([_validated(place, inputs, layers, parameters) for place in places]))]

    def predict(features: AnyFloats) -> npt.NDArray[np.int64]:
        queries = RoleLayers(((features, np.arange(len(features))),), layers.columns)
        votes = _votes(bank, labels, queries, best, inputs, parameters)
        return np.asarray(votes.argmax(axis=1), dtype=np.int64)

    return predict


def _bank(inputs: ManyShotInputs, layers: LayerInputs) -> tuple[RoleLayers, npt.NDArray[np.generic]]:
    """Training and validation images, which vote for test images, and their labels."""
    bank = RoleLayers((*layers.train.parts, *layers.val.parts), layers.columns)
    return bank, np.concatenate([inputs.train.labels, inputs.val.labels])


def _validated(place: Place, inputs: ManyShotInputs, layers: LayerInputs, parameters: LayersParameters) -> float:
    """Score of the validation images, for which training images vote."""
    votes = _votes(layers.train, inputs.train.labels, layers.val, place, inputs, parameters)
    return score(inputs.metric, votes, inputs.val.labels)


def _votes(
    bank: RoleLayers,
    labels: npt.NDArray[np.generic],
    queries: RoleLayers,
    place: Place,
    inputs: ManyShotInputs,
    parameters: LayersParameters,
) -> Votes:
    votes: Votes = classify(
        queries.select([place]),
        bank.select([place]),
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
