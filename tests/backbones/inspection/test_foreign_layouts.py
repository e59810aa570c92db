"""Checkpoints of other libraries, with their own tensor names, yield timm's features without options.

Each test renames a small random network of timm to the other library's names by a table of its own (timm's name on the
left), saves it as that library does, and reads it back through inspection, card and strict loading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.models.swin_transformer import PatchMerging
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict_saver import save
from torchvision.models import resnet18

from backbones.catalog.card import BackboneCard, FactsCard, FileWeights
from backbones.catalog.trusted_code import trust
from backbones.catalog.weights_folder import checkpoint_files
from backbones.checkpoints.layouts import convert
from backbones.inspection.inspect_main import propose
from backbones.inspection.proposal import Inspection, InspectionHints
from backbones.model.architecture import freeze, make
from backbones.model.encoder import pool
from backbones.model.loading import load_model

Tensors = dict[str, Tensor]
Rules = tuple[tuple[str, str], ...]


def network(name: str, **arguments: object) -> nn.Module:
    """A network of which every tensor matters: none is zero or one."""
    torch.manual_seed(0)
    model = make(name, **arguments)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.is_floating_point() and key != "head.bias":
                value.add_(0.2 * torch.randn_like(value).abs() if "var" in key else 0.1 * torch.randn_like(value))
    return freeze(model)


def renamed(tensors: Mapping[str, Tensor], rules: Rules) -> Tensors:
    names: Tensors = {}
    for key, value in tensors.items():
        name = key
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        names[name] = value.clone()
    return names


def split(tensors: Mapping[str, Tensor], whole: str, parts: tuple[str, ...]) -> Tensors:
    """`X.whole.weight` as one tensor per part."""
    names: Tensors = {}
    for key, value in tensors.items():
        if f".{whole}." not in key:
            names[key] = value
            continue
        for part, piece in zip(parts, value.chunk(len(parts)), strict=True):
            names[key.replace(f".{whole}.", f".{part}.")] = piece.clone()
    return names


def found_in(path: Path, wish: InspectionHints | None = None) -> Inspection:
    return propose(path, wish)


def features(path: Path, size: int, wish: InspectionHints | None = None) -> Tensor:
    """Features of two noise images, through inspection, card and loading."""
    found = found_in(path, wish)
    chosen = found.chosen
    assert chosen is not None, found.question or found.problem
    card = BackboneCard(
        name="own/net",
        title="net",
        architecture=chosen.architecture,
        architecture_arguments=chosen.arguments,
        pooling=chosen.pooling,
        weights=FileWeights(path=str(path)),
        keys=chosen.keys,
        facts=FactsCard(method="own"),
    )
    return pooled(load_model(card, checkpoint_files(path)[0]), size, card.pooling)


def pooled(model: nn.Module, size: int, pooling: Any = "default") -> Tensor:
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return pool(model, cast("Any", model).forward_features(images), pooling)


def saved(folder: Path, tensors: Mapping[str, Tensor], beside: Mapping[str, object] | None = None) -> Path:
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, folder / "model.safetensors")
    for name, content in (beside or {}).items():
        (folder / name).write_text(json.dumps(content))
    return folder


VIT = {"depth": 2, "img_size": 32}
HF_BLOCK: Rules = (
    (r"^blocks\.(\d+)\.", r"encoder.layer.\1."),
    (r"\.attn\.(query|key|value)\.", r".attention.attention.\1."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
)
HF_VIT: Rules = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^(cls_token)$", r"embeddings.\1"),
    (r"^norm\.", "layernorm."),
    *HF_BLOCK,
)
HF_MLP: Rules = (
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
)
APART = ("query", "key", "value")


def hf_vit(tensors: Tensors) -> Tensors:
    return renamed(split(tensors, "qkv", APART), (*HF_VIT, *HF_MLP))


def hf_dinov2(tensors: Tensors) -> Tensors:
    names = renamed(split(tensors, "qkv", APART), (*HF_VIT, (r"\.ls(\d)\.gamma", r".layer_scale\1.lambda1")))
    return names | {"embeddings.mask_token": torch.zeros(1, 192)}


def dinov2_registers(tensors: Tensors) -> Tensors:
    """A position for the class token before the others, blocks in chunks."""
    names = renamed(tensors, ((r"^blocks\.(\d+)\.", r"blocks.0.\1."), (r"^reg_token$", "register_tokens")))
    place = torch.randn(1, 1, 192)
    names["pos_embed"] = torch.cat([place, names["pos_embed"]], 1)
    names["cls_token"] = names["cls_token"] - place
    return names | {"mask_token": torch.zeros(1, 192)}


def torchvision_vit(tensors: Tensors) -> Tensors:
    rules = (
        (r"^patch_embed\.proj\.", "conv_proj."),
        (r"^cls_token$", "class_token"),
        (r"^pos_embed$", "encoder.pos_embedding"),
        (r"^norm\.", "encoder.ln."),
        (r"^blocks\.", "encoder.layers.encoder_layer_"),
        (r"\.norm(\d)\.", r".ln_\1."),
        (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
        (r"\.attn\.proj\.", ".self_attention.out_proj."),
        (r"\.mlp\.fc1\.", ".mlp.0."),
        (r"\.mlp\.fc2\.", ".mlp.3."),
    )
    return renamed(tensors, rules) | {"heads.head.weight": torch.zeros(5, 192), "heads.head.bias": torch.zeros(5)}


def mmpretrain_vit(tensors: Tensors) -> Tensors:
    rules = (
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^norm\.", "ln1."),
        (r"\.norm(\d)\.", r".ln\1."),
        (r"\.mlp\.fc1\.", ".ffn.layers.0.0."),
        (r"\.mlp\.fc2\.", ".ffn.layers.1."),
        (r"^blocks\.", "layers."),
        (r"^", "backbone."),
    )
    return renamed(tensors, rules)


def mmpretrain_beit(tensors: Tensors) -> Tensors:
    names = mmpretrain_vit(tensors)
    return {key.replace("backbone.fc_norm.", "backbone.ln2."): value for key, value in names.items()}


def mmpretrain_swin(tensors: Tensors) -> Tensors:
    rules = (
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^norm\.", "norm3."),
        (r"\.attn\.", ".attn.w_msa."),
        (r"\.mlp\.fc1\.", ".ffn.layers.0.0."),
        (r"\.mlp\.fc2\.", ".ffn.layers.1."),
        (r"^layers\.", "stages."),
        (r"^", "backbone."),
    )
    names = renamed(swin(tensors), rules)
    return {key: by_channel(value) if ".downsample." in key else value for key, value in names.items()}


def by_channel(value: Tensor) -> Tensor:
    """From numbers by neighbour (column by column) and channel to numbers by channel and neighbour (row by row)."""
    order = [0, 2, 1, 3]
    by_neighbour = value.reshape(*value.shape[:-1], 4, -1)[..., order, :]
    return by_neighbour.transpose(-1, -2).flatten(-2)


def mmpretrain_convnext(tensors: Tensors) -> Tensors:
    rules = ((r"\.dwconv\.", ".depthwise_conv."), (r"\.pwconv", ".pointwise_conv"), (r"^norm\.", "norm3."))
    return renamed(convnext(tensors), (*rules, (r"^", "backbone.")))


def clip(tensors: Tensors) -> Tensors:
    rules = (
        (r"^patch_embed\.proj\.", "conv1."),
        (r"^norm_pre\.", "ln_pre."),
        (r"^norm\.", "ln_post."),
        (r"\.norm(\d)\.", r".ln_\1."),
        (r"\.attn\.qkv\.", ".attn.in_proj_"),
        (r"\.attn\.proj\.", ".attn.out_proj."),
        (r"\.mlp\.fc1\.", ".mlp.c_fc."),
        (r"\.mlp\.fc2\.", ".mlp.c_proj."),
        (r"^blocks\.", "transformer.resblocks."),
    )
    names = renamed(tensors, rules)
    names["class_embedding"] = names.pop("cls_token").flatten()
    names["positional_embedding"] = names.pop("pos_embed")[0]
    names["proj"] = names.pop("head.weight").T
    del names["head.bias"]
    text = {"token_embedding.weight": torch.zeros(9, 8), "transformer.resblocks.0.ln_1.weight": torch.zeros(8)}
    return {f"module.visual.{key}": value for key, value in names.items()} | {f"module.{k}": v for k, v in text.items()}


def convnext(tensors: Tensors) -> Tensors:
    rules = (
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
        (r"^head\.norm\.", "norm."),
    )
    return renamed(tensors, rules)


def hf_convnext(tensors: Tensors) -> Tensors:
    rules = (
        (r"^stem\.0\.", "embeddings.patch_embeddings."),
        (r"^stem\.1\.", "embeddings.layernorm."),
        (r"\.downsample\.", ".downsampling_layer."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1.layers."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
        (r"\.norm\.", ".layernorm."),
        (r"\.gamma$", ".layer_scale_parameter"),
        (r"^head\.layernorm\.", "layernorm."),
        (r"^stages", "encoder.stages"),
    )
    return renamed(tensors, rules)


def swin(tensors: Tensors) -> Tensors:
    return {
        re.sub(r"^layers\.(\d)\.downs", lambda found: f"layers.{int(found[1]) - 1}.downs", key): value
        for key, value in tensors.items()
    }


def detectron2(tensors: Tensors) -> Tensors:
    names = {}
    for key, value in tensors.items():
        name = key if key.startswith("layer") else f"stem.{key}"
        for number in range(1, 5):
            name = name.replace(f"layer{number}", f"res{number + 1}").replace(f"bn{number}", f"conv{number}.norm")
        names[name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")] = value
    return names


def hf_resnet(tensors: Tensors) -> Tensors:
    names = {}
    for key, value in tensors.items():
        name = re.sub(r"^conv1\.", "embedder.embedder.convolution.", key)
        name = re.sub(r"^bn1\.", "embedder.embedder.normalization.", name)
        name = re.sub(r"^layer(\d)\.", lambda found: f"encoder.stages.{int(found[1]) - 1}.layers.", name)
        name = re.sub(r"\.conv(\d)\.", lambda found: f".layer.{int(found[1]) - 1}.convolution.", name)
        name = re.sub(r"\.bn(\d)\.", lambda found: f".layer.{int(found[1]) - 1}.normalization.", name)
        names[
            name.replace("downsample.0", "shortcut.convolution").replace("downsample.1", "shortcut.normalization")
        ] = value
    return names


TINY = "vit_tiny_patch16_224"
LAYOUTS: dict[str, tuple[str, dict[str, Any], int, Callable[[Tensors], Tensors]]] = {
    "transformers ViT": (TINY, VIT, 32, hf_vit),
    "transformers DINOv2": (TINY, {**VIT, "init_values": 1e-5}, 32, hf_dinov2),
    "transformers ConvNeXt": ("convnext_atto", {"conv_mlp": False}, 64, hf_convnext),
    "transformers ResNet": ("resnet18", {}, 64, hf_resnet),
    "DINOv2 with registers": (
        TINY, {**VIT, "init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True}, 32, dinov2_registers,
    ),
    "torchvision ViT": (TINY, VIT, 32, torchvision_vit),
    "mmpretrain ViT": (TINY, VIT, 32, mmpretrain_vit),
    "mmpretrain BEiT": (
        "beit_base_patch16_224", {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 32}, 32, mmpretrain_beit,
    ),
    "mmpretrain BEiT with shared biases": (
        "beit_base_patch16_224",
        {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 32, "use_rel_pos_bias": False,
         "use_shared_rel_pos_bias": True}, 32, mmpretrain_beit,
    ),
    "mmpretrain Swin": (
        "swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": (1, 1, 1, 1)}, 224, mmpretrain_swin,
    ),
    "mmpretrain ConvNeXt": ("convnext_atto", {"conv_mlp": False}, 64, mmpretrain_convnext),
    "open_clip": ("vit_base_patch16_clip_224", {**VIT, "embed_dim": 192, "num_heads": 3, "num_classes": 16}, 32, clip),
    "ConvNeXt": ("convnext_atto", {"conv_mlp": False}, 64, convnext),
    "ConvNeXt of its own depths": ("convnext_tiny", {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}, 64, convnext),
    "ConvNeXt V2": ("convnextv2_atto", {}, 64, lambda tensors: tensors),
    "Swin": ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": (1, 1, 1, 1)}, 224, swin),
    "detectron2": ("resnet18", {}, 64, detectron2),
}  # fmt: skip
"""timm's name and arguments, the image size, and the other library's names."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_of_another_library_gives_the_same_features_without_a_flag(tmp_path: Path, layout: str) -> None:
    name, arguments, size, rename = LAYOUTS[layout]
    model = network(name, **arguments)
    path = saved(tmp_path, rename({key: value.clone() for key, value in model.state_dict().items()}))
    torch.testing.assert_close(features(path, size), pooled(model, size), rtol=1e-4, atol=1e-5)


