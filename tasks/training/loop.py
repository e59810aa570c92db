"""A training loop of a fixed number of steps, reproducible bit for bit, also across interruptions; and learning rate
schedules.

A step depends only on the model, the optimiser and its number, so these three are the whole state: no generator state
has to be stored, and step 700 draws the same numbers after any number of interruptions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from backbones.catalog.card import Precision
from backbones.cpu.free_cores import usable_cores
from backbones.cpu.threads import one_core_threads
from tasks.features.manifest import NotFiniteError
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint, termination_deferred

SAVE_EVERY_S = 60.0
WORTH_KEEPING_S = 5.0
"""Seconds of work from which a final checkpoint is written, because later phases may be interrupted."""
LOSS_OVER = 0.98
"""Decay of the running mean of the loss that is reported."""
DIV_FACTOR = 25.0
"""Initial rate of the published one-cycle schedule: the maximum divided by this and by the final factor."""
FINAL_FACTOR = 1000.0
BASE_BETA1, MAX_BETA1 = 0.85, 0.95


def generator_of(*address: int) -> np.random.Generator:
    """numpy generator of an address, e.g. (seed, purpose, step)."""
    return np.random.default_rng(list(address))


@contextmanager
def torch_seeded(device: str, *address: int) -> Iterator[None]:
    """Seed torch's global generators (dropout, samplers) in the context and restore their state afterwards."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        state = np.random.SeedSequence(list(address)).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> np.uint64(1)))
        yield


