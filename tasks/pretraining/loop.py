"""Pre-training runs, carried out by `tasks.training.loop`: pool of images, objective, batches and rates; and the export
of weights.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn
from torch.optim import AdamW

from backbones.io.files import whole_file, write_array
from tasks.pretraining.augmentation import (
    INPUT_SIZE,
    PIXEL_MEAN,
    PIXEL_STD,
    RECIPES,
    Architecture,
    Colouring,
    Method,
    Recipe,
    to_tensor,
)
from tasks.pretraining.objectives import MaskedAutoencoder, Objective, PoolBatch, Rotation, SimClr, Supervised
from tasks.reporter import SilentReporter
from tasks.synthetic import RENDERER_VERSION, SceneKind, render
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Training

SPLIT = "pretraining"
"""A separate split, none of whose images is used by a task."""
CORE_SECONDS = "core_seconds"


@dataclass(frozen=True)
class PoolSize:
    """Number of images of each kind."""

    objects: int = 14_000
    scenes: int = 6_000
    digits: int = 8_000

    @property
    def total(self) -> int:
        return self.objects + self.scenes + self.digits


@dataclass(frozen=True, eq=False)
class Pool:
    """`images` uint8 [n, h, w, 3]; `solids` and `digits` int64 [n], -1 for images without a single such label."""

    images: NDArray[np.uint8]
    solids: NDArray[np.int64]
    digits: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)


def render_pool(size: PoolSize) -> Pool:
    """Render the pool (about 600 images per second on one core)."""
    images = np.empty((size.total, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
    labels = np.empty((size.total, 2), np.int64)
    counts = zip(SceneKind, (size.objects, size.scenes, size.digits), strict=True)
    for row, (kind, index) in enumerate((kind, index) for kind, count in counts for index in range(count)):
        scene = render(kind, SPLIT, index, INPUT_SIZE)
        images[row] = scene.image
        labels[row] = scene.factors.solid if kind is SceneKind.OBJECT else -1, scene.factors.digit
    return Pool(images, labels[:, 0].copy(), labels[:, 1].copy())


def open_pool(folder: Path, size: PoolSize | None = None) -> Pool:
    """Open the pool of a folder, rendering it first if missing. The images stay on disk, memory-mapped."""
    size = size or PoolSize()
    stem = f"pool-v{RENDERER_VERSION}-{size.objects}-{size.scenes}-{size.digits}"
    paths = {part: folder / f"{stem}-{part}.npy" for part in ("solids", "digits", "images")}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        pool = render_pool(size)
        for part, path in paths.items():
            write_array(path, getattr(pool, part))
    opened = Pool(*(np.load(paths[part], mmap_mode="r") for part in ("images", "solids", "digits")))
    return replace(opened, solids=np.array(opened.solids), digits=np.array(opened.digits))


@dataclass(frozen=True)
class Run:
    """Settings of a pre-training; with the pool they determine the weights."""

    method: Method
    steps: int
    seed: int = 0
    batch_size: int = 256

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.method]


@dataclass(frozen=True)
class PretrainingProgress:
    """Progress of a run: `loss` is its running mean; `seconds_left` is wall-clock time."""

    step: int
    steps: int
    loss: float
    images_per_second: float
    seconds_left: float


def create_backbone(architecture: Architecture, seed: int) -> nn.Module:
    """Create an architecture with seeded weights."""
    torch.manual_seed(seed)
    return timm.create_model(architecture.name, pretrained=False, **architecture.arguments())


def create_objective(method: Method, seed: int) -> Objective:
    """Create a method's objective around a seeded backbone.

    Raises:
        ValueError: the method involves no training.
    """
    recipe = RECIPES[method]
    backbone = create_backbone(recipe.architecture, seed)
    match method:
        case Method.SUPERVISED:
            return Supervised(backbone, recipe.crop)
        case Method.SIMCLR:
            return SimClr(backbone, recipe.crop, Colouring())
        case Method.SIMCLR_NO_COLOUR:
            return SimClr(backbone, recipe.crop, None)
        case Method.ROTATION:
            return Rotation(backbone, recipe.crop)
        case Method.MAE:
            return MaskedAutoencoder(cast("Any", backbone), recipe.crop)
        case Method.RANDOM:
            raise ValueError("the method random involves no training")


def _batch(pool: Pool, run: Run, step: int) -> PoolBatch:
    """The batch of a step: each epoch is a new permutation, without its last, incomplete batch."""
    per_epoch = max(1, len(pool) // run.batch_size)
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([run.seed, epoch]).permutation(len(pool))
    rows = np.sort(order[place * run.batch_size : (place + 1) * run.batch_size])
    images = to_tensor(torch.from_numpy(pool.images[rows]))
    return PoolBatch(images, torch.from_numpy(pool.solids[rows]), torch.from_numpy(pool.digits[rows]))


def _generator(run: Run, step: int) -> torch.Generator:
    """Generator of a step, so that no generator state has to be stored."""
    state = np.random.SeedSequence([run.seed, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Linear warm-up, then half a cosine down to 0."""
    warm = max(1, round(recipe.warmup * steps))
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Trainer:
    """A run: its objective, and its training by `tasks.training.loop`."""

    def __init__(self, run: Run, pool: Pool) -> None:
        self.run, self.pool = run, pool
        self.objective = create_objective(run.method, run.seed)
        module = cast("nn.Module", self.objective).to(memory_format=torch.channels_last)
        module.train()
        # vectors (norms, biases) and tokens have no weight decay
        decayed = [p for p in module.parameters() if p.ndim in (2, 4)]
        others = [p for p in module.parameters() if p.ndim not in (2, 4)]
        groups = [{"params": decayed, "weight_decay": run.recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.training = Training(
            module,
            AdamW(groups, lr=1.0, betas=(0.9, 0.98)),  # scaled by `learning_rate`
            run.steps,
            loss=lambda step: self.objective.loss(_batch(pool, run, step), _generator(run, step)),
            rate=lambda step: learning_rate(step, run.steps, run.recipe),
            seed=run.seed,
            label=str(run.method),
            clip=3.0,
            after=self._count_time,
            notes={CORE_SECONDS: 0.0},
        )
        self._clock = time.process_time()

    def _count_time(self, _step: int) -> None:
        now = time.process_time()
        self.training.notes[CORE_SECONDS] += now - self._clock
        self._clock = now

    @property
    def core_seconds(self) -> float:
        """Processor time of the steps so far in seconds, over all attempts."""
        return self.training.notes[CORE_SECONDS]

    def origin(self) -> Origin:
        """Provenance of the current weights."""
        run = self.run
        return Origin(run.method, run.recipe.architecture, run.seed, self.training.step, run.steps, self.core_seconds)

    def checkpoint(self, path: Path) -> Checkpoint:
        """The checkpoint of this run; states of other runs in the file are ignored."""
        run = self.run
        return Checkpoint(path, f"pretraining {run.method} {run.steps} {run.seed} {run.batch_size}")


@dataclass
class ProgressReports(SilentReporter):
    """Reporter that calls `report` after every `every` steps."""

    run: Run
    report: Callable[[PretrainingProgress], None]
    every: int = 50
    _loss: float = 0.0
    _first: int | None = None
    _step: int = 0
    _started: float = 0.0

    def metric(self, name: str, value: float, step: float | None = None) -> None:  # noqa: ARG002 - of the interface
        """Keep the running mean of the loss."""
        self._loss = value

    def warn(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    def advance(self, count: int = 1) -> None:
        """Count steps; the first call contains those of earlier attempts."""
        self._step += count
        if self._first is None:
            self._first, self._started = self._step, time.monotonic()
        elif (self._step - self._first) % self.every == 0:
            seconds = (time.monotonic() - self._started) / (self._step - self._first)
            speed, left = self.run.batch_size / seconds, (self.run.steps - self._step) * seconds
            self.report(PretrainingProgress(self._step, self.run.steps, self._loss, speed, left))


@dataclass(frozen=True)
class Origin:
    """Provenance of exported weights."""

    method: str
    architecture: Architecture
    seed: int
    steps: int
    """Number of optimiser steps taken."""
    planned_steps: int
    """Steps of the whole schedule: more than `steps` if the weights are a checkpoint of an unfinished run."""
    core_seconds: float

    def header(self) -> dict[str, str]:
        """Metadata for a safetensors header: strings only."""
        return {
            "format": "pt",
            "method": self.method,
            "architecture": self.architecture.name,
            "architecture_arguments": json.dumps(self.architecture.arguments()),
            "input_size": str(INPUT_SIZE),
            "pixel_mean": str(PIXEL_MEAN),
            "pixel_std": str(PIXEL_STD),
            "seed": str(self.seed),
            "steps": str(self.steps),
            "planned_steps": str(self.planned_steps),
            "core_seconds": f"{self.core_seconds:.0f}",
        }


def export(backbone: nn.Module, origin: Origin, path: Path) -> None:
    """Write the weights in half precision, atomically."""
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in backbone.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(save(weights, metadata=origin.header()))
