"""Write small checkpoints by the transformers library, with its features; run manually, files are committed.

    python -m tests.backbones.inspection.write_transformers_files [NAME...]

Needs `transformers` (5.24 wrote the files). Weights are random, in half precision, and none of them is without effect.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

hf: Any = importlib.import_module("transformers")
FILES = Path(__file__).parent / "transformers_files"
SIDE = 32
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
PATCHES = {**SMALL, "image_size": SIDE, "patch_size": 8}
STAGES = {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 12, 16, 20]}
IN_MEMORY = ("vit", "dinov2-swiglu", "dinov2-registers", "beit", "beit-shared", "swin", "dinov3", "siglip-vision")
"""Models whose names in memory differ from those in files, since version 5."""
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


Reading = Callable[[Any, Tensor], Any]
"""Function from a model and images to features [b, d]."""


@dataclass(frozen=True)
class Case:
    """A model, how its features are read, and the side of its images."""

    model: Any
    features: Reading
    side: int = SIDE


def token(model: Any, images: Tensor) -> Any:
    return model(images).last_hidden_state[:, 0]


def mean(model: Any, images: Tensor) -> Any:
    return model(images).last_hidden_state.mean(1)


def pooled(model: Any, images: Tensor) -> Any:
    return model(images).pooler_output.flatten(1)


def of(part: str, how: Reading) -> Reading:
    """The features of a backbone inside a task model."""

    def features(model: Any, images: Tensor) -> Any:
        inside = model
        for name in part.split("."):
            inside = getattr(inside, name)
        return how(inside, images)

    return features


def unmasked(model: Any, images: Tensor) -> Any:
    """The class token of MAE's encoder with all patches visible."""
    encoder = model.vit
    encoder.config.mask_ratio = 0.0
    count = encoder.embeddings.patch_embeddings.num_patches
    noise = torch.arange(count, dtype=torch.float32).expand(len(images), count)
    return encoder(images, noise=noise).last_hidden_state[:, 0]


def cases() -> Iterator[tuple[str, Case]]:
    """Every layout by name."""
    yield "vit", Case(hf.ViTModel(hf.ViTConfig(**PATCHES), add_pooling_layer=False), token)
    yield "vit-pooler", Case(hf.ViTModel(hf.ViTConfig(**PATCHES)), token)
    yield "vit-classifier", Case(hf.ViTForImageClassification(hf.ViTConfig(**PATCHES)), of("vit", token))
    yield "vit-msn", Case(hf.ViTMSNModel(hf.ViTMSNConfig(**PATCHES)), token)
    yield "deit", Case(hf.DeiTModel(hf.DeiTConfig(**PATCHES), add_pooling_layer=False), token)
    yield "vit-mae", Case(
        hf.ViTMAEForPreTraining(hf.ViTMAEConfig(**PATCHES, decoder_hidden_size=16, decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2, decoder_intermediate_size=16)), unmasked)  # fmt: skip
    dinov2 = {**PATCHES, "mlp_ratio": 2}
    yield "dinov2", Case(hf.Dinov2Model(hf.Dinov2Config(**dinov2)), token)
    yield "dinov2-classifier", Case(hf.Dinov2ForImageClassification(hf.Dinov2Config(**dinov2)), of("dinov2", token))
    yield "dinov2-swiglu", Case(hf.Dinov2Model(hf.Dinov2Config(**dinov2, use_swiglu_ffn=True)), token)
    yield "dinov2-backbone", Case(hf.Dinov2Backbone(hf.Dinov2Config(**dinov2)), backbone_token)
    yield "dinov2-registers", Case(
        hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**dinov2, num_register_tokens=3)), token)  # fmt: skip
    yield "dinov3", Case(hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**PATCHES, num_register_tokens=4)), token)
    yield "dinov3-gated", Case(
        hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**PATCHES, num_register_tokens=4, use_gated_mlp=True, hidden_act="silu")),
        token)  # fmt: skip
    yield "dinov3-convnext", Case(hf.DINOv3ConvNextModel(hf.DINOv3ConvNextConfig(**STAGES)), pooled, 64)
    yield "convnext", Case(hf.ConvNextModel(hf.ConvNextConfig(**STAGES)), pooled, 64)
    yield "convnext-classifier", Case(
        hf.ConvNextForImageClassification(hf.ConvNextConfig(**STAGES)), of("convnext", pooled), 64)  # fmt: skip
    yield "convnextv2", Case(hf.ConvNextV2Model(hf.ConvNextV2Config(**STAGES)), pooled, 64)
    windows = {"embed_dim": 8, "depths": [1, 2], "num_heads": [2, 4], "patch_size": 4, "mlp_ratio": 2.0}
    yield "swin", Case(hf.SwinModel(hf.SwinConfig(**windows, image_size=56, window_size=7)), pooled, 56)
    yield "swinv2", Case(hf.Swinv2Model(hf.Swinv2Config(**windows, image_size=64, window_size=8)), pooled, 64)
    clip = {**PATCHES, "projection_dim": 16}
    yield "clip-vision", Case(hf.CLIPVisionModel(hf.CLIPVisionConfig(**clip)), pooled)
    yield "clip-projection", Case(
        hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**clip)),
        lambda model, x: model(x).image_embeds)  # fmt: skip
    text = {**SMALL, "vocab_size": 40, "max_position_embeddings": 8, "projection_dim": 16, "bos_token_id": 1,
            "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    yield "clip-both", Case(
        hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=clip, projection_dim=16)),
        lambda model, x: model.visual_projection(model.vision_model(x).pooler_output))  # fmt: skip
    yield "siglip-vision", Case(hf.SiglipVisionModel(hf.SiglipVisionConfig(**PATCHES)), pooled)
    yield "siglip-both", Case(
        hf.SiglipModel(hf.SiglipConfig(text_config={**text, "projection_size": 16}, vision_config=PATCHES)),
        of("vision_model", pooled))  # fmt: skip
    yield "ijepa", Case(hf.IJepaModel(hf.IJepaConfig(**PATCHES), add_pooling_layer=False), mean)
    yield "beit", Case(hf.BeitModel(hf.BeitConfig(**PATCHES, use_relative_position_bias=True)), pooled)
    yield "beit-shared", Case(
        hf.BeitModel(hf.BeitConfig(**PATCHES, use_shared_relative_position_bias=True)), pooled)  # fmt: skip
    yield "beit-masked", Case(
        hf.BeitForMaskedImageModeling(
            hf.BeitConfig(**PATCHES, use_shared_relative_position_bias=True, use_mask_token=True, vocab_size=20)),
        lambda model, x: model.layernorm(token(model.beit, x)))  # fmt: skip
    yield (
        "data2vec",
        Case(hf.Data2VecVisionModel(hf.Data2VecVisionConfig(**PATCHES, use_relative_position_bias=True)), token),
    )
    yield "hiera", Case(
        hf.HieraModel(hf.HieraConfig(embed_dim=4, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], image_size=[64, 64])),
        pooled, 64)  # fmt: skip
    yield "aimv2", Case(hf.Aimv2VisionModel(hf.Aimv2VisionConfig(**PATCHES, use_head=False)), mean)
    yield "upernet", Case(
        hf.UperNetForSemanticSegmentation(hf.UperNetConfig(
            backbone_config=hf.ConvNextConfig(**STAGES, out_features=["stage1", "stage2", "stage3", "stage4"]),
            hidden_size=8, auxiliary_channels=4, num_labels=3)), of("backbone", backbone_mean), 64)  # fmt: skip
    yield "dpt", Case(
        hf.DPTForDepthEstimation(hf.DPTConfig(
            backbone_config=hf.Dinov2Config(**dinov2, out_indices=[1, 2], reshape_hidden_states=False),
            neck_hidden_sizes=[4, 4], reassemble_factors=[1, 1], fusion_hidden_size=4)),
        of("backbone", backbone_token))  # fmt: skip
    yield "depth-anything", Case(
        hf.DepthAnythingForDepthEstimation(hf.DepthAnythingConfig(
            backbone_config=hf.Dinov2Config(**dinov2, out_indices=[1, 2], reshape_hidden_states=False),
            neck_hidden_sizes=[4, 4], reassemble_hidden_size=16, fusion_hidden_size=4, head_hidden_size=4)),
        of("backbone", backbone_token))  # fmt: skip


