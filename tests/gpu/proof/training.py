"""Training protocols of a ResNet-50 on synthetic images: images per second, memory, mixed precision versus float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from backbones.catalog.card import Precision, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.loading import TrainableBackbone
from tasks.catalog.dense_parameters import SMALL_DETECTION, DetectionParameters, SegmentationParameters
from tasks.catalog.finetune_parameters import FinetuneParameters
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.outcome import Outcome
from tasks.protocols import detection as detecting
from tasks.protocols import segmentation as segmenting
from tasks.protocols.finetune import protocol as finetuning
from tasks.reporter import SilentReporter
from tests.gpu.proof.record import Check, Setting
from tests.tasks.workspace_fixture import CATALOG, network

WARM = 3
"""Warm-up steps, in which kernels are selected."""
LOSS_APART = 0.1
"""Relative difference of the mean loss over the same steps: bfloat16 keeps 8 bits of each factor, and training
amplifies it."""


@dataclass
class Stopwatch(SilentReporter):
    """Measures the steps of the longest training phase."""

    times: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        """Called with a loss after every step."""
        if name == "loss":
            self.times.append(time.perf_counter())
            self.losses.append(value)

    def images_per_s(self, batch: int) -> float:
        """Mean over the steps after the first ones."""
        return batch * (len(self.times) - 1 - WARM) / (self.times[-1] - self.times[WARM])


@dataclass(frozen=True)
class Case:
    """One protocol with few steps."""

    name: str
    dataset: str
    evaluate: Callable[[ImageInputs, Any, int, Stopwatch], Outcome]
    parameters: Any
    batch: int


def _cases(steps: int, side: int, batch: int) -> Sequence[Case]:
    sizes = {"sizes": (side,), "test_sizes": (side,), "channels": 64 if batch < 8 else 512}
    finetune = FinetuneParameters(steps=steps, batch_size=batch, rates=(0.01,), bases=(1e-4,), augmentation="off")
    detection = DetectionParameters(
        iterations=steps, batch=max(2, batch // 16), short_sides=(side,), test_side=side, longest_side=2 * side
    )
    if batch < 8:
        detection = replace(SMALL_DETECTION, iterations=steps, batch=2)
    segmentation = SegmentationParameters(steps=steps, batch_size=max(2, batch // 8), **sizes)  # type: ignore[arg-type]
    return (
        Case("finetune", "shapes", finetuning.evaluate, finetune, batch),
        Case("detection", "shapes-scenes", detecting.evaluate, detection, detection.batch),
        Case("segmentation", "shapes-scenes", segmenting.evaluate, segmentation, segmentation.batch_size),
    )


def training(setting: Setting) -> Sequence[Check]:
    """All protocols in both precisions."""
    checks: list[Check] = []
    steps, side, batch = (WARM + 3, 64, 4) if setting.rehearsal else (30, 480, 64)
    for case in _cases(steps, side, batch):
        kept = {}
        for precision in ("float32", "bfloat16"):
            speed, loss, memory = _trained(setting, case, precision)
            kept[precision] = loss
            checks.append(Check(f"{case.name} at {precision}", speed, "images/s"))
            if memory:
                checks.append(Check(f"{case.name} at {precision}: memory", memory / 1e9, "GB"))
        apart = abs(kept["bfloat16"] / kept["float32"] - 1)
        checks.append(Check(f"{case.name}: losses of both precisions, relative", apart, holds=apart <= LOSS_APART))
    return checks


def _trained(setting: Setting, case: Case, precision: Precision) -> tuple[float, float, int]:
    """Images per second, running mean of the loss, peak device memory in bytes."""
    cuda = setting.device != "cpu"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    watch = Stopwatch()
    case.evaluate(_inputs(setting, case, precision), case.parameters, 0, watch)
    return watch.images_per_s(case.batch), watch.losses[-1], torch.cuda.max_memory_allocated() if cuda else 0


def _inputs(setting: Setting, case: Case, precision: Precision) -> ImageInputs:
    card = network("test_resnet", 64) if setting.rehearsal else network("resnet50", 224)
    dataset = CATALOG.dataset(case.dataset)
    few = {**dataset.reader_arguments, "train": 40, "test": 4}
    return ImageInputs(
        dataset=open_dataset(dataset.model_copy(update={"reader_arguments": few, "images": {}}), setting.folder),
        metric="accuracy",
        backbone=TrainableBackbone.verified(card, WeightsFolder(setting.folder / "weights")),
        spec=preprocessing_for(card, "paper"),
        key="of this result",
        device=setting.device,
        precision=precision,
    )
