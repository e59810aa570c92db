"""Memory beyond the stored features: it grows by a few numbers per image at most, not by features or pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.catalog.analysis_parameters import LabelFreeParameters, LidarParameters, TransferabilityParameters
from tasks.catalog.finetune_parameters import SMALL_VIT
from tasks.catalog.head_parameters import AttentiveParameters, KShotParameters, LayersParameters, LinearHeadsParameters
from tasks.catalog.retrieval_parameters import RobustnessParameters
from tasks.datasets.dataset import Dataset, SourceSplit
from tasks.datasets.shifts import PREFIX
from tasks.evaluation.inputs import BankInputs, ImageInputs, ManyShotInputs
from tasks.metrics.outcome import Outcome
from tasks.protocols import (
    attentive,
    k_shot,
    label_free,
    layers,
    lidar,
    linear_heads,
    robustness,
    transferability,
)
from tasks.protocols.finetune import classifier, vit_protocol
from tasks.reporter import Reporter, SilentReporter
from tasks.solvers.nearest_neighbours import BlockSizes
from tests.tasks.memory import peak_bytes, peak_of_reports
from tests.tasks.protocols import layer_inputs
from tests.tasks.protocols.layer_inputs import layer_inputs as made
from tests.tasks.workspace_fixture import image_inputs, network, shapes

WIDTH, FEW, MANY = 256, 120, 360
QUIET = SilentReporter()
Protocol = Callable[[ManyShotInputs], Outcome]


def of_bank(evaluate: Callable[..., Outcome], parameters: object) -> Protocol:
    return lambda inputs: evaluate(BankInputs.of(inputs), parameters, 0, QUIET)


PROTOCOLS: dict[str, Protocol] = {
    "layers": lambda inputs: layers.evaluate(inputs, LayersParameters(neighbours=3), 0, QUIET),
    "linear-heads": lambda inputs: linear_heads.evaluate(
        inputs, LinearHeadsParameters(steps=2, batch_size=16, rates=(0.01,)), 0, QUIET
    ),
    "k-shot": of_bank(k_shot.evaluate, KShotParameters(shots=(1,), shares=(), headline=1, draws=2)),
    "label-free": of_bank(label_free.evaluate, LabelFreeParameters()),
    "transferability": of_bank(transferability.evaluate, TransferabilityParameters(pairwise_images=40, components=1)),
}
SIZE = 64
IMAGE_PROTOCOLS: dict[str, Callable[[ImageInputs, Reporter], Outcome]] = {
    "attentive": lambda inputs, reporter: attentive.evaluate(
        inputs, AttentiveParameters(rates=(0.01,), steps=2, batch_size=4), 0, reporter
    ),
    "finetune-vit": lambda inputs, reporter: vit_protocol.evaluate(
        inputs, replace(SMALL_VIT, steps=21, batch_size=2, rates=(1e-3,), head_steps=0), 0, reporter
    ),
    "lidar": lambda inputs, reporter: lidar.evaluate(
        inputs, LidarParameters(images=10_000, views=2, delta=1e-6), 0, reporter
    ),
}


BLOCKS = (
    "tasks.protocols.k_shot.BLOCK",
    "tasks.protocols.linear_heads.BLOCK",
    "tasks.solvers.moments.BLOCK",
    "tasks.protocols.transferability.BLOCK",
    "tasks.solvers.nearest_neighbours.QUERIES_HELD",
)


@torch.enable_grad()
def trained(name: str, inputs: ManyShotInputs) -> Outcome:
    """The protocol with gradients, which counting switches off."""
    return PROTOCOLS[name](inputs)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_memory_grows_with_numbers_per_image_and_not_with_features(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_inputs, "WIDTH", WIDTH)
    monkeypatch.setattr("tasks.solvers.nearest_neighbours.CACHED", BlockSizes(bank=40, queries=40))
    for block in BLOCKS:
        monkeypatch.setattr(block, 40)
    few, many = (made(depth=1, counts=dict.fromkeys(("train", "val", "test"), images)) for images in (FEW, MANY))
    small, large = (peak_bytes(partial(trained, name, inputs)) for inputs in (few, many))
    assert (large - small) / (3 * (MANY - FEW)) < WIDTH


def test_memory_of_robustness_does_not_grow_with_the_shifted_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_inputs, "WIDTH", WIDTH)
    monkeypatch.setattr(robustness, "ROWS", 40)

    def inputs(images: int) -> ManyShotInputs:
        found = made(depth=1, counts={"train": FEW, "val": FEW, "test": images})
        return replace(found, shifts={f"{PREFIX}blur-{severity}": found.test for severity in (1, 3, 5)})

    def evaluated(images: int) -> Callable[[], Outcome]:
        given = inputs(images)
        return lambda: robustness.evaluate(given, RobustnessParameters(strengths=3), 0, QUIET)

    small, large = (peak_bytes(evaluated(images)) for images in (FEW, MANY))
    assert (large - small) / (4 * (MANY - FEW)) < WIDTH


@dataclass(frozen=True)
class Endless:
    """Any number of images, created on access."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Image.Image:
        return Image.effect_noise((SIZE, SIZE), 1 + index % 50).convert("RGB")


def endless(count: int) -> Dataset:
    """A dataset of two classes whose splits have this many images each."""
    splits = {
        name: SourceSplit(name, Endless(count), np.arange(count) % 2, [str(n) for n in range(count)], name, "l")
        for name in ("train", "test")
    }
    return Dataset("endless", ("a", "b"), multi_label=False, splits=splits)


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGE_PROTOCOLS)
def test_memory_of_online_protocols_does_not_grow_with_the_images(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "KEPT_BYTES", 0)
    given = image_inputs(network("test_vit", img_size=SIZE, patch_size=8), tmp_path, shapes(4))
    IMAGE_PROTOCOLS[name](replace(given, dataset=endless(24), batch_size=4), QUIET)  # lazy imports of torch

    def peak(count: int) -> int:
        inputs = replace(given, dataset=endless(count), batch_size=4)
        return peak_of_reports(lambda reporter: IMAGE_PROTOCOLS[name](inputs, reporter))

    few, many = peak(24), peak(72)
    assert (many - few) / (2 * 48) < 3 * SIZE * SIZE / 3  # a third of an image


def test_crops_that_are_kept_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = image_inputs(network("test_vit", img_size=SIZE, patch_size=8), tmp_path, shapes(4))
    monkeypatch.setattr(classifier, "KEPT_BYTES", 100 * 3 * SIZE * SIZE)
    for count, kept in ((100, 100), (101, 0)):
        role = classifier.RoleImages.of(endless(count), (("train", np.arange(count)),), given.spec)
        role.centres(np.arange(count))
        assert len(role._kept) == kept
