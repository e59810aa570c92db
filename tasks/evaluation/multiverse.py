"""Evaluation under all protocols of a multiverse, from stored features: `python -P -m tasks.evaluation.multiverse`.

A separate process because solvers import torch. Reads a `MultiverseRequest` from standard input and writes report lines
to standard output. Nothing is encoded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from backbones.catalog.card import BackboneCard
from backbones.catalog.layer_columns import LayerPooling, LayerRequest
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.card_files import CardModel
from backbones.io.errors import WeightsError
from backbones.model.encoder import Encoder
from tasks.catalog.head_parameters import LayersParameters
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import many_shot_indices
from tasks.evaluation.features import feature_subject, split_features, split_requests
from tasks.evaluation.layers import LayerInputs, Place, RoleLayers
from tasks.features.export_request import Advance, Failed, Phase, Problem
from tasks.features.manifest import DamagedEntryError
from tasks.features.multiverse_request import (
    BackboneScores,
    Depth,
    EvaluationChoice,
    MultiverseRequest,
    MultiverseResult,
    PairwiseWins,
    Tokens,
)
from tasks.features.store import FeatureStore
from tasks.reporter import SilentReporter
from tasks.solvers.quick_classifiers import CLASSIFIERS, LabelledRows, Labels, Roles

LAYERS = LayerRequest()
VALIDATION_SHARE = LayersParameters().validation_share
REPLICATES = 1_000
LEVEL = (2.5, 97.5)
BLOCK = 256
"""Protocols that are resampled at the same time."""
ValueT = TypeVar("ValueT")


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
    say: Callable[[CardModel], None]
    processes: int = 1
    """Number of backbones that are evaluated at the same time."""

    def carry_out(self) -> MultiverseResult:
        """All scores. Raises the exceptions in `PROBLEMS`."""
        dataset, notes = self.dataset, list(self.dataset.notes)
        if next(iter(dataset.splits.values())).labels.ndim == 2:
            raise DataError(f"{dataset.name} has several labels per image: the multiverse needs one")
        inputs = {card.name: self._layers(card) for card in self.request.backbones}
        protocols = self._protocols(inputs, notes)
        self.say(Phase(name="protocols", total=len(protocols) * len(inputs)))
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
            pairs=tuple(pairwise_wins(right, self.test_labels, self.request.dataset.metric)),
            notes=tuple(notes),
        )

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset, opened."""
        request = self.request
        return open_dataset(request.dataset, Path(request.data), Path(request.cache) if request.cache else None)

    @cached_property
    def test_labels(self) -> Labels:
        """[n_test]."""
        return _labels(self.dataset, many_shot_indices(self.dataset, VALIDATION_SHARE, 0).test)

    def _layers(self, card: BackboneCard) -> tuple[Mapping[int, LayerInputs], str]:
        """Stored features by seed, and the digest of the weights."""
        weights = WeightsFolder(Path(self.request.weights))
        subject = feature_subject(card, self.request.card.preprocessing, weights)

        def missing() -> NoReturn:
            name = f"layers/{self.dataset.name}"
            raise FeaturesMissingError(
                f"{card.name} has no stored features of all blocks on {self.dataset.name}: "
                f"`ssl-console run -b {card.name} -t {name}` stores them"
            )

        def encoder() -> Encoder:
            missing()

        store = FeatureStore(Path(self.request.features))
        requests = split_requests(subject, self.dataset, "float32", (LAYERS,))
        stored = split_features(store, requests, encoder, SilentReporter())
        arrays = {name: split.layers[LAYERS].values for name, split in stored.items()}
        columns = next(iter(stored.values())).layers[LAYERS].manifest.columns
        inputs = {
            seed: LayerInputs.of(many_shot_indices(self.dataset, VALIDATION_SHARE, seed), arrays, columns)
            for seed in self.request.card.seeds
        }
        return inputs, subject.digest

    def _protocols(
        self, inputs: Mapping[str, tuple[Mapping[int, LayerInputs], str]], notes: list[str]
    ) -> list[EvaluationChoice]:
        """The card's protocols without those that equal an earlier one for every backbone."""
        card = self.request.card
        kept: dict[object, EvaluationChoice] = {}
        parts = {seed: _digest_of_split(self.dataset, seed) for seed in card.seeds}
        for choice in card.protocols:
            seen = tuple(places_of(layers[choice.seed], choice) for layers, _ in inputs.values())
            kept.setdefault((seen, choice.head, parts[choice.seed]), choice)
        dropped = len(card.protocols) - len(kept)
        if dropped:
            notes.append(
                f"{dropped} of {len(card.protocols)} protocols equal another one for every backbone "
                "(no class token, fewer blocks, or a published validation split) and are counted once"
            )
        without = [name for name, (layers, _) in inputs.items() if not layers[card.seeds[0]].has("cls")]
        if without and {"cls", "cls+mean"} & set(card.poolings):
            notes.append(f"the mean in place of a class token, which they lack: {', '.join(without)}")
        return list(kept.values())

    def _right(self, protocols: Sequence[EvaluationChoice], layers: Mapping[int, LayerInputs]) -> npt.NDArray[np.bool_]:
        """Whether each test image [protocols, n_test] is classified correctly."""
        found: dict[object, npt.NDArray[np.bool_]] = {}
        roles: dict[object, Roles] = {}
        rows = []
        for choice in protocols:
            data = choice.seed, places_of(layers[choice.seed], choice)
            if (key := (*data, choice.head)) not in found:
                roles = roles if data in roles else {data: self._roles(layers[choice.seed], *data)}
                found[key] = CLASSIFIERS[choice.head](roles[data], self._score) == self.test_labels
            rows.append(found[key])
            self.say(Advance(count=1))
        return np.stack(rows)

    def _roles(self, layers: LayerInputs, seed: int, places: tuple[Place, ...]) -> Roles:
        split = many_shot_indices(self.dataset, VALIDATION_SHARE, seed)

        def rows(role: RoleLayers) -> npt.NDArray[np.float32]:
            return np.asarray(role.select(places).take(np.arange(len(role))), dtype=np.float32)

        train, val = (
            LabelledRows(rows(role), _labels(self.dataset, part))
            for role, part in ((layers.train, split.train), (layers.val, split.val))
        )
        return Roles(train, val, rows(layers.test), len(self.dataset.classes))

    def _score(self, predicted: Labels, labels: Labels) -> float:
        return float((predicted == labels) @ score_weights(labels, self.request.dataset.metric))


