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
from tasks.catalog.protocols import PROTOCOLS, ColourParameters, FeatureParameters, FewShotParameters, KnnParameters
from tasks.catalog.spec import TaskSpec
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import BankInputs, ManyShotInputs, PoolInputs
from tasks.evaluation.result import Evaluation, EvaluationPaths, Provenance
from tasks.evaluation.splits_to_inputs import PerSplit, colour_inputs, episode_inputs, knn_inputs, many_shot
from tasks.features.decoded_images import DecodedImages
from tasks.features.extraction import Machine
from tasks.features.feature_checks import check_features, shared_rows
from tasks.features.key import FeatureKey
from tasks.features.store import FeatureRequest, Features, FeatureStore
from tasks.metrics.outcome import Json, Outcome
from tasks.reporter import Reporter

__all__ = ["EncoderCache", "Evaluation", "EvaluationPaths", "Inputs", "Provenance", "evaluate_task"]

Inputs = BankInputs | ManyShotInputs | PoolInputs


class ProtocolModule(Protocol):
    """What every module named in `tasks.catalog.protocols.PROTOCOLS` has."""

    def evaluate(self, inputs: Inputs, parameters: FeatureParameters, seed: int, reporter: Reporter) -> Outcome:
        """Carry out the protocol."""


@dataclass
class EncoderCache:
    """Keeps the last backbone in memory, so that a worker loads it once for many runs."""

    held: Encoder | None = None
    held_as: tuple[object, ...] = ()

    def get(
        self, card: BackboneCard, digest: str, weights: WeightsFolder, device: str, precision: Precision
    ) -> Encoder:
        """The backbone, from memory if it is the one held. The other is let go first: two need not fit the device."""
        wanted = (card, digest, device, precision)
        if self.held is None or self.held_as != wanted:
            self.held = None
            self.held = Encoder.load(card, weights, device, precision)
            self.held_as = wanted
        return self.held


@dataclass(frozen=True)
class _Subject:
    """The backbone as this task sees it."""

    card: BackboneCard
    spec: PreprocessingSpec
    digest: str
    identity: Mapping[str, object]


def evaluate_task(  # noqa: PLR0913 - everything that a worker knows of a run, by name
    card: BackboneCard,
    task: TaskSpec,
    dataset_card: DatasetCard,
    *,
    seed: int,
    places: EvaluationPaths,
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
    weights = WeightsFolder(places.weights)
    subject = _subject(card, parameters, weights)
    dataset = open_dataset(dataset_card, places.data, places.cache)
    for note in dataset.notes:
        reporter.warn(f"{dataset.name}: {note}")

    store = FeatureStore(places.features, Machine(batch_size=batch_size), _shared_images(places))
    stored = _features(
        store,
        subject,
        dataset,
        precision,
        lambda: encoder_cache.get(card, subject.digest, weights, device, precision),
        reporter,
    )
    checks = _checks(stored, reporter)
    features = {name: found.values for name, found in stored.items()}
    if isinstance(parameters, ColourParameters):
        inputs: Inputs = colour_inputs(
            dataset, dataset_card, features, parameters, seed, device, spec=subject.spec, reporter=reporter
        )
    else:
        inputs = _inputs(dataset, dataset_card, features, parameters, seed=seed, device=device)

    module = cast("ProtocolModule", import_module(PROTOCOLS[task.protocol].module))
    outcome = module.evaluate(inputs, parameters, seed, reporter)
    seen: dict[str, Json] = {"features": checks, **_shared(inputs), "data_notes": list(dataset.notes)}
    outcome = replace(outcome, diagnostics={**outcome.diagnostics, **seen})
    return Evaluation(outcome, _facts(subject, dataset, stored))


def _shared_images(places: EvaluationPaths) -> DecodedImages | None:
    return DecodedImages(places.decoded, places.decoded_bytes) if places.decoded and places.decoded_bytes else None


def _inputs(
    dataset: Dataset, card: DatasetCard, features: PerSplit, parameters: FeatureParameters, *, seed: int, device: str
) -> Inputs:
    if isinstance(parameters, FewShotParameters):
        return episode_inputs(dataset, features, device)
    if isinstance(parameters, KnnParameters):
        return knn_inputs(dataset, card, features, seed, device)
    return many_shot(dataset, card, features, parameters, seed, device)


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
    """What the feature checks found per source split; warnings are told at once."""
    reporter.phase("checking features", len(stored), "splits")
    checks: dict[str, Json] = {}
    for split, features in stored.items():
        found = check_features(features.values)
        checks[split] = {**asdict(found), "collapsed": found.collapsed, "warnings": list(found.warnings)}
        for sentence in found.warnings:
            reporter.warn(f"{split}: {sentence}")
        reporter.advance()
    return checks


def _shared(inputs: Inputs) -> dict[str, Json]:
    """Test images whose features a training or validation image has, too; nothing for episodes, which make their own
    roles.
    """
    if isinstance(inputs, PoolInputs):
        return {}
    if isinstance(inputs, BankInputs):
        return {"test_images_seen_in_training": shared_rows(inputs.bank.features, inputs.test.features)}
    seen = sum(shared_rows(role.features, inputs.test.features) for role in (inputs.train, inputs.val))
    return {"test_images_seen_in_training": seen}


def _facts(subject: _Subject, dataset: Dataset, stored: Mapping[str, Features]) -> Provenance:
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
