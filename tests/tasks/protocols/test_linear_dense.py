"""Linear segmentation and depth: heads, windows, schedules, losses and scores as published, resumed bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from backbones.catalog.card import BackboneCard
from backbones.model.architecture import create
from backbones.model.feature_maps import FeatureMaps, NormedMaps, _places
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.frozen_dense_parameters import (
    SMALL_DEPTH,
    SMALL_LINEAR_SEGMENTATION,
    DepthParameters,
    LinearSegmentationParameters,
)
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.dataset import Dataset
from tasks.datasets.readers.embedded import manifest
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.dense import DEPTH_SCORES, depth_arrays, depth_errors, depth_means
from tasks.metrics.outcome import Outcome
from tasks.metrics.rescore import rescore
from tasks.protocols import depth, linear_segmentation
from tasks.protocols.dense.frozen_maps import LinearMapHead, padded_to
from tasks.protocols.dense.image_batches import Pixels
from tasks.protocols.dense.views import EIGEN_BOX, NYU_BORDER, box_of, depth_view, distorted, nearest, training_crop
from tasks.protocols.depth import depth_of_bins, gradient_loss, scale_invariant_loss
from tasks.protocols.linear_segmentation import slide, windows
from tasks.reporter import SilentReporter
from tasks.training import test_readings
from tasks.training.loop import depth_beta1, depth_rate, segmentation_rate
from tests.tasks.workspace_fixture import demo, image_inputs, network

TASKS = TaskCatalog.load()
SEGMENTATION, DEPTH = SMALL_LINEAR_SEGMENTATION, SMALL_DEPTH
FEW: dict[str, tuple[Callable[..., Outcome], object]] = {
    "linear-segmentation": (
        linear_segmentation.evaluate,
        replace(SEGMENTATION, steps=6, batch_size=4, distortion=True),
    ),
    "linear-segmentation, scales": (
        linear_segmentation.evaluate,
        replace(SEGMENTATION, steps=6, batch_size=4, test_scales=(1.0, 1.5), layers="last"),
    ),
    "depth": (depth.evaluate, replace(DEPTH, steps=6, batch_size=4, rotation=2.5, colour=True)),
    "depth, dinov2": (
        depth.evaluate,
        replace(DEPTH, steps=6, batch_size=4, layers="last", class_token=True, norm=False, upsampling=4, gradient=0.5),
    ),
    "depth, dinov3": (depth.evaluate, replace(DEPTH, steps=6, batch_size=4, schedule="dinov3", box="eigen")),
}


class Interrupted(SilentReporter):
    """Ends the process at a training step; None: never."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.steps = at, 0

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise ConnectionAbortedError("the process ends here")


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    card = TASKS.dataset("shapes-scenes")
    fewer = {**card.reader_arguments, "train": 12, "test": 6}
    return open_dataset(card.model_copy(update={"reader_arguments": fewer, "images": {}}), Path("/nowhere"))


def inputs_for(folder: Path, dataset: Dataset, card: BackboneCard) -> ImageInputs:
    made = image_inputs(card, folder, TASKS.dataset("shapes-scenes").model_copy(update=SMALLEST), kept=True)
    return replace(made, dataset=dataset, checkpoint_s=0.0)


SMALLEST = {
    "reader_arguments": {"kind": "scene", "factor": "count", "train": 1, "test": 1, "dense": True},
    "images": {},
}


@pytest.mark.parametrize("backbone", ["mae", "simclr"])
@pytest.mark.parametrize("name", FEW)
def test_a_training_that_is_interrupted_at_any_step_ends_at_the_same_numbers(
    tmp_path: Path, scenes: Dataset, backbone: str, name: str
) -> None:
    evaluate, parameters = FEW[name]
    whole = evaluate(inputs_for(tmp_path / "whole", scenes, demo(backbone)), parameters, 0, SilentReporter())
    cut = inputs_for(tmp_path / "cut", scenes, demo(backbone))
    at = int(np.random.default_rng().integers(2, 6))
    with pytest.raises(ConnectionAbortedError):
        evaluate(cut, parameters, 0, Interrupted(at))
    rest = Interrupted()
    again = evaluate(cut, parameters, 0, rest)
    assert rest.steps == 6 - at + 1
    assert again.metrics == whole.metrics
    assert all(np.array_equal(values, again.predictions[array]) for array, values in whole.predictions.items())
    counted = rescore(name.partition(",")[0], whole.predictions)
    assert counted is not None
    assert counted.metrics(whole.predictions) == pytest.approx(dict(whole.metrics))
    assert counted.by_method(whole.predictions, whole.headline, whole.interval.method) == whole.interval
    assert whole.interval.low <= whole.value <= whole.interval.high


