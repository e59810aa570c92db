"""Per-class blocks as a preconditioner of conjugate gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.solvers.logistic.conjugate_gradients import Leading, conjugate_gradients
from tasks.solvers.logistic.device_matrix import DeviceMatrix
from tasks.solvers.logistic.eigenbasis import Design, eigenbasis
from tasks.solvers.logistic.newton_direction import LONG, PRICE, ClassBlocks, inverses
from tasks.solvers.logistic.objective import Binary

SAMPLES, LABELS, LAM = 300, 3, 1e-4
CPU = torch.device("cpu")


def low_rank(made: torch.Generator) -> Tensor:
    """Features [n, 16] with scales over three decades, so that the penalty matters in some directions only."""
    return torch.randn(SAMPLES, 16, generator=made) * torch.logspace(0, -3, 16)


def design_of(features: Tensor) -> Design:
    return Design(DeviceMatrix(eigenbasis(features, CPU).coordinates(features), CPU), eigenbasis(features, CPU))


def test_labels_that_are_apart_are_solved_by_their_blocks_at_once() -> None:
    made = torch.Generator().manual_seed(0)
    features = low_rank(made)
    likelihood = Binary((features[:, :LABELS].T + torch.randn(LABELS, SAMPLES, generator=made) > 0).float())
    design = design_of(features)
    state = likelihood.state(8 * torch.randn(LABELS, SAMPLES, generator=made))
    scale = state.curvature()[:, None] * design.moments
    scale[:, 1:].add_(LAM)
    leading = design.leading_columns(design.width, torch.float32)
    right = torch.randn(LABELS, design.width, generator=made)
    own = inverses(leading.values, state.curvatures(), LAM)

    by_diagonal = conjugate_gradients(Leading(leading, likelihood, likelihood.weight(state), scale, LAM, None), right)[
        1
    ]
    solution, by_blocks, _ = conjugate_gradients(
        Leading(leading, likelihood, likelihood.weight(state), scale, LAM, own), right
    )
    assert by_blocks == 1 < by_diagonal
    residual = Leading(leading, likelihood, likelihood.weight(state), scale, LAM, own).product(solution) - right
    assert float(residual.norm()) < 1e-3 * float(right.norm())


def test_blocks_are_made_when_the_rounds_they_spare_add_up_to_their_cost_and_kept_while_they_serve() -> None:
    design, blocks = design_of(low_rank(torch.Generator().manual_seed(1))), ClassBlocks()
    asked: list[int] = []

    def curvatures() -> Tensor:
        asked.append(len(asked))
        return torch.full((LABELS, SAMPLES), 0.25)

    def direction(rounds: int, count: int = 9) -> None:
        blocks.prepare(design, count, curvatures, LAM)
        blocks.served(rounds)

    direction(LONG)
    direction(LONG + 1)
    assert not asked
    direction(LONG + int(9 * PRICE))
    direction(3)
    assert len(asked) == 1
    direction(3)
    direction(3 + int(9 * PRICE) + 1)
    direction(3)
    assert len(asked) == 2
    direction(3, count=10)
    assert blocks.inverses is None


def test_a_block_that_rounding_makes_indefinite_leaves_the_diagonal() -> None:
    broken = torch.full((LABELS, SAMPLES), float("nan"))
    assert inverses(torch.ones(SAMPLES, 2), broken, LAM) is None
