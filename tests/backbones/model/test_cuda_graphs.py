"""CUDA graphs of forward passes, with a stand-in for the capture: kept only where they are equal and faster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from backbones.catalog.card import preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.cuda_graphs import CONSIDERED_AFTER, TIMED, TURNS, Forward, GraphedForward
from backbones.model.encoder import Encoder
from tests.tasks.workspace_fixture import network

EAGER_S, REPLAY_S = 10e-3, 4e-3
TRIAL = 2 + TURNS * TIMED
"""Replays in a trial: two batches for equality, the others for time."""


class Device:
    """A clock that passes advance, and the calls that were made."""

    def __init__(self, replay_s: float = REPLAY_S, change: Callable[[Tensor], Tensor] = lambda found: found) -> None:
        self.now = 0.0
        self.replay_s = replay_s
        self.change = change
        self.eager = self.replayed = self.captures = 0

    def forward(self, batch: Tensor) -> Tensor:
        """The mean of each image."""
        self.now += EAGER_S
        self.eager += 1
        return batch.float().flatten(1).mean(dim=1, keepdim=True)

    def capture(self, forward: Forward, batch: Tensor) -> Forward:
        """A graph, whose output `change` changes."""
        self.captures += 1

        def replay(given: Tensor) -> Tensor:
            assert given.shape == batch.shape
            self.replayed += 1
            before = self.now, self.eager
            found = self.change(forward(given))
            self.now, self.eager = before[0] + self.replay_s, before[1]
            return found

        return replay

    def forwards(self, *, enabled: bool = True) -> GraphedForward:
        return GraphedForward(self.capture, clock=lambda: self.now, enabled=enabled)


def batch(count: int = 4, value: int = 7) -> Tensor:
    return torch.full((count, 3, 2, 2), value, dtype=torch.uint8)


def passed(device: Device, forwards: GraphedForward, times: int, count: int = 4) -> list[float]:
    return [float(forwards("key", device.forward, batch(count, place % 256))[0]) for place in range(times)]


def test_a_graph_that_is_equal_and_faster_computes_later_batches() -> None:
    device = Device()
    forwards = device.forwards()
    assert passed(device, forwards, CONSIDERED_AFTER + 10) == list(map(float, range(CONSIDERED_AFTER + 10)))
    assert (device.captures, device.replayed) == (1, TRIAL + 10)
    (decision,) = forwards.release()
    assert decision.kept
    assert str(decision) == "CUDA graph for batches of 4: 4 ms a batch by a CUDA graph, 10 without; equal features"


def test_nothing_is_tried_before_many_batches_of_one_shape() -> None:
    device = Device()
    forwards = device.forwards()
    passed(device, forwards, CONSIDERED_AFTER - 1)
    passed(device, forwards, CONSIDERED_AFTER - 1, count=3)
    assert device.captures == 0


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (Device(replay_s=2 * EAGER_S), "operation by operation for batches of 4: 20 ms a batch by a CUDA graph, 10"),
        (Device(change=lambda found: found + 1e-6), "the features of a CUDA graph differ"),
        (
            Device(change=lambda found: torch.full_like(found, CONSIDERED_AFTER - 1)),
            "the features of a CUDA graph differ",
        ),
    ],
    ids=["slower", "other numbers", "numbers of the captured batch whatever is given"],
)
def test_a_graph_that_is_not_equal_or_not_faster_is_dropped_and_not_tried_again(device: Device, reason: str) -> None:
    forwards = device.forwards()
    found = passed(device, forwards, 3 * CONSIDERED_AFTER)
    assert found == list(map(float, range(3 * CONSIDERED_AFTER)))
    assert device.captures == 1
    (decision,) = forwards.release()
    assert not decision.kept
    assert reason in str(decision)


@pytest.mark.parametrize(
    "error", [RuntimeError("operation not permitted\nwhen capturing"), torch.OutOfMemoryError("full")]
)
def test_a_pass_that_cannot_be_captured_stays_as_it_is_with_the_reason(error: RuntimeError) -> None:
    def refuse(forward: Forward, given: Tensor) -> Forward:
        raise error

    device = Device()
    forwards = GraphedForward(refuse, clock=lambda: device.now, enabled=True)
    assert passed(device, forwards, 40) == list(map(float, range(40)))
    assert str(error).splitlines()[0] in str(forwards.release()[0])


def test_a_smaller_last_batch_neither_uses_nor_replaces_the_graph() -> None:
    device = Device()
    forwards = device.forwards()
    passed(device, forwards, CONSIDERED_AFTER)
    passed(device, forwards, 2 * CONSIDERED_AFTER, count=3)
    assert device.captures == 1
    before = device.replayed
    passed(device, forwards, 1)
    assert device.replayed == before + 1


def test_larger_batches_get_a_graph_of_their_own_after_the_first_one_is_let_go() -> None:
    device = Device()
    forwards = device.forwards()
    passed(device, forwards, CONSIDERED_AFTER)
    passed(device, forwards, CONSIDERED_AFTER + 1, count=8)
    assert [decision.batch for decision in forwards.release()] == [4, 8]


def test_a_pass_that_fails_lets_the_graph_go_as_it_may_have_been_memory() -> None:
    device = Device()
    forwards = device.forwards()
    passed(device, forwards, CONSIDERED_AFTER)

    def full(given: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        forwards("key", full, batch(16))
    before = device.replayed
    passed(device, forwards, 1)
    assert device.replayed == before


def test_nothing_is_tried_unless_it_is_enabled_and_on_a_cpu_never() -> None:
    device = Device()
    forwards = device.forwards(enabled=False)
    passed(device, forwards, 2 * CONSIDERED_AFTER)
    on_cpu = GraphedForward.on(torch.device("cpu"))
    on_cpu.enabled = True
    passed(device, on_cpu, 2 * CONSIDERED_AFTER)
    assert device.captures == 0


@pytest.mark.parametrize("layers", [False, True])
def test_an_encoder_computes_the_same_features_by_graphs(tmp_path: Path, layers: bool) -> None:
    """With a stand-in that runs the captured function; the trial sees equal features, whatever the protocol reads."""
    card = network("test_vit")
    encoder, spec, device = Encoder.load(card, WeightsFolder(tmp_path)), preprocessing_for(card, "paper"), Device()
    images = torch.randint(256, (2, 3, spec.crop, spec.crop), dtype=torch.uint8)

    def encoded() -> Tensor:
        return encoder.encode_layers(images, spec, ("all",)) if layers else encoder.encode(images, spec)

    expected = encoded()
    encoder.forwards = GraphedForward(lambda forward, _: forward, clock=clock_of(device), enabled=True)
    for _ in range(CONSIDERED_AFTER + 1):
        assert torch.equal(encoded(), expected)
    assert "equal features" in encoder.finish()
    assert encoder.finish() == ""


def clock_of(device: Device) -> Callable[[], float]:
    """A clock that advances a little with every call."""

    def now() -> float:
        device.now += 1e-3
        return device.now

    return now
