"""Folders written by the transformers library are read without options and yield the features that it computed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from backbones.catalog.card import BackboneCard, FactsCard, FileWeights
from backbones.catalog.weights_folder import checkpoint_files
from backbones.inspection.inspect_main import propose
from backbones.model.encoder import pool
from backbones.model.loading import load_model

FILES = Path(__file__).parent / "transformers_files"
"""Written by `write_transformers_files.py`."""
WITHOUT_LAST_NORM = {"data2vec", "upernet"}
"""Networks whose last norm is in no file, unlike timm's, and a norm cannot be without effect."""
LAYOUTS = sorted({folder.name for folder in FILES.iterdir() if (folder / "features.npy").is_file()})


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout not in WITHOUT_LAST_NORM])
def test_a_folder_of_transformers_gives_the_librarys_features(layout: str) -> None:
    folder = FILES / layout
    found = propose(folder)
    chosen = found.chosen
    assert chosen is not None, found.question or found.problem
    card = BackboneCard(
        name="own/net", title="net", architecture=chosen.architecture, architecture_arguments=chosen.arguments,
        pooling=chosen.pooling, weights=FileWeights(path=str(folder)), keys=chosen.keys, facts=FactsCard(method="own"),
    )  # fmt: skip
    model = load_model(card, checkpoint_files(folder)[0])
    images = torch.rand(2, 3, chosen.size, chosen.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = pool(model, cast("Any", model).forward_features(images), card.pooling).flatten(1)
    np.testing.assert_allclose(features.numpy(), np.load(folder / "features.npy"), rtol=1e-3, atol=1e-4)
    assert (chosen.mean, chosen.std, chosen.interpolation) == ((0.5,) * 3, (0.5,) * 3, "bilinear")


@pytest.mark.parametrize("layout", sorted(WITHOUT_LAST_NORM))
def test_a_network_without_its_last_norm_is_refused(layout: str) -> None:
    found = propose(FILES / layout)
    assert found.chosen is None
    assert "norm.weight" in (found.problem or "")


@pytest.mark.parametrize(
    ("layout", "setting", "words"),
    [
        ("dinov3-gated", {"hidden_act": "gelu"}, "hidden_act=gelu (timm's has silu)"),
        ("dinov3", {"rope_parameters": {"rope_theta": 10.0}}, "rope_theta=10.0"),
        ("swin", {"hidden_act": "relu"}, "hidden_act=relu"),
        ("convnext", {"hidden_act": "silu"}, "hidden_act=silu"),
    ],
)
def test_a_setting_that_no_tensor_shows_and_timm_has_otherwise_is_refused(
    tmp_path: Path, layout: str, setting: dict[str, object], words: str
) -> None:
    shutil.copytree(FILES / layout, tmp_path / "net")
    config = json.loads((tmp_path / "net/config.json").read_text())
    (tmp_path / "net/config.json").write_text(json.dumps({**config, **setting}))
    found = propose(tmp_path / "net")
    assert found.chosen is None
    assert words in (found.problem or "")


def test_a_width_that_the_configuration_does_not_mean_leaves_the_heads_open(tmp_path: Path) -> None:
    shutil.copytree(FILES / "vit", tmp_path / "net")
    config = json.loads((tmp_path / "net/config.json").read_text())
    (tmp_path / "net/config.json").write_text(json.dumps({**config, "hidden_size": 768, "num_attention_heads": 12}))
    assert "set it, e.g. --arg num_heads" in (propose(tmp_path / "net").question or "")