def places_of(layers: LayerInputs, choice: EvaluationChoice) -> tuple[Place, ...]:
    """Blocks and poolings that a choice means for a backbone."""
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


def _labels(dataset: Dataset, selection: Sequence[tuple[str, npt.NDArray[np.int64]]]) -> Labels:
    return np.concatenate([dataset.splits[name].labels[rows] for name, rows in selection]).astype(np.int64)


def _digest_of_split(dataset: Dataset, seed: int) -> tuple[tuple[str, bytes], ...]:
    """Equal for seeds that draw the same validation images."""
    val = many_shot_indices(dataset, VALIDATION_SHARE, seed).val
    return tuple((name, rows.tobytes()) for name, rows in val)


def score_weights(labels: Labels, metric: str) -> npt.NDArray[np.float64]:
    """Weight of each image in the metric [n], so that the score is their sum over correct images."""
    if metric != "mean-per-class":
        return np.full(len(labels), 1 / max(1, len(labels)))
    counts = np.bincount(labels)
    return np.asarray(1 / (counts[labels] * np.count_nonzero(counts)), dtype=np.float64)


def pairwise_wins(right: Mapping[str, npt.NDArray[np.bool_]], labels: Labels, metric: str) -> Iterator[PairwiseWins]:
    """Fraction of protocols in which the first of two backbones scores higher, with its interval over test images.

    Test images are drawn with replacement, the same ones for all backbones and protocols; by class for the mean of
    classes. Percentiles of 1,000 draws: in simulated worlds with 60 correlated protocols and 300 or 1,000 images, 89 to
    96 % of the intervals held the true fraction, and most others lay nearer to one half than it (a draw has the noise
    of two samples).
    """
    random = np.random.default_rng(0)
    drawn = [_weights_of(_resampled(labels, metric, random), labels, metric) for _ in range(REPLICATES)]
    weights = np.stack([score_weights(labels, metric), *drawn])
    scores = {name: _scored(found, weights) for name, found in right.items()}
    for first, second in combinations(right, 2):
        difference = scores[first] - scores[second]
        wins = (difference > ROUNDING).mean(axis=1) + 0.5 * (np.abs(difference) <= ROUNDING).mean(axis=1)
        low, high = np.percentile(wins[1:], LEVEL)
        ties = int((np.abs(difference[0]) <= ROUNDING).sum())
        yield PairwiseWins(first=first, second=second, share=wins[0], low=low, high=high, ties=ties)


_WORK: dict[str, Callable[[str], npt.NDArray[np.bool_]]] = {}
"""What a forked process computes; inherited, as memory-mapped features would be copied otherwise."""


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


ROUNDING = 1e-9
"""Largest difference of two scores, as fractions, that counts as equal."""


def _scored(right: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scores [weights, protocols], block by block of protocols."""
    blocks = [weights @ right[start : start + BLOCK].T.astype(np.float64) for start in range(0, len(right), BLOCK)]
    return np.concatenate(blocks, axis=1)


def _resampled(labels: Labels, metric: str, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """How often each image is drawn [n]."""
    if metric != "mean-per-class":
        return random.multinomial(len(labels), np.full(len(labels), 1 / len(labels)))
    counts = np.zeros(len(labels), dtype=np.int64)
    for one in np.unique(labels):
        rows = np.flatnonzero(labels == one)
        counts[rows] = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)))
    return counts


def _weights_of(counts: npt.NDArray[np.int64], labels: Labels, metric: str) -> npt.NDArray[np.float64]:
    return np.asarray(counts * score_weights(labels, metric), dtype=np.float64)


def _say(report: CardModel) -> None:
    """Write one line, at once: several processes write."""
    sys.stdout.write(f"{report.model_dump_json()}\n")
    sys.stdout.flush()


def main() -> int:
    """Execute the request on standard input."""
    torch.set_num_threads(1)
    request = MultiverseRequest.model_validate_json(sys.stdin.read())
    try:
        _say(Multiverse(request, _say, len(os.sched_getaffinity(0))).carry_out())
    except tuple(kind for kind, _ in PROBLEMS) as error:
        problem = next(name for kind, name in PROBLEMS if isinstance(error, kind))
        _say(Failed(problem=problem, words=str(error)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
