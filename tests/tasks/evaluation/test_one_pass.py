"""The suite `one-pass` over three datasets: every image passes the network once, whatever reads its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from backbones.catalog.card import BackboneCard, FactsCard, InputCard, Precision, RandomWeights
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.encoder import Encoder
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.card import DatasetCard
from tasks.datasets.registry import open_dataset
from tasks.evaluation.features import evaluate_task
from tasks.evaluation.result import EvaluationPaths
from tests.tasks.evaluation.test_evaluation import CountingCache, Listener, few_halves

__all__ = ["few_halves"]

CATALOG = TaskCatalog.load()
QUICK: Mapping[str, Mapping[str, Any]] = {
    "linear": {"strengths": 3, "extend_grid": False},
    "few-shot": {"episodes": 5, "ways": 2, "shots": 1, "queries": 1},
    "linear-heads": {"steps": 2, "rates": (0.01,)},
    "k-shot": {"shots": (1,), "headline": 1, "draws": 2, "shares": ()},
    "transferability": {"pairwise_images": 40, "components": 1},
    "clustering": {"restarts": 1},
}
VIT = BackboneCard(
    name="vit",
    title="A tiny ViT",
    architecture="test_vit",
    architecture_arguments={"img_size": 32, "patch_size": 16},
    weights=RandomWeights(),
    input=InputCard(size=32),
    facts=FactsCard(method="none"),
)


@dataclass
class CountingTokens(CountingCache):
    """Counts, inside the network, the images of every forward pass of a ViT."""

    def get(
        self, card: BackboneCard, digest: str, weights: WeightsFolder, device: str, precision: Precision
    ) -> Encoder:
        before = self.held
        encoder = super(CountingCache, self).get(card, digest, weights, device, precision)
        if encoder is not before:
            encoder.network.patch_embed.register_forward_pre_hook(  # type: ignore[union-attr]
                lambda _module, given: self.batches.append(len(given[0]))
            )
        return encoder


def small(card: DatasetCard) -> DatasetCard:
    """The same with few rendered images, and every dataset of scenes with scenes of its own."""
    if card.reader != "shapes":
        return card
    seed = 1 + len(card.name)
    arguments = {**card.reader_arguments, "train": 60, "test": 40, "size": 32, "seed": seed}
    return card.model_copy(update={"reader_arguments": arguments, "images": {}})


@pytest.mark.slow
def test_the_suite_encodes_every_image_of_three_datasets_once(tmp_path: Path, few_halves: None) -> None:
    specs = CATALOG.select(suite="one-pass")
    requests = {PROTOCOLS[spec.protocol].layer_request(spec.typed_parameters()) for spec in specs} - {None}
    paths = EvaluationPaths(tmp_path / "weights", tmp_path / "data", tmp_path / "features")
    paths = replace(paths, store_layers=tuple(one for one in requests if one is not None))
    cache, listener, images = CountingTokens(), Listener(), {}
    for spec in specs:
        card = small(CATALOG.dataset(spec.dataset))
        family = PROTOCOLS[spec.protocol].family
        quick = CATALOG.resolve(spec.name, None, {family: QUICK.get(family, {})})
        found = evaluate_task(
            VIT, quick, card, seed=0, paths=paths, device="cpu", reporter=listener, encoder_cache=cache
        )
        first = spec.dataset not in images
        if first:
            splits = open_dataset(card, paths.data).splits
            images[spec.dataset] = sum(len(split.images) for split in splits.values())
        assert (found.provenance.encoded > 0) == first, spec.name
    assert len(images) == 3
    assert sum(cache.batches) == sum(images.values())
