"""Search over the points of a grid on validation images; the results of finished points are stored and not repeated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch

from tasks.evaluation.inputs import ImageInputs
from tasks.features.manifest import NotFiniteError
from tasks.metrics.scoring import score, without_left_open
from tasks.protocols.finetune.classifier import Batch, Logits, RoleImages, logits_of
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Prefetched, Training, prefetched, train


@dataclass(frozen=True)
class TrialScore:
    """Result of one point."""

    score: float
    """Validation score; -1 if the training diverged."""
    steps: int
    early: float | None = None
    """Validation score at the step of early stopping."""
    on_test: float | None = None
    """Score on the test images, which selects nothing; None where it was not measured, or training stopped early."""

    @property
    def diverged(self) -> bool:
        """Whether the loss became non-finite."""
        return self.score < 0


GRID = "grid"
DIVERGED = TrialScore(-1.0, 0)


PointT = TypeVar("PointT")
OfferedT_co = TypeVar("OfferedT_co", covariant=True)
UsedT_contra = TypeVar("UsedT_contra", contravariant=True)


class Grid(Protocol[OfferedT_co]):
    """Parameters of a search: its points, and the rule for stopping a point early."""

    @property
    def grid(self) -> tuple[OfferedT_co, ...]:
        """All points, in the order of evaluation."""

    @property
    def hopeless_after(self) -> float:
        """Fraction of the steps after which a point that is far behind is stopped; 0: every point is trained to the
        end.
        """

    @property
    def hopeless_margin(self) -> float:
        """Distance in validation score from the best point at the same step beyond which a point is stopped."""


class SettingTrainer(Protocol[UsedT_contra]):
    """Construction and training of classifiers at a point of the grid."""

    @property
    def images_per_step(self) -> int:
        """Size of a batch."""

    def steps(self, role: RoleImages, /) -> int:
        """Number of steps of a training on a role."""

    def batch(self, role: RoleImages, point: UsedT_contra, step: int, /) -> Batch:
        """The images and labels of a step."""

    def start(self, role: RoleImages, point: UsedT_contra, batches: Prefetched[Batch], name: str, /) -> Training:
        """New training on the role of this name."""


@dataclass
class Search(Generic[PointT]):
    """Points evaluated so far, and the validation logits of the best."""

    inputs: ImageInputs
    parameters: Grid[PointT]
    recipe: SettingTrainer[PointT]
    train_role: RoleImages
    val_role: RoleImages
    reporter: Reporter
    test_role: RoleImages | None = None
    """Test images that every finished point is scored on, for the optimism of selecting on them."""
    tried: dict[int, TrialScore] = field(default_factory=dict)
    """Results by index in the grid."""
    logits: Logits | None = None

    @property
    def best(self) -> int:
        """Index of the best point; the first of several."""
        return max(self.tried, key=lambda place: (self.tried[place].score, -place))

    def run(self) -> PointT:
        """Evaluate the remaining points and select the best. Raises NotFiniteError if every point diverged."""
        grid = self.parameters.grid
        self._resume()
        for place, point in enumerate(grid):
            if place not in self.tried:
                self._try(place, point)
                self._keep(place)
            self.reporter.metric("val", self.tried[place].score, step=place + 1)
        if self.tried[self.best].diverged:
            raise NotFiniteError(f"all {len(grid)} settings diverged: smaller rates may help (rates)")
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
        self.tried[place] = TrialScore(self._score(logits), training.step, early, self._on_test(training))
        if self.best == place:
            self.logits = logits

    def _train(self, training: Training, checkpoint: Checkpoint | None) -> float | None:
        """Train all steps, or up to early stopping; the score at the end."""
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

    def _on_test(self, training: Training) -> float | None:
        if self.test_role is None or training.step < training.steps:
            return None
        logits = logits_of(training.model, self.test_role, self.inputs)
        if not np.isfinite(logits).all():
            return None
        return score(self.inputs.metric, *without_left_open(logits, self.test_role.labels))

    def _score(self, logits: Logits) -> float:
        return score(self.inputs.metric, logits, self.val_role.labels) if np.isfinite(logits).all() else -1.0

    def _checkpoint(self, place: int) -> Checkpoint | None:
        return checkpoint_at(self.inputs, f"setting-{place + 1}")

    def _keep(self, place: int) -> None:
        """Store the result of a finished point, then delete its training checkpoint."""
        kept, training = checkpoint_at(self.inputs, GRID), self._checkpoint(place)
        if kept is None or training is None:
            return
        points = {
            number: [tried.score, tried.steps, tried.early, tried.on_test] for number, tried in self.tried.items()
        }
        kept.save({"tried": points, "logits": None if self.logits is None else torch.from_numpy(self.logits)})
        training.remove()

    def _resume(self) -> None:
        kept = checkpoint_at(self.inputs, GRID)
        state = kept.restore(self.reporter) if kept is not None else None
        if state is not None:
            self.tried = {int(place): TrialScore(*values) for place, values in state["tried"].items()}
            self.logits = None if state["logits"] is None else state["logits"].numpy()


def checkpoint_at(inputs: ImageInputs, name: str) -> Checkpoint | None:
    """Checkpoint of this name in this run; None if the run stores no checkpoints."""
    folder: Path | None = inputs.checkpoint
    return None if folder is None else Checkpoint(folder / f"{name}.pt", f"{inputs.key} {name}")
