"""Linear layers in oneDNN's layout, with their GELUs: the same features, or the network unchanged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from backbones.catalog.card import BackboneCard, FactsCard, RandomWeights
from backbones.catalog.weights_folder import WeightsFolder
from backbones.cpu import optimise
from backbones.cpu.optimise import PACKS, LinearGELU, packed
from backbones.model.architecture import freeze, make
from backbones.model.encoder import Encoder
from backbones.model.precision import arithmetic

pytestmark = pytest.mark.skipif(not PACKS, reason="this build of PyTorch lends no packed oneDNN product")


def on(images: Tensor) -> Callable[[nn.Module], Tensor]:
    """Outputs of a network for them."""

    def features(network: nn.Module) -> Tensor:
        with torch.inference_mode(), arithmetic(torch.device("cpu"), "float32"):
            made: Tensor = network(images)
            return made

    return features


def layers(model: nn.Module) -> list[LinearGELU]:
    return [module for module in model.modules() if isinstance(module, LinearGELU)]


def with_gelu(model: nn.Module) -> int:
    return sum(layer.approximate is not None for layer in layers(model))


@pytest.mark.parametrize(
    ("architecture", "linear", "gelu"),
    [
        ("test_vit", 24, 6),
        ("vit_tiny_patch16_224", 48, 12),
        ("swin_tiny_patch4_window7_224", 51, 12),
        ("eva02_tiny_patch14_224", 48, 0),
        ("xcit_nano_12_p16_224", 60, 14),
    ],
)
def test_features_agree_with_torchs_own_to_rounding(architecture: str, linear: int, gelu: int) -> None:
    torch.manual_seed(0)
    model = freeze(make(architecture))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    size = model.pretrained_cfg["input_size"][1:]  # type: ignore[index]
    quick = packed(model, on(torch.randn(1, 3, *size)))
    assert (len(layers(quick)), with_gelu(quick)) == (linear, gelu)
    images = torch.randn(3, 3, *size)
    with torch.inference_mode():
        expected: Tensor = model(images)
    assert (on(images)(quick) - expected).norm() <= 1e-5 * expected.norm()
    assert not layers(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("laid_out", [True, False])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 5, 3), (2, 5, 7, 3), (0, 3), (700, 3)], ids=str)
def test_a_layer_gives_what_torchs_linear_and_gelu_give(
    approximate: str, laid_out: bool, shape: tuple[int, ...]
) -> None:
    layer, rows = freeze(nn.Linear(3, 40)), 4 * torch.randn(shape)
    assert isinstance(layer, nn.Linear)
    expected = nn.GELU(approximate)(layer(rows))
    torch.testing.assert_close(LinearGELU(layer, approximate, laid_out=laid_out)(rows), expected)
    torch.testing.assert_close(LinearGELU(layer, None, laid_out=laid_out)(rows), layer(rows))


def test_gradients_pass_through() -> None:
    layer, rows = freeze(nn.Linear(3, 4)), torch.randn(2, 3, requires_grad=True)
    assert isinstance(layer, nn.Linear)
    (found,) = torch.autograd.grad(LinearGELU(layer, "none", laid_out=True)(rows).sum(), rows)
    (expected,) = torch.autograd.grad(nn.GELU()(layer(rows)).sum(), rows)
    torch.testing.assert_close(found, expected)


class Gated(nn.Module):
    """Its GELU follows a layer by name only: it is computed from half of the layer's output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Linear(8, 16), nn.GELU(), nn.Linear(8, 8)

    def forward(self, rows: Tensor) -> Tensor:
        gate, value = self.first(rows).chunk(2, dim=-1)
        made: Tensor = self.second(self.act(gate) * value)
        return made


class Asking(nn.Module):
    """Reads a layer's weight itself, as some attention modules do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Linear(8, 8), nn.GELU()

    def forward(self, rows: Tensor) -> Tensor:
        made: Tensor = self.act(self.first(rows)) + nn.functional.linear(rows, self.first.weight)
        return made


class Twice(nn.Module):
    """One layer and one GELU, applied repeatedly."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Linear(8, 8), nn.GELU()

    def forward(self, rows: Tensor) -> Tensor:
        made: Tensor = self.act(rows) + self.act(self.first(self.act(self.first(rows))))
        return made


@pytest.mark.parametrize(("architecture", "gelu"), [(Gated, 0), (Asking, 1), (Twice, 0)])
def test_a_network_that_does_something_else_gives_the_same(architecture: type[nn.Module], gelu: int) -> None:
    model = freeze(architecture())
    quick = packed(model, on(torch.randn(5, 8)))
    assert layers(quick)
    assert with_gelu(quick) == gelu
    features = on(torch.randn(9, 8))
    torch.testing.assert_close(features(quick), features(model))


def test_layers_with_hooks_stay_as_they_are() -> None:
    hooked = nn.Linear(8, 8)
    hooked.register_forward_hook(lambda _module, _given, made: 2 * made)
    model = freeze(nn.Sequential(hooked, nn.GELU(), nn.Linear(8, 8)))
    quick = packed(model, on(torch.randn(5, 8)))
    assert [type(module) for module in quick.children()] == [nn.Linear, nn.GELU, LinearGELU]


def test_a_network_that_cannot_be_copied_stays_as_it_is() -> None:
    model = freeze(nn.Sequential(nn.Linear(8, 8), nn.GELU()))
    model.lock = threading.Lock()  # type: ignore[assignment]
    assert packed(model, on(torch.randn(5, 8))) is model


def test_a_network_without_linear_layers_stays_as_it_is() -> None:
    model = freeze(make("test_resnet"))
    assert packed(model, on(torch.zeros(0))) is model


@pytest.mark.parametrize("room", [8 * 16 * 4, 8 * 16 * 4 - 1])
def test_large_weights_are_not_held_twice(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimise, "MOST_PACKED", room)
    model = freeze(nn.Sequential(nn.Linear(8, 16), nn.GELU()))
    quick = packed(model, on(torch.randn(5, 8)))
    (layer,) = layers(quick)
    assert with_gelu(quick) == 1
    assert (layer._factor is layer.weight) == (room < 8 * 16 * 4)
    assert layer.weight is model[0].weight  # type: ignore[index]


def test_a_backbone_on_a_cpu_is_packed_in_full_precision_only(tmp_path: Path) -> None:
    card = BackboneCard(
        name="r", title="R", architecture="test_vit", weights=RandomWeights(), facts=FactsCard(method="none")
    )
    full, half = (Encoder.load(card, WeightsFolder(tmp_path), precision=one) for one in ("float32", "bfloat16"))
    assert [len(layers(one)) for one in (full.model, full.network, half.network)] == [0, 24, 0]
