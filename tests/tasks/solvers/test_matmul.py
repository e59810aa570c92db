"""Matrix products: correct for every layout that results from a slice or transpose."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backbones.cpu.matmul import ONEDNN, PACK_AT, PackedMatrix, matmul_transposed

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
        torch.testing.assert_close(matmul_transposed(left, right).double(), expected, rtol=0, atol=1e-3)


def test_transposed_matrix_is_taken_as_it_lies() -> None:
    rows, residual = torch.randn(RIGHT, INNER), torch.randn(LEFT, RIGHT)
    torch.testing.assert_close(matmul_transposed(residual, rows.T), residual @ rows, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_keep_their_own(dtype: torch.dtype) -> None:
    left, right = torch.ones(2, 3, dtype=dtype), torch.ones(4, 3, dtype=dtype)
    assert torch.equal(matmul_transposed(left, right), left @ right.T)


def test_empty_matrices_have_empty_products() -> None:
    assert matmul_transposed(torch.zeros(0, 3), torch.zeros(4, 3)).shape == (0, 4)
    assert torch.equal(matmul_transposed(torch.zeros(2, 0), torch.zeros(4, 0)), torch.zeros(2, 4))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RuntimeError):
        matmul_transposed(torch.zeros(3, 2), torch.zeros(2, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_matrix_that_is_packed_multiplies_as_before(dtype: torch.dtype) -> None:
    for right in (one.to(dtype) for one in layouts(RIGHT)):
        kept = PackedMatrix(right)
        for left in torch.randn(PACK_AT + 2, LEFT, INNER, generator=torch.Generator().manual_seed(0)).to(dtype):
            expected = (left.double() @ right.double().T).to(dtype)
            torch.testing.assert_close(kept.left_multiply(left), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.skipif(not ONEDNN, reason="this build of PyTorch has no packed products")
def test_matrix_is_packed_when_its_products_have_proved_to_be_many(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr("backbones.cpu.matmul.pack", lambda matrix, rows: made.append(rows))
    right, left = torch.randn(RIGHT, INNER), torch.randn(LEFT, INNER)
    kept = PackedMatrix(right)
    for number in range(1, 2 * PACK_AT):
        kept.left_multiply(left)
        assert len(made) == (number >= PACK_AT)
    scarce = PackedMatrix(right, packable=False)
    monkeypatch.setattr("backbones.cpu.matmul.MOST_PACKED", right.nbytes - 1)
    large = PackedMatrix(right)
    for _ in range(2 * PACK_AT):
        torch.testing.assert_close(large.left_multiply(left), scarce.left_multiply(left))
    assert made == [LEFT], "a large matrix, or one of a path with a bound on memory, is not copied"
