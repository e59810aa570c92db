"""Layer-wise features: equal to timm's own intermediate outputs, from the pass that computes the usual features."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from backbones.catalog.card import BackboneCard, FactsCard, InputCard, Pooling, RandomWeights, preprocessing_for
from backbones.catalog.layer_info import BlockInfo, LayerRequest, chosen_blocks
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.errors import WeightsError
from backbones.model.encoder import Encoder
from backbones.model.feature_maps import block_info
from backbones.model.preprocessing import normalise

PIXELS = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def encoder(tmp_path: Path, architecture: str, pooling: Pooling = "default", **arguments: Any) -> Encoder:
    card = BackboneCard(
        name=architecture,
        title=architecture,
        architecture=architecture,
        architecture_arguments=arguments,
        weights=RandomWeights(),
        pooling=pooling,
        input=InputCard(size=32),
        facts=FactsCard(method="none"),
    )
    return Encoder.load(card, WeightsFolder(tmp_path))


def normalised(loaded: Encoder) -> Tensor:
    return normalise(PIXELS, preprocessing_for(loaded.card, "paper"))


def encoded(loaded: Encoder) -> tuple[Tensor, dict[tuple[int, str], Tensor]]:
    """Pooled features, and every column by block and pooling."""
    found = loaded.encode_layers(PIXELS, preprocessing_for(loaded.card, "paper"), ["all"])
    columns = loaded.columns("all")
    parts = torch.split(found, [loaded.dimension, *(column.width for column in columns)], dim=1)
    return parts[0], {(one.block, one.pooling): part for one, part in zip(columns, parts[1:], strict=True)}


def test_the_pooled_features_are_the_same_bits_as_without_layers(tmp_path: Path) -> None:
    for architecture in ("test_vit", "test_resnet"):
        loaded = encoder(tmp_path, architecture)
        usual = loaded.encode(PIXELS, preprocessing_for(loaded.card, "paper"))
        assert torch.equal(encoded(loaded)[0], usual)


@torch.inference_mode()
def test_columns_of_a_transformer_are_timms_normed_intermediate_outputs(tmp_path: Path) -> None:
    loaded = encoder(tmp_path, "vit_tiny_patch16_224", img_size=32, reg_tokens=4, depth=3, patch_size=8)
    columns = encoded(loaded)[1]
    outputs = cast("Any", loaded.model).forward_intermediates(
        normalised(loaded), norm=True, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
    )
    assert len(columns) == 9
    for number, (patches, prefix) in enumerate(outputs, start=1):
        assert torch.allclose(columns[number, "cls"], prefix[:, 0], atol=1e-5)
        assert torch.allclose(columns[number, "registers"], prefix[:, 1:].mean(dim=1), atol=1e-5)
        assert torch.allclose(columns[number, "mean"], patches.mean(dim=1), atol=1e-5)


def test_the_last_class_token_is_what_cls_pooling_gives(tmp_path: Path) -> None:
    loaded = encoder(tmp_path, "test_vit", "cls", img_size=32)
    pooled, columns = encoded(loaded)
    assert torch.allclose(columns[6, "cls"], pooled, atol=1e-6)


@torch.inference_mode()
def test_columns_of_a_convolutional_network_are_means_of_its_stages(tmp_path: Path) -> None:
    loaded = encoder(tmp_path, "test_resnet")
    columns = encoded(loaded)[1]
    maps = cast("Any", loaded.model).forward_intermediates(normalised(loaded), intermediates_only=True)[-4:]
    assert list(columns) == [(block, "mean") for block in (1, 2, 3, 4)]
    for number, one in enumerate(maps, start=1):
        assert torch.allclose(columns[number, "mean"], one.mean(dim=(2, 3)), atol=1e-4)


def test_a_mean_of_tokens_without_a_norm_takes_the_norm_after_pooling(tmp_path: Path) -> None:
    loaded = encoder(tmp_path, "test_vit", "avg", img_size=32, global_pool="avg", fc_norm=True)
    pooled, columns = encoded(loaded)
    assert torch.allclose(columns[6, "mean"], pooled, atol=1e-6)


def test_a_network_without_listed_blocks_is_refused_by_name(tmp_path: Path) -> None:
    loaded = encoder(tmp_path, "test_resnet")
    loaded.model.feature_info = []  # type: ignore[assignment]
    with pytest.raises(WeightsError, match="test_resnet: no layer-wise features: ResNet does not list its blocks"):
        loaded.columns("all")


def test_the_last_four_blocks_and_the_quarters_are_chosen() -> None:
    assert chosen_blocks(12, "last-4-and-quarters") == (3, 6, 9, 10, 11, 12)
    assert chosen_blocks(24, "last-4-and-quarters") == (6, 12, 18, 21, 22, 23, 24)
    assert chosen_blocks(2, "last-4-and-quarters") == (1, 2)
    assert chosen_blocks(3, "all") == (1, 2, 3)


def test_bytes_of_an_image_are_known_from_the_architecture(tmp_path: Path) -> None:
    info = block_info(encoder(tmp_path, "test_vit", img_size=32).model, 32)
    assert info == BlockInfo(widths=(64,) * 6, poolings=("cls", "mean"), plain=True)
    assert info.bytes_per_image(LayerRequest()) == 2 * 64 * 2 * 5  # blocks 1 (quarter), 3, 4, 5, 6
    assert info.bytes_per_image(LayerRequest(storage="float32", blocks="all")) == 4 * 64 * 2 * 6