def test_the_projection_of_clip_is_part_of_the_features_and_its_mean_is_taken(tmp_path: Path) -> None:
    model = network("vit_base_patch16_clip_224", **VIT, embed_dim=192, num_heads=3, num_classes=16)
    chosen = found_in(saved(tmp_path, clip(dict(model.state_dict())))).chosen
    assert chosen is not None
    assert chosen.arguments["num_classes"] == 16
    assert chosen.mean == (0.48145466, 0.4578275, 0.40821073)


def test_heads_in_a_configuration_beside_the_file_count(tmp_path: Path) -> None:
    model = network(TINY, **VIT, num_heads=4)
    beside = {"config.json": {"num_attention_heads": 4}}
    path = saved(tmp_path, hf_vit({key: value.clone() for key, value in model.state_dict().items()}), beside)
    torch.testing.assert_close(features(path, 32), pooled(model, 32), rtol=1e-4, atol=1e-5)


def test_mean_deviation_size_and_crop_of_an_image_processor_are_taken(tmp_path: Path) -> None:
    processor = {
        "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_normalize": True, "resample": 2,
        "size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True,
    }  # fmt: skip
    model = network(TINY, **VIT)
    path = saved(tmp_path, hf_vit(dict(model.state_dict())), {"preprocessor_config.json": processor})
    found = found_in(path)
    chosen = found.chosen
    assert chosen is not None
    assert (chosen.mean, chosen.std, chosen.size) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 32)
    assert (chosen.crop, chosen.interpolation) == (0.8, "bilinear")
    assert found.images_from == "preprocessor_config.json"


