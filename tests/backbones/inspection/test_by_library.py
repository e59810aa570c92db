"""Models that timm does not have: read by the class of the transformers library, else refused with a fix."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones.catalog.card import BackboneCard, FactsCard, FileWeights
from backbones.inspection.inspect_main import propose
from backbones.inspection.proposal import Inspection, InspectionHints
from backbones.io.errors import WeightsError
from backbones.model.encoder import pool
from backbones.model.loading import load_model
from tests.backbones.inspection.test_transformers_files import FILES

INSTALLED = find_spec("transformers") is not None
with_library = pytest.mark.skipif(not INSTALLED, reason="the transformers library is not installed")


def card_of(found: Inspection, folder: Path) -> BackboneCard:
    chosen = found.chosen
    assert chosen is not None, found.problem
    return BackboneCard(
        name="own/net", title="net", architecture=chosen.architecture, architecture_arguments=chosen.arguments,
        weights=FileWeights(path=str(folder)), keys=chosen.keys, facts=FactsCard(method="own"),
    )  # fmt: skip


def changed(folder: Path, **settings: object) -> Path:
    shutil.copytree(FILES / "data2vec", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))
    return folder


@pytest.mark.skipif(INSTALLED, reason="the transformers library is installed")
def test_without_the_library_the_extra_is_named() -> None:
    found = propose(FILES / "data2vec")
    assert found.chosen is None
    assert "pip install 'ssl-console[transformers]'" in (found.problem or "")


@with_library
def test_a_model_that_timm_lacks_is_loaded_by_the_librarys_class() -> None:
    folder = FILES / "data2vec"
    found = propose(folder)
    card = card_of(found, folder)
    assert card.architecture == "transformers/data2vec-vision"
    assert found.chosen is not None
    assert "features are the class token" in found.chosen.assumptions
    model = load_model(card, folder / "model.safetensors")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = pool(model, cast("Any", model).forward_features(images), "default")
    np.testing.assert_allclose(features.numpy(), np.load(folder / "features.npy"), rtol=1e-3, atol=1e-5)


@with_library
def test_a_missing_tensor_is_refused_by_the_librarys_name(tmp_path: Path) -> None:
    folder = changed(tmp_path / "net")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors")
    found = propose(folder)
    assert found.chosen is None
    assert "encoder.layer.1.output.dense.weight" in (found.problem or "")


@with_library
def test_a_leftover_is_not_dropped_unless_the_user_says_so(tmp_path: Path) -> None:
    folder = changed(tmp_path / "net")
    save_file(
        {**load_file(folder / "model.safetensors"), "mystery.weight": torch.ones(3)}, folder / "model.safetensors"
    )
    assert "add --drop mystery.weight" in (propose(folder).problem or "")
    card = card_of(propose(folder, InspectionHints(drop=("mystery",))), folder)
    assert load_model(card, folder / "model.safetensors") is not None
    with pytest.raises(WeightsError, match="mystery"):
        load_model(
            card.model_copy(update={"keys": card.keys.model_copy(update={"drop": ()})}), folder / "model.safetensors"
        )


def test_code_that_a_model_brings_along_is_not_run(tmp_path: Path) -> None:
    folder = changed(
        tmp_path / "net", model_type="own-model", auto_map={"AutoModel": "modeling.Own", "AutoConfig": "modeling.C"}
    )
    (folder / "modeling.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert propose(folder).chosen is None
    assert not (tmp_path / "ran").exists()
