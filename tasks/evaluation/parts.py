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
from dataclasses import dataclass
from pathlib import Path
from typing import cast

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
from tasks.features.store import FeatureRequest, FeatureStore
from tasks.features.store import Features as StoredFeatures
from tasks.reporter import Reporter

PARTS = 20
FEWEST_IMAGES = 50
"""Minimum number of images of a part, except for the last one."""
METRICS = frozenset({"accuracy", "mean-per-class"})
"""Metrics that are means over images."""


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
    """File of the parts so far: `index` and `label` [n] of all test images in the order of scoring, `predicted` [k]."""

    @property
    def test(self) -> str | None:
        """Source split of the test images, if they can be scored in parts: they are one whole split with one label for
        each image, and their pooled features, which are not stored yet, are all that is encoded.
        """
        if self.protocol.predictor is None or self.metric not in METRICS or len(self.dataset.splits) < 2:
            return None
        ((name, rows), *others) = many_shot_indices(self.dataset, seed=self.seed).test
        split, requests = self.dataset.splits[name], self.requests[name]
        whole = not others and len(rows) == len(split.images) and split.labels.ndim == 1
        return name if whole and len(requests) == 1 and not self.store.holds(requests[0].key) else None

    def score(self, encoder: Callable[[], EncoderLike], reporter: Reporter) -> Mapping[str, int]:
        """Fit, score all parts, and store the features of all images; return the number of images encoded, by split.

        Raises as `FeatureStore.features` does.
        """
        test = self.test
        if test is None:
            return {}
        learned = {
            name: self.store.features(requests[0], encoder, reporter)
            for name, requests in self.requests.items()
            if name != test and name in self.dataset.splits
        }
        predict = self._predictor(test, learned, reporter)
        (request,) = self.requests[test]
        order = scoring_order(len(request.split.images))
        reporter.phase(f"encoding {test} in random order", len(order), "images")
        values, predicted, started = list[Features](), list[npt.NDArray[np.int64]](), time.perf_counter()
        for features in self._encoded(request, order, encoder(), reporter):
            values.append(features)
            predicted.append(predict(features))
            self._write(order, request.split.labels[order], np.concatenate(predicted))
        speed = len(order) / max(time.perf_counter() - started, 1e-9)
        in_order = np.concatenate(values)[np.argsort(order)]
        self.store.keep(request, in_order, encoder(), reporter, speed)
        return {test: len(order), **{name: one.encoded for name, one in learned.items()}}

    def _predictor(self, test: str, learned: Mapping[str, StoredFeatures], reporter: Reporter) -> Predictor:
        """The classifier, fitted without test images."""
        stored = {name: cast("Features", one.values) for name, one in learned.items()}
        width = next(iter(stored.values())).shape[1]
        absent = np.broadcast_to(np.zeros((1, width), np.float32), (len(self.dataset.splits[test].images), width))
        spec = self.requests[test][0].spec
        features = SplitFeatures(
            self.dataset, self.metric, {**stored, test: absent}, spec, seed=self.seed, device=self.device
        )
        assert self.protocol.predictor is not None
        inputs = features.inputs(self.protocol, self.parameters, reporter)
        found: Predictor = declared_function(self.protocol.predictor)(inputs, self.parameters, reporter)
        return found

    def _encoded(
        self, request: FeatureRequest, order: Indices, encoder: EncoderLike, reporter: Reporter
    ) -> Iterator[Features]:
        """Features [m, d] of one part after another."""
        split = request.split
        identifiers = [split.identifiers[int(row)] for row in order]
        images = ChosenImages(split.images, order)
        source = SplitImages(request.backbone, f"{request.dataset}/{split.name}", images, identifiers)
        extraction = Extraction(source, encoder, request.spec, self.store.machine, reporter)
        size = max(FEWEST_IMAGES, math.ceil(len(order) / PARTS))
        for _, features in extraction.shards(
            (start, min(start + size, len(order))) for start in range(0, len(order), size)
        ):
            yield features

    def _write(self, order: Indices, labels: Labels, predicted: npt.NDArray[np.int64]) -> None:
        written = io.BytesIO()
        np.savez(written, index=order, label=labels, predicted=predicted)
        write_atomically(self.path, written.getvalue())
