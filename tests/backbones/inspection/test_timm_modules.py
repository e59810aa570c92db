"""One network of every module of timm: its own state dict is recognised by name and yields timm's features."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from timm.models import list_models, list_modules

from backbones.catalog.card import BackboneCard, FactsCard, FileWeights
from backbones.inspection.inspect_main import propose
from backbones.inspection.proposal import InspectionHints
from backbones.model.architecture import freeze, make
from backbones.model.loading import load_model

SMALL = (
    "test_", "zepto", "atto", "femto", "pico", "nano", "xxs", "_xs", "tiny", "_ti", "_t0", "_s0", "_s_", "small",
    "_050",
    "_b0", "18", "_s", "_m", "_1", "base", "26", "50",
)  # fmt: skip
"""Parts of names of small networks, smallest first."""
EXCEPTIONS: dict[str, str] = {}
"""Modules whose own state dict is not recognised by its name, and why: none."""
MODULES = [module for module in list_modules() if list_models(module=module)]
SAMPLE = ("convnext", "efficientnet", "eva", "hiera", "levit", "resnet", "vision_transformer", "xcit")
"""Modules with small networks, covered by every test run; `make faults` covers all."""
TRIED = MODULES if os.environ.get("SSL_CONSOLE_FAULTS") == "full" else SAMPLE


def smallest(module: str) -> str:
    """A small network of the module."""
    names = list_models(module=module)
    found = (sorted((name for name in names if part in name), key=len) for part in SMALL)
    return next((some[0] for some in found if some), names[0])


@pytest.mark.slow
@pytest.mark.parametrize("module", [module for module in TRIED if module not in EXCEPTIONS])
def test_a_networks_own_state_dict_is_recognised_by_its_name_and_gives_its_features(
    tmp_path: Path, module: str
) -> None:
    name = smallest(module)
    torch.manual_seed(0)
    whole = freeze(timm.create_model(name, pretrained=False))
    torch.save(whole.state_dict(), tmp_path / "last.pth")
    chosen = propose(tmp_path / "last.pth", InspectionHints(architecture=name)).chosen
    assert chosen is not None
    assert (chosen.architecture, chosen.share) == (name, 1.0)
    card = BackboneCard(
        name="own/net", title="net", architecture=name, architecture_arguments=chosen.arguments, keys=chosen.keys,
        weights=FileWeights(path=str(tmp_path / "last.pth")), facts=FactsCard(method="own"),
    )  # fmt: skip
    ours = cast("Any", load_model(card, tmp_path / "last.pth"))
    bare = cast("Any", freeze(make(name)))
    own = {key: value for key, value in whole.state_dict().items() if key in bare.state_dict()}
    bare.load_state_dict(own)
    assert torch.equal(next(iter(ours.state_dict().values())), next(iter(bare.state_dict().values())))
    side = cast("Any", whole).pretrained_cfg["input_size"][-1]
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), bare(images), rtol=1e-5, atol=1e-5)
