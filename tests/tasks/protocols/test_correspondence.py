"""Keypoint correspondence: equal to the published loops, resumed, and bounded in memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.frozen_dense_parameters import CORRESPONDENCE, CorrespondenceParameters
from tasks.datasets.dataset import DataError, Dataset, HeldTargets, KeypointPair
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.rescore import rescore
from tasks.protocols import correspondence
from tasks.protocols.correspondence import ImageMap, MappedImages, chosen_pairs, evaluate, matched, relative_errors
from tasks.protocols.dense.frozen_maps import FrozenMaps
from tasks.protocols.dense.image_batches import Pixels
from tasks.reporter import SilentReporter
from tests.tasks.memory import peak_bytes
from tests.tasks.workspace_fixture import Listener, demo, image_inputs, shapes

SMALL = CorrespondenceParameters(layers="quarters", size=64, positions="pixels", reading="pck-image")
QUIET = SilentReporter()


def rendered(pairs: int) -> Dataset:
    card = TaskCatalog.load().dataset("shapes-pairs")
    fewer = {**card.reader_arguments, "pairs": pairs}
    return open_dataset(card.model_copy(update={"reader_arguments": fewer, "images": {}}), Path("/nowhere"))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return rendered(12)


@pytest.fixture
def inputs(tmp_path: Path, dataset: Dataset) -> ImageInputs:
    return replace(image_inputs(demo("mae"), tmp_path, shapes(1), kept=True), dataset=dataset)


def an_image(width: int, height: int, channels: int = 5, side: int = 48, canvas: str = "squashed") -> ImageMap:
    features = torch.randn(channels, 6, 6, generator=torch.Generator().manual_seed(width))
    longer = max(width, height)
    return ImageMap(features, (width, height), (longer, longer) if canvas == "padded" else (width, height), side)


def dift(source: ImageMap, target: ImageMap, points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The loop of eval_spair.py (Tsingularity/dift), whose images are [h, w]."""
    sizes = [one.size[::-1] for one in (source, target)]
    src_ft, trg_ft = (
        nn.Upsample(size=size, mode="bilinear")(one.features[None])
        for one, size in zip((source, target), sizes, strict=True)
    )
    found = []
    for x, y in points:
        src_vec = functional.normalize(src_ft[0, :, y, x].view(1, -1)).transpose(0, 1)
        trg_vec = functional.normalize(trg_ft.view(trg_ft.shape[1], -1).transpose(0, 1))
        cosines = torch.mm(trg_vec, src_vec).view(sizes[1]).numpy()
        row, column = np.unravel_index(cosines.argmax(), cosines.shape)
        found.append((int(column), int(row)))
    return found


def test_positions_among_pixels_are_those_of_the_published_loop() -> None:
    source, target = an_image(40, 30), an_image(31, 45)
    points = [(0, 0), (39, 29), (12, 7), (25, 18)]
    expected = dift(source, target, points)
    options = CorrespondenceParameters(canvas="squashed", positions="pixels")
    assert matched(source, target, np.array(points, np.float32), options).tolist() == [list(one) for one in expected]


def test_enlarged_norms_are_the_same_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = an_image(31, 45).norms
    monkeypatch.setattr(correspondence, "STRIP_BYTES", 4 * 5 * 31 * 7)
    assert torch.allclose(an_image(31, 45).norms, whole, atol=1e-6)


