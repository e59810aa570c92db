"""Occlusion saliency and attentive diffusion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from backbones.catalog.card import BackboneCard
from tasks.catalog.analysis_parameters import AttentionParameters
from tasks.metrics.rescore import rescore
from tasks.protocols.attention import OcclusionEncoder, attentive_diffusion, evaluate, occlusion_saliency
from tasks.reporter import SilentReporter
from tests.tasks.workspace_fixture import Listener, demo, image_inputs, network, shapes

QUICK = AttentionParameters(images=2, window=8, stride=8, compared=0)
RESNET = network("test_resnet", 32)
VIT = network("test_vit", 32, img_size=32, patch_size=8)


def places(side: int, window: int, stride: int = 1) -> list[tuple[int, int]]:
    along = range(0, side - window + 1, stride)
    return [(top, left) for top in along for left in along]


def test_saliency_is_the_mean_change_over_the_windows_that_cover_a_pixel() -> None:
    """Computed by hand for features that depend on one pixel only."""

    def features(batch: Tensor) -> Tensor:
        return torch.stack([batch[:, 0, 2, 2], torch.full((len(batch),), 3.0)], dim=1)

    pixels = torch.zeros(1, 3, 5, 5)
    pixels[0, 0, 2, 2] = 4
    found = occlusion_saliency(features, pixels, places(5, 2), 2, batch_size=3)
    assert found[2, 2] == pytest.approx(4 / 5)
    assert found[1, 1] == pytest.approx(4 / 5 / 4)
    assert found[0, 0] == 0


def test_diffusion_is_the_share_above_the_mean() -> None:
    assert attentive_diffusion(np.array([[0, 0], [0, 1]], np.float32)) == 25
    assert attentive_diffusion(np.ones((3, 3), np.float32)) == 0


def test_at_224_pixels_the_paper_moves_windows_of_10_over_242_pixels(tmp_path: Path) -> None:
    given = image_inputs(network("test_resnet", 224), tmp_path, shapes(2))
    encoder = OcclusionEncoder(given, 10, SilentReporter())
    assert (encoder.canvas, len(encoder.positions(1))) == (242, 54_289)


def test_every_pixel_of_the_map_is_covered_equally_often_at_stride_1(tmp_path: Path) -> None:
    encoder = OcclusionEncoder(image_inputs(RESNET, tmp_path, shapes(2)), 6, SilentReporter())
    times = np.zeros((encoder.canvas, encoder.canvas))
    for top, left in encoder.positions(1):
        times[top : top + 6, left : left + 6] += 1
    assert set(times[5:-5, 5:-5].ravel()) == {36}
    assert times[5:-5, 5:-5].shape == (32, 32)


@pytest.mark.parametrize(
    ("backbone", "canvas", "warnings"),
    [
        (RESNET, 46, 0),
        (VIT, 48, 1),
        (network("test_convnext", 32), 46, 0),
        (network("mixer_s32_224", 224), 224, 1),
    ],
    ids=lambda value: value.architecture if isinstance(value, BackboneCard) else "",
)
def test_every_family_is_measured_and_another_canvas_is_told(
    tmp_path: Path, backbone: BackboneCard, canvas: int, warnings: int
) -> None:
    listener = Listener()
    side = backbone.input.size // 4
    parameters = AttentionParameters(images=1, window=8 if side == 8 else 2 * side, stride=side, compared=0)
    outcome = evaluate(image_inputs(backbone, tmp_path, shapes(2)), parameters, 0, listener)
    assert 0 < outcome.value < 100
    assert len(listener.warnings) == warnings
    assert outcome.diagnostics["canvas"] == canvas


def test_what_an_outcome_leaves_is_countable_again_and_has_a_picture(tmp_path: Path) -> None:
    outcome = evaluate(image_inputs(RESNET, tmp_path, shapes(5)), replace(QUICK, images=3), 0, SilentReporter())
    assert outcome.predictions["index"].tolist() == [0, 2, 4]
    assert outcome.predictions["saliency"].shape == (3, 32, 32)
    way = rescore("attention", outcome.predictions)
    assert way is not None
    assert way.metrics(outcome.predictions) == outcome.metrics
    assert way.interval(outcome.predictions, "diffusion") == outcome.interval
    with Image.open(tmp_path / "pictures" / "saliency.png") as picture:
        assert picture.size == (2 * 34 - 2, 3 * 34 - 2)


def test_the_batch_changes_no_map(tmp_path: Path) -> None:
    given = image_inputs(RESNET, tmp_path, shapes(2))
    one = evaluate(given, QUICK, 0, SilentReporter()).predictions["saliency"].astype(float)
    other = evaluate(replace(given, batch_size=5), QUICK, 0, SilentReporter()).predictions["saliency"].astype(float)
    assert other == pytest.approx(one, abs=2e-3)


def test_an_interrupted_measurement_carries_on_with_the_next_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.checkpoint.KEEP_EVERY_S", 0.0)
    parameters = replace(QUICK, images=4)
    whole = evaluate(image_inputs(RESNET, tmp_path, shapes(4)), parameters, 0, SilentReporter())
    given = image_inputs(RESNET, tmp_path, shapes(4), kept=True)
    with pytest.raises(KeyboardInterrupt):
        evaluate(given, parameters, 0, Impatient())
    listener = Impatient(patience=8)
    second = evaluate(given, parameters, 0, listener)
    assert np.array_equal(second.predictions["saliency"], whole.predictions["saliency"])
    assert listener.jumps == 1


@dataclass
class Impatient(SilentReporter):
    """Interrupts in the middle of an image; `jumps` counts advances over images that were already done."""

    patience: int = 3
    jumps: int = 0

    def advance(self, count: int = 1) -> None:
        self.patience -= 1
        self.jumps += count > 64
        if self.patience < 0:
            raise KeyboardInterrupt


def test_the_default_stride_agrees_with_stride_1_and_says_how_well(tmp_path: Path) -> None:
    given = image_inputs(demo("supervised"), tmp_path, shapes(2), size=48)
    outcome = evaluate(given, AttentionParameters(images=1), 0, SilentReporter())
    found = outcome.diagnostics["agreement with stride 1"]
    assert found["correlation"][0] > 0.9  # type: ignore[index, call-overload, operator]
    assert abs(found["diffusion difference"][0]) < 4  # type: ignore[index, call-overload, arg-type]