def batch_of(step: int, count: int, batch_size: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices of a step's batch among `count` samples: each epoch is a new permutation; its last batch may be smaller.

    The published loaders also use the smaller batch (`drop_last` is false).
    """
    per_epoch = -(-count // batch_size)
    epoch, place = divmod(step, per_epoch)
    order = generator_of(seed, 0, epoch).permutation(count)
    return order[place * batch_size : (place + 1) * batch_size]


def grouped_batch_of(step: int, groups: Sequence[int], batch_size: int, seed: int) -> npt.NDArray[np.int64]:
    """As `batch_of`, with batches of one group each (e.g. landscape and portrait images), all of full size.

    `groups` is the group of each sample. A group smaller than a batch repeats samples.
    """
    kinds = np.asarray(groups)
    per_epoch = max(1, len(kinds) // batch_size)
    epoch, place = divmod(step, per_epoch)
    order = generator_of(seed, 0, epoch).permutation(len(kinds))
    batches: list[npt.NDArray[np.int64]] = []
    for kind in np.unique(kinds):
        members = order[kinds[order] == kind]
        padded = np.resize(members, max(batch_size, len(members) // batch_size * batch_size))
        batches.extend(padded.reshape(-1, batch_size))
    turn = generator_of(seed, 1, epoch).permutation(len(batches))
    chosen: npt.NDArray[np.int64] = batches[turn[place % len(batches)]]
    return chosen


@dataclass
class Training:
    """Configuration and state of a training.

    `loss` returns the loss of a step, given its number, and draws the batch itself; `rate` is the factor of a step on
    the initial learning rate of every group.
    """

    model: nn.Module
    optimiser: Optimizer
    steps: int
    loss: Callable[[int], Tensor]
    rate: Callable[[int], float]
    seed: int
    device: str = "cpu"
    precision: Precision = "float32"
    label: str = "training"
    """Name of the phase in progress reports."""
    beta1: Callable[[int], float] | None = None
    """First decay rate of AdamW at a step, if a schedule changes it."""
    clip: float | None = None
    """Maximum norm of the gradient of all parameters; None: no clipping."""
    after: Callable[[int], None] | None = None
    """Called after every step with its number, to update averages that are part of `model`."""
    step: int = 0
    losses: list[float] = field(default_factory=list)
    """Loss of every step so far."""
    notes: dict[str, float] = field(default_factory=dict)
    """Further statistics of the steps so far."""
    _rates: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._rates = [float(group["lr"]) for group in self.optimiser.param_groups]

    def advance(self) -> float:
        """Take one step and return its loss. Raises NotFiniteError if the loss is not finite."""
        factor = self.rate(self.step)
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
            if self.beta1 is not None:
                group["betas"] = (self.beta1(self.step), group["betas"][1])
        short = self.precision == "bfloat16"
        with (
            torch_seeded(self.device, self.seed, 2, self.step),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=short),
        ):
            loss = self.loss(self.step)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        value = loss.item()
        if not torch.isfinite(loss):
            raise NotFiniteError(
                f"{self.label}: the loss is {value} at step {self.step}: a smaller learning rate helps"
            )
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimiser.step()
        if self.after is not None:
            self.after(self.step)
        self.step += 1
        self.losses.append(value)
        return value

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "losses": self.losses,
            "notes": self.notes,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state`."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.losses, self.notes = int(state["step"]), list(state["losses"]), dict(state["notes"])


def train(
    training: Training,
    checkpoint: Checkpoint | None,
    reporter: Reporter,
    *,
    every_s: float = SAVE_EVERY_S,
    stop: Callable[[Training], bool] = lambda _training: False,
) -> None:
    """Take the remaining steps, from the checkpoint if there is one; stops early when `stop` returns true.

    On SIGTERM the loop ends after the current step and writes its state. Raises NotFiniteError, OSError.
    """
    state = checkpoint.restore(reporter, training.device) if checkpoint is not None and training.step == 0 else None
    if state is not None:
        training.resume(state)
    reporter.phase(training.label, training.steps, "steps")
    reporter.advance(training.step)
    kept, mean = time.monotonic(), None
    with termination_deferred() as stopping:
        while training.step < training.steps and not stopping.asked and not stop(training):
            loss = training.advance()
            mean = loss if mean is None else LOSS_OVER * mean + (1 - LOSS_OVER) * loss
            reporter.metric("loss", mean, step=training.step)
            reporter.advance()
            if checkpoint is not None and (stopping.asked or time.monotonic() - kept >= every_s):
                checkpoint.save(training.state())
                kept = time.monotonic()
        if checkpoint is not None and time.monotonic() - kept >= WORTH_KEEPING_S:
            checkpoint.save(training.state())


STRETCHES = 10
FEWEST = 4
"""Minimum number of steps per window; shorter trainings are never reported."""
SURE = 3.0
"""Required decrease of the mean loss from the last window but one to the last, in standard errors,"""
NOTABLE = 0.05
"""and as a fraction of the loss."""


def loss_still_decreasing(losses: Sequence[float]) -> bool:
    """Whether the mean of the last tenth of the losses is clearly below that of the tenth before it."""
    length = len(losses) // STRETCHES
    if length < FEWEST:
        return False
    before, last = (np.asarray(losses[-2 * length : -length]), np.asarray(losses[-length:]))
    fall = float(before.mean() - last.mean())
    error = float(np.sqrt((before.var(ddof=1) + last.var(ddof=1)) / length))
    return fall > max(SURE * error, NOTABLE * abs(float(before.mean())))


BatchT = TypeVar("BatchT")
LEAST_AHEAD, MOST_AHEAD = 4, 16
"""Bounds of the number of batches that are made at the same time, one for each core in between."""


@dataclass
class Prefetched(Generic[BatchT]):
    """Batches by step number; a batch may depend on nothing else."""

    make: Callable[[int], BatchT]
    end: int
    """First step number without a batch."""
    pool: ThreadPoolExecutor
    ahead: int = LEAST_AHEAD
    _under_way: dict[int, Future[BatchT]] = field(default_factory=dict)

    def __call__(self, step: int) -> BatchT:
        """The batch of a step; raises the exceptions of its creation."""
        for number in range(step, min(step + self.ahead, self.end)):
            if number not in self._under_way:
                self._under_way[number] = self.pool.submit(self.make, number)
        return self._under_way.pop(step).result()


@contextmanager
def prefetched(make: Callable[[int], BatchT], end: int) -> Iterator[Prefetched[BatchT]]:
    """Create batches ahead of their use in threads; unused ones are discarded at the end."""
    ahead = min(MOST_AHEAD, max(LEAST_AHEAD, usable_cores()))
    pool = one_core_threads(ahead, "batches")
    try:
        yield Prefetched(make, end, pool, ahead)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def warmed_cosine(step: int, steps: int, warmup: int, lowest: float = 0.0) -> float:
    """Linear over the first `warmup` steps, then half a cosine down to `lowest`."""
    if step < warmup:
        return step / warmup
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def segmentation_rate(step: int, steps: int, warmup: int, decay: Literal["cosine", "polynomial"]) -> float:
    """Rate of a linear segmentation head.

    `cosine` is DINOv3's `WarmupOneCycleLR`: a warm-up multiplied by a linear decay to 0, then a cosine over all steps;
    the first two steps have the same rate. `polynomial` is DINOv2's, of power 1 with the same warm-up.
    """
    place = max(0, step - 1) if decay == "cosine" else step
    line = 1 - place / steps
    if place < warmup:
        return line * (1 - (1 - place / warmup) * (1 - 1e-6))
    return line if decay == "polynomial" else 0.5 * (1 + math.cos(math.pi * (place + 1) / steps))


def depth_rate(step: int, steps: int, warmup: int, source: Literal["dinov2", "dinov3"]) -> float:
    """Rate of a linear depth head: a cosine over all steps, multiplied by a warm-up.

    In DINOv3 the minimum rate is 1/25,000 of the maximum, and the warm-up adds 1/1,000.
    """
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    if source == "dinov2":
        warmed = 1 - (1 - step / warmup) * (1 - 1e-3) if step < warmup else 1.0
        return warmed * (cosine + (1 - cosine) * 1e-8)
    if step < warmup:
        return 1 / FINAL_FACTOR + cosine * step / warmup
    lowest = 1 / DIV_FACTOR / FINAL_FACTOR
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * (step + 1) / steps))


def depth_beta1(step: int, steps: int, warmup: int) -> float:
    """AdamW's first decay rate in DINOv3's depth schedule: 0 during the warm-up, then from 0.85 to 0.95."""
    if step < warmup:
        return 0.0
    share = (step - warmup) / max(1, steps - warmup)
    return MAX_BETA1 + (BASE_BETA1 - MAX_BETA1) * 0.5 * (1 + math.cos(math.pi * share))
