"""Every family of backbones in every protocol: evaluated, or refused with a message before anything is queued.

In the long form only (`SSL_CONSOLE_FAULTS=full`), a family is tried whose kind another one represents, and all families
with a fixed input size in every protocol that takes them: otherwise these take turns, one in each protocol.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from backbones.catalog.card import BackboneCard
from backbones.catalog.layer_info import FeatureMapInfo, FeatureMapQuery
from backbones.model.feature_maps import dissect
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.protocols import PROTOCOLS
from tasks.catalog.spec import parse_overrides
from tasks.datasets.card import DatasetCard
from tasks.evaluation.result import EncoderCache, EvaluationPaths
from tasks.reporter import SilentReporter
from tests.tasks.workspace_fixture import network

LONG = os.environ.get("SSL_CONSOLE_FAULTS") == "full"
TASKS = TaskCatalog.load()
FAMILIES: dict[str, BackboneCard] = {
    "resnet": network("test_resnet"),
    "convnext": network("test_convnext"),
    "efficientnet": network("test_efficientnet"),
    "vit": network("test_vit", img_size=64, patch_size=8),
    "dinov2": network("vit_small_patch14_dinov2", 56, img_size=56, embed_dim=48, depth=4, num_heads=3),
    "swin": network("swin_tiny_patch4_window7_224", 64, img_size=64, embed_dim=24, window_size=4),
    "pvt": network("pvt_v2_b0"),
    "hiera": network("hiera_tiny_224", 224, embed_dim=24),
    "mixer": network("mixer_s32_224", 224),
    "crossvit": network("crossvit_tiny_240", 240),
}
PROTOCOL_CHANGES = {
    "linear/shapes": ["linear.strengths=3"],
    "knn/shapes": ["knn.neighbours=3", "knn.headline=3"],
    "few-shot-5/shapes": ["few-shot.shots=1", "few-shot.queries=1", "few-shot.episodes=5"],
    "linear-heads/shapes": ["linear-heads.steps=2", "linear-heads.rates=0.01"],
    "layers/shapes": ["layers.neighbours=3"],
    "k-shot/shapes": ["k-shot.shots=1", "k-shot.headline=1", "k-shot.draws=2"],
    "label-free/shapes": ["label-free.images=20"],
    "lidar/shapes": ["lidar.images=4", "lidar.views=2"],
    "transferability/shapes": ["transferability.components=1"],
    "transferability-sample/shapes": ["transferability-sample.images=12", "transferability-sample.neighbours=3"],
    "retrieval/shapes": ["retrieval.recalls=1"],
    "clustering/shapes": ["clustering.restarts=1"],
    "attentive/shapes": ["attentive.steps=1", "attentive.batch_size=4", "attentive.rates=0.01"],
    "colour/shapes": ["colour.penalties=3"],
    "finetune/shapes": ["finetune.steps=1", "finetune.batch_size=4", "finetune.rates=0.01"],
    "detection-frozen/shapes-scenes": ["detection.iterations=1", "detection.batch=2"],
    "detection-finetune/shapes-scenes": ["detection.iterations=1", "detection.batch=2"],
    "segmentation/shapes-scenes": ["segmentation.steps=1", "segmentation.batch_size=2"],
    "normals/shapes-scenes": ["normals.steps=1", "normals.batch_size=2"],
    "linear-segmentation/shapes-scenes": ["linear-segmentation.steps=1", "linear-segmentation.batch_size=2"],
    "depth/shapes-scenes": ["depth.steps=1", "depth.batch_size=2"],
    "finetune-vit/shapes": [
        "finetune-vit.steps=1",
        "finetune-vit.batch_size=4",
        "finetune-vit.rates=0.01",
        "finetune-vit.head_steps=1",
    ],
    "robustness/shapes": ["robustness.strengths=3", "robustness.corruptions=blur", "robustness.severities=3"],
    "knn-segmentation/shapes-scenes": ["knn-segmentation.neighbours=3"],
    "patch-pca/shapes": ["patch-pca.images=3"],
    "knn-segmentation-capi/shapes-scenes": ["knn-segmentation-capi.neighbours=1"],
    "correspondence/shapes-pairs": ["correspondence.pairs_per_class=1"],
    "attention/shapes": ["attention.images=1", "attention.window=100", "attention.stride=100"],
    "inversion/shapes": ["inversion.images=1", "inversion.steps=2", "inversion.channels=4,4", "inversion.kernels=3,3"],
}
REPRESENTED = {"convnext", "efficientnet", "pvt"}
"""Families like `resnet` (feature maps of convolutions) and `swin` (hierarchical transformers)."""
OWN_SIZE = {"hiera", "mixer", "crossvit"}
"""Families with a fixed input size."""
WITHOUT_BLOCKS = {"crossvit"}
"""Its blocks return lists of tokens, one for each branch."""
ANY_SIZE_NEEDED = {"detection", "segmentation", "normals", "linear-segmentation", "depth", "knn-segmentation"}
ANY_SIZE_NEEDED |= {"correspondence", "knn-segmentation-capi", "patch-pca"}


@cache
def anatomy(family: str) -> FeatureMapInfo:
    """Feature map properties of the family's backbone, computed once."""
    return dissect(FeatureMapQuery.of(FAMILIES[family]))


