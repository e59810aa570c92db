"""Batches of prepared images: in order, with errors where they are due, on threads that take one core each."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import Tensor

from backbones.cpu.threads import one_core_threads
from tasks.features.batches import BatchGrowth, CardMemory, PreparedImages

GIGABYTE = 10**9


def image(row: int) -> Tensor:
    """[3, 2, 2], all `row`."""
    return torch.full((3, 2, 2), row, dtype=torch.uint8)


def images_of(rows: Sequence[int]) -> Iterator[Tensor]:
    return map(image, rows)


def batches(count: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, count)) for start in range(0, count, size))


@pytest.mark.parametrize(("count", "size", "threads"), [(50, 20, 3), (7, 7, 1), (40, 1, 4), (0, 5, 2)])
def test_every_image_is_in_its_place(count: int, size: int, threads: int) -> None:
    with closing(PreparedImages(images_of, batches(count, size), threads=threads, ahead=2)) as images:
        found = list(images)
    assert [len(batch) for batch in found] == [len(rows) for rows in batches(count, size)]
    assert [int(one[0, 0, 0]) for batch in found for one in batch] == list(range(count))
    assert all(batch.permute(0, 2, 3, 1).is_contiguous() for batch in found)


def test_an_error_is_raised_when_its_batch_is_due_and_not_before() -> None:
    def broken(rows: Sequence[int]) -> Iterator[Tensor]:
        for row in rows:
            if row == 25:
                raise ValueError("25 is broken")
            yield image(row)

    with closing(PreparedImages(broken, batches(60, 10), threads=2, ahead=3)) as images:
        assert [int(next(images)[0, 0, 0, 0]) for _ in range(2)] == [0, 10]
        with pytest.raises(ValueError, match="25 is broken"):
            next(images)


def test_images_of_different_sizes_are_refused() -> None:
    def growing(rows: Sequence[int]) -> Iterator[Tensor]:
        return (torch.zeros(3, 2 + row, 2) for row in rows)

    with (
        closing(PreparedImages(growing, batches(2, 2), threads=1, ahead=1)) as images,
        pytest.raises(ValueError, match=r"\(3, 3, 2\)"),
    ):
        next(images)


def test_batches_are_asked_for_as_they_are_begun_so_that_their_size_may_change() -> None:
    asked = []

    def watched() -> Iterator[range]:
        for rows in batches(100, 10):
            asked.append(rows.start)
            yield rows

    with closing(PreparedImages(images_of, watched(), threads=2, ahead=2)) as images:
        next(images)
        assert asked == [0, 10, 20]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_threads_that_resize_start_no_teams_of_their_own() -> None:
    """Six threads on a machine of four cores would start eighteen helpers."""
    usual, together = torch.get_num_threads(), threading.Barrier(6)
    large = torch.zeros(3, 400, 400, dtype=torch.uint8)

    def work() -> int:
        together.wait(30)
        large.permute(1, 2, 0).contiguous()
        return torch.get_num_threads()

    torch.set_num_threads(4)
    try:
        large.permute(1, 2, 0).contiguous()  # the main thread's own team
        before = len(list(Path("/proc/self/task").iterdir()))
        with one_core_threads(6, "test") as pool:
            assert [future.result() for future in [pool.submit(work) for _ in range(6)]] == [1] * 6
            assert len(list(Path("/proc/self/task").iterdir())) == before + 6
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(usual)


def test_a_batch_doubles_while_the_card_has_room_by_far() -> None:
    roomy = CardMemory(free=100 * GIGABYTE, peak=3 * GIGABYTE, used=1 * GIGABYTE)
    full = CardMemory(free=4 * GIGABYTE, peak=3 * GIGABYTE, used=1 * GIGABYTE)
    growth, size, sizes = BatchGrowth(512, lambda: roomy), 64, []
    for _ in range(14):
        size = growth.after(size, size)
        sizes.append(size)
    assert sizes == [64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    assert BatchGrowth(512, lambda: full).after(64, 64) == 64


def test_a_size_that_failed_is_tried_again_only_after_many_batches_and_then_more() -> None:
    growth, size = BatchGrowth(512, lambda: CardMemory(100 * GIGABYTE, 0, 0)), 128
    waited = []
    for _ in range(3):
        growth.failed(256)
        waited.append(next(number for number in range(1, 200) if growth.after(size, size) == 256))
    assert waited == [18, 33, 66]  # the patience of 16, 32 and 64 batches, in threes


def test_a_size_that_just_failed_is_not_tried_and_devices_that_do_not_report_memory_keep_theirs() -> None:
    growth, size = BatchGrowth(512, lambda: CardMemory(100 * GIGABYTE, 0, 0)), 128
    growth.failed(256)
    assert [size := growth.after(size, size) for _ in range(9)] == [128] * 9
    assert [BatchGrowth(512).after(64, 64) for _ in range(9)] == [64] * 9


def test_the_last_batch_of_a_range_which_is_smaller_proves_nothing() -> None:
    growth = BatchGrowth(512, lambda: CardMemory(100 * GIGABYTE, 0, 0))
    assert [growth.after(64, 10) for _ in range(9)] == [64] * 9
