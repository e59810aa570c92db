"""Training is reproducible bit for bit, also across interruptions; its checkpoints are atomic."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.features.manifest import NotFiniteError
from tasks.reporter import SilentReporter
from tasks.training.checkpoint import Checkpoint, termination_deferred
from tasks.training.loop import Training, batch_of, grouped_batch_of, train

STEPS = 12


@dataclass
class Listener(SilentReporter):
    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def training(steps: int = STEPS) -> Training:
    """A small network with batch norm and dropout, so that statistics and randomness matter."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.standard_normal((40, 8), dtype=np.float32))
    labels = torch.from_numpy(generator.integers(0, 3, 40))

    def loss(step: int) -> Tensor:
        rows = torch.from_numpy(batch_of(step, 40, 16, seed=0))
        return functional.cross_entropy(model(images[rows]), labels[rows])

    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    return Training(model, optimiser, steps, loss, rate=lambda step: 1 - step / STEPS, seed=3)


def same(one: Training, other: Training) -> bool:
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and one.losses == other.losses


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path / "checkpoint" / "one.pt", owner="this training")


@pytest.fixture(scope="module")
def whole() -> Training:
    made = training()
    train(made, None, SilentReporter())
    return made


@pytest.mark.parametrize("stopped_at", [1, 3, 5, 11])
def test_an_interrupted_training_ends_bit_for_bit_as_one_that_went_through(
    checkpoint: Checkpoint, whole: Training, stopped_at: int
) -> None:
    first = training()
    train(first, checkpoint, SilentReporter(), every_s=0, stop=lambda t: t.step >= stopped_at)
    torch.manual_seed(99)
    second = training()
    train(second, checkpoint, SilentReporter())
    assert second.step == STEPS
    assert same(second, whole)
    assert whole.losses[-1] < whole.losses[0]


def test_state_is_kept_before_sigterm_is_obeyed(checkpoint: Checkpoint, whole: Training) -> None:
    obeyed: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: obeyed.append(number))
    try:
        first = training()
        inner = first.loss
        first.loss = lambda step: _terminated_at(4, step, inner)
        train(first, checkpoint, SilentReporter(), every_s=1e9)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert obeyed == [signal.SIGTERM]
    assert first.step == 5
    second = training()
    train(second, checkpoint, SilentReporter())
    assert same(second, whole)


def _terminated_at(when: int, step: int, loss: Callable[[int], Tensor]) -> Tensor:
    if step == when:
        os.kill(os.getpid(), signal.SIGTERM)
    return loss(step)


def test_without_sigterm_nothing_is_sent_afterwards() -> None:
    with termination_deferred() as stopping:
        pass
    assert not stopping.asked


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_checkpoint_is_told_and_not_used(checkpoint: Checkpoint, whole: Training, damage: str) -> None:
    train(training(), checkpoint, SilentReporter(), every_s=0, stop=lambda t: t.step >= 5)
    content = bytearray(checkpoint.path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"cut": bytes(content[: len(content) // 2]), "flipped": bytes(content), "empty": b""}
    checkpoint.path.write_bytes(damaged[damage])
    listener, again = Listener(), training()
    train(again, checkpoint, listener)
    assert len(listener.warnings) == 1
    assert "damaged" in listener.warnings[0]
    assert str(checkpoint.path) in listener.warnings[0]
    assert same(again, whole)


def test_checkpoint_of_another_training_is_told_and_not_used(checkpoint: Checkpoint, whole: Training) -> None:
    train(training(), checkpoint, SilentReporter(), every_s=0, stop=lambda t: t.step >= 5)
    listener, again = Listener(), training()
    train(again, Checkpoint(checkpoint.path, owner="another"), listener)
    assert ["another training" in warning for warning in listener.warnings] == [True]
    assert same(again, whole)


def test_nothing_but_the_checkpoint_is_left_in_its_folder(checkpoint: Checkpoint) -> None:
    train(training(), checkpoint, SilentReporter(), every_s=0)
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["one.pt"]


def test_loss_that_is_not_a_number_ends_the_training_in_words() -> None:
    made = training()
    made.loss = lambda step: made.model[0].weight.sum() * float("nan")  # type: ignore[index]
    with pytest.raises(NotFiniteError, match="at step 0"):
        made.advance()


def test_every_sample_comes_once_an_epoch() -> None:
    first = np.concatenate([batch_of(step, 10, 4, seed=0) for step in range(3)])
    second = np.concatenate([batch_of(step, 10, 4, seed=0) for step in range(3, 6)])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first.tolist() != second.tolist()


def test_grouped_batches_hold_one_group_and_are_full() -> None:
    groups = [0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1]
    for step in range(30):
        rows = grouped_batch_of(step, groups, 2, seed=1)
        assert len(rows) == 2
        assert len({groups[row] for row in rows}) == 1
