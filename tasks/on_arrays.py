"""Protocols on arrays of features, for notebooks and scripts: `from tasks import linear, knn, few_shot`.

Each function computes what a worker computes for the task of this name: the same splits, solver, selection on
validation data, interval and per-sample output. It returns an `Outcome`: `value` is the score in percent, `interval`
its confidence interval, `predictions` are arrays whose first axis is the test sample (or the episode).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from tasks.catalog.protocols import PROTOCOLS
from tasks.catalog.spec import ParameterValue, apply_overrides
from tasks.datasets.card import MetricName
from tasks.datasets.dataset import Dataset, Labels, SourceSplit
from tasks.evaluation.splits import SplitFeatures
from tasks.features.feature_checks import check_features
from tasks.metrics.outcome import Outcome
from tasks.reporter import SilentReporter

Features = npt.ArrayLike
"""[n, d] finite numbers; computed with as float32."""
LabelsLike = npt.ArrayLike
"""[n] class indices or class names; [n, classes] of 0 and 1 where an image may carry several labels."""
Pair = tuple[Features, LabelsLike]


def linear(  # noqa: PLR0913 - features and labels by role, the rest by name
    train_features: Features,
    train_labels: LabelsLike,
    test_features: Features,
    test_labels: LabelsLike,
    *,
    val: Pair | None = None,
    metric: MetricName | None = None,
    preset: str = "default",
    seed: int = 0,
    device: str = "cpu",
    **parameters: ParameterValue,
) -> Outcome:
    """Logistic regression, its strength chosen on validation images (`tasks.protocols.linear`).

    Without `val`, the published random fifth of the training images is the validation split, as for datasets that have
    none. `parameters` are those of `--set linear.NAME=VALUE`. Raises ValueError, TypeError, DataError.
    """
    splits = {"train": (train_features, train_labels), "test": (test_features, test_labels)}
    splits = splits if val is None else {"train": splits["train"], "val": val, "test": splits["test"]}
    return _evaluated("linear", splits, _Options(metric, preset, seed, device, parameters))


def knn(
    train_features: Features,
    train_labels: LabelsLike,
    test_features: Features,
    test_labels: LabelsLike,
    *,
    metric: MetricName | None = None,
    preset: str = "default",
    device: str = "cpu",
    **parameters: ParameterValue,
) -> Outcome:
    """Weighted cosine nearest neighbours, k = 20 (`tasks.protocols.knn`). Raises as `linear` does."""
    splits = {"train": (train_features, train_labels), "test": (test_features, test_labels)}
    return _evaluated("knn", splits, _Options(metric, preset, 0, device, parameters))


def few_shot(
    features: Features,
    labels: LabelsLike,
    *,
    shots: Literal[5, 20, 50] = 5,
    preset: str = "default",
    seed: int = 0,
    device: str = "cpu",
    **parameters: ParameterValue,
) -> Outcome:
    """Nearest-centroid episodes drawn from a pool of images (`tasks.protocols.few_shot`). Raises as `linear` does.

    The pool of a task is all images of the dataset, in the order of its splits.
    """
    options = _Options(None, preset, seed, device, parameters)
    if f"few-shot-{shots}" not in PROTOCOLS:
        raise ValueError(f"shots={shots}: there are protocols for 5, 20 and 50 shots")
    return _evaluated(f"few-shot-{shots}", {"all": (features, labels)}, options)


@dataclass(frozen=True)
class _Options:
    metric: MetricName | None
    preset: str
    seed: int
    device: str
    parameters: Mapping[str, ParameterValue]


class WarningReporter(SilentReporter):
    """Issues a protocol's warnings as Python's."""

    def warn(self, message: str) -> None:
        """Issue a UserWarning at the caller of the protocol's function."""
        warnings.warn(message, UserWarning, stacklevel=5)


