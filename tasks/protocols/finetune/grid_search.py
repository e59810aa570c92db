"""Trying every point of the grid on validation images; what has been tried is kept, so nothing is tried twice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from tasks.catalog.finetune_parameters import FinetuneParameters, GridPoint
from tasks.evaluation.inputs import ImageInputs
from tasks.features.manifest import NotFiniteError
from tasks.metrics.scoring import score
from tasks.protocols.finetune.classifier import Batch, Logits, batch, logits_of, new_training
from tasks.protocols.finetune.image_batches import RoleImages
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Training, prefetched, train


@dataclass(frozen=True)
class TrialScore:
    """What came of one point."""

    score: float
    """On validation images; -1 where the training came apart."""
    steps: int
    early: float | None = None
    """The score at the step where hopeless points are given up."""

    @property
    def diverged(self) -> bool:
        """Whether the loss stopped being a number."""
        return self.score < 0


GRID = "grid"
DIVERGED = TrialScore(-1.0, 0)


@dataclass
class Search:
    """The points tried so far, and the validation logits of the best."""

    inputs: ImageInputs
    parameters: FinetuneParameters
    train_role: RoleImages
    val_role: RoleImages
    seed: int
    reporter: Reporter
    tried: dict[int, TrialScore] = field(default_factory=dict)
    """By the point's place in the grid."""
    logits: Logits | None = None

    @property
    def best(self) -> int:
        """Place of the best point; of equal ones the first."""
        return max(self.tried, key=lambda place: (self.tried[place].score, -place))

    def run(self) -> GridPoint:
        """Try what has not been tried, and choose. Raises NotFiniteError when every point came apart."""
        grid = self.parameters.grid
        self._resume()
        for place, point in enumerate(grid):
            if place not in self.tried:
                self._try(place, point)
                self._keep(place)
            self.reporter.metric("val", self.tried[place].score, step=place + 1)
        if self.tried[self.best].diverged:
            raise NotFiniteError(f"all {len(grid)} settings came apart: try smaller learning rates (finetune.rates)")
        return grid[self.best]

    def _try(self, place: int, point: GridPoint) -> None:
        role, parameters = self.train_role, self.parameters

        def make(step: int) -> Batch:
            return batch(role, parameters, step, self.seed, augmented=point.augmented)

        with prefetched(make, parameters.steps) as batches:
            training = new_training(self.inputs, parameters, point, batches, self.seed)
            training.label = f"setting {place + 1} of {len(parameters.grid)}: {point}"
            try:
                early = self._train(training, self._checkpoint(place))
            except NotFiniteError:
                self.tried[place] = DIVERGED
                return
        logits = logits_of(training.model, self.val_role, self.inputs)
        self.tried[place] = TrialScore(self._score(logits), training.step, early)
        if self.best == place:
            self.logits = logits

    def _train(self, training: Training, checkpoint: Checkpoint | None) -> float | None:
        """All steps, or those after which the point proves hopeless; the score at that moment."""
        every, look = self.inputs.checkpoint_s, math.ceil(self.parameters.hopeless_after * self.parameters.steps)
        if not look:
            train(training, checkpoint, self.reporter, every_s=every)
            return None
        train(training, checkpoint, self.reporter, every_s=every, stop=lambda now: now.step == look and not now.notes)
        if not training.notes:
            training.notes["early"] = self._score(logits_of(training.model, self.val_role, self.inputs))
        early = training.notes["early"]
        others = [tried.early for tried in self.tried.values() if tried.early is not None]
        if early >= max(others, default=early) - self.parameters.hopeless_margin:
            train(training, checkpoint, self.reporter, every_s=every)
        return early

    def _score(self, logits: Logits) -> float:
        return score(self.inputs.metric, logits, self.val_role.labels) if np.isfinite(logits).all() else -1.0

    def _checkpoint(self, place: int) -> Checkpoint | None:
        return checkpoint_at(self.inputs, f"setting-{place + 1}")

    def _keep(self, place: int) -> None:
        """The point is done: keep what came of it, then forget its training."""
        kept, training = checkpoint_at(self.inputs, GRID), self._checkpoint(place)
        if kept is None or training is None:
            return
        points = {number: [tried.score, tried.steps, tried.early] for number, tried in self.tried.items()}
        kept.save({"tried": points, "logits": None if self.logits is None else torch.from_numpy(self.logits)})
        training.remove()

    def _resume(self) -> None:
        kept = checkpoint_at(self.inputs, GRID)
        state = kept.restore(self.reporter) if kept is not None else None
        if state is not None:
            self.tried = {int(place): TrialScore(*values) for place, values in state["tried"].items()}
            self.logits = None if state["logits"] is None else state["logits"].numpy()


def checkpoint_at(inputs: ImageInputs, name: str) -> Checkpoint | None:
    """The checkpoint of this name of this run; None where nothing is to be kept."""
    folder: Path | None = inputs.checkpoint
    return None if folder is None else Checkpoint(folder / f"{name}.pt", f"{inputs.key} {name}")
