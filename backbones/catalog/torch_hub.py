"""Names of published backbones for `torch.hub.load`, and the cards of the same weights.

`facebookresearch/dinov2:dinov2_vits14`, also with a branch (`facebookresearch/swav:main/resnet50`); an entry point
of only one repository (`dinov2_vits14`) is enough. Nothing of such a repository is downloaded or run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from backbones.io.card_files import UnknownName, suggest

OWNER = "facebookresearch/"
_SIZES = {"s": "small", "b": "base", "l": "large", "g": "giant"}
_DINOV3 = {
    "vits16": "small", "vits16plus": "small_plus", "vitb16": "base", "vitl16": "large", "vith16plus": "huge_plus",
    "vit7b16": "7b",
}  # fmt: skip
ENTRIES: Mapping[str, Mapping[str, str]] = {
    "dino": {
        "dino_vits16": "timm:vit_small_patch16_224.dino",
        "dino_vits8": "timm:vit_small_patch8_224.dino",
        "dino_vitb16": "timm:vit_base_patch16_224.dino",
        "dino_vitb8": "timm:vit_base_patch8_224.dino",
        "dino_resnet50": "ssl/dino-resnet50",
    },
    "dinov2": {
        **{f"dinov2_vit{s}14": f"timm:vit_{size}_patch14_dinov2.lvd142m" for s, size in _SIZES.items()},
        **{f"dinov2_vit{s}14_reg": f"timm:vit_{size}_patch14_reg4_dinov2.lvd142m" for s, size in _SIZES.items()},
    },
    "dinov3": {
        **{f"dinov3_{entry}": f"timm:vit_{size}_patch16_dinov3.lvd1689m" for entry, size in _DINOV3.items()},
        **{
            f"dinov3_convnext_{size}": f"timm:convnext_{size}.dinov3_lvd1689m"
            for size in ("tiny", "small", "base", "large")
        },
    },
    "swav": {"resnet50": "paper/swav"},
    "vicreg": {"resnet50": "ssl/vicreg"},
    "barlowtwins": {"resnet50": "ssl/barlow-twins"},
}
"""Entry points by repository, and the name of the card with the same weights."""
_ALONE = {entry: name for entries in ENTRIES.values() for entry, name in entries.items() if "_" in entry}


def torch_hub_card(name: str) -> str | None:
    """Name of the card; None if the name is not one of torch.hub. Raises UnknownName for an unknown entry point."""
    if name in _ALONE:
        return _ALONE[name]
    parts = [part for part in re.split(r"[/:]", name.removeprefix("torch.hub:").removeprefix(OWNER)) if part]
    if not name.removeprefix("torch.hub:").startswith(OWNER) or parts[0] not in ENTRIES:
        return None
    entries = ENTRIES[parts[0]]
    if len(parts) > 1 and parts[-1] in entries:
        return entries[parts[-1]]
    known = [f"{OWNER}{parts[0]}:{entry}" for entry in entries]
    raise UnknownName("entry point of torch.hub", name, suggest(name, known) or known)