def test_a_normalisation_that_no_file_states_is_named_as_an_assumption(tmp_path: Path) -> None:
    chosen = found_in(saved(tmp_path, dict(network("resnet18").state_dict()))).chosen
    assert chosen is not None
    assert any("mean and deviation, because no file states others" in words for words in chosen.assumptions)


def test_moco_v3_of_width_384_has_12_heads(tmp_path: Path) -> None:
    tensors = network("vit_small_patch16_224", img_size=32).state_dict()
    torch.save(
        {"state_dict": {f"module.base_encoder.{key}": value for key, value in tensors.items()}}, tmp_path / "a.pth"
    )
    chosen = found_in(tmp_path / "a.pth").chosen
    assert chosen is not None
    assert chosen.arguments["num_heads"] == 12
    assert any("12 attention heads" in words for words in chosen.assumptions)


def test_a_width_of_no_published_model_needs_the_number_of_heads(tmp_path: Path) -> None:
    model = network(TINY, **VIT, embed_dim=160, num_heads=5)
    torch.save(model.state_dict(), tmp_path / "a.pth")
    found = found_in(tmp_path / "a.pth")
    assert found.chosen is None
    assert found.question is not None
    assert "--arg num_heads=" in found.question
    wish = InspectionHints(arguments={"num_heads": 5})
    torch.testing.assert_close(features(tmp_path / "a.pth", 32, wish), pooled(model, 32), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("reg_token", (1, 4, 192)),
        ("norm_pre.weight", (192,)),
        ("extra_norm.weight", (192,)),
        ("pos_embed_window", (1, 49, 192)),
        ("attention_pool.probe", (1, 1, 192)),
        ("head.norm.weight", (192,)),
        ("blocks.0.attn.q_norm.weight", (64,)),
    ],
)
def test_a_tensor_that_is_not_known_to_be_harmless_is_never_dropped(
    tmp_path: Path, key: str, shape: tuple[int, ...]
) -> None:
    tensors = {**network(TINY, **VIT).state_dict(), key: torch.randn(shape)}
    torch.save(tensors, tmp_path / "a.pth")
    found = found_in(tmp_path / "a.pth")
    if found.chosen is not None:
        with torch.device("meta"):
            made = make(found.chosen.architecture, **found.chosen.arguments)
        assert key in made.state_dict()


