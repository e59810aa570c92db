"""Batch norms folded into convolutions: the same features, or the network unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from backbones.catalog.card import BackboneCard, FactsCard, RandomWeights
from backbones.catalog.weights_folder import WeightsFolder
from backbones.cpu.optimise import folded
from backbones.model.architecture import freeze, make
from backbones.model.encoder import Encoder

NORMS = (nn.BatchNorm2d,)


def with_statistics(model: nn.Module) -> nn.Module:
    """Frozen, with non-trivial batch norms, as after training."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, NORMS):
            for tensor, low, high in ((module.running_mean, -0.2, 0.2), (module.running_var, 0.5, 2.0)):
                assert tensor is not None
                tensor.uniform_(low, high, generator=generator)
            module.weight.data.uniform_(0.5, 1, generator=generator)
            module.bias.data.uniform_(-0.1, 0.1, generator=generator)
    return freeze(model)


def on(images: Tensor) -> Callable[[nn.Module], Tensor]:
    """Outputs of a network for them."""

    def features(network: nn.Module) -> Tensor:
        with torch.inference_mode():
            made: Tensor = network(images)
            return made

    return features


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, NORMS) for module in model.modules())


@pytest.mark.parametrize(
    ("architecture", "left"),
    [("resnet18", 0), ("test_resnet", 1), ("densenet121", 62), ("mobilenetv3_small_100", 0), ("hrnet_w18_small", 0)],
)
def test_features_agree_with_the_networks_own_to_rounding(architecture: str, left: int) -> None:
    torch.manual_seed(0)
    model = with_statistics(make(architecture))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    quick = folded(model, on(torch.randn(2, 3, 96, 96)))
    assert norms(model) > norms(quick) == left
    features = on(torch.randn(3, 3, 128, 128))
    assert (features(quick) - features(model)).norm() <= 1e-5 * features(model).norm()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


class Crossed(nn.Module):
    """Registers a convolution before a batch norm that follows another one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.second(self.norm(self.first(images)))
        return made


class Twice(nn.Module):
    """Also reads a convolution's output before the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.convolution(images)
        made: Tensor = maps + self.norm(maps)
        return made


class Asking(nn.Module):
    """Reads the batch norm's numbers itself."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        mean, deviation = self.norm.running_mean, self.norm.running_var.sqrt()  # type: ignore[union-attr]
        made: Tensor = (self.convolution(images) - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)  # type: ignore[union-attr]
        return made


@pytest.mark.parametrize("architecture", [Crossed, Twice, Asking])
def test_a_network_that_does_something_else_stays_as_it_is(architecture: type[nn.Module]) -> None:
    model = with_statistics(architecture())
    assert folded(model, on(torch.randn(2, 3, 8, 8))) is model


def test_a_network_without_batch_norms_stays_as_it_is() -> None:
    model = freeze(make("test_vit"))
    assert folded(model, on(torch.zeros(0))) is model


def test_batch_norms_in_training_mode_are_left_alone() -> None:
    model = with_statistics(make("test_resnet")).train()
    assert folded(model, on(torch.randn(2, 3, 64, 64))) is model


def test_a_backbone_on_a_cpu_is_folded_in_full_precision_only(tmp_path: Path) -> None:
    card = BackboneCard(
        name="r", title="R", architecture="resnet18", weights=RandomWeights(), facts=FactsCard(method="none")
    )
    full, half = (Encoder.load(card, WeightsFolder(tmp_path), precision=one) for one in ("float32", "bfloat16"))
    assert (norms(full.model), norms(full.network), norms(half.network)) == (20, 0, 20)
    weights = [parameter for parameter in full.network.parameters() if parameter.ndim == 4 and parameter.shape[-1] > 1]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
