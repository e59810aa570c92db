"""All protocols of a multiverse on stored features: nothing is encoded, equal protocols count once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from backbones.catalog.card import BackboneCard
from backbones.io.card_files import CardModel
from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.card import DatasetCard
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import many_shot_indices
from tasks.evaluation.features import evaluate_task
from tasks.evaluation.multiverse import FeaturesMissingError, Multiverse, pairwise_wins, score_weights
from tasks.evaluation.result import EncoderCache, EvaluationPaths
from tasks.features.export_request import Advance
from tasks.features.multiverse_request import MultiverseCard, MultiverseRequest, MultiverseResult
from tasks.reporter import SilentReporter
from tasks.solvers.quick_classifiers import CLASSIFIERS, LabelledRows, Labels, Roles
from tests.tasks.evaluation.test_one_pass import VIT, small

CATALOG = TaskCatalog.load()
DATA = small(CATALOG.dataset("shapes-hue"))
CONVNET = VIT.model_copy(update={"name": "convnet", "architecture": "test_resnet", "architecture_arguments": {}})


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> EvaluationPaths:
    """Features of every block of a ViT and of a ConvNet."""
    root = tmp_path_factory.mktemp("multiverse")
    found = EvaluationPaths(root / "weights", root / "data", root / "features")
    for card in (VIT, CONVNET):
        evaluate_task(
            card, CATALOG.resolve("layers/shapes-hue"), DATA, seed=0, paths=found, device="cpu",
            reporter=SilentReporter(), encoder_cache=EncoderCache(),
        )  # fmt: skip
    return found


def request(
    paths: EvaluationPaths, cards: Sequence[BackboneCard], card: MultiverseCard, data: DatasetCard = DATA
) -> MultiverseRequest:
    return MultiverseRequest(
        card=card, backbones=tuple(cards), dataset=data, weights=str(paths.weights), data=str(paths.data),
        features=str(paths.features),
    )  # fmt: skip


def carry_out(given: MultiverseRequest) -> tuple[MultiverseResult, list[CardModel]]:
    said: list[CardModel] = []
    return Multiverse(given, said.append).carry_out(), said


def test_every_combination_is_scored_for_every_backbone_and_progress_is_reported(paths: EvaluationPaths) -> None:
    card = MultiverseCard(blocks=("last", "last-4"), heads=("knn", "centroid"), seeds=(0, 1))
    result, said = carry_out(request(paths, (VIT, CONVNET), card))
    assert len(result.protocols) == 3 * 2 * 2 * 2
    assert [len(one.scores) for one in result.backbones] == [24, 24]
    assert sum(isinstance(one, Advance) for one in said) == 48
    assert "the mean in place of a class token, which they lack: convnet" in result.notes


def test_protocols_that_are_equal_for_every_backbone_count_once(paths: EvaluationPaths) -> None:
    twin = CONVNET.model_copy(update={"name": "twin"})
    card = MultiverseCard(blocks=("last",), heads=("centroid",), seeds=(0,))
    result, _ = carry_out(request(paths, (CONVNET, twin), card))
    assert len(result.protocols) == 1
    assert result.notes[0].startswith("2 of 3 protocols equal another one")
    assert (result.pairs[0].share, result.pairs[0].ties) == (0.5, 1)


def test_several_processes_find_the_same_scores(paths: EvaluationPaths) -> None:
    given = request(paths, (VIT, CONVNET), MultiverseCard(blocks=("last",), seeds=(0,)))
    assert Multiverse(given, lambda _report: None, processes=2).carry_out() == carry_out(given)[0]


def test_features_that_are_not_stored_are_named_with_the_command_that_stores_them(paths: EvaluationPaths) -> None:
    other = VIT.model_copy(update={"name": "other", "architecture_arguments": {"img_size": 32, "patch_size": 8}})
    with pytest.raises(FeaturesMissingError, match="ssl-console run -b other -t layers/shapes-hue"):
        carry_out(request(paths, (VIT, other), MultiverseCard()))


def test_the_seed_draws_the_validation_images_of_the_protocols(paths: EvaluationPaths) -> None:
    splits = open_dataset(DATA, Path("/nowhere"))
    parts = [many_shot_indices(splits, 0.2, seed).val[0][1] for seed in (0, 1)]
    assert not np.array_equal(parts[0], parts[1])
    card = MultiverseCard(poolings=("mean",), blocks=("last",), heads=("knn",), seeds=(0, 1, 2))
    assert len(carry_out(request(paths, (VIT, CONVNET), card))[0].protocols) == 3


def test_the_share_of_wins_and_its_interval_are_those_of_a_count_by_hand() -> None:
    random = np.random.default_rng(3)
    labels = np.arange(200) % 4
    right = {name: random.random((30, 200)) < level for name, level in (("a", 0.62), ("b", 0.6))}
    (pair,) = pairwise_wins(right, labels, "accuracy")
    difference = right["a"].sum(axis=1) - right["b"].sum(axis=1)
    assert pair.share == pytest.approx(np.mean(difference > 0) + 0.5 * np.mean(difference == 0))
    assert pair.ties == np.sum(difference == 0)
    shares = []
    for _ in range(1000):
        rows = random.integers(0, 200, 200)
        drawn = right["a"][:, rows].sum(axis=1) - right["b"][:, rows].sum(axis=1)
        shares.append(np.mean(drawn > 0) + 0.5 * np.mean(drawn == 0))
    low, high = np.percentile(shares, [2.5, 97.5])
    assert [pair.low, pair.high] == pytest.approx([low, high], abs=0.04)


def test_the_mean_of_classes_weighs_every_class_alike() -> None:
    labels = np.array([0, 0, 0, 1])
    right = np.array([True, True, False, True])
    assert right @ score_weights(labels, "mean-per-class") == pytest.approx((2 / 3 + 1) / 2)
    assert right @ score_weights(labels, "accuracy") == pytest.approx(3 / 4)


def overlapping(spread: float = 1.5) -> Roles:
    means = np.random.default_rng(9).standard_normal((3, 12))

    def rows(count: int, seed: int) -> LabelledRows:
        labels = np.arange(count) % 3
        noise = np.random.default_rng(seed).standard_normal((count, 12))
        return LabelledRows((means[labels] + spread * noise).astype(np.float32), labels.astype(np.int64))

    return Roles(rows(120, 1), rows(60, 2), rows(90, 3).features, 3)


def accuracy(predicted: Labels, labels: Labels) -> float:
    return float(np.mean(predicted == labels))


def test_logistic_and_centroid_heads_agree_with_scikit_learn() -> None:
    roles = overlapping()
    both = roles.train + roles.val
    scale = 1 / np.sqrt(np.mean(roles.train.features**2))
    by_strength = [
        LogisticRegression(C=strength, max_iter=5000)
        .fit(scale * both.features, both.labels)
        .predict(scale * roles.test)
        for strength in (1e-3, 1e-2, 0.1, 1.0, 10.0)
    ]
    logistic = CLASSIFIERS["logistic"](roles, accuracy)
    assert max(np.mean(logistic == one) for one in by_strength) >= 0.97
    expected = NearestCentroid().fit(both.features, both.labels).predict(roles.test)
    unit = both.features / np.linalg.norm(both.features, axis=1, keepdims=True)
    asked = roles.test / np.linalg.norm(roles.test, axis=1, keepdims=True)
    cosine = NearestCentroid().fit(unit, both.labels).predict(asked)
    centroid = CLASSIFIERS["centroid"](roles, accuracy)
    assert any(np.array_equal(centroid, one) for one in (expected, cosine))


@pytest.mark.parametrize("head", sorted(CLASSIFIERS))
def test_every_head_learns_and_does_without_a_class_that_has_no_training_image(head: str) -> None:
    roles = overlapping(0.4)
    assert accuracy(CLASSIFIERS[head](roles, accuracy), np.arange(90) % 3) > 0.9
    kept = roles.train.labels != 2
    lacking = Roles(
        LabelledRows(roles.train.features[kept], roles.train.labels[kept]),
        LabelledRows(roles.val.features[:2], roles.val.labels[:2]),
        roles.test,
        3,
    )
    predicted = CLASSIFIERS[head](lacking, accuracy)
    assert accuracy(predicted[np.arange(90) % 3 != 2], np.arange(90)[np.arange(90) % 3 != 2] % 3) > 0.9