def test_a_leftover_that_the_user_calls_no_part_of_the_backbone_is_dropped_and_listed(tmp_path: Path) -> None:
    tensors = {**network(TINY, **VIT).state_dict(), "extra.weight": torch.randn(3)}
    torch.save(tensors, tmp_path / "a.pth")
    found = found_in(tmp_path / "a.pth")
    assert found.problem is not None
    assert "--drop extra." in found.problem
    chosen = found_in(tmp_path / "a.pth", InspectionHints(drop=("extra.",))).chosen
    assert chosen is not None
    assert [(item.prefix, item.reason) for item in chosen.dropped] == [("extra.", "dropped by --drop")]


def test_dropped_tensors_carry_the_reason(tmp_path: Path) -> None:
    tensors = {
        **network("resnet18").state_dict(),
        "fc.weight": torch.zeros(3, 512),
        "projector.0.weight": torch.zeros(9, 512),
    }
    torch.save(tensors, tmp_path / "a.pth")
    chosen = found_in(tmp_path / "a.pth").chosen
    assert chosen is not None
    assert all(item.reason for item in chosen.dropped)


def whole_numbers(tensors: Tensors) -> object:
    return {key: value.to(torch.int8) if value.ndim == 2 else value for key, value in tensors.items()}


def adapted(tensors: Tensors) -> object:
    return tensors | {"lora.0.A": torch.zeros(4, 192), "lora.0.B": torch.zeros(576, 4)}


