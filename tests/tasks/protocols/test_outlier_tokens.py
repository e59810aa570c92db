"""Outlier tokens are measured before the final norm, by block, and are a warning of dense tasks."""

from __future__ import annotations

import pytest
import torch

from backbones.model.architecture import create
from tasks.protocols.dense.frozen_maps import check_outliers, outlier_shares
from tests.tasks.workspace_fixture import Listener, network


def model(name: str = "test_vit", **arguments: int) -> torch.nn.Module:
    return create(network(name, **arguments)).eval()


def images() -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_an_ordinary_network_has_none_and_gets_no_warning() -> None:
    listener = Listener()
    vit = model(img_size=64, patch_size=8).train()
    found = check_outliers(vit, [images()], listener)
    assert found == {"outlier_tokens": [0.0] * len(vit.blocks)}  # type: ignore[arg-type]
    assert listener.warnings == []
    assert vit.training


def test_tokens_of_a_high_norm_are_counted_from_the_block_that_makes_them_on() -> None:
    vit = model(img_size=64, patch_size=8)

    def enlarge(_module: torch.nn.Module, _given: object, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens.clone()
        tokens[:, 1 + 5] *= 50  # one of 64 patches; the first token is the class token
        tokens[:, 0] *= 500
        return tokens

    vit.get_submodule("blocks.2").register_forward_hook(enlarge)
    listener = Listener()
    shares = check_outliers(vit, [images()], listener)["outlier_tokens"]
    assert isinstance(shares, list)
    assert shares[:2] == [0, 0]
    assert shares[2] == pytest.approx(100 / 64)
    assert len(listener.warnings) == 1
    assert "1.6 % of the patch tokens of block 3" in listener.warnings[0]


def test_networks_without_tokens_are_not_judged() -> None:
    assert outlier_shares(model("test_resnet"), [images()]) == []
    assert check_outliers(model("test_convnext"), [images()], Listener()) == {}
