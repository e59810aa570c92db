"""LoRA adapters of PEFT are merged into their network; quantised weights are converted back by their scales."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones.catalog.card import BackboneCard, FactsCard, FileWeights
from backbones.catalog.weights_folder import WeightsFolder, checkpoint_files
from backbones.checkpoints.read import read_content
from backbones.inspection.inspect_main import propose
from backbones.io.errors import WeightsError
from tests.backbones.inspection.test_transformers_files import FILES
from tests.backbones.layouts import spread, tensors_of


def copied(folder: Path, **settings: object) -> Path:
    """The adapter and its network in a folder, with other settings."""
    for name in ("vit", "adapter"):
        shutil.copytree(FILES / name, folder / name)
    path = folder / "adapter/adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder / "adapter"


def test_what_was_merged_is_named() -> None:
    assert "LoRA adapter of adapter into" in propose(FILES / "adapter").merged
    assert propose(FILES / "adapter-unmerged").merged == "LoRA adapter in last.safetensors"
    assert propose(FILES / "vit").merged == ""


def test_the_digest_of_an_adapters_card_covers_its_network_and_its_settings(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    weights = WeightsFolder(tmp_path / "weights")
    card = BackboneCard(
        name="own/net", title="net", architecture="vit_base_patch16_224", weights=FileWeights(path=str(folder)),
        facts=FactsCard(method="own"),
    )  # fmt: skip
    assert [path.name for path in checkpoint_files(folder)] == [
        "adapter_model.safetensors", "adapter_config.json", "model.safetensors",
    ]  # fmt: skip
    before = weights.state(card).digest
    (folder / "adapter_config.json").write_text((folder / "adapter_config.json").read_text().replace("8", "9"))
    assert weights.state(card).digest != before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "trained biases"),
        ({"peft_type": "IA3"}, "of kind IA3"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(tmp_path: Path, settings: dict[str, object], words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        propose(copied(tmp_path, **settings))


def test_an_adapter_whose_network_is_elsewhere_is_refused_with_the_way_out(tmp_path: Path) -> None:
    found = propose(copied(tmp_path, base_model_name_or_path="org/elsewhere"))
    assert found.chosen is None
    assert "path as base_model_name_or_path" in (found.problem or "")


def test_an_adapter_of_another_network_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({key.replace("layers.1.", "layers.7."): value for key, value in tensors.items()},
              folder / "adapter_model.safetensors")  # fmt: skip
    with pytest.raises(WeightsError, match="which its network does not have"):
        propose(folder)


def test_two_adapters_in_one_file_are_refused(tmp_path: Path) -> None:
    shutil.copytree(FILES / "adapter-unmerged", tmp_path / "net")
    tensors = load_file(tmp_path / "net/last.safetensors")
    second = {
        key.replace(".default.", ".other."): value.clone() for key, value in tensors.items() if ".default." in key
    }
    save_file({**tensors, **second}, tmp_path / "net/last.safetensors")
    with pytest.raises(WeightsError, match="holds 2 adapters"):
        propose(tmp_path / "net")


def quantised(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 numbers [o, i] and the largest magnitude of each row [o]."""
    most = weight.abs().amax(1)
    return (weight / most[:, None] * 127).round().to(torch.int8), most


@pytest.mark.parametrize("form", ["bitsandbytes", "compressed-tensors", "optimum-quanto"])
def test_whole_numbers_are_turned_back_by_the_scales_of_a_known_format(tmp_path: Path, form: str) -> None:
    tensors = load_file(FILES / "vit/model.safetensors")
    stored: dict[str, torch.Tensor] = {}
    for key, value in tensors.items():
        layer = key.removesuffix(".weight")
        if not key.endswith(".weight") or value.ndim != 2:
            stored[key] = value
            continue
        numbers, most = quantised(value.float())
        stored |= {
            "bitsandbytes": {key: numbers, f"{layer}.SCB": most,
                             f"{layer}.weight_format": torch.tensor(0, dtype=torch.uint8)},
            "compressed-tensors": {key: numbers, f"{key}_scale": most[:, None] / 127},
            "optimum-quanto": {f"{key}._data": numbers, f"{key}._scale": most[:, None] / 127,
                               f"{layer}.input_scale": torch.tensor(1.0), f"{layer}.output_scale": torch.tensor(1.0)},
        }[form]  # fmt: skip
    shutil.copytree(FILES / "vit", tmp_path / "net")
    save_file(stored, tmp_path / "net/model.safetensors")
    found = propose(tmp_path / "net")
    assert found.chosen is not None, found.problem
    assert form in found.merged
    read = read_content(tmp_path / "net/model.safetensors").tensors
    assert read.keys() == tensors.keys()
    for key, value in tensors.items():
        got = read[key]
        assert isinstance(got, torch.Tensor)
        torch.testing.assert_close(got.float(), value.float(), rtol=0, atol=0.005 * float(value.abs().max()) + 1e-6)


@pytest.mark.parametrize(
    "beside", [{}, {"blocks.0.attn.qkv.scale": spread((1,))}, {"blocks.0.attn.qkv.SCB": spread((3,))}]
)
def test_whole_numbers_without_scales_of_a_known_format_are_refused(
    tmp_path: Path, beside: dict[str, torch.Tensor]
) -> None:
    tensors = tensors_of("vit_tiny_patch16_224")
    key = "blocks.0.attn.qkv.weight"
    torch.save({**tensors, key: torch.ones(tensors[key].shape, dtype=torch.int8), **beside}, tmp_path / "net.pth")
    found = propose(tmp_path / "net.pth")
    assert found.chosen is None
    assert "int8" in (found.problem or "")