def backbone_token(model: Any, images: Tensor) -> Any:
    """The class token of a DINOv2 that returns maps."""
    return model.layernorm(model(images, output_hidden_states=True).hidden_states[-1])[:, 0]


def backbone_mean(model: Any, images: Tensor) -> Any:
    """The mean of a ConvNeXt's last map, before the norm that the segmentation puts there."""
    return model(images, output_hidden_states=True).hidden_states[-1].mean((2, 3))


@torch.no_grad()
def shaken(model: Any) -> Any:
    """Every tensor has an effect and is exact in half precision."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            scale = 0.3 if value.ndim == 1 else 0.05
            value.copy_((value + (0.2 * noise.abs() if "var" in name else scale * noise)).half().float())
    return model.eval()


def images(side: int) -> Tensor:
    """Two images [2, 3, side, side] as network input."""
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def write(name: str, case: Case) -> None:
    """The model's files, a processor's configuration, and the features [2, d]."""
    folder = FILES / name
    folder.mkdir(parents=True, exist_ok=True)
    model = shaken(case.model)
    with torch.no_grad():
        features = case.features(model, images(case.side)).numpy()
    model.half().save_pretrained(folder)
    if name in IN_MEMORY:
        write_in_memory(FILES / f"{name}-in-memory", folder, case.side, model, features)
    processor = {**HALF, "do_normalize": True, "size": {"height": case.side, "width": case.side}, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    np.save(folder / "features.npy", features.astype(np.float32))


def write_in_memory(folder: Path, whole: Path, side: int, model: Any, features: Any) -> None:
    """The state dict with the names in the library's memory, as saved by training code."""
    folder.mkdir(exist_ok=True)
    save_file(model.state_dict(), folder / "last.safetensors")
    processor = {**HALF, "do_normalize": True, "size": {"height": side, "width": side}, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "config.json").write_bytes((whole / "config.json").read_bytes())
    np.save(folder / "features.npy", features.astype(np.float32))


def main(names: list[str]) -> None:
    """Write the named layouts, or all."""
    torch.manual_seed(0)
    hf.logging.set_verbosity_error()
    hf.utils.logging.disable_progress_bar()
    for name, case in cases():
        if not names or name in names:
            write(name, case)
            size = sum(file.stat().st_size for file in (FILES / name).iterdir())
            print(f"{name:20} {type(case.model).__name__:34} {size / 1e3:8.0f} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