@pytest.mark.parametrize("name", ["linear-segmentation", "depth"])
def test_scores_on_test_images_during_a_training_leave_it_as_it_is(
    tmp_path: Path, scenes: Dataset, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, parameters = FEW[name]
    outcomes = []
    for cost in (0.0, 100.0):
        monkeypatch.setattr(test_readings, "READING_COST", cost)
        inputs = inputs_for(tmp_path / str(cost), scenes, demo("mae"))
        outcomes.append(evaluate(inputs, parameters, 0, SilentReporter()))
    without, read = outcomes
    assert "chosen_on_test" not in without.diagnostics
    assert without.metrics == read.metrics
    assert without.diagnostics["loss_curve"] == read.diagnostics["loss_curve"]
    found = read.diagnostics["chosen_on_test"]
    assert isinstance(found, dict)
    assert (found["candidates"], found["selected"]) == (6, read.value)
    inflation = found["score"] - read.value  # type: ignore[operator]
    assert (inflation if read.higher_is_better else -inflation) >= 0


# --- maps and head


def test_maps_are_the_patch_tokens_after_the_final_norm() -> None:
    model = network_of("test_vit", img_size=64, patch_size=8)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (found,) = NormedMaps(model, 64)(images)
        (both,) = NormedMaps(model, 64, class_token=True)(images)
        tokens = model.forward_features(images)  # type: ignore[operator]
    assert torch.allclose(found.flatten(2).transpose(1, 2), tokens[:, 1:], atol=1e-6)
    assert torch.equal(both[:, :64], found)
    assert torch.allclose(both[:, 64:, 3, 5], tokens[:, 0], atol=1e-6)


def network_of(name: str, **arguments: int) -> torch.nn.Module:
    return create(network(name, **arguments)).eval()


def test_layers_are_the_published_ones() -> None:
    deep = FeatureMaps.__new__(FeatureMaps)
    torch.nn.Module.__init__(deep)
    for blocks, quarters in ((12, (2, 5, 8, 11)), (24, (4, 11, 17, 23)), (40, (9, 19, 29, 39))):
        deep.strides = (16,) * 4
        deep._places = tuple(blocks * (number + 1) // 4 - 1 for number in range(4))
        assert tuple(_places(deep, "quarters")) == quarters
        assert tuple(_places(deep, "last")) == (blocks - 1,)
        assert tuple(_places(deep, "last-4")) == tuple(range(blocks - 4, blocks))


def test_the_head_is_batch_norm_and_one_product_per_position() -> None:
    head = LinearMapHead((5, 3), 4, dropout=0.0, norm=True, upsampling=1).train()
    maps = [torch.randn(2, 5, 6, 6), torch.randn(2, 3, 3, 3)]
    large = functional.interpolate(maps[1], size=(6, 6), mode="bilinear", align_corners=False)
    rows = torch.cat([maps[0], large], dim=1).permute(0, 2, 3, 1).reshape(-1, 8)
    normed = (rows - rows.mean(dim=0)) / torch.sqrt(rows.var(dim=0, correction=0) + 1e-5)
    expected = normed @ head.convolution.weight[:, :, 0, 0].T
    assert torch.allclose(head(maps).permute(0, 2, 3, 1).reshape(-1, 4), expected, atol=1e-5)


def test_images_are_padded_on_both_sides_to_whole_patches() -> None:
    found = padded_to(torch.ones(1, 3, 480, 640), 14)
    assert found.shape[-2:] == (490, 644)
    assert float(found[0, 0].sum()) == float(found[0, 0, 5:485, 2:642].sum()) == 480 * 640


# --- windows and crops


@pytest.mark.parametrize("size", [(70, 95), (64, 64), (40, 50), (64, 40), (150, 64)])
def test_sliding_windows_average_what_every_window_says_of_a_pixel(size: tuple[int, int]) -> None:
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))

    def predict(window: torch.Tensor) -> torch.Tensor:
        return window[:, :2] * window.mean()

    found = slide(predict, image, 2, 64, 43)
    places = list(windows(*size, 64, 43))
    for row, column in ((0, 0), (size[0] - 1, size[1] - 1), (size[0] // 2, size[1] // 2)):
        seen = [
            image[0, :2, row, column] * image[:, :, rows, columns].mean()
            for rows, columns in places
            if rows.start <= row < rows.stop and columns.start <= column < columns.stop
        ]
        assert torch.allclose(found[0, :, row, column], torch.stack(seen).mean(dim=0), atol=1e-6)
    if min(size) >= 64:
        assert {(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in places} == {(64, 64)}


def test_a_crop_is_of_the_scaled_image_and_unknown_beyond_it() -> None:
    values = np.arange(30 * 40, dtype=np.int64).reshape(30, 40)
    image = Image.fromarray(np.repeat((values % 256).astype(np.uint8)[:, :, None], 3, axis=2))
    plain = Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    how = replace(SEGMENTATION, shorter=30, scales=(1.0, 1.0), crop=36, flip=False, distortion=False)
    view, mask = training_crop(image, values, how, plain, np.random.default_rng(0))
    assert view.shape == (3, 36, 36)
    assert mask.shape == (36, 36)
    assert torch.equal(mask[:30] % 256, (view[0, :30] * 255).round().long())
    assert set(mask[30:].flatten().tolist()) == {-1}
    assert view[:, 30:].abs().sum() == 0


def test_a_crop_of_one_class_is_drawn_again() -> None:
    mask = np.zeros((40, 400), np.int64)
    mask[:, :20] = 1
    how = replace(SEGMENTATION, shorter=40, scales=(1.0, 1.0), crop=40, flip=False, distortion=False)
    image, pixels = Image.new("RGB", (400, 40)), Pixels((0.0,) * 3, (1.0,) * 3)

    def mixed(most: float) -> int:
        made = [
            training_crop(image, mask, replace(how, most_of_one_class=most), pixels, np.random.default_rng(seed))[1]
            for seed in range(60)
        ]
        return sum(len(set(one.flatten().tolist())) > 1 for one in made)

    assert mixed(0.75) > 2 * mixed(1.0)


def test_labels_are_resized_as_torch_resizes_to_the_nearest() -> None:
    mask = np.random.default_rng(0).integers(0, 9, (37, 53))
    for size in ((20, 90), (74, 26), (37, 53)):
        expected = functional.interpolate(torch.from_numpy(mask)[None, None].float(), size=size, mode="nearest")
        assert np.array_equal(nearest(mask, *size), expected[0, 0].long().numpy())


def test_distortion_changes_colours_alone_and_is_the_same_for_the_same_seed() -> None:
    view = torch.randint(0, 256, (3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    one, again, other = (distorted(view, 0.5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.dtype == torch.uint8


# --- schedules


def test_schedules_are_the_published_formulas() -> None:
    steps, warm = 40_000, 1_500
    seg = [segmentation_rate(step, steps, warm, "cosine") for step in (0, 1, 751, 1_501, 20_001, 39_999)]
    place = 750
    half = (1 - place / steps) * (1 - (1 - place / warm) * (1 - 1e-6))
    later = [0.5 * (1 + math.cos(math.pi * (at + 1) / steps)) for at in (1_500, 20_000, 39_998)]
    assert seg == pytest.approx([1e-6, 1e-6, half, *later], rel=1e-6, abs=1e-9)
    assert segmentation_rate(20_000, steps, warm, "polynomial") == 0.5
    steps, warm = 38_400, 12_800
    assert depth_rate(0, steps, warm, "dinov3") == pytest.approx(1e-3)
    assert depth_rate(6_400, steps, warm, "dinov3") == pytest.approx(
        1e-3 + 0.5 * 0.5 * (1 + math.cos(math.pi / 6)), rel=1e-9
    )
    assert depth_rate(steps - 1, steps, warm, "dinov3") == pytest.approx(4e-5)
    assert [depth_beta1(step, steps, warm) for step in (0, 12_799, 12_800, 38_400)] == pytest.approx([0, 0, 0.85, 0.95])
    assert depth_rate(12_800, steps, warm, "dinov2") == pytest.approx(0.75, rel=1e-6)


def test_presets_have_the_published_values() -> None:
    presets = PROTOCOLS["linear-segmentation"].presets
    dinov3, dinov2 = presets["dinov3"], presets["dinov2"]
    assert isinstance(dinov3, LinearSegmentationParameters)
    assert isinstance(dinov2, LinearSegmentationParameters)
    assert presets["published"] == dinov3
    assert (dinov3.steps, dinov3.batch_size, dinov3.rate, dinov3.weight_decay) == (40_000, 16, 1e-3, 1e-3)
    assert (dinov3.dropout, dinov3.warmup, dinov3.crop, dinov3.stride, dinov3.scales) == (0.1, 1500, 512, 341, (0.5, 2))
    assert (dinov2.dropout, dinov2.weight_decay, dinov2.decay) == (0.0, 1e-4, "polynomial")
    nyu = PROTOCOLS["depth"].presets["dinov3"]
    assert isinstance(nyu, DepthParameters)
    assert (nyu.steps, nyu.rate, nyu.weight_decay, nyu.beta2, nyu.warmup) == (38_400, 3e-4, 1e-4, 0.99, 12_800)
    assert (nyu.crop, nyu.bins, nyu.nearest, nyu.deepest, nyu.box) == ((416, 544), 256, 1e-3, 10.0, "eigen")


# --- depth


def test_depth_is_the_mean_of_the_bins() -> None:
    logits = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    found = depth_of_bins(logits, 1.0, 10.0)
    bins = [1.0, 4.0, 7.0, 10.0]
    for image, row, column in ((0, 0, 0), (1, 2, 1)):
        weights = [max(0.0, float(value)) + 0.1 for value in logits[image, :, row, column]]
        mean = sum(weight * each for weight, each in zip(weights, bins, strict=True)) / sum(weights)
        assert float(found[image, 0, row, column]) == pytest.approx(mean, rel=1e-5)


def test_losses_equal_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, truth = (torch.rand(1, 1, 14, 15, generator=generator) * 5 + 0.5 for _ in range(2))
    known = torch.rand(1, 1, 14, 15, generator=generator) > 0.3
    errors = np.log(predicted[known].double().numpy() + 1e-3) - np.log(truth[known].double().numpy() + 1e-3)
    squared = 0.15 * errors.mean() ** 2
    assert float(scale_invariant_loss(predicted, truth, known, 99)) == pytest.approx(math.sqrt(squared), rel=1e-3)
    whole = math.sqrt(squared + errors.var(ddof=1))
    assert float(scale_invariant_loss(predicted, truth, known, 100)) == pytest.approx(whole, rel=1e-5)
    total = 0.0
    for stride in (1, 2, 4, 6):
        one, other, mask = (part[0, 0, ::stride, ::stride].numpy() for part in (predicted, truth, known))
        error = (np.log(one + 1e-3) - np.log(other + 1e-3)) * mask
        part = 0.0
        for row in range(error.shape[0]):
            for column in range(error.shape[1]):
                if row + 2 < error.shape[0] and mask[row, column] and mask[row + 2, column]:
                    part += abs(error[row, column] - error[row + 2, column])
                if column + 2 < error.shape[1] and mask[row, column] and mask[row, column + 2]:
                    part += abs(error[row, column] - error[row, column + 2])
        total += part / mask.sum()
    assert float(gradient_loss(predicted, truth, known)) == pytest.approx(total, rel=1e-4)


def test_depth_scores_equal_a_plain_loop_and_images_without_depth_are_left_out() -> None:
    random = np.random.default_rng(0)
    images = [(random.uniform(1, 9, size), random.uniform(1, 9, size)) for size in (20, 35)]
    expected: dict[str, list[float]] = {name: [] for name in DEPTH_SCORES}
    for predicted, truth in images:
        logs = [math.log(t) - math.log(p) for p, t in zip(predicted, truth, strict=True)]
        pairs = list(zip(predicted, truth, strict=True))
        expected["rmse"].append(math.sqrt(sum((t - p) ** 2 for p, t in pairs) / len(pairs)))
        expected["abs-rel"].append(sum(abs(t - p) / t for p, t in pairs) / len(pairs))
        for power in (1, 2, 3):
            share = sum(max(t / p, p / t) < 1.25**power for p, t in pairs) / len(pairs)
            expected[f"delta{power}"].append(100 * share)
        expected["log10"].append(sum(abs(math.log10(t / p)) for p, t in pairs) / len(pairs))
        spread = sum(one**2 for one in logs) / len(logs) - (sum(logs) / len(logs)) ** 2
        expected["silog"].append(100 * math.sqrt(spread))
    errors = np.array([depth_errors(*images[0]), depth_errors(np.empty(0), np.empty(0)), depth_errors(*images[1])])
    assert depth_means(depth_arrays(errors)) == pytest.approx({name: np.mean(one) for name, one in expected.items()})


def test_boxes_scale_with_the_image() -> None:
    assert box_of(EIGEN_BOX, 480, 640) == (slice(45, 471), slice(41, 601))
    assert box_of(NYU_BORDER, 480, 640) == (slice(45, 472), slice(43, 608))
    assert box_of(EIGEN_BOX, 240, 320) == (slice(22, 235), slice(20, 300))


def test_a_depth_view_shows_image_and_depth_of_the_same_places() -> None:
    values = np.arange(1, 1 + 20 * 25).reshape(20, 25)
    image = Image.fromarray(np.repeat((values % 200).astype(np.uint8)[:, :, None], 3, axis=2))
    how = replace(DEPTH, crop=(12, 30), flip=True)
    for seed in range(4):
        view, truth = depth_view(image, values, how, (0.0,) * 3, (1.0,) * 3, np.random.default_rng(seed))
        assert view.shape == (3, 12, 30)
        assert torch.equal((view[0] * 255).round(), truth[0] % 200)
        assert int((truth == 0).sum()) == 12 * 5


def test_rendered_scenes_have_depth_and_keep_the_digest_that_results_were_stored_with(scenes: Dataset) -> None:
    assert manifest(TASKS.dataset("shapes-scenes")).digest.startswith("d22a28a63f24")
    split = scenes.splits["train"]
    depths, normals = split.targets["depth"], split.targets["normals"]
    assert depths[0].shape == (64, 64)
    assert depths[0].min() > 1
    assert normals[0].shape[:2] == depths[0].shape
