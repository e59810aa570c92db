"""Print timm's description of a name as JSON: `python -P -m backbones.catalog.timm_info_main resnet50.a1_in1k`.

A separate process because importing timm imports torch; `backbones.catalog.timm_info` starts it and caches the answer.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import timm
import torch
from timm.models import is_model, list_models

from backbones.catalog.timm_info import Description, UnknownArchitecture
from backbones.io.card_files import suggest


def describe(name: str) -> Description | UnknownArchitecture:
    """timm's description of `architecture` or `architecture.tag`; nothing is downloaded and no weights are
    created.

    Without a tag, the architecture's default tag is used; an architecture that has none is described without.
    """
    architecture, _, tag = name.partition(".")
    if not is_model(architecture):
        known = list_models(pretrained=True) if tag else list_models()
        return UnknownArchitecture(name=name, suggestions=suggest(name, known))
    tags = [full.partition(".")[2] for full in list_models(f"{architecture}.*", pretrained=True)]
    if tag and tag not in tags:
        return UnknownArchitecture(
            name=name, suggestions=suggest(name, [f"{architecture}.{known}" for known in tags], limit=5)
        )
    return _describe(architecture, tag)


def _describe(architecture: str, tag: str) -> Description:
    with torch.device("meta"):
        model = timm.create_model(f"{architecture}.{tag}" if tag else architecture, num_classes=0, pretrained=False)
    model.eval()
    config = cast("dict[str, Any]", model.pretrained_cfg)
    has_weights = bool(config.get("hf_hub_id") or config.get("url"))
    classifier = config.get("classifier") or ()
    with torch.inference_mode():
        features = model(torch.empty(1, *config["input_size"], device="meta"))
    return Description(
        architecture=architecture,
        tag=(tag or config.get("tag") or None) if has_weights else None,
        hub_repository=config.get("hf_hub_id"),
        hub_filename=config.get("hf_hub_filename") or "model.safetensors",
        url=None if config.get("hf_hub_id") else config.get("url") or None,
        size=config["input_size"][-1],
        mean=config["mean"],
        std=config["std"],
        crop=config["crop_pct"],
        crop_mode=config.get("crop_mode") or "center",
        interpolation=config["interpolation"],
        classifier=(classifier,) if isinstance(classifier, str) else tuple(classifier),
        parameters_millions=round(sum(p.numel() for p in model.parameters()) / 1e6, 3),
        feature_dimension=features.shape[-1],
        license=config.get("license"),
        paper=config.get("paper_name"),
        paper_url=_paper_url(config.get("paper_ids")),
    )


def _paper_url(identifiers: object) -> str | None:
    """`arXiv:2301.00808` (or the first of several) as an address."""
    first = (
        identifiers if isinstance(identifiers, str) or not isinstance(identifiers, (list, tuple)) else identifiers[0]
    )
    if not isinstance(first, str) or not first.lower().startswith("arxiv:"):
        return None
    return f"https://arxiv.org/abs/{first.partition(':')[2]}"


def main(arguments: list[str]) -> int:
    """Print the description; exit code 0, 1 when timm has no such name, 2 for a wrong call."""
    if len(arguments) != 1:
        print("usage: python -P -m backbones.catalog.timm_info_main ARCHITECTURE[.TAG]", file=sys.stderr)
        return 2
    answer = describe(arguments[0])
    print(answer.model_dump_json())
    return 0 if isinstance(answer, Description) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
