"""One task on one backbone: find the data, get the features, check them, run the protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from typing import Protocol, cast

from backbones.catalog.card import BackboneCard, Precision, PreprocessingSpec, identity, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.errors import WeightsError
from backbones.model.encoder import Encoder
from tasks.catalog.protocols import PROTOCOLS, FeatureParameters
from tasks.catalog.spec import TaskSpec
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import FeatureInputs
from tasks.evaluation.result import EncoderCache, Evaluation, EvaluationPaths, Provenance
from tasks.evaluation.splits_to_inputs import SplitFeatures
from tasks.features.decoded_images import DecodedImages
from tasks.features.extraction import Machine
from tasks.features.feature_checks import check_features
from tasks.features.key import FeatureKey
from tasks.features.store import FeatureRequest, Features, FeatureStore
from tasks.metrics.outcome import Json, Outcome
from tasks.reporter import Reporter


class ProtocolModule(Protocol):
    """Module of a protocol on stored features."""

    def evaluate(self, inputs: FeatureInputs, parameters: FeatureParameters, seed: int, reporter: Reporter) -> Outcome:
        """Carry out the protocol."""


@dataclass(frozen=True)
class _Subject:
    """The backbone with the preprocessing of one task."""

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
    """Evaluate `card` on `task`; only missing features are computed, and only then is the backbone loaded.

    `batch_size` and `device` do not change the number. Raises `DataError`, `WeightsError` (also for wrong keys),
    `FeatureError` (NaN, memory, disk).
    """
    reporter.phase("opening")
    parameters = cast("FeatureParameters", task.typed_parameters())
    weights = WeightsFolder(paths.weights)
    subject = _subject(card, parameters, weights)
    dataset = open_dataset(dataset_card, paths.data, paths.cache)
    for note in dataset.notes:
        reporter.warn(f"{dataset.name}: {note}")

    store = FeatureStore(paths.features, Machine(batch_size=batch_size), _shared_images(paths))
    stored = _features(
        store,
        subject,
        dataset,
        precision,
        lambda: encoder_cache.get(card, subject.digest, weights, device, precision),
        reporter,
    )
    checks = _checks(stored, reporter)
    protocol = PROTOCOLS[task.protocol]
    features = {name: split.values for name, split in stored.items()}
    source = SplitFeatures(dataset, dataset_card.metric, features, subject.spec, seed, device)
    inputs = source.inputs(protocol, parameters, reporter)
    module = cast("ProtocolModule", import_module(protocol.module))
    outcome = module.evaluate(inputs, parameters, seed, reporter)
    diagnostics: dict[str, Json] = {"features": checks, **_duplicates(inputs), "data_notes": list(dataset.notes)}
    outcome = replace(outcome, diagnostics={**outcome.diagnostics, **diagnostics})
    return Evaluation(outcome, _provenance(subject, dataset, stored))


def _shared_images(paths: EvaluationPaths) -> DecodedImages | None:
    return DecodedImages(paths.decoded, paths.decoded_bytes) if paths.decoded and paths.decoded_bytes else None


def _duplicates(inputs: FeatureInputs) -> dict[str, Json]:
    count = inputs.duplicate_test_images
    return {} if count is None else {"test_images_seen_in_training": count}


def _subject(card: BackboneCard, parameters: FeatureParameters, weights: WeightsFolder) -> _Subject:
    state = weights.state(card)
    if state.status != "present" or state.digest is None:
        raise WeightsError(f"{card.name}: the weights are {state.status}: {state.advice}")
    spec = preprocessing_for(card, parameters.preprocessing)
    return _Subject(card, spec, state.digest, identity(card, state.digest, spec))


def _features(
    store: FeatureStore,
    subject: _Subject,
    dataset: Dataset,
    precision: Precision,
    encoder: Callable[[], Encoder],
    reporter: Reporter,
) -> dict[str, Features]:
    """Features of every source split, by its name."""
    found = {}
    for name, split in dataset.splits.items():
        key = FeatureKey(subject.identity, split.images_digest, precision)
        request = FeatureRequest(key, subject.card.name, dataset.name, split, subject.spec)
        found[name] = store.features(request, encoder, reporter)
    return found


def _checks(stored: Mapping[str, Features], reporter: Reporter) -> dict[str, Json]:
    """Results of the feature checks per source split; warnings are reported at once."""
    reporter.phase("checking features", len(stored), "splits")
    checks: dict[str, Json] = {}
    for split, features in stored.items():
        found = check_features(features.values)
        checks[split] = {**asdict(found), "collapsed": found.collapsed, "warnings": list(found.warnings)}
        for sentence in found.warnings:
            reporter.warn(f"{split}: {sentence}")
        reporter.advance()
    return checks


def _provenance(subject: _Subject, dataset: Dataset, stored: Mapping[str, Features]) -> Provenance:
    fresh = [found for found in stored.values() if found.encoded]
    seconds = sum(found.encoded / found.manifest.images_per_s for found in fresh if found.manifest.images_per_s)
    encoded = sum(found.encoded for found in fresh)
    return Provenance(
        backbone_identity=cast("Mapping[str, Json]", subject.identity),
        weights_digest=subject.digest,
        manifest_digest=dataset.manifest_digest,
        dimension=next(iter(stored.values())).manifest.dimension,
        encoded=encoded,
        hits={name: found.encoded == 0 for name, found in stored.items()},
        images_per_s=encoded / seconds if seconds else None,
    )
