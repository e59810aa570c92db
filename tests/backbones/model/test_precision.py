"""Weights cast to half precision once: the features of casting them in every batch, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from backbones.catalog.card import Precision, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.encoder import Encoder
from backbones.model.precision import HALVES, arithmetic, with_half_weights
from tests.tasks.dispatch_counts import counted
from tests.tasks.workspace_fixture import network

HALF: tuple[Precision, ...] = ("bfloat16", "float16")
ARCHITECTURES = ("test_resnet", "test_vit", "test_convnext", "test_efficientnet")


def batch(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 3, 64, 64), dtype=torch.uint8, generator=generator)


@torch.inference_mode()
def pooled(encoder: Encoder, network: nn.Module) -> Tensor:
    """Features of noise."""
    return encoder._pooled(network, batch(2), preprocessing_for(encoder.card, "paper"))


@pytest.mark.parametrize("precision", HALF)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_are_those_of_casting_in_every_batch_bit_for_bit(
    architecture: str, precision: Precision, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    card = network(architecture)
    encoder = Encoder.load(card, WeightsFolder(tmp_path), precision=precision)
    spec, images = preprocessing_for(card, "paper"), batch()
    made = with_half_weights(encoder.model, precision, lambda network: pooled(encoder, network))
    assert made is not encoder.model
    with torch.inference_mode():
        assert torch.equal(encoder._pooled(made, images, spec), encoder._pooled(encoder.model, images, spec))
    assert {values.dtype for values in encoder.model.parameters()} == {torch.float32}


def test_no_weight_of_a_layer_is_cast_in_a_batch(tmp_path: Path) -> None:
    card = network("test_vit")
    encoder = Encoder.load(card, WeightsFolder(tmp_path), precision="bfloat16")
    spec, images, launches = preprocessing_for(card, "paper"), batch(), {}
    once = with_half_weights(encoder.model, "bfloat16", lambda network: pooled(encoder, network))
    for name, made in (("every batch", encoder.model), ("once", once)):
        with torch.inference_mode(), counted() as counts:
            encoder._pooled(made, images, spec)
        launches[name] = counts.launches
    layers = [one for one in encoder.model.get_submodule("blocks").modules() if type(one) is nn.Linear]
    assert launches["every batch"] - launches["once"] >= sum(len(list(one.parameters())) for one in layers) > 0


class UsedElsewhere(nn.Module):
    """Multiplies with a layer's weight in float32 as well."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, rows: Tensor) -> Tensor:
        made: Tensor = self.layer(rows).float() + (rows[:, :, None] * self.layer.weight.T).sum(dim=1)
        return made


class Plain(nn.Module):
    """Two layers with an activation between them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3))

    def forward(self, rows: Tensor) -> Tensor:
        made: Tensor = self.layers(rows)
        return made


def outputs(rows: Tensor, precision: Precision) -> Callable[[nn.Module], Tensor]:
    def features(model: nn.Module) -> Tensor:
        with torch.inference_mode(), arithmetic(torch.device("cpu"), precision):
            return model(rows).float()  # type: ignore[no-any-return]

    return features


@pytest.mark.parametrize("precision", HALF)
def test_a_network_that_uses_its_weights_otherwise_is_left_as_it_is(precision: Precision) -> None:
    torch.manual_seed(0)
    rows, model, other = torch.randn(4, 8), UsedElsewhere().eval(), Plain().eval()
    assert with_half_weights(model, precision, outputs(rows, precision)) is model
    made = with_half_weights(other, precision, outputs(rows, precision))
    assert made is not other
    assert {values.dtype for values in made.parameters()} == {HALVES[precision]}
