"""Evaluation under all protocols of a multiverse, from stored features: `python -P -m tasks.evaluation.multiverse`.

A separate process because solvers import torch. Reads a `MultiverseRequest` from standard input and writes report lines
to standard output. Nothing is encoded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
import threadpoolctl
import torch

from backbones.catalog.card import BackboneCard
from backbones.catalog.layer_info import LayerPooling, LayerRequest
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.card_files import CardModel
from backbones.io.errors import WeightsError
from backbones.model.encoder import Encoder
from tasks.catalog.head_parameters import LayersParameters
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import ManyShotSplit, Selection, many_shot_indices
from tasks.evaluation.features import feature_subject, split_features, split_requests
from tasks.evaluation.inputs import LayerInputs, Place, RoleLayers
from tasks.evaluation.protocol_wins import pairwise_wins, score_weights
from tasks.features.manifest import DamagedEntryError
from tasks.features.requests import (
    Advance,
    BackboneScores,
    Depth,
    EvaluationChoice,
    Failed,
    MultiverseRequest,
    MultiverseResult,
    Phase,
    Problem,
    Tokens,
)
from tasks.features.store import FeatureStore
from tasks.reporter import SilentReporter
from tasks.solvers.quick_classifiers import CLASSIFIERS, Indices, Labels, QuickClassifier, TrainingPool

LAYERS = LayerRequest()
VALIDATION_SHARE = LayersParameters().validation_share
ValueT = TypeVar("ValueT")
ByResolution = Mapping[int, LayerInputs]
"""Features by the side of the input in pixels; 0: that of the backbone's card."""
Used = tuple[int, tuple[Place, ...]]
"""Resolution, blocks and poolings."""


class FeaturesMissingError(ValueError):
    """Layer-wise features of a backbone that are not stored."""


PROBLEMS: tuple[tuple[type[Exception], Problem], ...] = (
    (FeaturesMissingError, "data"),
    (WeightsError, "weights"),
    (DataError, "data"),
    (FileNotFoundError, "data"),
    (DamagedEntryError, "failure"),
    (OSError, "failure"),
)


