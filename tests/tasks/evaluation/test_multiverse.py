"""All protocols of a multiverse on stored features: nothing is encoded, equal protocols count once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from tasks.evaluation.multiverse import FeaturesMissingError, Multiverse
from tasks.evaluation.protocol_wins import pairwise_wins, score_weights
from tasks.evaluation.result import EncoderCache, EvaluationPaths
from tasks.features.requests import Advance, EvaluationChoice, MultiverseCard, MultiverseRequest, MultiverseResult
from tasks.reporter import SilentReporter
from tasks.solvers.quick_classifiers import CLASSIFIERS, Indices, Labels, TrainingPool
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
    assert "the mean is used for backbones without a class token: convnet" in result.notes


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


def at_side(card: BackboneCard, side: int) -> BackboneCard:
    return card.model_copy(update={"input": card.input.model_copy(update={"size": side})})


def test_stored_resolutions_are_a_choice_and_those_that_are_not_stored_are_named(paths: EvaluationPaths) -> None:
    twin = CONVNET.model_copy(update={"name": "twin"})
    evaluate_task(
        at_side(CONVNET, 48), CATALOG.resolve("layers/shapes-hue"), DATA, seed=0, paths=paths, device="cpu",
        reporter=SilentReporter(), encoder_cache=EncoderCache(),
    )  # fmt: skip
    card = MultiverseCard(blocks=("last", "half"), heads=("centroid",), seeds=(0,), resolutions=(0, 48, 64))
    result, _ = carry_out(request(paths, (CONVNET, twin), card))
    assert [one.values["resolution"] for one in result.protocols] == ["own", "own", "48 px", "48 px"]
    assert "without 64 px: convnet has no stored features of all blocks at 64 px on shapes-hue" in result.notes[0]
    alone, _ = carry_out(
        request(paths, (at_side(CONVNET, 48), at_side(twin, 48)), card.model_copy(update={"resolutions": (0,)}))
    )
    assert result.backbones[0].scores[2:] == alone.backbones[0].scores
    assert result.backbones[0].scores[:2] != alone.backbones[0].scores
    only = card.model_copy(update={"resolutions": (64,)})
    with pytest.raises(FeaturesMissingError, match=r"whose input\.size is 64"):
        carry_out(request(paths, (CONVNET, twin), only))


def independent(count: int) -> tuple[EvaluationChoice, ...]:
    return tuple(EvaluationChoice(pooling="cls", blocks="last", head="knn", seed=seed) for seed in range(count))


def test_the_share_of_wins_is_that_of_a_count_by_hand() -> None:
    random = np.random.default_rng(3)
    labels = np.arange(200) % 4
    right = {name: random.random((30, 200)) < level for name, level in (("a", 0.62), ("b", 0.6))}
    (pair,) = pairwise_wins(right, labels, "accuracy", independent(30))
    difference = right["a"].sum(axis=1) - right["b"].sum(axis=1)
    assert pair.share == pytest.approx(np.mean(difference > 0) + 0.5 * np.mean(difference == 0))
    assert pair.ties == np.sum(difference == 0)
    assert pair.low <= pair.share <= pair.high


def test_protocols_with_equal_answers_change_neither_the_fraction_nor_its_interval() -> None:
    random, labels = np.random.default_rng(6), np.arange(300) % 4
    levels = np.linspace(0.4, 0.8, 20)[:, None]
    once = {"a": random.random((20, 300)) < levels, "b": random.random((20, 300)) < 0.62}
    thrice = {name: np.repeat(found, 3, axis=0) for name, found in once.items()}
    (single,) = pairwise_wins(once, labels, "accuracy", independent(20))
    (repeated,) = pairwise_wins(thrice, labels, "accuracy", independent(60))
    assert repeated.share == pytest.approx(single.share)
    assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high), abs=0.06)
    assert single.high - single.low < 0.6


@pytest.mark.parametrize("metric", ["accuracy", "mean-per-class"])
def test_the_interval_is_narrow_for_clear_differences_and_wide_for_those_of_few_images(metric: str) -> None:
    random, labels = np.random.default_rng(4), np.arange(400) % 4
    levels = np.repeat([0.9, 0.5], [20, 10])[:, None]
    clear = {"a": random.random((30, 400)) < levels, "b": random.random((30, 400)) < 0.7}
    (pair,) = pairwise_wins(clear, labels, metric, independent(30))
    assert (pair.low, pair.high) == pytest.approx((2 / 3, 2 / 3), abs=0.04)
    few = {name: found[:, :24] for name, found in clear.items()}
    (wide,) = pairwise_wins(few, labels[:24], metric, independent(30))
    assert wide.high - wide.low > 0.1
    (even,) = pairwise_wins({"a": clear["a"], "b": clear["a"]}, labels, metric, independent(30))
    assert (even.share, even.low, even.high) == (0.5, 0.5, 0.5)


def test_the_mean_of_classes_weighs_every_class_alike() -> None:
    labels = np.array([0, 0, 0, 1])
    right = np.array([True, True, False, True])
    assert right @ score_weights(labels, "mean-per-class") == pytest.approx((2 / 3 + 1) / 2)
    assert right @ score_weights(labels, "accuracy") == pytest.approx(3 / 4)


@dataclass(frozen=True)
class Overlapping:
    """Three classes: the pool, and its training and validation rows."""

    pool: TrainingPool
    train: Indices
    val: Indices

    def predicted(self, head: str) -> Labels:
        return CLASSIFIERS[head](self.pool).predict(self.train, self.val, accuracy)


def overlapping(spread: float = 1.5) -> Overlapping:
    means = np.random.default_rng(9).standard_normal((3, 12))

    def rows(count: int, seed: int) -> tuple[np.ndarray, Labels]:
        labels = np.arange(count) % 3
        noise = np.random.default_rng(seed).standard_normal((count, 12))
        return (means[labels] + spread * noise).astype(np.float32), labels.astype(np.int64)

    pool = TrainingPool(*rows(180, 1), rows(90, 3)[0], 3)
    return Overlapping(pool, np.arange(120), np.arange(120, 180))


def accuracy(predicted: Labels, labels: Labels) -> float:
    return float(np.mean(predicted == labels))


def test_logistic_and_centroid_heads_agree_with_scikit_learn() -> None:
    made = overlapping()
    pool = made.pool
    scale = 1 / np.sqrt(np.mean(pool.features**2))
    by_strength = [
        LogisticRegression(C=strength, max_iter=5000).fit(scale * pool.features, pool.labels).predict(scale * pool.test)
        for strength in (1e-3, 1e-2, 0.1, 1.0, 10.0)
    ]
    logistic = made.predicted("logistic")
    assert max(np.mean(logistic == one) for one in by_strength) >= 0.97
    expected = NearestCentroid().fit(pool.features, pool.labels).predict(pool.test)
    unit = pool.features / np.linalg.norm(pool.features, axis=1, keepdims=True)
    asked = pool.test / np.linalg.norm(pool.test, axis=1, keepdims=True)
    cosine = NearestCentroid().fit(unit, pool.labels).predict(asked)
    centroid = made.predicted("centroid")
    assert any(np.array_equal(centroid, one) for one in (expected, cosine))


@pytest.mark.parametrize("head", sorted(CLASSIFIERS))
def test_every_head_learns_and_does_without_a_class_that_has_no_training_image(head: str) -> None:
    made = overlapping(0.4)
    assert accuracy(made.predicted(head), np.arange(90) % 3) > 0.9
    kept = np.flatnonzero(made.pool.labels[:120] != 2)
    lacking = Overlapping(made.pool, kept, np.arange(120, 122))
    predicted = lacking.predicted(head)
    assert accuracy(predicted[np.arange(90) % 3 != 2], np.arange(90)[np.arange(90) % 3 != 2] % 3) > 0.9


@pytest.mark.parametrize("head", sorted(CLASSIFIERS))
def test_protocols_that_select_the_same_candidate_share_the_final_fit(head: str) -> None:
    """A shared classifier predicts what a fresh one does, in any order of the candidates."""
    made = overlapping()
    shared = CLASSIFIERS[head](made.pool)
    halves = np.random.default_rng(0).permutation(180)
    for val in (halves[:60], halves[60:120], halves[120:]):
        train = np.setdiff1d(np.arange(180), val)
        fresh = CLASSIFIERS[head](made.pool)
        assert np.array_equal(shared.predict(train, val, accuracy), fresh.predict(train, val, accuracy))
