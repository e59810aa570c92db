"""Scores of a run, recomputed from its stored per-sample predictions.

A protocol declares one of the functions below, or its own, as `ProtocolSpec.rescore`. Needs numpy, not torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from tasks.catalog.protocol import declared_function
from tasks.catalog.protocols import PROTOCOLS
from tasks.metrics import confidence_intervals, reconstruction, retrieval
from tasks.metrics.calibration import reliability_of_top
from tasks.metrics.classification import (
    accuracy,
    devkit_mean_average_precision,
    mean_average_precision,
    mean_per_class_accuracy,
)
from tasks.metrics.detection import NEEDED, restored
from tasks.metrics.jackknife import interval_of_draws, interval_of_jackknife, scores_of_draws, scores_of_jackknife
from tasks.metrics.outcome import Interval
from tasks.metrics.pixels import Angles, PixelCounts
from tasks.metrics.pool_splits import COUNTS, SPLITS
from tasks.metrics.scoring import wilson_mean_per_class

Arrays = Mapping[str, npt.NDArray[np.generic]]
Scores = dict[str, float]
MOST_CLASSES = 1_000_000
HEADLINE_OVERLAP = 0.5
EARLIER_RULES = (confidence_intervals.HALVES, confidence_intervals.EXTRAPOLATED)
"""Methods of intervals of mean average precision in classification by earlier versions."""


@dataclass(frozen=True)
class Rescorer:
    """Computation of the metrics and the interval of a run from its arrays."""

    needs: frozenset[str]
    """Names of the required arrays."""
    metrics: Callable[[Arrays], Scores]
    """Every metric that can be computed from the arrays, under its name in the protocol."""
    interval: Callable[[Arrays, str], Interval | None] = lambda _arrays, _metric: None
    """Interval of the headline metric of this name; None if it cannot be recomputed."""
    earlier: Mapping[str, Callable[[Arrays], Interval]] = field(default_factory=dict)
    """Intervals of earlier versions, by the name of the method."""
    tolerance: float = 1e-6
    """Maximum absolute difference of a score, as arrays may be stored in lower precision than the computation."""

    def by_method(self, arrays: Arrays, metric: str, method: str) -> Interval | None:
        """The interval by the method of this name; None if it cannot be recomputed."""
        if method in self.earlier:
            return self.earlier[method](arrays)
        found = self.interval(arrays, metric)
        return found if found is not None and found.method == method else None


def rescore(protocol: str, arrays: Arrays) -> Rescorer | None:
    """The rescorer that a protocol declares for its predictions.

    None for a protocol that is not installed or declares none, and if required arrays are missing.
    """
    name = PROTOCOLS[protocol].rescore if protocol in PROTOCOLS else None
    found: Rescorer | None = None if name is None else declared_function(name)(arrays)
    return found


def episodes(arrays: Arrays) -> Rescorer | None:
    """Mean accuracy over episodes."""

    def interval(arrays: Arrays, _metric: str) -> Interval:
        accuracies = _floats(arrays["accuracy"])
        if SPLITS in arrays:
            return confidence_intervals.over_pools(accuracies, _plain(arrays[SPLITS]), _whole(arrays[COUNTS]))
        return confidence_intervals.episodes(accuracies)

    needs = frozenset({"accuracy", "classes"})
    return _complete(arrays, Rescorer(needs, lambda arrays: {"accuracy": _mean(arrays["accuracy"])}, interval))


def classification(arrays: Arrays) -> Rescorer | None:
    """Accuracies and calibration errors of single labels, or mean average precisions of several."""
    return _complete(
        arrays,
        Rescorer(
            frozenset({"label", "predicted"}),
            _one_label,
            _one_label_interval,
            earlier={
                "bootstrap": lambda arrays: confidence_intervals.bootstrap_mean_per_class(
                    _whole(arrays["predicted"]), _whole(arrays["label"]), _classes(arrays)
                )
            },
        ),
        Rescorer(
            frozenset({"label", "scores"}),
            _several_labels,
            lambda arrays, metric: _map_interval(arrays) if metric == "map11" else None,
            earlier={name: partial(_map_interval, method=name) for name in EARLIER_RULES},
        ),
    )


def draws(arrays: Arrays) -> Rescorer | None:
    """Accuracies over several draws of training images."""
    return _complete(
        arrays,
        Rescorer(
            frozenset({"label", "predicted"}),
            scores_of_draws,
            lambda arrays, _metric: interval_of_draws(_whole(arrays["predicted"]), _whole(arrays["label"])),
        ),
    )


def jackknifed(arrays: Arrays) -> Rescorer | None:
    """Scores of all images together, and without groups of them."""
    needs = frozenset(name for name in arrays if name.startswith("jackknife:"))
    return Rescorer(needs, scores_of_jackknife, interval_of_jackknife) if needs else None


def rankings(arrays: Arrays) -> Rescorer | None:
    """Average precisions and recalls of rankings."""
    return _complete(
        arrays,
        Rescorer(
            frozenset({"average_precision", "first_rank"}),
            lambda arrays: scores_of_jackknife(retrieval.jackknife_scores(arrays, retrieval.stored_recalls(arrays))),
            lambda arrays, metric: retrieval.interval(arrays) if metric == "map" else None,
        ),
    )


def instances(arrays: Arrays) -> Rescorer | None:
    """Average precisions of queries for buildings."""
    needs = frozenset({"average_precision_medium", "building"})
    return _complete(arrays, Rescorer(needs, retrieval.instance_scores, retrieval.instance_interval))


def clusters(arrays: Arrays) -> Rescorer | None:
    """Agreement of clusters with labels."""
    return _complete(
        arrays,
        Rescorer(
            frozenset({"cluster", "label"}),
            lambda arrays: scores_of_jackknife(
                retrieval.clustering_jackknife(_whole(arrays["cluster"]), _whole(arrays["label"]))
            ),
            retrieval.clustering_interval,
        ),
    )


def detections(arrays: Arrays) -> Rescorer | None:
    """Average precisions of boxes."""
    rule = confidence_intervals.HALVES
    return _complete(
        arrays,
        Rescorer(
            NEEDED,
            lambda arrays: restored(arrays).scores,
            lambda arrays, metric: restored(arrays).interval(HEADLINE_OVERLAP) if metric == "ap50" else None,
            earlier={rule: lambda arrays: restored(arrays).interval(HEADLINE_OVERLAP, method=rule)},
        ),
    )


def pixels(arrays: Arrays) -> Rescorer | None:
    """Mean IoU and accuracies over pixels."""

    def interval(arrays: Arrays, metric: str) -> Interval | None:
        counts = _pixel_counts(arrays)
        return confidence_intervals.over_images(counts.mean_ious, len(counts.images)) if metric == "miou" else None

    needs = frozenset({"pixel_counts", "confusion"})
    return _complete(arrays, Rescorer(needs, lambda arrays: _pixel_counts(arrays).scores, interval))


def angles(arrays: Arrays) -> Rescorer | None:
    """Statistics of angles between surface normals."""

    def interval(arrays: Arrays, metric: str) -> Interval | None:
        found = _all_angles(arrays)
        return (
            confidence_intervals.over_images(found.mean_angles, len(found.images)) if metric == "mean-angle" else None
        )

    needs = frozenset({"angle_sums", "angle_counts"})
    return _complete(arrays, Rescorer(needs, lambda arrays: _all_angles(arrays).scores, interval))


def colours(arrays: Arrays) -> Rescorer | None:
    """R squared of colours; predictions are stored as float32."""

    def interval(arrays: Arrays, metric: str) -> Interval | None:
        if metric != reconstruction.COLOUR_HEADLINE:
            return None
        return reconstruction.colour_interval(_floats(arrays["colour_predicted"]), _floats(arrays["colour"]))

    return _complete(
        arrays,
        Rescorer(
            frozenset({"colour", "colour_predicted"}),
            lambda arrays: reconstruction.colour_scores(_floats(arrays["colour_predicted"]), _floats(arrays["colour"])),
            interval,
            tolerance=1e-3,
        ),
    )


def diffusion(arrays: Arrays) -> Rescorer | None:
    """Mean attentive diffusion."""

    def interval(arrays: Arrays, metric: str) -> Interval | None:
        return confidence_intervals.mean_over(_floats(arrays["diffusion"])) if metric == "diffusion" else None

    needs = frozenset({"diffusion"})
    return _complete(arrays, Rescorer(needs, lambda arrays: {"diffusion": _mean(arrays["diffusion"])}, interval))


def reconstructions(arrays: Arrays) -> Rescorer | None:
    """Errors of reconstructed images."""

    def pair(arrays: Arrays) -> tuple[reconstruction.Pixels, reconstruction.Pixels]:
        return arrays["original"].astype(np.uint8), arrays["reconstruction"].astype(np.uint8)

    def metrics(arrays: Arrays) -> Scores:
        perceptual = {name: _mean(values) for name, values in arrays.items() if name.startswith("lpips-")}
        return {**reconstruction.scores(*pair(arrays)), **perceptual}

    def interval(arrays: Arrays, metric: str) -> Interval | None:
        return reconstruction.interval(*pair(arrays)) if metric == reconstruction.HEADLINE else None

    return _complete(arrays, Rescorer(frozenset({"original", "reconstruction"}), metrics, interval))


def _complete(arrays: Arrays, *rescorers: Rescorer) -> Rescorer | None:
    """The first rescorer whose arrays are all present."""
    return next((one for one in rescorers if one.needs <= set(arrays)), None)


def _one_label(arrays: Arrays) -> Scores:
    label = _whole(arrays["label"])
    found = {}
    for name in _named(arrays, "predicted"):
        predicted, classes = _whole(arrays[name]), _classes(arrays)
        at = name.removeprefix("predicted")
        found[f"accuracy{at}"] = accuracy(predicted, label)
        found[f"mean-per-class{at}"] = mean_per_class_accuracy(predicted, label, classes)
    right = _whole(arrays["predicted"]) == label
    for metric, name in (("ece", "confidence"), ("ece_scaled", "confidence_scaled")):
        if name in arrays:
            found[metric] = reliability_of_top(_floats(arrays[name]), right).error
    return found


def _one_label_interval(arrays: Arrays, metric: str) -> Interval | None:
    predicted, label = _whole(arrays["predicted"]), _whole(arrays["label"])
    if metric == "mean-per-class":
        return wilson_mean_per_class(predicted, label, _classes(arrays))
    return confidence_intervals.wilson(int(np.sum(predicted == label)), len(label)) if metric == "accuracy" else None


def _several_labels(arrays: Arrays) -> Scores:
    label = _whole(arrays["label"])
    names = _named(arrays, "scores")
    devkit = devkit_mean_average_precision(_plain(arrays["scores"]), label)
    return {
        "map11-devkit": devkit,
        **{
            f"map11{name.removeprefix('scores')}": mean_average_precision(_plain(arrays[name]), label) for name in names
        },
    }


def _map_interval(arrays: Arrays, method: str = confidence_intervals.LOG_ODDS) -> Interval:
    scores = _plain(arrays["scores"])
    return confidence_intervals.halves_mean_average_precision(scores, _whole(arrays["label"]), method=method)


def _pixel_counts(arrays: Arrays) -> PixelCounts:
    """Counts per image. Raises ValueError if they do not add up to the confusion matrix."""
    images, matrix = arrays["pixel_counts"].astype(np.int32), _whole(arrays["confusion"])
    parts = np.stack([np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)])
    if not np.array_equal(images.sum(axis=0, dtype=np.int64), parts):
        raise ValueError("the counts of single images do not add up to the confusion matrix")
    return PixelCounts(images)


def _all_angles(arrays: Arrays) -> Angles:
    """Angle statistics. Raises ValueError if the histogram and the images have different numbers of pixels."""
    counts, images = _whole(arrays["angle_counts"]), _floats(arrays["angle_sums"])
    if counts.sum() != images[:, 0].sum():
        raise ValueError("the histogram of angles and the single images have different numbers of pixels")
    return Angles(counts, images)


def _named(arrays: Arrays, name: str) -> list[str]:
    """`predicted`, and e.g. `predicted@20` for a variant of the protocol."""
    return [each for each in arrays if each == name or each.startswith(f"{name}@")]


def _classes(arrays: Arrays) -> int:
    """Number of classes, from an array with one column per class; else the number of labels that occur."""
    wide = next((arrays[name] for name in ("logits", "scores") if name in arrays), None)
    if wide is not None:
        return int(wide.shape[1])
    seen = [_whole(arrays[name]) for name in ("label", *_named(arrays, "predicted"))]
    found = 1 + max(int(one.max()) for one in seen)
    if found > MOST_CLASSES or min(int(one.min()) for one in seen) < 0:
        raise ValueError(f"labels reach up to {found - 1}, more than any dataset has")
    return found


def _floats(array: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    return array.astype(np.float64)


def _mean(array: npt.NDArray[np.generic]) -> float:
    return float(array.astype(np.float64).mean())


def _plain(array: npt.NDArray[np.generic]) -> npt.NDArray[np.floating]:
    """The array in the precision of the computation."""
    return array if array.dtype.kind == "f" else array.astype(np.float64)  # type: ignore[return-value]


def _whole(array: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    return array.astype(np.int64)
