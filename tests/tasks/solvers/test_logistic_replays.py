"""Replays of a path's functions: equal or refused, and what they compute in parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tasks.solvers.logistic import Settings, device_matrix, solve_path
from tasks.solvers.logistic.device_matrix import class_parts, long_products
from tasks.solvers.logistic.objective import Binary, Likelihood, LossState, Multinomial
from tasks.solvers.logistic.replays import Capture, Replays, Tensors
from tests.benchmarks._features import made_up
from tests.tasks.dispatch_counts import emulated_card

GENERATOR = torch.Generator().manual_seed(0)
STRENGTHS = [1e-3, 1e-1, 10.0]


def added(total: Tensor, more: Tensor) -> Tensors:
    """A sum in place, and its double."""
    total.add_(more)
    return (2 * total,)


def again(operations: Callable[[], None]) -> Callable[[], None]:
    """A stand-in for a graph."""
    operations()
    return operations


def off_by_a_hundredth(operations: Callable[[], None]) -> Callable[[], None]:
    """A stand-in whose second computation has other arguments than it was given."""
    operations()
    scale = torch.Tensor.add_

    def replay() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tensor, "add_", lambda ours, more: scale(ours, 1.01 * more))
            operations()

    return replay


def impossible(operations: Callable[[], None]) -> Callable[[], None]:
    """A device without graphs."""
    raise RuntimeError("operation not permitted when stream is capturing\nmore lines")


def test_a_replayed_call_computes_new_arguments_in_the_same_memory() -> None:
    replays = Replays(again)
    for value in (1.0, 5.0):
        call = replays.call("sum", added, torch.zeros(3), torch.full((3,), value))
        assert call.captured
        first = call.kept(*call.replay())[0]
        second = call.replay()[0]
        assert call.arguments[0].tolist() == [2 * value] * 3
        assert first.tolist() == [2 * value] * 3
        assert second.tolist() == [4 * value] * 3


@pytest.mark.parametrize(
    ("capture", "reason"),
    [
        (off_by_a_hundredth, "a CUDA graph has other results"),
        (impossible, "a CUDA graph cannot be captured (operation not permitted when stream is capturing)"),
    ],
)
def test_a_graph_that_is_not_equal_or_not_possible_is_not_used(capture: Capture, reason: str) -> None:
    replays = Replays(capture)
    call = replays.call("sum", added, torch.zeros(3), torch.ones(3))
    assert not call.captured
    assert call.replay()[0].tolist() == [2.0] * 3
    assert replays.refused == reason
    assert replays.capture is None


def test_a_path_whose_graphs_are_refused_has_the_same_objectives(monkeypatch: pytest.MonkeyPatch) -> None:
    data = made_up(300, 40, 6, signal=0.3)
    on_cpu = solve_path(*data.train, STRENGTHS, settings=Settings())
    with emulated_card():
        monkeypatch.setattr(Replays, "on", lambda device, elements: Replays(impossible))
        on_card = solve_path(*data.train, STRENGTHS, settings=Settings())
    found, expected = ([one.objective for one in path.solutions] for path in (on_card, on_cpu))
    assert found == pytest.approx(expected, rel=1.1e-6)


def test_long_rows_are_multiplied_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_matrix, "SHORTEST_PART", 8)
    first, second = (torch.randn(count, 1003, generator=GENERATOR, dtype=torch.float64) for count in (3, 4))
    assert torch.allclose(long_products(first, second), first @ second.T)


@pytest.mark.parametrize("labels", [False, True])
def test_curvature_along_directions_is_that_of_a_cpu_from_parts_of_the_classes(
    labels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    likelihood: Likelihood = Multinomial(torch.arange(50) % 7, 7)
    if labels:
        likelihood = Binary((torch.rand(7, 50, generator=GENERATOR) < 0.4).float())
    logits, span = torch.randn(7, 50, generator=GENERATOR), torch.randn(3, 7, 50, generator=GENERATOR)
    wrong, residual = likelihood.evaluate(likelihood.margins(logits))[1:]
    images = torch.stack([likelihood.margins(one) for one in span])
    state = LossState(0.0, wrong, residual)
    expected = likelihood.packed_curve(state, images)
    monkeypatch.setattr(device_matrix, "is_card", lambda device: True)
    monkeypatch.setattr(device_matrix, "AT_ONCE", 300)
    assert len(list(class_parts(images))) > 2
    assert torch.allclose(likelihood.packed_curve(state, images), expected, rtol=1e-4, atol=1e-5)
