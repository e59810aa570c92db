"""Two buffers on a device: whatever its streams do first, each computation reads its own batch."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from backbones.model.input_copies import DoubleBuffer


@dataclass
class Queue:
    """Work in order; `done` is how much of it has run."""

    work: list[Callable[[], object]] = field(default_factory=list)
    needs: list[tuple[Queue, int]] = field(default_factory=list)
    """For each piece of work, which queue must have run how much."""
    done: int = 0
    next_need: tuple[Queue, int] | None = None

    def put(self, work: Callable[[], object]) -> None:
        self.work.append(work)
        self.needs.append(self.next_need or (self, 0))
        self.next_need = None

    def run_one(self) -> bool:
        """Run the next piece, unless it waits or there is none."""
        if self.done == len(self.work) or self.needs[self.done][0].done < self.needs[self.done][1]:
            return False
        self.work[self.done]()
        self.done += 1
        return True


@dataclass
class StandIn:
    """A device whose queues run when the test lets them."""

    copies: Queue = field(default_factory=Queue)
    computation: Queue = field(default_factory=Queue)
    allocated: int = 0

    def allocate(self, like: Tensor) -> Tensor:
        self.allocated += 1
        return torch.full_like(like, 255)

    def copy(self, target: Tensor, source: Tensor) -> None:
        self.copies.put(lambda: target.copy_(source))

    def computation_awaits_copies(self) -> None:
        self.computation.next_need = (self.copies, len(self.copies.work))

    def computed(self) -> int:
        return len(self.computation.work)

    def copies_await(self, mark: int) -> None:
        self.copies.next_need = (self.computation, mark)

    def run(self, first: Callable[[], Queue]) -> None:
        """Run everything; of two queues that both could, `first` chooses."""
        while any(queue.done < len(queue.work) for queue in (self.copies, self.computation)):
            chosen = first()
            other = self.copies if chosen is self.computation else self.computation
            assert chosen.run_one() or other.run_one(), "each queue waits for the other"


def batch(value: int, count: int = 4) -> Tensor:
    return torch.full((count, 2, 2, 3), value, dtype=torch.uint8).permute(0, 3, 1, 2)


def value_of(pixels: Tensor) -> int:
    """The value of all pixels, or -1 if they differ."""
    low, high = int(pixels.min()), int(pixels.max())
    return low if low == high else -1


def found_by(
    device: StandIn, values: list[int], first: Callable[[], Queue], *, sizes: tuple[int, ...] = (4,)
) -> list[int]:
    """What computations read, when all were queued before anything ran."""
    found: list[int] = []
    buffers = DoubleBuffer(device)
    for place, value in enumerate(values):
        with buffers.sent(batch(value, sizes[place % len(sizes)])) as pixels:
            device.computation.put(lambda given=pixels: found.append(value_of(given)))  # type: ignore[misc]
    device.run(first)
    return found


@pytest.mark.parametrize("eager", ["copies", "computation"])
@pytest.mark.parametrize("sizes", [(4,), (4, 4, 3), (2, 4, 8)])
def test_a_computation_reads_its_batch_whichever_stream_is_ahead(eager: str, sizes: tuple[int, ...]) -> None:
    device = StandIn()
    assert found_by(device, list(range(9)), lambda: getattr(device, eager), sizes=sizes) == list(range(9))


@pytest.mark.parametrize("seed", range(5))
def test_a_computation_reads_its_batch_in_any_order_that_the_waits_allow(seed: int) -> None:
    device, made = StandIn(), random.Random(seed)
    queues = (device.copies, device.computation)
    assert found_by(device, list(range(12)), lambda: made.choice(queues), sizes=(4, 3)) == list(range(12))


@pytest.mark.parametrize("missing", ["copies_await", "computation_awaits_copies"])
def test_without_either_wait_a_computation_would_read_another_batch(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StandIn, missing, lambda *_: None)
    device = StandIn()
    eager = device.copies if missing == "copies_await" else device.computation
    assert found_by(device, list(range(9)), lambda: eager) != list(range(9))


def test_a_copy_goes_on_while_the_device_computes_the_previous_batch_but_not_the_one_before() -> None:
    device = StandIn()
    buffers = DoubleBuffer(device)
    for value in range(4):
        with buffers.sent(batch(value)):
            device.computation.put(lambda: None)
    while device.copies.run_one():
        pass
    assert device.copies.done == 2  # the third waits for the first computation
    assert device.computation.run_one()
    assert device.copies.run_one()
    assert not device.copies.run_one()


def test_two_buffers_are_allocated_and_smaller_batches_use_parts_of_them() -> None:
    device = StandIn()
    found_by(device, list(range(9)), lambda: device.copies, sizes=(4, 4, 3))
    assert device.allocated == 2


def test_a_buffer_keeps_the_layout_of_its_batches() -> None:
    with DoubleBuffer(StandIn()).sent(batch(1)) as pixels:
        assert pixels.is_contiguous(memory_format=torch.channels_last)


def test_a_failed_computation_leaves_the_buffer_to_later_batches() -> None:
    device = StandIn()
    buffers = DoubleBuffer(device)
    with pytest.raises(MemoryError), buffers.sent(batch(1)):
        raise MemoryError
    with buffers.sent(batch(2)) as pixels:
        device.computation.put(lambda: None)
    device.run(lambda: device.copies)
    assert value_of(pixels) == 2
