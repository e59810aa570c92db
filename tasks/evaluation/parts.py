"""Test images scored in parts, in a fixed random order, while the others are still being encoded.

The run may be ended as soon as the parts so far suffice: they are a random sample of the test images, and the remaining
images are never decoded or encoded. They are not a score, and none is stored. If all images have been scored, their
features are stored as those of any run, and the evaluation continues from there.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from backbones.io.files import write_atomically
from tasks.catalog.protocol import ProtocolSpec, declared_function
from tasks.catalog.protocols import FeatureParameters
from tasks.datasets.card import MetricName
from tasks.datasets.dataset import Dataset, Labels
from tasks.datasets.splits import Indices, many_shot_indices, scoring_order
from tasks.evaluation.inputs import Features, Predictor
from tasks.evaluation.splits import ChosenImages, SplitFeatures
from tasks.features.extraction import EncoderLike, Extraction, SplitImages
from tasks.features.shards import AnyFloats
from tasks.features.store import FeatureRequest, FeatureStore
from tasks.features.store import Features as StoredFeatures
from tasks.features.unfinished_entry import encoder_of, output_of
from tasks.reporter import Reporter

PARTS = 20
FEWEST_IMAGES = 50
"""Minimum number of images of a part, except for the last one."""
METRICS = frozenset({"accuracy", "mean-per-class"})
"""Metrics that are means over images."""
Number = TypeVar("Number", bound=np.number[Any])


@dataclass
class ScoredParts:
    """Predictions of the test images in random order, of which those so far are in a file."""

    path: Path
    """File of the parts so far: `index` and `label` [n] of all test images in the order of scoring, `predicted` [k]."""
    labels: Labels
    """[n], in the order of the dataset."""
    order: Indices = field(init=False)
    """[n] positions of the images in the order of scoring."""
    _predicted: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.order = scoring_order(len(self.labels))

    @property
    def bounds(self) -> Iterator[tuple[int, int]]:
        """First and last position of every part in `order`."""
        size = max(FEWEST_IMAGES, math.ceil(len(self.order) / PARTS))
        return ((start, min(start + size, len(self.order))) for start in range(0, len(self.order), size))

    def add(self, predicted: npt.NDArray[np.int64]) -> None:
        """Write the predicted classes [m] of the next images."""
        self._predicted.append(predicted)
        written = io.BytesIO()
        labels = self.labels[self.order]
        np.savez(written, index=self.order, label=labels, predicted=np.concatenate(self._predicted))
        write_atomically(self.path, written.getvalue())

    def in_order(self, values: Sequence[npt.NDArray[Number]]) -> npt.NDArray[Number]:
        """Rows [n, d] of all parts in the order of the dataset."""
        found: npt.NDArray[Number] = np.concatenate(values)[np.argsort(self.order)]
        return found


def whole_test_split(dataset: Dataset, metric: MetricName, seed: int) -> str | None:
    """Source split of the test images, if they are one whole split with one label for each image, and the metric is a
    mean over images.
    """
    if metric not in METRICS or len(dataset.splits) < 2:
        return None
    ((name, rows), *others) = many_shot_indices(dataset, seed=seed).test
    split = dataset.splits[name]
    return name if not others and len(rows) == len(split.images) and split.labels.ndim == 1 else None


@dataclass(frozen=True)
class PartialEvaluation:
    """One task on one backbone, whose test images are scored in parts."""

    store: FeatureStore
    dataset: Dataset
    metric: MetricName
    protocol: ProtocolSpec
    parameters: FeatureParameters
    requests: Mapping[str, Sequence[FeatureRequest]]
    """Requests of every source split, by its name."""
    seed: int
    device: str
    path: Path
    """File of the parts so far, as `ScoredParts` writes it."""

    @property
    def test(self) -> str | None:
        """Source split of the test images, if they can be scored in parts and none of their features are stored."""
        if self.protocol.predictor is None:
            return None
        name = whole_test_split(self.dataset, self.metric, self.seed)
        stored = name is None or any(self.store.holds(request.key) for request in self.requests[name])
        return None if stored else name

    def score(self, encoder: Callable[[], EncoderLike], reporter: Reporter) -> Mapping[str, int]:
        """Fit, score all parts, and store the features of all images; return the number of images encoded, by split.

        Raises as `FeatureStore.features` does.
        """
        test = self.test
        if test is None:
            return {}
        learned = {
            name: self.store.together(requests, encoder, reporter)
            for name, requests in self.requests.items()
            if name != test and name in self.dataset.splits
        }
        predict, requests = self._predictor(test, learned, reporter), self.requests[test]
        parts = ScoredParts(self.path, requests[0].split.labels)
        reporter.phase(f"encoding {test} in random order", len(parts.order), "images")
        values, started = list[list[AnyFloats]](), time.perf_counter()
        for features in self._encoded(requests, parts, encoder(), reporter):
            values.append(features)
            parts.add(predict(features[self._read(requests)]))
        speed = len(parts.order) / max(time.perf_counter() - started, 1e-9)
        for request, rows in zip(requests, zip(*values, strict=True), strict=True):
            self.store.keep(request, parts.in_order(rows), encoder(), reporter, speed)
        return {test: len(parts.order), **{name: max(one.encoded for one in found) for name, found in learned.items()}}

    def _read(self, requests: Sequence[FeatureRequest]) -> int:
        """Place of the request whose features the protocol reads."""
        return [request.layers for request in requests].index(self.protocol.layer_request(self.parameters))

    def _predictor(self, test: str, learned: Mapping[str, Sequence[StoredFeatures]], reporter: Reporter) -> Predictor:
        """The classifier, fitted without test images."""
        requests = self.requests[test]

        def stored(place: int) -> dict[str, Features]:
            found = {name: cast("Features", of_split[place].values) for name, of_split in learned.items()}
            width = next(iter(found.values())).shape[1]
            return {
                **found,
                test: np.broadcast_to(np.zeros((1, width), np.float32), (len(requests[0].split.images), width)),
            }

        layers = next(iter(learned.values()))[place] if (place := self._read(requests)) else None
        features = SplitFeatures(
            self.dataset,
            self.metric,
            stored(0),
            requests[0].spec,
            seed=self.seed,
            device=self.device,
            layers=None if layers is None else stored(place),
            columns=() if layers is None else layers.manifest.columns,
        )
        assert self.protocol.predictor is not None
        inputs = features.inputs(self.protocol, self.parameters, reporter)
        found: Predictor = declared_function(self.protocol.predictor)(inputs, self.parameters, reporter)
        return found

    def _encoded(
        self, requests: Sequence[FeatureRequest], parts: ScoredParts, encoder: EncoderLike, reporter: Reporter
    ) -> Iterator[list[AnyFloats]]:
        """Features [m, d] of every request in storage precision, of one part after another."""
        request, split = requests[0], requests[0].split
        identifiers = [split.identifiers[int(row)] for row in parts.order]
        source = SplitImages(
            request.backbone, f"{request.dataset}/{split.name}", ChosenImages(split.images, parts.order), identifiers
        )
        outputs = [output_of(encoder, one.layers) for one in requests]
        ends = np.cumsum([output.dimension for output in outputs])[:-1]
        extraction = Extraction(source, encoder_of(encoder, outputs), request.spec, self.store.machine, reporter)
        for start, rows in extraction.shards(parts.bounds):
            names = identifiers[start : start + len(rows)]
            yield [
                output.stored(one, names, request.backbone)
                for output, one in zip(outputs, np.split(rows, ends, axis=1), strict=True)
            ]
