"""The pre-training loop: a fixed number of steps, reproducible bit for bit, also across interruptions."""

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from backbones.io.files import whole_file
from tasks.pretraining.augmentation import RECIPES, Architecture, Colouring, Method, Recipe, to_tensor
from tasks.pretraining.export import Origin
from tasks.pretraining.image_pool import Pool
from tasks.pretraining.objectives import MaskedAutoencoder, Objective, PoolBatch, Rotation, SimClr, Supervised


@dataclass(frozen=True)
class Run:
    """Settings of a pre-training; with the pool they determine the weights."""

    method: Method
    steps: int
    seed: int = 0
    batch_size: int = 256

    @property
    def recipe(self) -> Recipe:
        """The method's recipe."""
        return RECIPES[self.method]


@dataclass(frozen=True)
class PretrainingProgress:
    """Progress of a run: `loss` is the mean since the last report; `seconds_left` is wall-clock time."""

    step: int
    steps: int
    loss: float
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Checkpointing:
    """Path of the checkpoint, and the wall-clock interval between writes in seconds."""

    path: Path
    every: float = 120.0


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


def _optimiser(module: nn.Module, recipe: Recipe) -> AdamW:
    """AdamW; vectors (norms, biases) and tokens have no weight decay."""
    decayed = [p for p in module.parameters() if p.ndim in (2, 4)]
    others = [p for p in module.parameters() if p.ndim not in (2, 4)]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))


class Trainer:
    """A run in progress: objective, optimiser, steps taken and core-seconds used."""

    def __init__(self, run: Run, pool: Pool) -> None:
        self.run, self.pool = run, pool
        self.objective = create_objective(run.method, run.seed)
        self._module = cast("nn.Module", self.objective).to(memory_format=torch.channels_last)
        self._module.train()
        self._optimiser = _optimiser(self._module, run.recipe)
        self.step = 0
        self._spent, self._clock = 0.0, time.process_time()

    @property
    def core_seconds(self) -> float:
        """Processor time of the run so far in seconds, over all attempts."""
        return self._spent + time.process_time() - self._clock

    def origin(self) -> Origin:
        """Provenance of the current weights."""
        run = self.run
        return Origin(run.method, run.recipe.architecture, run.seed, self.step, run.steps, self.core_seconds)

    def advance(self) -> float:
        """Take one step and return its loss.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.run.steps, self.run.recipe)
        loss: Tensor = self.objective.loss(_batch(self.pool, self.run, self.step), _generator(self.run, self.step))
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(f"{self.run.method}: the loss is {loss.item()} at step {self.step}")
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._module.parameters(), 3.0)
        self._optimiser.step()
        self.step += 1
        return loss.item()

    def save(self, path: Path) -> None:
        """Write the state atomically. Raises OSError."""
        state = {
            "run": [str(self.run.method), self.run.steps, self.run.seed, self.run.batch_size],
            "step": self.step,
            "core_seconds": self.core_seconds,
            "module": self._module.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(state, buffer)  # its own error for a full disk does not mention the disk
        with whole_file(path) as file:
            file.write(buffer.getbuffer())

    def restore(self, path: Path) -> None:
        """Restore a state written by `save`.

        Raises:
            ValueError: the state is of another run.
        """
        state = torch.load(path, weights_only=True)
        mine = [str(self.run.method), self.run.steps, self.run.seed, self.run.batch_size]
        if state["run"] != mine:
            raise ValueError(f"{path} is of the run {state['run']}, not of {mine}: remove it, or use the same options")
        self._module.load_state_dict(state["module"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])
        self._spent, self._clock = float(state["core_seconds"]), time.process_time()


def train(
    trainer: Trainer,
    checkpointing: Checkpointing | None = None,
    report: Callable[[PretrainingProgress], None] | None = None,
    report_every: int = 50,
) -> None:
    """Take the run's remaining steps, resuming from the checkpoint if there is one and updating it."""
    if checkpointing is not None and checkpointing.path.exists():
        trainer.restore(checkpointing.path)
    started, first, saved, losses = time.monotonic(), trainer.step, time.monotonic(), list[float]()
    while trainer.step < trainer.run.steps:
        losses.append(trainer.advance())
        if report is not None and len(losses) >= report_every:
            report(_progress(trainer, losses, (time.monotonic() - started) / (trainer.step - first)))
            losses.clear()
        if checkpointing is not None and time.monotonic() - saved >= checkpointing.every:
            trainer.save(checkpointing.path)
            saved = time.monotonic()
    if checkpointing is not None:
        trainer.save(checkpointing.path)


def _progress(trainer: Trainer, losses: list[float], seconds_per_step: float) -> PretrainingProgress:
    run = trainer.run
    return PretrainingProgress(
        step=trainer.step,
        steps=run.steps,
        loss=sum(losses) / len(losses),
        images_per_second=run.batch_size / seconds_per_step,
        seconds_left=(run.steps - trainer.step) * seconds_per_step,
    )
