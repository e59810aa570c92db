"""Segmentation and surface normals: sizes, targets, decoders, scores, and memory independent of the number of
images."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score

from backbones.catalog.card import preprocessing_for
from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.layer_info import FeatureMapInfo, MapFacts
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.loading import TrainableBackbone
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.dense_parameters import DenseParameters, NormalsParameters, SegmentationParameters, without_maps
from tasks.catalog.frozen_dense_parameters import SMALL_DEPTH, SMALL_LINEAR_SEGMENTATION, KnnSegmentationParameters
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.dataset import DataError, Dataset, HeldTargets, Kind, SourceSplit
from tasks.datasets.images import ArrayImages
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.confidence_intervals import over_images
from tasks.metrics.outcome import Outcome
from tasks.metrics.pixels import AngleHistogram, Confusion, angles_between
from tasks.metrics.rescore import rescore
from tasks.protocols import depth, knn_segmentation, linear_segmentation, normals, segmentation
from tasks.protocols.dense.image_batches import DenseImages, Pixels, scaled, up_to_multiple
from tasks.protocols.dense.network import LinearDecoder, PyramidPoolingDecoder, UperNet
from tasks.protocols.normals import Codebook
from tasks.reporter import SilentReporter

BACKBONES, TASKS = BackboneCatalog.load(), TaskCatalog.load()
SEGMENTATION = PROTOCOLS["segmentation"].presets["small"]
NORMALS = PROTOCOLS["normals"].presets["small"]
assert isinstance(SEGMENTATION, SegmentationParameters)
assert isinstance(NORMALS, NormalsParameters)
UPERNET = replace(SEGMENTATION, decoder="upernet", frozen=False, channels=16, steps=3, batch_size=4, sizes=(32, 64))
CODEBOOK = replace(NORMALS, answer="codebook", decoder="ppm", channels=16, steps=3, batch_size=4, directions=8)


def inputs_for(folder: Path, dataset: Dataset, backbone: str = "demo/simclr") -> ImageInputs:
    card = BACKBONES.cards[backbone]
    return ImageInputs(
        dataset=dataset,
        metric="accuracy",
        backbone=TrainableBackbone.verified(card, WeightsFolder(folder / "weights")),
        spec=preprocessing_for(card, "paper"),
        key="a key",
        checkpoint=folder / "checkpoint",
        checkpoint_s=0,
    )


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    card = TASKS.dataset("shapes-scenes")
    fewer = {**card.reader_arguments, "train": 24, "test": 12}
    return open_dataset(card.model_copy(update={"reader_arguments": fewer, "images": {}}), Path("/nowhere"))


def test_sizes_follow_the_published_code() -> None:
    assert scaled(480, 640, 300, 1000) == (300, 400)
    assert scaled(100, 1000, 300, 1000) == (100, 1000)
    assert up_to_multiple(300, 32) == 320
    assert up_to_multiple(320, 32) == 320


def test_paper_presets_say_what_the_published_code_does() -> None:
    paper = PROTOCOLS["segmentation"].presets["paper"]
    assert isinstance(paper, SegmentationParameters)
    assert (paper.decoder, paper.frozen, paper.steps, paper.batch_size) == ("upernet", False, 150_000, 4)
    assert (paper.rate, paper.power, paper.weight_decay, paper.normalisation) == (0.02, 0.9, 1e-4, "imagenet")
    assert paper.sizes == paper.test_sizes == (300, 375, 450, 525, 600)
    other = PROTOCOLS["normals"].presets["paper"]
    assert isinstance(other, NormalsParameters)
    assert (other.decoder, other.frozen, other.steps, other.batch_size) == ("ppm", True, 90 * 150, 2)
    assert (other.answer, other.directions, other.test_sizes, other.flip) == ("codebook", 40, (450,), False)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("make", [UperNet, PyramidPoolingDecoder, LinearDecoder])
def test_every_decoder_takes_pyramids_and_the_maps_of_plain_transformers(make: Any, plain: bool) -> None:
    channels = (8, 8, 8, 8) if plain else (4, 6, 8, 10)
    sides = (6, 6, 6, 6) if plain else (24, 12, 6, 3)
    how = {"plain": plain} if make is UperNet else {}
    decoder = make(channels, 5, **how) if make is LinearDecoder else make(channels, 16, 5, **how)
    maps = [torch.randn(2, count, side, 2 * side) for count, side in zip(channels, sides, strict=True)]
    found = decoder(maps)
    assert found.shape[:2] == (2, 5)
    finest = 24 if make is UperNet else 6 if plain else {PyramidPoolingDecoder: 3, LinearDecoder: 24}[make]
    assert found.shape[2:] == (finest, 2 * finest)


@pytest.mark.parametrize("backbone", ["demo/simclr", "demo/mae"])
@pytest.mark.parametrize(
    ("evaluate", "parameters"),
    [
        (segmentation.evaluate, UPERNET),
        (segmentation.evaluate, replace(SEGMENTATION, steps=3)),
        (normals.evaluate, CODEBOOK),
        (normals.evaluate, replace(NORMALS, steps=3)),
    ],
    ids=["upernet", "linear", "codebook", "direct"],
)
def test_all_kinds_of_backbones_are_measured_and_carry_on_bit_for_bit(
    tmp_path: Path, scenes: Dataset, backbone: str, evaluate: Callable[..., Outcome], parameters: DenseParameters
) -> None:
    inputs = inputs_for(tmp_path, scenes, backbone)
    whole = evaluate(inputs, parameters, 0, SilentReporter())
    again = evaluate(inputs, parameters, 0, Failing("training"))  # from the checkpoint: no training is left
    assert whole.metrics == again.metrics
    counted = rescore(evaluate.__module__.rpartition(".")[2], whole.predictions)
    assert counted is not None
    assert counted.metrics(whole.predictions) == pytest.approx(whole.metrics)
    assert whole.interval.low <= whole.value <= whole.interval.high
    assert whole.samples == {"train": 24, "test": 12}
    assert all(np.array_equal(values, again.predictions[name]) for name, values in whole.predictions.items())


@dataclass
class Failing(SilentReporter):
    """Fails if a step is taken."""

    within: str
    phase_name: str = ""
    steps: int = 0

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.phase_name, self.steps = name, 0

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        assert self.phase_name != self.within, "a step was taken again"


@dataclass
class Interrupting(SilentReporter):
    """Interrupts the training after a step."""

    at: int

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        if step == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("evaluate", "parameters"), [(segmentation.evaluate, UPERNET), (normals.evaluate, CODEBOOK)])
def test_an_interrupted_evaluation_ends_bit_for_bit_as_one_that_went_through(
    tmp_path: Path, scenes: Dataset, evaluate: Callable[..., Outcome], parameters: DenseParameters
) -> None:
    inputs = inputs_for(tmp_path / "cut", scenes)
    with pytest.raises(KeyboardInterrupt):
        evaluate(inputs, parameters, 0, Interrupting(at=2))
    cut = evaluate(inputs, parameters, 0, SilentReporter())
    whole = evaluate(inputs_for(tmp_path / "whole", scenes), parameters, 0, SilentReporter())
    assert cut.metrics == whole.metrics
    assert cut.diagnostics == whole.diagnostics
    assert all(np.array_equal(values, cut.predictions[name]) for name, values in whole.predictions.items())


def test_loss_falls_and_pretraining_beats_chance(tmp_path: Path) -> None:
    card = TASKS.dataset("shapes-scenes")
    fewer = {**card.reader_arguments, "train": 80, "test": 40}
    dataset = open_dataset(card.model_copy(update={"reader_arguments": fewer, "images": {}}), Path("/nowhere"))
    assert isinstance(NORMALS, NormalsParameters)
    found = {}
    for name in ("random", "simclr"):
        inputs = replace(inputs_for(tmp_path, dataset, f"demo/{name}"), checkpoint=None)
        found[name] = normals.evaluate(inputs, replace(NORMALS, steps=40), 0, SilentReporter())
    curve: Any = found["simclr"].diagnostics["loss_curve"]
    assert curve[-1][1] < 0.5 * curve[0][1]
    assert not found["simclr"].higher_is_better
    assert found["simclr"].value < found["random"].value - 3


def test_frozen_backbone_is_as_it_was_and_a_trained_one_is_not(tmp_path: Path, scenes: Dataset) -> None:
    from tasks.protocols.dense.network import DenseNetwork  # noqa: PLC0415 - with it comes what it is compared to

    inputs = inputs_for(tmp_path, scenes)
    before = inputs.backbone.fresh().state_dict()
    for frozen in (True, False):
        network = DenseNetwork(inputs, "linear", 16, 9, frozen=frozen, seed=0)
        network.train()
        network(torch.randn(4, 3, 64, 64)).sum().backward()
        torch.optim.SGD([p for p in network.parameters() if p.grad is not None], lr=0.1).step()
        after = network.maps.model.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items()) == frozen


def test_dilated_backbone_ends_in_stride_8_and_a_transformer_keeps_its_own(tmp_path: Path, scenes: Dataset) -> None:
    from tasks.protocols.dense.network import DenseNetwork  # noqa: PLC0415 - as above

    for backbone, last in (("demo/simclr", 8), ("demo/mae", 8)):
        inputs = inputs_for(tmp_path, scenes, backbone)
        assert DenseNetwork(inputs, "ppm", 16, 9, frozen=True, dilate=True, seed=0).strides[-1] == last
    assert DenseNetwork(inputs_for(tmp_path, scenes), "ppm", 16, 9, frozen=True, seed=0).strides[-1] == 32


def test_what_a_backbone_lacks_is_said() -> None:
    card, maps = BACKBONES.cards["timm/mae-hiera-tiny"], (MapFacts(stride=4, channels=96),)
    assert without_maps(card, FeatureMapInfo(maps=maps, any_size=True), SEGMENTATION) is None
    assert "of its own size only (224 pixels)" in str(without_maps(card, FeatureMapInfo(maps=maps), SEGMENTATION))
    assert without_maps(card, FeatureMapInfo(problem="no maps"), SEGMENTATION) == "no maps"


def a_split(images: np.ndarray[Any, Any], kind: Kind, targets: list[Any]) -> SourceSplit:
    held = HeldTargets(tuple(targets), "digest", ("a", "b"))
    labels = np.zeros((len(images), 0), np.int64)
    names = [str(index) for index in range(len(images))]
    return SourceSplit("train", ArrayImages(images), labels, names, "i", "l", {kind: held})


def test_padding_is_unknown_and_targets_are_sampled_where_the_pixels_are() -> None:
    mask = np.zeros((40, 60), np.int16)
    mask[:, 30:] = 1
    split = a_split(np.full((2, 40, 60, 3), 128, np.uint8), "masks", [mask, mask])
    images = DenseImages(split, split.targets["masks"], Pixels((0.5,) * 3, (0.5,) * 3), unit=32)
    parameters = replace(UPERNET, sizes=(40,), label_stride=4, flip=False)
    pixels, targets = images.batch([0, 1], parameters, lambda m: torch.from_numpy(m.astype(np.int64)), 0)
    assert pixels.shape == (2, 3, 64, 64)
    assert targets.shape == (2, 16, 16)
    assert targets[0, 0].tolist() == [0] * 7 + [1] * 8 + [-1]  # the centre of column 7 is pixel 30
    assert (targets[0, 10:] == -1).all()
    assert (pixels[:, :, 40:] == 0).all()


def test_mirrored_normals_point_the_other_way() -> None:
    seen = normals.mirrored(np.array([[[1, 0, 0], [0, 1, 0]]], np.float32))
    assert seen.tolist() == [[[0, 1, 0], [-1, 0, 0]]]


def test_image_and_target_of_different_sizes_are_refused() -> None:
    split = a_split(np.zeros((1, 8, 8, 3), np.uint8), "masks", [np.zeros((8, 9), np.int16)])
    images = DenseImages(split, split.targets["masks"], Pixels((0.5,) * 3, (0.5,) * 3), unit=8)
    with pytest.raises(DataError, match="8 x 8 pixels, and its target 9 x 8"):
        images.pair(0)


def test_mean_iou_comes_from_one_matrix_and_leaves_unknown_pixels_out() -> None:
    random = np.random.default_rng(0)
    truth = [random.integers(-1, 3, (20, 30)) for _ in range(6)]
    found = [random.integers(0, 3, (20, 30)) for _ in range(6)]
    confusion = Confusion(4)
    for one, other in zip(found, truth, strict=True):
        confusion.add(one, other)
    ours, theirs = np.concatenate(found).ravel(), np.concatenate(truth).ravel()
    ours, theirs = ours[theirs >= 0], theirs[theirs >= 0]
    ious = [np.sum((ours == c) & (theirs == c)) / np.sum((ours == c) | (theirs == c)) for c in range(3)]
    counts = confusion.counts
    assert counts.mean_iou == pytest.approx(100 * np.mean(ious))
    assert np.isnan(counts.ious[3])
    assert counts.pixel_accuracy == pytest.approx(100 * np.mean(ours == theirs))
    interval = over_images(counts.mean_ious, len(counts.images))
    assert interval.low < counts.mean_iou < interval.high


def test_mean_iou_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    truth, found = random.integers(0, 5, (64, 64)), random.integers(0, 5, (64, 64))
    confusion = Confusion(5)
    confusion.add(found, truth)
    theirs = jaccard_score(truth.ravel(), found.ravel(), average="macro")
    assert confusion.counts.mean_iou == pytest.approx(100 * float(theirs))


def test_angles_from_the_histogram_are_those_of_all_pixels() -> None:
    random = np.random.default_rng(0)
    every, histogram = [], AngleHistogram()
    for _ in range(20):
        truth = random.standard_normal((15, 20, 3))
        truth /= np.linalg.norm(truth, axis=2, keepdims=True)
        truth[0] = 0
        found = angles_between(truth + 0.3 * random.standard_normal(truth.shape), truth)
        assert len(found) == 14 * 20
        every.append(found)
        histogram.add(found)
    pooled, angles = np.concatenate(every), histogram.angles
    assert angles.counts.sum() == len(pooled)
    assert angles.scores["mean-angle"] == pytest.approx(pooled.mean())
    assert angles.median == pytest.approx(np.median(pooled), abs=0.01)
    for threshold in (11.25, 22.5, 30):
        assert angles.scores[f"within-{threshold:g}"] == pytest.approx(100 * np.mean(pooled < threshold))
    spread = 1.96 * np.std([one.mean() for one in every], ddof=1) / np.sqrt(len(every))
    interval = over_images(angles.mean_angles, len(every))
    assert interval.high - interval.low == pytest.approx(2 * spread, rel=0.1)


def test_angle_of_equal_vectors_is_exactly_small() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 50, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    assert angles_between(vectors, vectors).max() < 1e-4


def test_codebook_classes_are_the_nearest_centres_and_certainty_gives_them_back() -> None:
    centres = np.array([[1, 0, 0], [0, 1, 0], [0, 0, -1]], np.float64)
    book = Codebook(centres)
    normals_map = np.array([[[0.9, 0.1, 0], [0, 0.8, -0.2], [0, 0, 0]]], np.float32)
    assert book.classes(normals_map).tolist() == [[0, 1, -1]]
    certain = torch.eye(3)[None, :, :, None]
    assert torch.allclose(book.directions(certain)[0, :, :, 0], torch.from_numpy(centres).T)


def test_the_codebook_that_comes_with_the_data_is_used(scenes: Dataset) -> None:
    targets = scenes.splits["train"].targets["normals"]
    made = Codebook.of(targets, 8, seed=0)
    assert made.centres.shape == (8, 3)
    object.__setattr__(targets, "codebook", np.eye(3))
    try:
        assert Codebook.of(targets, 3, seed=0).centres.tolist() == np.eye(3).tolist()
    finally:
        object.__delattr__(targets, "codebook")


@dataclass
class Weighing(SilentReporter):
    """Counts all live tensors and arrays after the images with these numbers in the phase `test`."""

    when: tuple[int, ...] = (10, 50)
    testing: bool = False
    seen: int = 0
    bytes: list[int] = field(default_factory=list)

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.testing = name == "test"

    def advance(self, count: int = 1) -> None:
        self.seen += self.testing
        if self.testing and self.seen in self.when:
            gc.collect()
            self.bytes.append(tracemalloc.get_traced_memory()[0] + _tensor_bytes())


def _tensor_bytes() -> int:
    kinds = (torch.Tensor, torch.nn.Parameter)
    return sum(one.nbytes for one in gc.get_objects() if type(one) in kinds)


@dataclass(frozen=True, eq=False)
class Endless:
    """Any number of images and targets, created on access."""

    count: int
    kind: Kind
    classes: tuple[str, ...] = ("a", "b", "c")
    digest: str = "endless"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        if self.kind == "masks":
            return np.full((64, 64), index % 3, np.int16)
        if self.kind == "depth":
            return np.full((64, 64), 2 + index % 3, np.float32)
        return np.full((64, 64, 3), 3**-0.5, np.float32)


@dataclass(frozen=True, eq=False)
class EndlessImages:
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Image.Image:
        return Image.new("RGB", (64, 64), (index % 256, 0, 0))


def _endless(kind: Kind, count: int) -> Dataset:
    splits = {
        name: SourceSplit(
            name, EndlessImages(n), np.zeros((n, 0), np.int64), [str(i) for i in range(n)], "i", "l",
            {kind: Endless(n, kind)},
        )
        for name, n in (("train", 16), ("test", count))
    }  # fmt: skip
    return Dataset("endless", ("a", "b", "c"), multi_label=False, splits=splits)


@pytest.mark.parametrize(
    ("kind", "evaluate", "parameters"),
    [
        ("masks", segmentation.evaluate, replace(SEGMENTATION, steps=1)),
        ("normals", normals.evaluate, replace(NORMALS, steps=1)),
        ("masks", linear_segmentation.evaluate, replace(SMALL_LINEAR_SEGMENTATION, steps=1, batch_size=2)),
        ("depth", depth.evaluate, replace(SMALL_DEPTH, steps=1, batch_size=2)),
        ("masks", knn_segmentation.evaluate, KnnSegmentationParameters(size=64, memory=100)),
    ],
    ids=["segmentation", "normals", "linear-segmentation", "depth", "knn-segmentation"],
)
def test_memory_of_an_evaluation_does_not_grow_with_the_images(
    tmp_path: Path, kind: Kind, evaluate: Callable[..., Outcome], parameters: object
) -> None:
    scale = Weighing()
    tracemalloc.start()
    try:
        evaluate(inputs_for(tmp_path, _endless(kind, 50)), parameters, 0, scale)
    finally:
        tracemalloc.stop()
    early, late = scale.bytes
    assert late - early < 2 * 64 * 64 * 8  # forty more images take less than two predictions in int64
