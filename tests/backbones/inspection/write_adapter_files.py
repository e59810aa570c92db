"""Write LoRA adapters by the PEFT library for `transformers_files/vit`, with the features of the adapted network.

    python -m tests.backbones.inspection.write_adapter_files

Needs `transformers` and `peft` (0.21 wrote the files).
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.backbones.inspection.write_transformers_files import FILES, images, token

hf: Any = importlib.import_module("transformers")
peft: Any = importlib.import_module("peft")
SETTINGS: dict[str, dict[str, object]] = {
    "adapter": {"r": 2, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},
    "adapter-stabilised": {
        "r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "mlp.fc1"], "use_rslora": True,
        "rank_pattern": {"q_proj": 3}, "alpha_pattern": {"layers.1.mlp.fc1": 5},
    },
    "adapter-patches": {"r": 2, "lora_alpha": 4, "target_modules": ["projection", "k_proj"]},
}  # fmt: skip


def adapted(settings: dict[str, object]) -> Any:
    """The network with an adapter whose every number has an effect."""
    base = hf.ViTModel.from_pretrained(FILES / "vit", add_pooling_layer=False, dtype=torch.float32)
    base.name_or_path = "../vit"
    model = peft.get_peft_model(base, peft.LoraConfig(**settings))
    model.peft_config["default"].base_model_name_or_path = "../vit"
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    return model.eval()


def main() -> None:
    """Write all adapters, and one with its network in a single file."""
    for name, settings in SETTINGS.items():
        model = adapted(settings)
        model.save_pretrained(FILES / name)
        (FILES / name / "README.md").unlink()
        with torch.no_grad():
            np.save(FILES / name / "features.npy", token(model, images(32)).numpy())
    folder = FILES / "adapter-unmerged"
    model = adapted(SETTINGS["adapter"])
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    (folder / "adapter_model.safetensors").unlink()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "last.safetensors")
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_bytes((FILES / "vit" / name).read_bytes())
    with torch.no_grad():
        np.save(folder / "features.npy", token(model, images(32)).numpy())


if __name__ == "__main__":
    main()