@pytest.fixture(scope="module")
def encoder_cache() -> EncoderCache:
    """That of a worker which carries out all cases, one after another."""
    return EncoderCache()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of all cases: protocols on the same vectors of a backbone find them there."""
    return tmp_path_factory.mktemp("families")


def few(card: DatasetCard) -> DatasetCard:
    fewer = {"pairs": 3} if card.reader == "shapes-pairs" else {"train": 20, "test": 6}
    arguments = {**card.reader_arguments, **fewer}
    return card.model_copy(update={"reader_arguments": arguments, "images": {}})


def test_the_table_has_every_protocol() -> None:
    families = {PROTOCOLS[name.partition("/")[0]].family for name in PROTOCOL_CHANGES}
    without_dataset = {"instance-retrieval"}  # none that is rendered has its targets; it uses the vectors alone
    assert families == {facts.family for facts in PROTOCOLS.values()} - without_dataset


VECTORS_ALONE = {"robustness", "knn", "label-free", "transferability", "k-shot", "few-shot", "colour"}
VECTORS_ALONE |= {"transferability-sample"}
"""Protocols that use only the vectors of `linear`: two families are sufficient for all."""


def pairs() -> list[tuple[str, str]]:
    """Family and task."""
    return [
        (family, name)
        for family in FAMILIES
        if LONG or family not in REPRESENTED
        for number, name in enumerate(PROTOCOL_CHANGES)
        if family in {"resnet", "vit"} or PROTOCOLS[name.partition("/")[0]].family not in VECTORS_ALONE
        if LONG or family not in OWN_SIZE or has_turn(family, number, name)
    ]


def has_turn(family: str, number: int, name: str) -> bool:
    """Whether a family with a fixed input size is tried in this protocol: always where it is refused."""
    facts = PROTOCOLS[name.partition("/")[0]]
    refused = facts.family in ANY_SIZE_NEEDED or (
        family in WITHOUT_BLOCKS and (facts.layers or facts.name == "attentive")
    )
    return refused or sorted(OWN_SIZE)[number % len(OWN_SIZE)] == family


@pytest.mark.slow
@pytest.mark.parametrize(("family", "name"), pairs())
def test_a_family_is_measured_or_refused_before_anything_is_queued(
    root: Path, encoder_cache: EncoderCache, family: str, name: str
) -> None:
    card = FAMILIES[family]
    facts = PROTOCOLS[name.partition("/")[0]]
    task = TASKS.resolve(name, "small" if "small" in facts.presets else None, parse_overrides(PROTOCOL_CHANGES[name]))
    reason = facts.unsuitable and facts.unsuitable(card, anatomy(family), task.typed_parameters())
    if family in OWN_SIZE and facts.family in ANY_SIZE_NEEDED:
        assert reason is not None
        assert reason.startswith(f"{card.architecture} accepts images of ")
        return
    if family in WITHOUT_BLOCKS and (facts.layers or facts.name == "attentive"):
        assert reason == f"its architecture {card.architecture} does not list its blocks (timm's feature_info)"
        return
    assert reason is None
    module = import_module(facts.evaluation_module)
    found = module.evaluate_task(
        card,
        task,
        few(TASKS.dataset(task.dataset)),
        seed=0,
        paths=EvaluationPaths(weights=root / "weights", data=root, features=root / "features"),
        device="cpu",
        reporter=SilentReporter(),
        encoder_cache=encoder_cache,
    )
    assert found.outcome.interval.low <= found.outcome.value <= found.outcome.interval.high
