"""Scores of a run, recomputed from its stored per-sample predictions.

A protocol declares one of the functions below, or its own, as `ProtocolSpec.rescore`. Needs numpy, not torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module

import numpy as np
import numpy.typing as npt

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
    if name is None:
        return None
    module, _, function = name.partition(":")
    find: Callable[[Arrays], Rescorer | None] = getattr(import_module(module), function)
    return find(arrays)


def episodes(arrays: Arrays) -> Rescorer | None:
    """Mean accuracy over episodes."""
    return _complete(arrays, Rescorer(frozenset({"accuracy", "classes"}), _episodes, _episode_interval))


def classification(arrays: Arrays) -> Rescorer | None:
    """Accuracies and calibration errors of single labels, or mean average precisions of several."""
    return _complete(
        arrays,
        Rescorer(
            frozenset({"label", "predicted"}),
            _one_label,
            _one_label_interval,
            earlier={"bootstrap": _percentiles_per_class},
        ),
        Rescorer(
            frozenset({"label", "scores"}),
            _several_labels,
            _several_labels_interval,
            earlier={name: partial(_map_by, name) for name in EARLIER_RULES},
        ),
    )


def draws(arrays: Arrays) -> Rescorer | None:
    """Accuracies over several draws of training images."""
    return _complete(arrays, Rescorer(frozenset({"label", "predicted"}), scores_of_draws, _draws_interval))


def jackknifed(arrays: Arrays) -> Rescorer | None:
    """Scores of all images together, and without groups of them."""
    needs = frozenset(name for name in arrays if name.startswith("jackknife:"))
    return Rescorer(needs, scores_of_jackknife, interval_of_jackknife) if needs else None


def rankings(arrays: Arrays) -> Rescorer | None:
    """Average precisions and recalls of rankings."""
    return _complete(arrays, Rescorer(frozenset({"average_precision", "first_rank"}), _rankings, _rankings_interval))


def instances(arrays: Arrays) -> Rescorer | None:
    """Average precisions of queries for buildings."""
    needs = frozenset({"average_precision_medium", "building"})
    return _complete(arrays, Rescorer(needs, retrieval.instance_scores, _instances_interval))


def clusters(arrays: Arrays) -> Rescorer | None:
    """Agreement of clusters with labels."""
    return _complete(arrays, Rescorer(frozenset({"cluster", "label"}), _clusters, retrieval.clustering_interval))


def detections(arrays: Arrays) -> Rescorer | None:
    """Average precisions of boxes."""
    earlier = {confidence_intervals.HALVES: _earlier_detections}
    return _complete(arrays, Rescorer(NEEDED, _detections, _detections_interval, earlier=earlier))


def pixels(arrays: Arrays) -> Rescorer | None:
    """Mean IoU and accuracies over pixels."""
    return _complete(arrays, Rescorer(frozenset({"pixel_counts", "confusion"}), _pixels, _pixels_interval))


def angles(arrays: Arrays) -> Rescorer | None:
    """Statistics of angles between surface normals."""
    return _complete(arrays, Rescorer(frozenset({"angle_sums", "angle_counts"}), _angles, _angles_interval))


def colours(arrays: Arrays) -> Rescorer | None:
    """R squared of colours; predictions are stored as float32."""
    needs = frozenset({"colour", "colour_predicted"})
    return _complete(arrays, Rescorer(needs, _colours, _colours_interval, tolerance=1e-3))


def diffusion(arrays: Arrays) -> Rescorer | None:
    """Mean attentive diffusion."""
    return _complete(arrays, Rescorer(frozenset({"diffusion"}), _diffusion, _diffusion_interval))


def reconstructions(arrays: Arrays) -> Rescorer | None:
    """Errors of reconstructed images."""
    needs = frozenset({"original", "reconstruction"})
    return _complete(arrays, Rescorer(needs, _reconstructions, _reconstruction_interval))


def _complete(arrays: Arrays, *rescorers: Rescorer) -> Rescorer | None:
    """The first rescorer whose arrays are all present."""
    return next((one for one in rescorers if one.needs <= set(arrays)), None)


def _episodes(arrays: Arrays) -> Scores:
    return {"accuracy": float(_floats(arrays["accuracy"]).mean())}


def _episode_interval(arrays: Arrays, _metric: str) -> Interval:
    if SPLITS in arrays:
        return confidence_intervals.over_pools(
            _floats(arrays["accuracy"]), _plain(arrays[SPLITS]), _whole(arrays[COUNTS])
        )
    return confidence_intervals.episodes(_floats(arrays["accuracy"]))


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


def _draws_interval(arrays: Arrays, _metric: str) -> Interval:
    return interval_of_draws(_whole(arrays["predicted"]), _whole(arrays["label"]))


def _rankings(arrays: Arrays) -> Scores:
    return scores_of_jackknife(retrieval.jackknife_scores(arrays, retrieval.stored_recalls(arrays)))


def _rankings_interval(arrays: Arrays, metric: str) -> Interval | None:
    return retrieval.interval(arrays) if metric == "map" else None


def _instances_interval(arrays: Arrays, metric: str) -> Interval:
    return retrieval.instance_interval(arrays, metric)


def _clusters(arrays: Arrays) -> Scores:
    return scores_of_jackknife(retrieval.clustering_jackknife(_whole(arrays["cluster"]), _whole(arrays["label"])))


def _percentiles_per_class(arrays: Arrays) -> Interval:
    predicted, label = _whole(arrays["predicted"]), _whole(arrays["label"])
    return confidence_intervals.bootstrap_mean_per_class(predicted, label, _classes(arrays))


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


def _several_labels_interval(arrays: Arrays, metric: str) -> Interval | None:
    if metric != "map11":
        return None
    return confidence_intervals.halves_mean_average_precision(_plain(arrays["scores"]), _whole(arrays["label"]))


def _map_by(method: str, arrays: Arrays) -> Interval:
    scores = _plain(arrays["scores"])
    return confidence_intervals.halves_mean_average_precision(scores, _whole(arrays["label"]), method=method)


def _pixels(arrays: Arrays) -> Scores:
    return _pixel_counts(arrays).scores


def _pixels_interval(arrays: Arrays, metric: str) -> Interval | None:
    counts = _pixel_counts(arrays)
    return confidence_intervals.over_images(counts.mean_ious, len(counts.images)) if metric == "miou" else None


def _pixel_counts(arrays: Arrays) -> PixelCounts:
    """Counts per image. Raises ValueError if they do not add up to the confusion matrix."""
    images, matrix = arrays["pixel_counts"].astype(np.int32), _whole(arrays["confusion"])
    parts = np.stack([np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)])
    if not np.array_equal(images.sum(axis=0, dtype=np.int64), parts):
        raise ValueError("the counts of single images do not add up to the confusion matrix")
    return PixelCounts(images)


def _angles(arrays: Arrays) -> Scores:
    return _all_angles(arrays).scores


def _angles_interval(arrays: Arrays, metric: str) -> Interval | None:
    angles = _all_angles(arrays)
    return confidence_intervals.over_images(angles.mean_angles, len(angles.images)) if metric == "mean-angle" else None


def _all_angles(arrays: Arrays) -> Angles:
    """Angle statistics. Raises ValueError if the histogram and the images have different numbers of pixels."""
    counts, images = _whole(arrays["angle_counts"]), _floats(arrays["angle_sums"])
    if counts.sum() != images[:, 0].sum():
        raise ValueError("the histogram of angles and the single images have different numbers of pixels")
    return Angles(counts, images)


def _detections(arrays: Arrays) -> Scores:
    return restored(arrays).scores


def _detections_interval(arrays: Arrays, metric: str) -> Interval | None:
    return restored(arrays).interval(HEADLINE_OVERLAP) if metric == "ap50" else None


def _earlier_detections(arrays: Arrays) -> Interval:
    return restored(arrays).interval(HEADLINE_OVERLAP, method=confidence_intervals.HALVES)


def _colours(arrays: Arrays) -> Scores:
    return reconstruction.colour_scores(_floats(arrays["colour_predicted"]), _floats(arrays["colour"]))


def _colours_interval(arrays: Arrays, metric: str) -> Interval | None:
    if metric != reconstruction.COLOUR_HEADLINE:
        return None
    return reconstruction.colour_interval(_floats(arrays["colour_predicted"]), _floats(arrays["colour"]))


def _diffusion(arrays: Arrays) -> Scores:
    return {"diffusion": float(_floats(arrays["diffusion"]).mean())}


def _diffusion_interval(arrays: Arrays, metric: str) -> Interval | None:
    return confidence_intervals.mean_over(_floats(arrays["diffusion"])) if metric == "diffusion" else None


def _reconstructions(arrays: Arrays) -> Scores:
    perceptual = {name: float(_floats(values).mean()) for name, values in arrays.items() if name.startswith("lpips-")}
    return {**reconstruction.scores(*_drawn(arrays)), **perceptual}


def _reconstruction_interval(arrays: Arrays, metric: str) -> Interval | None:
    return reconstruction.interval(*_drawn(arrays)) if metric == reconstruction.HEADLINE else None


def _drawn(arrays: Arrays) -> tuple[reconstruction.Pixels, reconstruction.Pixels]:
    return arrays["original"].astype(np.uint8), arrays["reconstruction"].astype(np.uint8)


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


def _plain(array: npt.NDArray[np.generic]) -> npt.NDArray[np.floating]:
    """The array in the precision of the computation."""
    return array if array.dtype.kind == "f" else array.astype(np.float64)  # type: ignore[return-value]


def _whole(array: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    return array.astype(np.int64)
