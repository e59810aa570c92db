"""Trying every point of the grid on validation images; what has been tried is kept, so nothing is tried twice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch

from tasks.evaluation.inputs import ImageInputs
from tasks.features.manifest import NotFiniteError
from tasks.metrics.scoring import score
from tasks.protocols.finetune.classifier import Batch, Logits, logits_of
from tasks.protocols.finetune.image_batches import RoleImages
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Prefetched, Training, prefetched, train


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


PointT = TypeVar("PointT")
OfferedT_co = TypeVar("OfferedT_co", covariant=True)
UsedT_contra = TypeVar("UsedT_contra", contravariant=True)


class Grid(Protocol[OfferedT_co]):
    """Parameters of a search: its points, and when one is given up."""

    @property
    def grid(self) -> tuple[OfferedT_co, ...]:
        """Every point, in the order of trying."""

    @property
    def hopeless_after(self) -> float:
        """Share of the steps after which a point that is far behind is given up; 0: all are carried through."""

    @property
    def hopeless_margin(self) -> float:
        """How far behind the best point at the same step, in points of the validation score."""


class SettingTrainer(Protocol[UsedT_contra]):
    """How classifiers are made and trained at a point of the grid."""

    @property
    def images_per_step(self) -> int:
        """Size of a batch."""

    def steps(self, role: RoleImages, /) -> int:
        """Of one training on a role."""

    def batch(self, role: RoleImages, point: UsedT_contra, step: int, /) -> Batch:
        """The images and labels of a step."""

    def start(self, role: RoleImages, point: UsedT_contra, batches: Prefetched[Batch], name: str, /) -> Training:
        """A fresh training on the role of this name."""


@dataclass
class Search(Generic[PointT]):
    """The points tried so far, and the validation logits of the best."""

    inputs: ImageInputs
    parameters: Grid[PointT]
    recipe: SettingTrainer[PointT]
    train_role: RoleImages
    val_role: RoleImages
    reporter: Reporter
    tried: dict[int, TrialScore] = field(default_factory=dict)
    """By the point's place in the grid."""
    logits: Logits | None = None

    @property
    def best(self) -> int:
        """Place of the best point; of equal ones the first."""
        return max(self.tried, key=lambda place: (self.tried[place].score, -place))

    def run(self) -> PointT:
        """Try what has not been tried, and choose. Raises NotFiniteError when every point came apart."""
        grid = self.parameters.grid
        self._resume()
        for place, point in enumerate(grid):
            if place not in self.tried:
                self._try(place, point)
                self._keep(place)
            self.reporter.metric("val", self.tried[place].score, step=place + 1)
        if self.tried[self.best].diverged:
            raise NotFiniteError(f"all {len(grid)} settings came apart: smaller rates may help (rates)")
        return grid[self.best]

    def _try(self, place: int, point: PointT) -> None:
        role, recipe = self.train_role, self.recipe

        def make(step: int) -> Batch:
            return recipe.batch(role, point, step)

        with prefetched(make, recipe.steps(role)) as batches:
            training = recipe.start(role, point, batches, "train")
            training.label = f"setting {place + 1} of {len(self.parameters.grid)}: {point}"
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
        every, look = self.inputs.checkpoint_s, math.ceil(self.parameters.hopeless_after * training.steps)
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
