"""One vector per image, for every family of architectures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from backbones.catalog.card import Pooling
from backbones.io.errors import WeightsError
from backbones.model.architecture import freeze, make
from backbones.model.encoder import pool

FAMILIES: dict[str, dict[str, object]] = {
    "test_resnet": {},
    "test_vit": {"img_size": 64},
    "test_vit2": {"img_size": 64},
    "test_convnext": {},
    "swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 2, "embed_dim": 24, "depths": (1, 1, 1, 1)},
    "vit_small_patch16_dinov3": {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 3},
    "vit_small_patch14_reg4_dinov2": {"img_size": 56, "depth": 2, "embed_dim": 48, "num_heads": 3},
    "vit_base_patch16_siglip_224": {"img_size": 64, "depth": 1, "embed_dim": 48, "num_heads": 3},
    "hiera_tiny_224": {"embed_dim": 24, "stages": (1, 1, 1, 1)},
    "mobilenetv3_small_100": {},
}


def model_and_features(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """The model, its features of two images, and the model's own output."""
    torch.manual_seed(0)
    model = freeze(make(name, **FAMILIES[name]))
    side = FAMILIES[name].get("img_size", 224 if "hiera" in name else 64)
    image = torch.rand(2, 3, side, side)  # type: ignore[call-overload]
    return model, model.forward_features(image), model(image)  # type: ignore[operator]


@pytest.mark.parametrize("name", FAMILIES)
def test_default_is_what_the_model_gives_without_its_classifier(name: str) -> None:
    model, features, own = model_and_features(name)
    assert torch.equal(pool(model, features, "default"), own)
    assert own.ndim == 2


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "swin_tiny_patch4_window7_224"])
def test_avg_of_a_map_is_the_models_own_average_with_its_norm(name: str) -> None:
    model, features, own = model_and_features(name)
    assert features.ndim == 4
    assert torch.equal(pool(model, features, "avg"), own)


def test_avg_of_a_resnet_is_the_mean_over_positions() -> None:
    model, features, _ = model_and_features("test_resnet")
    assert torch.allclose(pool(model, features, "avg"), features.mean(dim=(2, 3)), atol=1e-6)


@pytest.mark.parametrize("name", ["test_vit", "vit_small_patch14_reg4_dinov2"])
def test_cls_is_the_first_token_and_avg_the_mean_of_the_patches_without_registers(name: str) -> None:
    model, features, own = model_and_features(name)
    assert torch.equal(pool(model, features, "cls"), own)
    prefix = model.num_prefix_tokens
    patches = features[:, prefix:]
    assert torch.allclose(pool(model, features, "avg"), patches.mean(dim=1))
    both = pool(model, features, "cls+avg")
    assert torch.equal(both, torch.cat([own, pool(model, features, "avg")], dim=1))


def test_a_model_that_averages_its_tokens_itself_gets_its_own_norm_after_the_mean() -> None:
    model, features, own = model_and_features("vit_small_patch16_dinov3")
    assert model.num_prefix_tokens == 5
    assert torch.allclose(pool(model, features, "avg"), own, atol=1e-6)


def test_map_is_the_models_attention_pooling() -> None:
    model, features, own = model_and_features("vit_base_patch16_siglip_224")
    assert torch.equal(pool(model, features, "map"), own)
    assert not torch.allclose(pool(model, features, "avg"), own, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "pooling", "words"),
    [
        ("test_resnet", "cls", "no class token: use pooling=avg"),
        ("test_resnet", "map", "no attention pooling"),
        ("test_vit", "map", "no attention pooling"),
        ("vit_base_patch16_siglip_224", "cls", "no class token"),
    ],
)
def test_a_pooling_that_a_model_does_not_have_is_an_error(name: str, pooling: Pooling, words: str) -> None:
    model, features, _ = model_and_features(name)
    with pytest.raises(WeightsError, match=words):
        pool(model, features, pooling)
