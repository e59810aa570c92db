"""Networks created by torchvision are read without options and yield torchvision's features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from backbones.catalog.card import BackboneCard, FactsCard, FileWeights
from backbones.inspection.inspect_main import propose
from backbones.model.encoder import pool
from backbones.model.loading import load_model

Cut = Callable[[Any], None]


def classifier(model: Any) -> None:
    model.classifier = nn.Identity()


def last_layer(model: Any) -> None:
    """All of the classifier except its last layer."""
    model.classifier[-1] = nn.Identity()


def hidden_layer(model: Any) -> None:
    """MobileNet V3's hidden layer is timm's last convolution; dropout is off."""
    model.classifier[3] = nn.Identity()


def fully_connected(model: Any) -> None:
    model.fc = nn.Identity()


def head(model: Any) -> None:
    model.head = nn.Identity()


NETWORKS: dict[str, tuple[Callable[[], Any], Cut]] = {
    "mobilenet_v2": (models.mobilenet_v2, classifier),
    "mobilenet_v3_small": (models.mobilenet_v3_small, hidden_layer),
    "mobilenet_v3_large": (models.mobilenet_v3_large, hidden_layer),
    "efficientnet_b0": (models.efficientnet_b0, classifier),
    "regnet_y_400mf": (models.regnet_y_400mf, fully_connected),
    "densenet121": (models.densenet121, classifier),
}
MOST_NOISE = 1 << 18
"""Number of random values per tensor; they are repeated in a larger one."""
LARGE: dict[str, tuple[Callable[[], Any], Cut]] = {
    "efficientnet_v2_s": (models.efficientnet_v2_s, classifier),
    "swin_v2_t": (models.swin_v2_t, head),
    "vgg11_bn": (partial(models.vgg11_bn, init_weights=False), last_layer),
    "regnet_x_400mf": (models.regnet_x_400mf, fully_connected),
}


@torch.no_grad()
def shaken(model: Any) -> Any:
    """Every tensor has an effect; variances are small enough to expose another epsilon."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            count = value.numel()
            few = torch.randn(min(count, MOST_NOISE), generator=generator)
            noise = few.repeat(-(-count // len(few)))[:count].view(value.shape)
            value.copy_(
                0.3 + 0.2 * noise.abs() if "running_var" in name else value + 0.1 * noise * value.std().nan_to_num(1)
            )
    return model.eval()


def check(folder: Path, make: Callable[[], Any], cut: Cut) -> None:
    torch.manual_seed(0)
    model = shaken(make())
    torch.save(model.state_dict(), folder / "last.pth")
    chosen = propose(folder / "last.pth").chosen
    assert chosen is not None
    card = BackboneCard(
        name="own/net", title="net", architecture=chosen.architecture, architecture_arguments=chosen.arguments,
        weights=FileWeights(path=str(folder / "last.pth")), keys=chosen.keys, facts=FactsCard(method="own"),
    )  # fmt: skip
    ours = cast("Any", load_model(card, folder / "last.pth"))
    images = torch.rand(1, 3, chosen.size, chosen.size, generator=torch.Generator().manual_seed(2))
    cut(model)
    with torch.inference_mode():
        found: Tensor = pool(ours, ours.forward_features(images), "default").flatten(1)
        expected = model(images).flatten(1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_torchvision_gives_its_features(tmp_path: Path, name: str) -> None:
    check(tmp_path, *NETWORKS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_network_of_torchvision_gives_its_features(tmp_path: Path, name: str) -> None:
    check(tmp_path, *LARGE[name])
