"""Products of matrices: right for every layout that a slice or a transpose leaves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tasks.products import times_transposed

LEFT, RIGHT, INNER = 5, 33, 300


def layouts(rows: int) -> list[Tensor]:
    """[rows, INNER], contiguous, of columns, of every other row, transposed."""
    made = torch.Generator().manual_seed(rows)
    whole = torch.randn(2 * rows, 2 * INNER, generator=made)
    apart = torch.randn(INNER, rows, generator=made).T
    return [whole[:rows, :INNER].contiguous(), whole[:rows, 3 : 3 + INNER], whole[::2, :INNER], apart]


@pytest.mark.parametrize("place", range(4))
def test_product_is_right_for_every_layout(place: int) -> None:
    left = layouts(LEFT)[place]
    for right in layouts(RIGHT):
        expected = left.double() @ right.double().T
        torch.testing.assert_close(times_transposed(left, right).double(), expected, rtol=0, atol=1e-3)


def test_transposed_matrix_is_taken_as_it_lies() -> None:
    rows, residual = torch.randn(RIGHT, INNER), torch.randn(LEFT, RIGHT)
    torch.testing.assert_close(times_transposed(residual, rows.T), residual @ rows, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_keep_their_own(dtype: torch.dtype) -> None:
    left, right = torch.ones(2, 3, dtype=dtype), torch.ones(4, 3, dtype=dtype)
    assert torch.equal(times_transposed(left, right), left @ right.T)


def test_empty_matrices_have_empty_products() -> None:
    assert times_transposed(torch.zeros(0, 3), torch.zeros(4, 3)).shape == (0, 4)
    assert torch.equal(times_transposed(torch.zeros(2, 0), torch.zeros(4, 0)), torch.zeros(2, 4))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RuntimeError):
        times_transposed(torch.zeros(3, 2), torch.zeros(2, 3))