@dataclass
class Multiverse:
    """Execution of one request."""

    request: MultiverseRequest
    report: Callable[[CardModel], None]
    processes: int = 1
    """Number of backbones that are evaluated at the same time."""

    def carry_out(self) -> MultiverseResult:
        """All scores. Raises the exceptions in `PROBLEMS`."""
        dataset, notes = self.dataset, list(self.dataset.notes)
        if next(iter(dataset.splits.values())).labels.ndim == 2:
            raise DataError(f"{dataset.name} has several labels per image: the multiverse needs one")
        inputs = self._inputs(notes)
        protocols = self._protocols(inputs, notes)
        self.report(Phase(name="protocols", total=len(protocols) * len(inputs)))
        right = in_processes(
            lambda name: self._right(protocols, inputs[name][0]), tuple(inputs), min(self.processes, len(inputs))
        )
        weights = score_weights(self.test_labels, self.request.dataset.metric)
        scores = {name: 100 * found @ weights for name, found in right.items()}
        return MultiverseResult(
            dataset=dataset.name,
            manifest_digest=dataset.manifest_digest,
            metric=self.request.dataset.metric,
            test_images=len(weights),
            protocols=tuple(protocols),
            backbones=tuple(
                BackboneScores(backbone=name, weights_digest=digest, scores=tuple(map(float, scores[name])))
                for name, (_, digest) in inputs.items()
            ),
            pairs=tuple(pairwise_wins(right, self.test_labels, self.request.dataset.metric, protocols)),
            notes=tuple(notes),
        )

    @cached_property
    def dataset(self) -> Dataset:
        request = self.request
        return open_dataset(request.dataset, Path(request.data), Path(request.cache) if request.cache else None)

    @cached_property
    def test_labels(self) -> Labels:
        """[n_test]."""
        return _labels(self.dataset, many_shot_indices(self.dataset, VALIDATION_SHARE, 0).test)

    def _inputs(self, notes: list[str]) -> dict[str, tuple[ByResolution, str]]:
        """Stored features of every backbone by resolution, and the digest of its weights.

        A resolution that is not stored for every backbone is left out with a note: protocols are common to all. Raises
        FeaturesMissingError if none is left.
        """
        found: dict[str, tuple[ByResolution, str]] = {card.name: ({}, "") for card in self.request.backbones}
        missing: list[FeaturesMissingError] = []
        for resolution in self.request.card.resolutions:
            try:
                stored = {card.name: self._layers(card, resolution) for card in self.request.backbones}
            except FeaturesMissingError as error:
                notes.append(f"without {resolution} px: {error}" if resolution else str(error))
                missing.append(error)
                continue
            for name, (layers, digest) in stored.items():
                found[name] = ({**found[name][0], resolution: layers}, digest)
        if len(missing) == len(self.request.card.resolutions):
            raise missing[0]
        return found

    def _layers(self, card: BackboneCard, resolution: int) -> tuple[LayerInputs, str]:
        """Stored features, with validation images in the training role too, and the digest of the weights."""
        if resolution:
            card = card.model_copy(update={"input": card.input.model_copy(update={"size": resolution})})
        weights = WeightsFolder(Path(self.request.weights))
        subject = feature_subject(card, self.request.card.preprocessing, weights)

        def missing() -> NoReturn:
            name = f"layers/{self.dataset.name}"
            advice = f"`ssl-console run -b {card.name} -t {name}` stores them"
            if resolution:
                advice = f"run {name} with a copy of the card whose input.size is {resolution}"
            at = f" at {resolution} px" if resolution else ""
            raise FeaturesMissingError(
                f"{card.name} has no stored features of all blocks{at} on {self.dataset.name}: {advice}"
            )

        def encoder() -> Encoder:
            missing()

        store = FeatureStore(Path(self.request.features))
        requests = split_requests(subject, self.dataset, "float32", (LAYERS,))
        stored = split_features(store, requests, encoder, SilentReporter())
        arrays = {name: split.layers[LAYERS].values for name, split in stored.items()}
        columns = next(iter(stored.values())).layers[LAYERS].manifest.columns
        split = self._split(0)
        pooled = ManyShotSplit(split.train_and_val, (), split.test)
        return LayerInputs.of(pooled, arrays, columns), subject.digest

    def _protocols(self, inputs: Mapping[str, tuple[ByResolution, str]], notes: list[str]) -> list[EvaluationChoice]:
        """The card's protocols without those that equal an earlier one for every backbone."""
        card, stored = self.request.card, next(iter(inputs.values()))[0].keys()
        choices = [choice for choice in card.protocols if choice.resolution in stored]
        kept: dict[object, EvaluationChoice] = {}
        parts = {  # equal for seeds that draw the same validation images
            seed: tuple((name, rows.tobytes()) for name, rows in self._split(seed).val) for seed in card.seeds
        }
        for choice in choices:
            seen = tuple(places_of(layers[choice.resolution], choice) for layers, _ in inputs.values())
            kept.setdefault((choice.resolution, seen, choice.head, parts[choice.seed]), choice)
        dropped = len(choices) - len(kept)
        if dropped:
            notes.append(
                f"{dropped} of {len(choices)} protocols equal another one for every backbone "
                "(no class token, fewer blocks, or a published validation split) and are counted once"
            )
        without = [name for name, (layers, _) in inputs.items() if not next(iter(layers.values())).has("cls")]
        if without and {"cls", "cls+mean"} & set(card.poolings):
            notes.append(f"the mean is used for backbones without a class token: {', '.join(without)}")
        return list(kept.values())

    def _right(self, protocols: Sequence[EvaluationChoice], stored: ByResolution) -> npt.NDArray[np.bool_]:
        """Whether each test image [protocols, n_test] is classified correctly."""
        found: dict[object, npt.NDArray[np.bool_]] = {}
        fitted: dict[tuple[Used, str], QuickClassifier] = {}
        rows = []
        for choice in protocols:
            layers = stored[choice.resolution]
            used = choice.resolution, places_of(layers, choice)
            if (key := (used, choice.head, choice.seed)) not in found:
                if (used, choice.head) not in fitted:
                    pool = next((one.pool for (other, _), one in fitted.items() if other == used), None)
                    fitted = {one: kept for one, kept in fitted.items() if one[0] == used}
                    fitted[used, choice.head] = CLASSIFIERS[choice.head](pool or self._pool(layers, used[1]))
                roles = self._roles[choice.seed]
                found[key] = fitted[used, choice.head].predict(*roles, self._score) == self.test_labels
            rows.append(found[key])
            self.report(Advance(count=1))
        return np.stack(rows)

    def _pool(self, layers: LayerInputs, places: tuple[Place, ...]) -> TrainingPool:
        def rows(role: RoleLayers) -> npt.NDArray[np.float32]:
            return np.asarray(role.select(places).take(np.arange(len(role))), dtype=np.float32)

        labels = _labels(self.dataset, self._split(0).train_and_val)
        return TrainingPool(rows(layers.train), labels, rows(layers.test), len(self.dataset.classes))

    @cached_property
    def _roles(self) -> dict[int, tuple[Indices, Indices]]:
        """Training and validation rows of the pool, by seed."""
        return {
            seed: (_rows(self._split(seed).train, pool), _rows(self._split(seed).val, pool))
            for pool in (self._split(0).train_and_val,)
            for seed in self.request.card.seeds
        }

    def _split(self, seed: int) -> ManyShotSplit:
        return many_shot_indices(self.dataset, VALIDATION_SHARE, seed)

    def _score(self, predicted: Labels, labels: Labels) -> float:
        return float((predicted == labels) @ score_weights(labels, self.request.dataset.metric))


