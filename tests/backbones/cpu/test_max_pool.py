"""Max-pooling by channels: outputs, gradients and layouts equal bit by bit to PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from backbones.catalog.card import BackboneCard, FactsCard, RandomWeights
from backbones.cpu.optimise import MOST_CHANNELS_FIRST, MaxPool2dByChannels, pooled_by_channels
from backbones.model.architecture import create, freeze
from backbones.model.loading import load_model

SHAPES = [(2, 16, 24, 24), (3, 40, 17, 13), (1, 64, 56, 56), (5, MOST_CHANNELS_FIRST, 9, 8)]


def bits(values: Tensor) -> Tensor:
    return values.contiguous().view(torch.int32)


def images(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Many ties at 0, as after a ReLU, zeros of either sign, infinities and a NaN."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu()
    values[0, 0, 0, :4] = torch.tensor([-0.0, 0.0, float("inf"), float("nan")])
    values[0, 1, 2, :2] = -float("inf")
    return values


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2), nn.MaxPool2d(3, 2, ceil_mode=True)])
def test_outputs_and_gradients_are_equal_bit_by_bit(shape: tuple[int, ...], pool: nn.MaxPool2d) -> None:
    by_channels = copy.deepcopy(pool)
    pooled_by_channels(by_channels)
    assert type(by_channels) is MaxPool2dByChannels
    one, other = (images(shape).requires_grad_() for _ in range(2))
    wanted, found = pool(one), by_channels(other)
    slope = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    wanted.backward(slope)
    found.backward(slope)
    assert one.grad is not None
    assert other.grad is not None
    assert torch.equal(bits(found), bits(wanted))
    assert torch.equal(bits(other.grad), bits(one.grad))
    assert (found.stride(), other.grad.stride()) == (wanted.stride(), one.grad.stride())


@pytest.mark.parametrize("layout", ["channels last", "without a batch", "bfloat16", "transposed"])
def test_other_inputs_are_pooled_as_they_are(layout: str) -> None:
    given = images((4, 32, 14, 14))
    match layout:
        case "channels last":
            given = given.contiguous(memory_format=torch.channels_last)
        case "without a batch":
            given = given[0]
        case "bfloat16":
            given = given.bfloat16()
        case _:
            given = given.transpose(2, 3)
    wanted = nn.MaxPool2d(3, 2, 1)(given)
    found = pooled_by_channels(nn.MaxPool2d(3, 2, 1))(given)
    assert torch.equal(found.float().nan_to_num(7.0), wanted.float().nan_to_num(7.0))
    assert found.stride() == wanted.stride()


def test_a_loaded_backbone_has_them_under_the_names_of_its_tensors() -> None:
    card = BackboneCard(
        name="own/net",
        title="Net",
        architecture="test_resnet",
        weights=RandomWeights(seed=3),
        facts=FactsCard(method="none"),
    )
    model = load_model(card, None)
    pools = [module for module in model.modules() if isinstance(module, nn.MaxPool2d)]
    assert pools
    assert {type(pool) for pool in pools} == {MaxPool2dByChannels}
    plain = freeze(create(card))
    assert nn.MaxPool2d in map(type, plain.modules())
    assert list(plain.state_dict()) == list(model.state_dict())
    batch = images((2, 3, 64, 64)).nan_to_num(0.5, 1.0, 0.0)
    with torch.inference_mode():
        assert torch.equal(bits(model(batch)), bits(plain(batch)))