@dataclass(frozen=True)
class _NoImages:
    """A split of which there are features alone."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Image.Image:
        raise IndexError(f"image {index}: there are features alone")


def _evaluated(name: str, splits: Mapping[str, Pair], options: _Options) -> Outcome:
    """The protocol on these source splits, by the same steps as `tasks.evaluation.features`."""
    protocol, reporter = PROTOCOLS[name], WarningReporter()
    if options.preset not in protocol.presets:
        raise ValueError(f"preset={options.preset!r}: {name} has {', '.join(protocol.presets)}")
    changes = {protocol.family: dict(options.parameters)}
    parameters = apply_overrides(protocol.presets[options.preset], protocol.family, changes)
    features = {split: _features(split, pair[0]) for split, pair in splits.items()}
    dataset = _dataset(features, {split: pair[1] for split, pair in splits.items()})
    for split, values in features.items():
        for sentence in check_features(values).warnings:
            reporter.warn(f"{split}: {sentence}")
    metric = options.metric or ("map11" if dataset.multi_label else "accuracy")
    source = SplitFeatures(dataset, metric, features, seed=options.seed, device=options.device)
    inputs = source.inputs(protocol, parameters, reporter)
    return cast("Outcome", import_module(protocol.module).evaluate(inputs, parameters, options.seed, reporter))


def _features(split: str, given: Features) -> npt.NDArray[np.float32]:
    values = np.asarray(given)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ValueError(f"{split}: features of shape {values.shape} and {values.dtype}: expected numbers [n, d]")
    found = np.ascontiguousarray(values, dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(wrong):
        raise ValueError(f"{split}: {len(wrong)} rows of the features hold NaN or infinity, the first is {wrong[0]}")
    return found


def _dataset(features: Mapping[str, npt.NDArray[np.float32]], given: Mapping[str, LabelsLike]) -> Dataset:
    """A dataset without images. Raises ValueError for numbers or widths that do not fit each other."""
    widths = {split: values.shape[1] for split, values in features.items()}
    if len(set(widths.values())) > 1:
        sizes = ", ".join(f"{split} {width}" for split, width in widths.items())
        raise ValueError(f"features of different lengths ({sizes}): take all of them from one backbone")
    labels, classes = _class_indices({split: np.asarray(values) for split, values in given.items()})
    for split, values in labels.items():
        if len(values) != len(features[split]):
            raise ValueError(f"{split}: {len(features[split])} rows of features and {len(values)} labels")
    several = next(iter(labels.values())).ndim == 2
    splits = {split: _source(split, values) for split, values in labels.items()}
    return Dataset("arrays", classes, several, splits)


def _source(split: str, labels: Labels) -> SourceSplit:
    return SourceSplit(split, _NoImages(len(labels)), labels, range(len(labels)), "", "")  # type: ignore[arg-type]


def _class_indices(given: Mapping[str, npt.NDArray[Any]]) -> tuple[dict[str, Labels], tuple[str, ...]]:
    """Labels as class indices, or [n, classes], and the names of the classes. Raises ValueError, TypeError."""
    axes = {values.ndim for values in given.values()}
    kinds = {values.dtype.kind for values in given.values()}
    if axes == {1} and kinds <= set("US"):
        classes, indices = np.unique(np.concatenate(list(given.values())), return_inverse=True)
        ends = np.cumsum([len(values) for values in given.values()])[:-1]
        parts = np.split(indices.astype(np.int64), ends)
        return dict(zip(given, parts, strict=True)), tuple(map(str, classes))
    if not kinds <= set("iub"):
        raise TypeError(f"labels of {', '.join(str(v.dtype) for v in given.values())}: class indices or class names")
    whole = {split: values.astype(np.int64) for split, values in given.items()}
    if axes == {2} and len({values.shape[1] for values in whole.values()}) == 1:
        return whole, tuple(map(str, range(next(iter(whole.values())).shape[1])))
    if axes != {1} or any((values < 0).any() for values in whole.values()):
        shapes = ", ".join(f"{split} {values.shape}" for split, values in whole.items())
        raise ValueError(f"labels of shapes {shapes}: expected class indices [n] from 0, or 0 and 1 in [n, classes]")
    most = max((int(values.max(initial=-1)) for values in whole.values()), default=-1)
    return whole, tuple(map(str, range(most + 1)))
