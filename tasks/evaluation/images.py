"""Evaluation of a task on images, for protocols that read images or train the backbone.

Has the same `evaluate_task` as `tasks.evaluation.features`: open the data, verify the weights, run the protocol's
module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Protocol, cast

from backbones.catalog.card import BackboneCard, Precision, identity, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.loading import TrainableBackbone
from tasks.catalog.protocol import Parameters
from tasks.catalog.protocols import PROTOCOLS
from tasks.catalog.spec import TaskSpec, result_key
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import repeated
from tasks.evaluation.inputs import ImageInputs
from tasks.evaluation.result import EncoderCache, Evaluation, EvaluationPaths, Provenance
from tasks.features.decoded_images import DecodedImages
from tasks.metrics.outcome import Json, Outcome
from tasks.reporter import Reporter


class ImageProtocol(Protocol):
    """Module of a protocol on images."""

    def evaluate(self, inputs: ImageInputs, parameters: Parameters, seed: int, reporter: Reporter) -> Outcome:
        """Run the protocol."""


def evaluate_task(  # noqa: PLR0913 - everything that defines a run, by name
    card: BackboneCard,
    task: TaskSpec,
    dataset_card: DatasetCard,
    *,
    seed: int,
    paths: EvaluationPaths,
    device: str,
    reporter: Reporter,
    encoder_cache: EncoderCache,  # noqa: ARG001 - every evaluation module has this signature
    precision: Precision = "float32",
    batch_size: int = 64,
) -> Evaluation:
    """Evaluate `card` on `task`, resuming an interrupted evaluation from `paths.checkpoint`.

    `batch_size` applies to inference only and does not change the result. Raises `DataError`, `WeightsError`.
    """
    reporter.phase("opening")
    parameters = task.typed_parameters()
    dataset = open_dataset(dataset_card, paths.data, paths.cache)
    for note in dataset.notes:
        reporter.warn(f"{dataset.name}: {note}")
    backbone = TrainableBackbone.verified(card, WeightsFolder(paths.weights))
    spec = preprocessing_for(card, str(getattr(parameters, "preprocessing", "paper")))
    backbone_identity = identity(card, backbone.digest, spec)
    key = result_key(
        backbone_identity, dataset.manifest_digest, task, seed, precision=precision, metric=dataset_card.metric
    )
    inputs = ImageInputs(
        dataset=dataset,
        metric=dataset_card.metric,
        backbone=backbone,
        spec=spec,
        key=key,
        device=device,
        precision=precision,
        batch_size=batch_size,
        checkpoint=paths.checkpoint,
        checkpoint_s=paths.checkpoint_s,
        pictures=paths.pictures,
        decoded=DecodedImages.within(paths.decoded, paths.decoded_bytes),
        part=paths.part,
    )
    module = cast("ImageProtocol", import_module(PROTOCOLS[task.protocol].module))
    outcome = module.evaluate(inputs, parameters, seed, reporter)
    notes: dict[str, Json] = {"data_notes": list(dataset.notes)}
    outcome = replace(outcome, diagnostics={**outcome.diagnostics, **_duplicates(dataset, outcome), **notes})
    return Evaluation(outcome, _provenance(backbone_identity, inputs))


def _duplicates(dataset: Dataset, outcome: Outcome) -> dict[str, Json]:
    """Number of test images that are also training images; empty if nothing was trained or the splits were derived."""
    learnt, asked = dataset.splits.get("train"), dataset.splits.get("test", dataset.splits.get("val"))
    if "train" not in outcome.samples or learnt is None or asked is None:
        return {}
    count = repeated(learnt.images, asked.images)
    return {} if count is None else {"test_images_seen_in_training": count}


def _provenance(backbone_identity: Mapping[str, object], inputs: ImageInputs) -> Provenance:
    return Provenance(
        backbone_identity=cast("Mapping[str, Json]", backbone_identity),
        weights_digest=inputs.backbone.digest,
        manifest_digest=inputs.dataset.manifest_digest,
        dimension=None,
        encoded=0,
        hits={},
        images_per_s=None,
    )
