"""Scores on test images during a training: what reporting the best step on them would have given.

Some publications report the best epoch or checkpoint on the test images. A training is scored on them at evenly spaced
steps as long as this adds at most a twentieth to its cost. The scores influence nothing: the score of a result is that
of the last step, and the training is the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tasks.metrics.outcome import Json, chosen_on_test
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Training, train

MOST_READINGS = 10
"""Maximum number of scores on test images during a training, the last step included."""
READING_COST = 0.05
"""Their maximum cost, relative to the training."""
READING = "test score at step "


def affordable(training_cost: float, reading_cost: float) -> int:
    """Number of times that the test images can be scored during a training; costs are in forward passes."""
    return int(READING_COST * training_cost / max(1e-9, reading_cost))


def reading_steps(steps: int, count: int) -> tuple[int, ...]:
    """Steps before the last at which the test images are scored, evenly spaced; at most `count`."""
    fewer = min(MOST_READINGS - 1, count, steps - 1)
    return tuple(round(steps * number / (fewer + 1)) for number in range(1, fewer + 1))


@dataclass(frozen=True)
class TestReadings:
    """Scores on the test images during a training."""

    __test__ = False
    measure: Callable[[], float | None]
    """The score of the model as it is; None if it is not finite. Must leave the model in training mode."""
    most: int
    """Maximum number of readings before the last step."""

    def train(self, training: Training, checkpoint: Checkpoint | None, reporter: Reporter, *, every_s: float) -> None:
        """Take all steps, and score the test images at some of them, except at those that a checkpoint has passed."""
        for step in reading_steps(training.steps, self.most):
            self._train_to(step, training, checkpoint, reporter, every_s)
        train(training, checkpoint, reporter, every_s=every_s)

    def _train_to(
        self, step: int, training: Training, checkpoint: Checkpoint | None, reporter: Reporter, every_s: float
    ) -> None:
        train(training, checkpoint, reporter, every_s=every_s, stop=lambda now: now.step >= step)
        note = f"{READING}{step}"
        if training.step == step and note not in training.notes and (found := self.measure()) is not None:
            training.notes[note] = found


def best_step(training: Training, last: float, *, higher_is_better: bool = True) -> dict[str, Json]:
    """The diagnostic `chosen_on_test` of a finished training; empty where only the last step was scored."""
    readings: Mapping[int, float] = {
        **{int(name.removeprefix(READING)): one for name, one in training.notes.items() if name.startswith(READING)},
        training.step: last,
    }
    if len(readings) < 2:
        return {}
    steps = sorted(readings)
    choices = [f"step {step} of {steps[-1]}" for step in steps]
    scores = [readings[step] for step in steps]
    return {"chosen_on_test": chosen_on_test(scores, choices, last, higher_is_better=higher_is_better)}