def places_of(layers: LayerInputs, choice: EvaluationChoice) -> tuple[Place, ...]:
    """Blocks and poolings of a choice for a backbone."""
    blocks = _blocks(layers.blocks, choice.blocks)
    return tuple((block, pooling) for block in blocks for pooling in _poolings(layers, choice.pooling))


def _blocks(stored: tuple[int, ...], depth: Depth) -> tuple[int, ...]:
    last = stored[-1]
    match depth:
        case "last":
            return (last,)
        case "last-2" | "last-4":
            count = int(depth[-1])
            return tuple(block for block in stored if block > last - count)
        case "three-quarters" | "half":
            wanted = last * 3 // 4 if depth == "three-quarters" else last // 2
            return (min(stored, key=lambda block: (abs(block - max(1, wanted)), -block)),)


def _poolings(layers: LayerInputs, tokens: Tokens) -> tuple[LayerPooling, ...]:
    if not layers.has("cls"):
        return ("mean",)
    wanted: dict[Tokens, tuple[LayerPooling, ...]] = {"cls": ("cls",), "mean": ("mean",), "cls+mean": ("cls", "mean")}
    return wanted[tokens]


def _rows(part: Selection, pool: Selection) -> Indices:
    """Rows of the pool [n] that are the images of a part of it."""
    starts = dict(zip([name for name, _ in pool], np.cumsum([0, *(len(rows) for _, rows in pool)]), strict=False))
    known = dict(pool)
    return np.concatenate([starts[name] + np.searchsorted(known[name], rows) for name, rows in part])


def _labels(dataset: Dataset, selection: Selection) -> Labels:
    return np.concatenate([dataset.splits[name].labels[rows] for name, rows in selection]).astype(np.int64)


_WORK: dict[str, Callable[[str], npt.NDArray[np.bool_]]] = {}
"""The work of forked processes; inherited, as memory-mapped features would be copied otherwise."""


def in_processes(
    work: Callable[[str], npt.NDArray[np.bool_]], names: Sequence[str], processes: int
) -> dict[str, npt.NDArray[np.bool_]]:
    """The result of `work` by name, computed by this number of forked processes, or by the current one."""
    if processes <= 1:
        return {name: work(name) for name in names}
    with get_context("fork").Pool(processes, _WORK.update, ({"work": work},)) as pool:
        return dict(zip(names, pool.map(_worked, names, chunksize=1), strict=True))


def _worked(name: str) -> npt.NDArray[np.bool_]:
    return _WORK["work"](name)


def _write_report(report: CardModel) -> None:
    """Write one line in a single call, because several processes write."""
    sys.stdout.write(f"{report.model_dump_json()}\n")
    sys.stdout.flush()


def main() -> int:
    """Execute the request on standard input."""
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)  # protocols share the cores: small products gain nothing from a second one
    request = MultiverseRequest.model_validate_json(sys.stdin.read())
    try:
        _write_report(Multiverse(request, _write_report, len(os.sched_getaffinity(0))).carry_out())
    except tuple(kind for kind, _ in PROBLEMS) as error:
        problem = next(name for kind, name in PROBLEMS if isinstance(error, kind))
        _write_report(Failed(problem=problem, words=str(error)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