def adapted_outside(tensors: Tensors) -> object:
    inside = {f"backbone.{key}": value for key, value in tensors.items()}
    return {"state_dict": inside | {"lora_A.0.weight": torch.zeros(4, 192)}}


def flat(tensors: Tensors) -> object:
    return {"model": {"backbone._fsdp_wrapped_module._flat_param": torch.zeros(1000)}}


def hollow(tensors: Tensors) -> object:
    return {"module": {f"module.{key}": torch.empty(0) for key in tensors}, "ds_version": "0.15"}


def grey(tensors: Tensors) -> object:
    return tensors | {"patch_embed.proj.weight": torch.zeros(192, 1, 16, 16)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (whole_numbers, "int8"),
        (adapted, "LoRA"),
        (adapted_outside, "LoRA"),
        (flat, "FSDP"),
        (hollow, "zero_to_fp32"),
        (grey, "1 input channel"),
    ],
)
def test_what_would_be_another_network_is_refused_by_name(
    tmp_path: Path, change: Callable[[Tensors], object], words: str
) -> None:
    torch.save(change(dict(network(TINY, **VIT).state_dict())), tmp_path / "a.pth")
    found = found_in(tmp_path / "a.pth")
    assert found.chosen is None
    assert found.problem is not None
    assert words in found.problem


WRAPPERS = (
    "_orig_mod.{}", "module._orig_mod.backbone.{}", "model.module.{}", "student._fsdp_wrapped_module.{}",
)  # fmt: skip


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_before_the_names_do_not_matter(tmp_path: Path, wrapper: str) -> None:
    model = network(TINY, **VIT)
    torch.save({wrapper.format(key): value for key, value in model.state_dict().items()}, tmp_path / "a.pth")
    torch.testing.assert_close(features(tmp_path / "a.pth", 32), pooled(model, 32))


