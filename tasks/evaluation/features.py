"""Evaluation of a task on stored features: open the data, get the features, check them, run the protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from backbones.catalog.card import (
    BackboneCard,
    Precision,
    PreprocessingName,
    PreprocessingSpec,
    identity,
    preprocessing_for,
)
from backbones.catalog.layer_info import LayerRequest
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.errors import WeightsError
from backbones.model.encoder import Encoder
from tasks.catalog.protocol import ProtocolSpec, declared_function
from tasks.catalog.protocols import PROTOCOLS, FeatureParameters
from tasks.catalog.spec import TaskSpec, result_key
from tasks.datasets.card import DatasetCard, MetricName
from tasks.datasets.dataset import Dataset, SourceSplit
from tasks.datasets.registry import open_dataset
from tasks.datasets.shifts import SHIFT, shifts_of, without_shifts
from tasks.evaluation.inputs import FeatureInputs, ManyShotInputs
from tasks.evaluation.parts import PartialEvaluation
from tasks.evaluation.result import EncoderCache, Evaluation, EvaluationPaths, Provenance
from tasks.evaluation.splits import SplitFeatures
from tasks.features.decoded_images import DecodedImages
from tasks.features.device_decoding import usable_decoder
from tasks.features.extraction import Machine
from tasks.features.feature_checks import check_features
from tasks.features.manifest import NVJPEG_CONDITION, Decoder, FeatureKey
from tasks.features.store import FeatureRequest, Features, FeatureStore
from tasks.metrics.outcome import Json, Outcome
from tasks.reporter import Reporter

Floats = npt.NDArray[np.float32]


class ProtocolModule(Protocol):
    """Module of a protocol on stored features."""

    def evaluate(self, inputs: FeatureInputs, parameters: FeatureParameters, seed: int, reporter: Reporter) -> Outcome:
        """Run the protocol."""


@dataclass(frozen=True)
class FeatureSubject:
    """A backbone with the preprocessing of one task."""

    card: BackboneCard
    spec: PreprocessingSpec
    digest: str
    identity: Mapping[str, object]


def evaluate_task(  # noqa: PLR0913 - everything that defines a run, by name
    card: BackboneCard,
    task: TaskSpec,
    dataset_card: DatasetCard,
    *,
    seed: int,
    paths: EvaluationPaths,
    device: str,
    reporter: Reporter,
    encoder_cache: EncoderCache,
    precision: Precision = "float32",
    batch_size: int = 64,
) -> Evaluation:
    """Evaluate `card` on `task`; the backbone is only loaded if features are missing.

    `batch_size` and `device` do not change the result. Raises `DataError`, `WeightsError` (also for wrong keys),
    `FeatureError` (NaN, memory, disk).
    """
    opened = _opened(card, task, dataset_card, paths, device, batch_size, reporter)
    parameters, protocol, dataset, subject = opened.parameters, opened.protocol, opened.dataset, opened.subject
    encoder, requests = _encoder(opened, paths, device, precision, encoder_cache), opened.requests(precision)
    before: Mapping[str, int] = {}
    if paths.part is not None:
        before = opened.in_parts(dataset_card.metric, requests, seed, device, paths.part).score(encoder, reporter)
    stored = _with_encoded(split_features(opened.store, requests, encoder, reporter), before)
    checks = _checks({name: split.pooled for name, split in stored.items()}, reporter)
    source = split_source(without_shifts(dataset), dataset_card, subject, stored, opened.layers, seed, device)
    source = replace(source, shifts=opened.shifts)
    inputs = source.inputs(protocol, parameters, reporter)
    if isinstance(inputs, ManyShotInputs):
        about = (subject.identity, dataset.manifest_digest, task, seed)
        key = result_key(*about, precision=precision, metric=dataset_card.metric)
        inputs = replace(inputs, key=key, checkpoint=paths.checkpoint, checkpoint_s=paths.checkpoint_s)
    module = cast("ProtocolModule", import_module(protocol.module))
    outcome = module.evaluate(inputs, parameters, seed, reporter)
    diagnostics: dict[str, Json] = {"features": checks, **_duplicates(inputs), "data_notes": list(dataset.notes)}
    outcome = replace(outcome, diagnostics={**outcome.diagnostics, **diagnostics})
    provenance = _provenance(subject, opened.whole, stored)
    return Evaluation(outcome, replace(provenance, forward_pass=opened.store.machine.forward_pass))


def _with_encoded(stored: dict[str, SplitEntries], before: Mapping[str, int]) -> dict[str, SplitEntries]:
    """The entries, with the images of this evaluation that were encoded before they were opened."""
    return {
        name: replace(split, pooled=replace(split.pooled, encoded=before[name])) if before.get(name) else split
        for name, split in stored.items()
    }


def assist_task(  # noqa: PLR0913 - everything that defines a run, by name
    card: BackboneCard,
    task: TaskSpec,
    dataset_card: DatasetCard,
    *,
    paths: EvaluationPaths,
    device: str,
    reporter: Reporter,
    encoder_cache: EncoderCache,
    while_waiting: Callable[[], None],
    precision: Precision = "float32",
    batch_size: int = 64,
) -> int:
    """Compute features that another process extracts with `evaluate_task`, until all are complete; return the number
    of images encoded here.

    `while_waiting` is called several times a second while there is nothing to compute; it raises to end the call.
    Raises as `evaluate_task` does.
    """
    opened = _opened(card, task, dataset_card, paths, device, batch_size, reporter)
    encoder = _encoder(opened, paths, device, precision, encoder_cache)
    requests = opened.requests(precision).values()
    return sum(opened.store.assist(of_split, encoder, reporter, while_waiting) for of_split in requests)


@dataclass(frozen=True)
class _OpenedTask:
    """A task with its data and the store of the features that it reads."""

    parameters: FeatureParameters
    protocol: ProtocolSpec
    subject: FeatureSubject
    whole: Dataset
    """All images, which identify the result."""
    dataset: Dataset
    """The images that are evaluated: all, or a sample of them."""
    shifts: Mapping[str, SourceSplit]
    """Further splits that the protocol reads: those that it declares, and the further test sets of the dataset."""
    layers: LayerRequest | None
    """Layer-wise features that the protocol reads."""
    stored_layers: tuple[LayerRequest, ...]
    """All layer-wise features that are stored."""
    store: FeatureStore

    def requests(self, precision: Precision) -> dict[str, list[FeatureRequest]]:
        """Requests of all features of every source split, by its name."""
        further = replace(self.dataset, splits={**self.dataset.splits, **self.shifts})
        return split_requests(self.subject, further, precision, self.stored_layers, self.store.machine.decoder)

    def in_parts(
        self, metric: MetricName, requests: Mapping[str, Sequence[FeatureRequest]], seed: int, device: str, path: Path
    ) -> PartialEvaluation:
        """The task with test images that are scored in parts, which are written to `path`."""
        dataset = without_shifts(self.dataset)
        return PartialEvaluation(
            self.store, dataset, metric, self.protocol, self.parameters, requests, seed, device, path
        )


def _opened(
    card: BackboneCard,
    task: TaskSpec,
    dataset_card: DatasetCard,
    paths: EvaluationPaths,
    device: str,
    batch_size: int,
    reporter: Reporter,
) -> _OpenedTask:
    reporter.phase("opening")
    parameters = cast("FeatureParameters", task.typed_parameters())
    subject = feature_subject(card, parameters.preprocessing, WeightsFolder(paths.weights))
    dataset = open_dataset(dataset_card, paths.data, paths.cache)
    for note in dataset.notes:
        reporter.warn(f"{dataset.name}: {note}")
    protocol = PROTOCOLS[task.protocol]
    whole, shifts = dataset, dict[str, SourceSplit]()
    if protocol.sample is not None:
        dataset = declared_function(protocol.sample)(without_shifts(dataset), parameters)
    if protocol.further_splits is not None:
        further = declared_function(protocol.further_splits)(without_shifts(dataset), parameters)
        shifts = {**further, **{f"{SHIFT}{name}": split for name, split in shifts_of(dataset).items()}}
    layers = protocol.layer_request(parameters)
    decoder = usable_decoder(paths.decoder, device, reporter)
    machine = Machine(batch_size=batch_size, decoder=decoder, cuda_graphs=paths.cuda_graphs)
    shared = DecodedImages.within(paths.decoded, paths.decoded_bytes)
    return _OpenedTask(
        parameters=parameters,
        protocol=protocol,
        subject=subject,
        whole=whole,
        dataset=dataset,
        shifts=shifts,
        layers=layers,
        stored_layers=tuple(dict.fromkeys([*([layers] if layers else []), *paths.store_layers])),
        store=FeatureStore(paths.features, machine, shared),
    )


def _encoder(
    opened: _OpenedTask, paths: EvaluationPaths, device: str, precision: Precision, cache: EncoderCache
) -> Callable[[], Encoder]:
    subject, weights = opened.subject, WeightsFolder(paths.weights)
    return lambda: cache.get(subject.card, subject.digest, weights, device, precision)


def split_source(
    dataset: Dataset,
    card: DatasetCard,
    subject: FeatureSubject,
    stored: Mapping[str, SplitEntries],
    layers: LayerRequest | None,
    seed: int,
    device: str,
) -> SplitFeatures:
    """The dataset with its stored features."""
    pooled = {name: cast("Floats", split.pooled.values) for name, split in stored.items()}
    if layers is None:
        return SplitFeatures(dataset, card.metric, pooled, subject.spec, seed, device)
    arrays = {name: split.layers[layers].values for name, split in stored.items()}
    columns = next(iter(stored.values())).layers[layers].manifest.columns
    return SplitFeatures(dataset, card.metric, pooled, subject.spec, seed, device, arrays, columns)


def _duplicates(inputs: FeatureInputs) -> dict[str, Json]:
    count = inputs.duplicate_test_images
    return {} if count is None else {"test_images_seen_in_training": count}


def feature_subject(card: BackboneCard, preprocessing: PreprocessingName, weights: WeightsFolder) -> FeatureSubject:
    """The backbone with its preprocessing. Raises WeightsError for missing weights."""
    state = weights.state(card)
    if state.status != "present" or state.digest is None:
        raise WeightsError(f"{card.name}: the weights are {state.status}: {state.advice}")
    spec = preprocessing_for(card, preprocessing)
    return FeatureSubject(card, spec, state.digest, identity(card, state.digest, spec))


@dataclass(frozen=True)
class SplitEntries:
    """Features of one source split."""

    pooled: Features
    layers: Mapping[LayerRequest, Features]

    @property
    def encoded(self) -> int:
        """Number of images encoded by this evaluation; missing arrays are computed in one pass."""
        return max(one.encoded for one in (self.pooled, *self.layers.values()))

    @property
    def assisted(self) -> int:
        """Number of them that other processes have encoded."""
        return max(one.assisted for one in (self.pooled, *self.layers.values()))

    @property
    def images_per_s(self) -> float | None:
        """Throughput of that pass."""
        fresh = (one for one in (self.pooled, *self.layers.values()) if one.encoded)
        return next((one.manifest.images_per_s for one in fresh), None)


def split_requests(
    subject: FeatureSubject,
    dataset: Dataset,
    precision: Precision,
    layers: Sequence[LayerRequest],
    decoder: Decoder = "cpu",
) -> dict[str, list[FeatureRequest]]:
    """Requests of every source split, by its name: of pooled features, then of each layer-wise one."""

    def request(wanted: LayerRequest | None, split: SourceSplit) -> FeatureRequest:
        conditions = {} if wanted is None else wanted.conditions
        conditions = {**conditions, **NVJPEG_CONDITION} if decoder == "nvjpeg" else conditions
        key = FeatureKey(subject.identity, split.images_digest, precision, conditions)
        return FeatureRequest(key, subject.card.name, dataset.name, split, subject.spec, wanted)

    return {name: [request(one, split) for one in (None, *layers)] for name, split in dataset.splits.items()}


def split_features(
    store: FeatureStore,
    requests: Mapping[str, Sequence[FeatureRequest]],
    encoder: Callable[[], Encoder],
    reporter: Reporter,
) -> dict[str, SplitEntries]:
    """Features of every source split, by its name, from the requests of `split_requests`."""
    found = {}
    for name, (pooled, *layers) in requests.items():
        features, *others = store.together([pooled, *layers], encoder, reporter)
        wanted = (request.layers for request in layers)
        found[name] = SplitEntries(features, {one: stored for one, stored in zip(wanted, others, strict=True) if one})
    return found


def _checks(stored: Mapping[str, Features], reporter: Reporter) -> dict[str, Json]:
    """Results of the feature checks per source split; warnings are reported immediately."""
    reporter.phase("checking features", len(stored), "splits")
    checks: dict[str, Json] = {}
    for split, features in stored.items():
        found = check_features(features.values)
        checks[split] = {**asdict(found), "collapsed": found.collapsed, "warnings": list(found.warnings)}
        for sentence in found.warnings:
            reporter.warn(f"{split}: {sentence}")
        reporter.advance()
    return checks


def _provenance(subject: FeatureSubject, dataset: Dataset, stored: Mapping[str, SplitEntries]) -> Provenance:
    fresh = [found for found in stored.values() if found.encoded]
    timed = [(found.encoded, found.images_per_s) for found in fresh if found.images_per_s]
    seconds = sum(images / speed for images, speed in timed)
    return Provenance(
        backbone_identity=cast("Mapping[str, Json]", subject.identity),
        weights_digest=subject.digest,
        manifest_digest=dataset.manifest_digest,
        dimension=next(iter(stored.values())).pooled.manifest.dimension,
        encoded=sum(found.encoded for found in fresh),
        hits={name: found.encoded == 0 for name, found in stored.items()},
        images_per_s=sum(images for images, _ in timed) / seconds if seconds else None,
        assisted=sum(found.assisted for found in fresh),
    )
