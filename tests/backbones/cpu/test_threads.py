"""Threads that follow the free cores, only where results stay equal to the bit, and threads of small products."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from threadpoolctl import threadpool_info
from torch import Tensor

from backbones.cpu.free_cores import CoreMonitor
from backbones.cpu.threads import SMALL, SMALL_IN_NUMPY, FollowingThreads, threads_for


class ChosenCores(CoreMonitor):
    """A number of free cores that the test sets."""

    def __init__(self) -> None:
        super().__init__(8)
        self.now = 1

    def free(self) -> int:
        return self.now


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cores() -> ChosenCores:
    return ChosenCores()


def noting(seen: list[int], result: Callable[[int], float] = lambda _: 1.0) -> Callable[[], Tensor]:
    """A computation that notes its number of threads, on which its result may depend."""

    def compute() -> Tensor:
        seen.append(torch.get_num_threads())
        return torch.tensor([result(seen[-1])])

    return compute


def test_threads_follow_the_free_cores_once_results_have_been_compared_and_never_exceed_those_at_first(
    cores: ChosenCores,
) -> None:
    threads, seen = FollowingThreads(cores), list[int]()
    for cores.now in (1, 1, 1, 2, 2, 8, 1):
        threads.update()
        threads.compute(noting(seen), "products")
        assert torch.get_num_threads() == 4
    assert seen == [4, 4, 1, 1, 4, 2, 2, 4, 1], "the second computation, and the first with 2 threads, are compared"


def test_results_that_depend_on_the_number_of_threads_do_not_depend_on_the_load(cores: ChosenCores) -> None:
    threads, seen, results = FollowingThreads(cores), list[int](), list[float]()
    for cores.now in (1, 1, 1, 3, 2, 3, 1):
        threads.update()
        results.append(float(threads.compute(noting(seen, lambda count: 1.0 + count), "sums")))
    assert results == [5.0] * 7
    assert seen == [4, 4, 1, 4, 4, 3, 4, 2, 4, 4]


def test_a_kind_of_computation_that_occurs_once_is_not_compared(cores: ChosenCores) -> None:
    threads, seen = FollowingThreads(cores), list[int]()
    threads.update()
    for kind in ("a", "b", "c"):
        threads.compute(noting(seen), kind)
    assert seen == [4, 4, 4]


def test_nan_and_signs_of_zero_are_compared_by_their_bits(cores: ChosenCores) -> None:
    threads, seen = FollowingThreads(cores), list[int]()
    threads.update()
    for _ in range(3):
        threads.compute(noting(seen, lambda _: float("nan")), "nan")
        threads.compute(noting(seen, lambda count: 0.0 if count == 4 else -0.0), "zero")
    assert seen == [4, 4, 4, 1, 4, 1, 1, 4]


@pytest.mark.parametrize(
    ("work", "torch_threads", "numpy_one"),
    [(SMALL, 1, True), (SMALL + 1, 4, True), (SMALL_IN_NUMPY, 4, True), (SMALL_IN_NUMPY + 1, 4, False)],
)
def test_small_products_use_one_core_in_torch_and_in_numpy(work: int, torch_threads: int, numpy_one: bool) -> None:
    before = numpy_threads()
    with threads_for(work):
        assert torch.get_num_threads() == torch_threads
        assert numpy_threads() == ([1] * len(before) if numpy_one else before)
    assert (torch.get_num_threads(), numpy_threads()) == (4, before)


def numpy_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