@pytest.mark.parametrize("infix", ["_orig_mod", "_fsdp_wrapped_module._checkpoint_wrapped_module", "module"])
def test_wrappers_inside_the_names_do_not_matter(tmp_path: Path, infix: str) -> None:
    model = network(TINY, **VIT)
    tensors = {re.sub(r"^(blocks\.\d+)\.", rf"\1.{infix}.", key): value for key, value in model.state_dict().items()}
    torch.save({"model": tensors}, tmp_path / "a.pth")
    torch.testing.assert_close(features(tmp_path / "a.pth", 32), pooled(model, 32))


def test_two_keys_that_differ_in_a_wrapper_alone_are_refused(tmp_path: Path) -> None:
    tensors = dict(network(TINY, **VIT).state_dict())
    torch.save(tensors | {f"_orig_mod.{key}": value + 1 for key, value in tensors.items()}, tmp_path / "a.pth")
    with pytest.raises(Exception, match="two keys are"):
        found_in(tmp_path / "a.pth")


def test_safetensors_in_shards_are_read_through_their_index(tmp_path: Path) -> None:
    model = network(TINY, **VIT)
    tensors = {key: value.clone() for key, value in model.state_dict().items()}
    names = {key: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, key in enumerate(tensors)}
    for file in set(names.values()):
        save_file({key: value for key, value in tensors.items() if names[key] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    torch.testing.assert_close(features(tmp_path, 32), pooled(model, 32))
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(Exception, match="model-00002"):
        found_in(tmp_path)


def test_a_distributed_checkpoint_is_read_without_unpickling_its_plan(tmp_path: Path) -> None:
    model = network(TINY, **VIT)
    save({"model": dict(model.state_dict())}, checkpoint_id=str(tmp_path / "step"), no_dist=True)
    torch.testing.assert_close(features(tmp_path / "step", 32), pooled(model, 32))


def test_a_folder_with_a_choice_names_the_files(tmp_path: Path) -> None:
    for step in (100, 200):
        torch.save({}, tmp_path / f"step_{step}.pth")
    with pytest.raises(Exception, match=r"step_100\.pth, step_200\.pth"):
        found_in(tmp_path)


def test_an_archive_of_arrays_is_read(tmp_path: Path) -> None:
    model = network("resnet18")
    np.savez(tmp_path / "a.npz", **{key: value.numpy() for key, value in model.state_dict().items()})
    torch.testing.assert_close(features(tmp_path / "a.npz", 64), pooled(model, 64))


def test_a_classifier_of_the_users_own_code_is_not_taken_for_features(tmp_path: Path) -> None:
    code = "from torchvision.models import resnet18\ndef make():\n    return resnet18(weights=None)\n"
    (tmp_path / "net.py").write_text(code)
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "a.pth")
    name = f"{tmp_path / 'net.py'}:make"
    trust(name)
    found = found_in(tmp_path / "a.pth", InspectionHints(architecture=name))
    assert found.problem is not None
    assert "logits" in found.problem


def test_mmpretrains_gathering_of_neighbours_is_that_of_a_sliding_window() -> None:
    """mmcv gathers by `torch.nn.Unfold`, channel first: the same image yields the same sums in timm's order."""
    merging: Any = PatchMerging(3, 5)
    image = torch.rand(2, 3, 4, 6)
    weight, scale, shift = torch.rand(5, 12), torch.rand(12), torch.rand(12)
    windows = torch.nn.functional.unfold(image, 2, stride=2).transpose(1, 2)
    expected = torch.nn.functional.layer_norm(windows, (12,), scale, shift) @ weight.T
    names = {"reduction.weight": weight, "norm.weight": scale, "norm.bias": shift}
    found = convert("mmpretrain-swin", {f"stages.0.downsample.{key}": value for key, value in names.items()})
    merging.load_state_dict({key.removeprefix("layers.1.downsample."): value for key, value in found.items()})
    torch.testing.assert_close(merging(image.permute(0, 2, 3, 1)).flatten(1, 2), expected)
