"""The built-in cards agree with the publications and with timm's registry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import pytest
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from backbones.catalog.card import BackboneCard, ShippedWeights, TimmWeights, UrlWeights
from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.weights_folder import SHIPPED
from backbones.model.architecture import hollow

PAPER_TOP1 = {
    "insdis": 59.5, "moco-v1": 60.6, "pcl-v1": 61.5, "pirl": 61.7, "pcl-v2": 67.6, "simclr-v1": 69.3, "moco-v2": 71.1,
    "simclr-v2": 71.7, "sela-v2": 71.8, "infomin": 73.0, "byol": 74.3, "deepcluster-v2": 75.2, "swav": 75.3,
    "supervised": 77.2,
}  # fmt: skip
PAPER_EPOCHS = {
    "insdis": 200, "moco-v1": 200, "pcl-v1": 200, "pirl": 200, "pcl-v2": 200, "simclr-v1": 1000, "moco-v2": 800,
    "simclr-v2": 800, "sela-v2": 400, "infomin": 800, "byol": 1000, "deepcluster-v2": 800, "swav": 800,
    "supervised": 120,
}  # fmt: skip


def of(catalog: BackboneCatalog, folder: str) -> dict[str, BackboneCard]:
    return {name.split("/")[1]: card for name, card in catalog.cards.items() if name.startswith(f"{folder}/")}


def test_the_papers_backbones_carry_the_numbers_of_its_tables_1_and_10(catalog: BackboneCatalog) -> None:
    cards = of(catalog, "paper")
    assert {name: card.facts.imagenet_top1 for name, card in cards.items()} == PAPER_TOP1
    assert {name: card.facts.epochs for name, card in cards.items()} == PAPER_EPOCHS


def test_the_papers_backbones_are_resnet_50s_with_torchvisions_padding_and_averaged_features(
    catalog: BackboneCatalog,
) -> None:
    cards = of(catalog, "paper").values()
    assert {(card.architecture, card.padding, card.pooling, card.input.size) for card in cards} == {
        ("resnet50", "torchvision", "avg", 224)
    }


def test_only_simclr_takes_pixels_without_normalisation(catalog: BackboneCatalog) -> None:
    raw = {
        name for name, card in of(catalog, "paper").items() if (card.input.mean, card.input.std) == ((0,) * 3, (1,) * 3)
    }
    assert raw == {"simclr-v1", "simclr-v2"}


def test_files_of_different_addresses_have_different_names(catalog: BackboneCatalog) -> None:
    weights = [card.weights for card in catalog.cards.values() if isinstance(card.weights, UrlWeights)]
    assert all(item.filename for item in weights)
    assert len({item.filename for item in weights}) == len({item.url for item in weights})


def test_shipped_backbones_are_small_and_there(catalog: BackboneCatalog) -> None:
    for card in of(catalog, "demo").values():
        assert isinstance(card.weights, ShippedWeights)
        assert (SHIPPED / card.weights.filename).stat().st_size < 1_000_000


def timm_cards() -> Iterator[object]:
    for name, card in BackboneCatalog.load().cards.items():
        if isinstance(card.weights, TimmWeights):
            yield pytest.param(card, id=name.removeprefix("timm/"))


@pytest.mark.parametrize("card", timm_cards())
def test_a_timm_card_says_what_timms_registry_says(card: BackboneCard) -> None:
    assert isinstance(card.weights, TimmWeights)
    published = get_pretrained_cfg(card.weights.tag)
    assert published is not None
    assert card.architecture == published.architecture
    assert (card.weights.hub_repository or f"timm/{card.weights.tag}", card.weights.url) == (
        (published.hf_hub_id, None) if published.hf_hub_id else (f"timm/{card.weights.tag}", published.url)
    )
    assert card.weights.hub_filename == (published.hf_hub_filename or "model.safetensors")
    side = card.input.own_size or card.input.size
    assert published.input_size == (3, side, side)
    assert (card.input.mean, card.input.std) == (published.mean, published.std)
    assert math.isclose(card.input.crop, published.crop_pct)
    assert (card.input.interpolation, card.input.crop_mode) == (published.interpolation, published.crop_mode)
    assert card.facts.license == published.license
    classifier = published.classifier or ()
    names = (classifier,) if isinstance(classifier, str) else classifier
    assert card.keys.drop == tuple(f"{name}." for name in names)


NAMED_IN_2026 = (
    *("dinov2-vit-", "dinov2-reg-", "dinov3-vit-", "dinov3-convnext-", "siglip2-", "aimv2-", "pe-core-", "pe-spatial-"),
    *(
        "c-radio-v3-",
        "c-radio-v4-",
        "tipsv2-",
        "metaclip2-",
        "mae-hiera-",
        "beitv2-",
        "eva02-",
        "ijepa-",
        "convnextv2-",
    ),
)


@pytest.mark.parametrize("beginning", NAMED_IN_2026)
def test_what_people_look_for_by_name_has_a_card_with_its_facts(catalog: BackboneCatalog, beginning: str) -> None:
    cards = [card for name, card in of(catalog, "timm").items() if name.startswith(beginning)]
    assert cards
    for card in cards:
        facts = card.facts
        assert None not in (facts.license, facts.pretraining_data, facts.parameters_millions, facts.feature_dimension)


def cards_by_architecture() -> Iterator[object]:
    seen = set()
    for card in BackboneCatalog.load().cards.values():
        made_of = (card.architecture, *card.architecture_arguments.items())
        if made_of not in seen:
            seen.add(made_of)
            yield pytest.param(card, id=card.architecture)


def shorten(model: Any) -> None:
    """Keep two blocks of a transformer with blocks of equal shapes: the shape of its features is that of all."""
    blocks = getattr(model, "blocks", None)
    if isinstance(blocks, nn.Sequential) and len({str([p.shape for p in one.parameters()]) for one in blocks}) == 1:
        model.blocks = blocks[:2]


@pytest.mark.parametrize("card", cards_by_architecture())
def test_a_cards_parameters_and_feature_dimension_are_those_of_the_model(card: BackboneCard) -> None:
    model = cast("Any", hollow(card.architecture, **card.architecture_arguments).eval())
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert card.facts.parameters_millions == pytest.approx(millions, abs=6e-4)
    side = card.input.own_size or card.input.size
    shorten(model)
    with torch.inference_mode():
        features = model(torch.empty(1, 3, side, side, device="meta"))
    assert card.facts.feature_dimension == features.shape[-1]