def probe3d(source: ImageMap, target: ImageMap, pair: KeypointPair) -> list[float]:
    """`compute_errors` of evaluate_spair_correspondence.py (mbanani/probe3d), relative to its threshold's scale."""
    side = source.side
    feats = [functional.normalize(one.features, dim=0) for one in (source, target)]
    points = []
    for one, given in ((source, pair.source_points), (target, pair.target_points)):
        scaled = (torch.from_numpy(given) * side / max(one.size)).int()  # its keypoints are whole numbers
        points.append(scaled.float() / side)
    sampled = functional.grid_sample(
        feats[0][None], (points[0] * 2 - 1)[None, None], mode="bilinear", align_corners=True
    )[0, :, 0].t()
    heat: Tensor = torch.einsum("kf,fhw->khw", sampled, feats[1]).flatten(1)
    best = heat.argmax(dim=1)
    wide = feats[1].shape[-1]
    predicted = torch.stack([best % wide, best // wide], dim=1).float() / wide
    x0, y0, x1, y1 = pair.box
    scale = max(x1 - x0, y1 - y0) / max(target.size)
    errors: list[float] = ((predicted - points[1]).norm(dim=1) / scale).tolist()
    return errors


def test_positions_among_patches_are_those_of_the_published_loop() -> None:
    source, target = an_image(40, 30, canvas="padded", side=80), an_image(20, 40, canvas="padded", side=80)
    pair = KeypointPair(
        1, np.array([[3, 4], [20, 29], [39, 0]], np.float32), np.array([[1, 2], [19, 39], [7, 7]], np.float32),
        (2.0, 3.0, 14.0, 33.0), 0,
    )  # fmt: skip
    options = CorrespondenceParameters()
    found = relative_errors(matched(source, target, pair.source_points, options), pair)
    assert found == pytest.approx(probe3d(source, target, pair), abs=1e-6)


def test_a_point_is_found_again_in_the_same_image(inputs: ImageInputs) -> None:
    split = inputs.split("test")
    options = replace(SMALL, layers="last")
    images = MappedImages(FrozenMaps(inputs, "last"), split.images, Pixels.of("card", inputs.spec), options)
    points = np.array([[10, 20], [40, 33]], np.float32)
    assert np.abs(matched(images[0], images[0], points, options) - points).max() <= 1


def test_padding_is_white_and_right_and_below_and_takes_no_keypoint(inputs: ImageInputs) -> None:
    seen: list[Tensor] = []

    class Recorded(FrozenMaps):
        def __call__(self, images: Tensor) -> list[Tensor]:
            seen.append(images)
            return super().__call__(images)

    wide = Image.new("RGB", (64, 32), (0, 0, 0))
    images = MappedImages(
        Recorded(inputs, "last"), [wide], Pixels((0, 0, 0), (1, 1, 1)), replace(SMALL, canvas="padded")
    )
    found = images[0].nearest_pixels(torch.randn(20, images[0].features.shape[0]))
    assert seen[0][0, :, :30].max() < 0.1
    assert seen[0][0, :, 34:].min() > 0.9
    assert found[:, 1].max() < 32


def test_pairs_per_class_are_the_same_in_every_process_and_of_every_class(dataset: Dataset) -> None:
    targets = dataset.splits["test"].targets["keypoint-pairs"]
    every, one, again = (chosen_pairs(targets, count) for count in (0, 1, 1))
    assert len(every) == 12
    assert [pair.source for pair in one] == [pair.source for pair in again]
    assert {pair.pair.category for pair in one} == {pair.pair.category for pair in every}
    assert len(one) == len({pair.pair.category for pair in every})


def test_an_evaluation_repeats_and_its_scores_follow_from_its_predictions(inputs: ImageInputs) -> None:
    one, other = (evaluate(inputs, SMALL, 0, QUIET) for _ in range(2))
    assert one.metrics == other.metrics
    found = rescore("correspondence", one.predictions)
    assert found is not None
    assert found.metrics(one.predictions) == pytest.approx(dict(one.metrics))
    assert found.interval(one.predictions, "pck-image") == one.interval
    assert one.interval.low <= one.value <= one.interval.high
    assert one.samples == {"test": 24, "pairs": 12}
    errors, pair = one.predictions["keypoint_error"], one.predictions["keypoint_pair"]
    assert (
        np.bincount(pair.astype(int), weights=errors.astype(float) <= SMALL.threshold).tolist()
        == one.predictions["correct"].tolist()
    )
    assert (inputs.pictures or Path()).joinpath("keypoints.png").stat().st_size > 1000


def test_an_interrupted_evaluation_continues_where_it_was(inputs: ImageInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(replace(inputs, checkpoint=None), SMALL, 0, QUIET)
    monkeypatch.setattr("tasks.training.checkpoint.KEEP_EVERY_S", 0.0)
    calls = 0

    def torn(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return matched(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("tasks.protocols.correspondence.matched", torn)
    with pytest.raises(KeyboardInterrupt):
        evaluate(inputs, SMALL, 0, QUIET)
    listener = Listener()
    cut = evaluate(inputs, SMALL, 0, listener)
    assert calls == 8 + 12 - 7
    assert listener.advanced == 12
    assert cut.metrics == whole.metrics
    assert all(np.array_equal(cut.predictions[name], whole.predictions[name]) for name in whole.predictions)


def test_an_image_of_several_pairs_is_encoded_once_within_the_bound(
    inputs: ImageInputs, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = dataset.splits["test"]
    maps = FrozenMaps(inputs, "last")
    images = MappedImages(maps, split.images, Pixels.of("card", inputs.spec), SMALL)
    for row in (0, 1, 0, 2, 1, 0):
        _ = images[row]
    assert images.encoded == 3
    monkeypatch.setattr(correspondence, "CACHED_BYTES", 2 * images[0].bytes)
    for row in (3, 4, 3, 4, 0):
        _ = images[row]
    assert images.encoded == 6


def test_memory_does_not_grow_with_images(inputs: ImageInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correspondence, "CACHED_BYTES", 40_000)
    monkeypatch.setattr(correspondence, "check_tokens", lambda *_given: {})
    quick, options = replace(inputs, checkpoint=None, pictures=None), replace(SMALL, layers="last")
    few, many = (
        peak_bytes(partial(evaluate, replace(quick, dataset=rendered(pairs)), options, 0, QUIET)) for pairs in (2, 6)
    )
    features = 4 * 64 * 64  # 8 x 8 patches of width 64
    assert (many - few) / (2 * 4) < features / 4


def test_targets_that_name_no_pair_are_refused(inputs: ImageInputs, dataset: Dataset) -> None:
    split = dataset.splits["test"]
    none = replace(split, targets={"keypoint-pairs": HeldTargets(((),) * len(split.images), "")})
    with pytest.raises(DataError, match="no pair of images"):
        evaluate(replace(inputs, dataset=replace(dataset, splits={"test": none})), SMALL, 0, QUIET)


def test_an_image_of_another_size_than_its_keypoints_are_for_is_refused(inputs: ImageInputs, dataset: Dataset) -> None:
    split = dataset.splits["test"]
    pairs = split.targets["keypoint-pairs"]
    sizes: tuple[tuple[int, int] | None, ...] = ((64, 32),) * len(pairs)
    other = replace(
        split,
        targets={
            "keypoint-pairs": HeldTargets(tuple(pairs[row] for row in range(len(pairs))), "", pairs.classes, sizes)
        },
    )
    with pytest.raises(DataError, match="pair/test/0/0 is 64 x 64 pixels, and its keypoints are for 64 x 32"):
        evaluate(replace(inputs, dataset=replace(dataset, splits={"test": other})), SMALL, 0, QUIET)


def test_presets_are_named_after_their_code() -> None:
    presets = CORRESPONDENCE.presets
    assert presets["published"] == presets["probe3d"]
    assert presets["dift"].canvas == "squashed"  # type: ignore[attr-defined]
