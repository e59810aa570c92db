"""Detection: trained and frozen parameters for every family of backbones; resuming; a detector that learns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.layers.norm_act import freeze_batch_norm_2d

from backbones.catalog.card import BackboneCard, preprocessing_for
from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.layer_info import FeatureMapInfo, FeatureMapQuery
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.feature_maps import FeatureMaps, dissect
from backbones.model.loading import TrainableBackbone
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.dense_parameters import SMALL_DETECTION, DetectionParameters, unsuitable
from tasks.datasets.card import DatasetCard
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import ImageInputs
from tasks.protocols.detection import (
    Pyramid,
    TrainingBatches,
    build_detector,
    evaluate,
    freeze_all_but_the_last_stage,
    optimiser_of,
    rate_of,
)
from tasks.reporter import SilentReporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Training, torch_seeded, train
from tests.tasks.workspace_fixture import network

SCENES = TaskCatalog.load().dataset("shapes-scenes")
CLASSES = 8
PLAIN = {"img_size": 64, "patch_size": 8}


def scenes(train_images: int = 12, test_images: int = 6) -> DatasetCard:
    arguments = {**SCENES.reader_arguments, "train": train_images, "test": test_images}
    return SCENES.model_copy(update={"reader_arguments": arguments, "images": {}})


def inputs(
    backbone: BackboneCard, tmp_path: Path, dataset: DatasetCard | None = None, checkpoint: Path | None = None
) -> ImageInputs:
    return ImageInputs(
        dataset=open_dataset(dataset or scenes(), tmp_path),
        metric="accuracy",
        backbone=TrainableBackbone.verified(backbone, WeightsFolder(tmp_path / "weights")),
        spec=preprocessing_for(backbone, "paper"),
        key="of this result",
        checkpoint=checkpoint,
    )


def maps(backbone: BackboneCard, tmp_path: Path) -> FeatureMaps:
    fresh = TrainableBackbone.verified(backbone, WeightsFolder(tmp_path / "weights")).fresh()
    return FeatureMaps(fresh, backbone.input.size)


RESNET, VIT = network("test_resnet"), network("test_vit", **PLAIN)


# -- what trains ------------------------------------------------------------------------------------------------


def test_frozen_leaves_the_last_stage_of_a_resnet_as_the_paper_does(tmp_path: Path) -> None:
    looked_at = maps(network("resnet18"), tmp_path)
    freeze_batch_norm_2d(looked_at.model)  # type: ignore[no-untyped-call]
    freeze_all_but_the_last_stage(looked_at, 64)
    training = {name.partition(".")[0] for name, one in looked_at.model.named_parameters() if one.requires_grad}
    assert training == {"layer4"}


def test_frozen_leaves_the_last_quarter_of_a_plain_transformer(tmp_path: Path) -> None:
    looked_at = maps(network("vit_tiny_patch16_224", 64, img_size=64), tmp_path)
    freeze_all_but_the_last_stage(looked_at, 64)
    training = {name for name, one in looked_at.model.named_parameters() if one.requires_grad}
    blocks = {name.split(".")[1] for name in training if name.startswith("blocks.")}
    assert blocks == {"9", "10", "11"}
    assert {name.partition(".")[0] for name in training} == {"blocks", "norm"}


def test_batch_norms_keep_the_statistics_and_scales_of_the_pretraining(tmp_path: Path) -> None:
    given = inputs(RESNET, tmp_path)
    detector = build_detector(given, replace(SMALL_DETECTION, frozen=False), CLASSES)
    kinds = {type(module).__name__ for module in detector.backbone.modules()}
    assert any("FrozenBatchNorm" in kind for kind in kinds)
    assert not any(kind.startswith("BatchNorm") for kind in kinds)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_step_changes_what_trains_and_nothing_else(tmp_path: Path, frozen: bool) -> None:
    given, parameters = inputs(RESNET, tmp_path), replace(SMALL_DETECTION, frozen=frozen, batch=2, warmup=0)
    detector = build_detector(given, parameters, CLASSES)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    batches = TrainingBatches(given, given.split("train"), detector, parameters, seed=0)
    Training(detector, optimiser_of(detector, parameters), 1, batches.loss, rate_of(parameters), seed=0).advance()
    stages = {
        stage: any(
            not torch.equal(before[name], value)
            for name, value in detector.state_dict().items()
            if name.startswith(f"backbone.maps.model.{stage}")
        )
        for stage in ("conv1", "layer1", "layer2", "layer3", "layer4")
    }
    assert stages == {"conv1": not frozen, "layer1": not frozen, "layer2": not frozen, "layer3": not frozen} | {
        "layer4": True
    }
    assert any(not torch.equal(before[name], value) for name, value in detector.state_dict().items() if "rpn" in name)


# -- pyramids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "strides"),
    [
        (network("resnet18"), (4, 8, 16, 32, 64)),
        (network("test_convnext"), (4, 8, 16, 32, 64)),
        (network("swin_tiny_patch4_window7_224", 224), (4, 8, 16, 32, 64)),
        (VIT, (2, 4, 8, 16, 32)),
        (network("vit_tiny_patch16_224", 64, img_size=64), (4, 8, 16, 32, 64)),
        (network("vit_small_patch14_dinov2", 56, img_size=56), (4, 8, 16, 32, 64)),
    ],
    ids=lambda value: value.architecture if isinstance(value, BackboneCard) else "",
)
def test_every_family_gives_a_pyramid_at_the_strides_that_it_says(
    tmp_path: Path, backbone: BackboneCard, strides: tuple[int, ...]
) -> None:
    pyramid = Pyramid(maps(backbone, tmp_path), 16).eval()
    assert pyramid.strides == strides
    high, wide = 2 * max(pyramid.divisor, 32), 3 * max(pyramid.divisor, 32)
    with torch.no_grad():
        levels = pyramid(torch.zeros(1, 3, high, wide))
    assert list(levels) == [*pyramid.levels, "pool"]
    for level, stride in zip(levels.values(), strides[:-1], strict=False):
        assert level.shape == (1, 16, high // stride, wide // stride)


@pytest.mark.parametrize("backbone", [RESNET, VIT, network("test_convnext")], ids=lambda one: one.architecture)
def test_a_detector_on_every_family_learns_and_detects(tmp_path: Path, backbone: BackboneCard) -> None:
    outcome = evaluate(inputs(backbone, tmp_path), replace(SMALL_DETECTION, iterations=2, batch=2), 0, SilentReporter())
    assert set(outcome.metrics) == {"ap", "ap50", "ap75"}
    assert outcome.samples == {"train": 12, "test": 6}
    assert {len(values) for values in outcome.predictions.values()} == {6}
    assert outcome.interval.low <= outcome.value <= outcome.interval.high


# -- which backbones --------------------------------------------------------------------------------------------


def anatomy(backbone: BackboneCard) -> FeatureMapInfo:
    return dissect(FeatureMapQuery.of(backbone))


@pytest.mark.parametrize(
    ("backbone", "reason"),
    [
        (RESNET, None),
        (VIT, None),
        (network("hiera_tiny_224", 224), "accepts images of 224 x 224 pixels only"),
        (network("mixer_s16_224", 224), "accepts images of 224 x 224 pixels only"),
    ],
    ids=lambda value: value.architecture if isinstance(value, BackboneCard) else "",
)
def test_what_cannot_detect_says_why_before_anything_is_queued(backbone: BackboneCard, reason: str | None) -> None:
    found = unsuitable(backbone, anatomy(backbone), SMALL_DETECTION)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert reason in found


# -- the schedule, and the images -------------------------------------------------------------------------------


def test_the_rate_rises_then_falls_at_the_papers_steps() -> None:
    rate = rate_of(DetectionParameters())
    assert [rate(step) for step in (0, 50, 100, 95_999)] == pytest.approx([0.001, 0.5005, 1, 1])
    assert [rate(step) for step in (96_000, 127_999, 128_000, 143_999)] == pytest.approx([0.1, 0.1, 0.01, 0.01])


def test_norms_do_not_decay(tmp_path: Path) -> None:
    detector = build_detector(inputs(VIT, tmp_path), SMALL_DETECTION, CLASSES)
    decaying, still = optimiser_of(detector, SMALL_DETECTION).param_groups
    assert (decaying["weight_decay"], still["weight_decay"]) == (SMALL_DETECTION.weight_decay, 0)
    assert all(one.ndim == 1 for one in still["params"])
    assert sum(one.requires_grad for one in detector.parameters()) == len(decaying["params"]) + len(still["params"])


def test_a_mirrored_image_has_mirrored_boxes(tmp_path: Path) -> None:
    given = inputs(RESNET, tmp_path)
    detector = build_detector(given, SMALL_DETECTION, CLASSES)
    batches = TrainingBatches(given, given.split("train"), detector, SMALL_DETECTION, seed=0)
    seen = {}
    for draw in range(20):
        torch.manual_seed(draw)
        image, target = batches._sample(3)
        seen[float(image[0, 0, 0])] = (image, target["boxes"])
    (one, boxes), (other, mirrored) = seen.values()
    assert torch.equal(one, other.flip(-1))
    assert torch.equal(boxes[:, [0, 2]], 64 - mirrored[:, [2, 0]])
    assert torch.equal(boxes[:, [1, 3]], mirrored[:, [1, 3]])


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"short_sides": ()}, {"longest_side": 64}, {"rate": 0.0}])
def test_parameters_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(SMALL_DETECTION, **wrong)  # type: ignore[arg-type]


# -- resuming ---------------------------------------------------------------------------------------------------


@dataclass
class Listener(SilentReporter):
    warnings: list[str] = field(default_factory=list)
    steps: list[float | None] = field(default_factory=list)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        self.steps.append(step)


def test_an_interrupted_detector_carries_on_and_ends_bit_for_bit_alike(tmp_path: Path) -> None:
    parameters = replace(SMALL_DETECTION, iterations=5, batch=2, short_sides=(64, 96), frozen=False)
    whole = evaluate(inputs(RESNET, tmp_path), parameters, 0, SilentReporter())
    given = inputs(RESNET, tmp_path, checkpoint=tmp_path / "checkpoint")
    _two_steps(given, parameters, Checkpoint(tmp_path / "checkpoint" / "detector.pt", "of this result"))
    listener = Listener()
    second = evaluate(given, parameters, 0, listener)
    assert listener.warnings in ([], ["no object was detected in any image: the detector needs more training"])
    assert listener.steps == [3, 4, 5]
    assert second.diagnostics["loss"] == whole.diagnostics["loss"]
    for name, values in whole.predictions.items():
        assert np.array_equal(values, second.predictions[name])


def _two_steps(given: ImageInputs, parameters: DetectionParameters, kept: Checkpoint) -> None:
    """Two steps, as taken by `evaluate`, and then the state of the loop."""
    with torch_seeded("cpu", 0, 1):
        detector = build_detector(given, parameters, CLASSES)
    batches = TrainingBatches(given, given.split("train"), detector, parameters, seed=0)
    begun = Training(detector, optimiser_of(detector, parameters), 5, batches.loss, rate_of(parameters), seed=0)
    train(begun, kept, SilentReporter(), every_s=0, stop=lambda training: training.step == 2)


@pytest.mark.slow
def test_a_pretrained_backbone_detects_better_than_a_random_one_and_the_loss_falls(tmp_path: Path) -> None:
    catalog = BackboneCatalog.load([], tmp_path)
    scores = {}
    for name in ("supervised", "random"):
        given = inputs(catalog.cards[f"demo/{name}"], tmp_path, scenes(200, 100))
        outcome = evaluate(given, replace(SMALL_DETECTION, iterations=40, drops=(34,)), 0, SilentReporter())
        losses = outcome.diagnostics["loss"]
        assert isinstance(losses, list)
        assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])  # type: ignore[arg-type]
        scores[name] = outcome
    assert scores["supervised"].interval.low > scores["random"].interval.high
