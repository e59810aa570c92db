from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ssl_console.analysis.statistics import weighted_metrics
from ssl_console.analysis.statistics.rank_bootstrap import RankBootstrap, Ranks, bootstrap_ranks
from ssl_console.analysis.statistics.weighted_metrics import Spread

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]
NAMES = ("a", "b", "c", "d")
SAMPLES = 400


def right_answers(skill: list[float], seed: int, samples: int = SAMPLES) -> Floats:
    """[backbones, samples], 0 or 100: the same images are hard for all backbones."""
    generator = np.random.default_rng(seed)
    hard = generator.normal(size=samples)
    noise = 0.4 * generator.normal(size=(len(skill), samples))
    return 100.0 * (np.array(skill)[:, None] > hard + noise)


def tasks(skill: list[float], count: int = 8, samples: int = SAMPLES) -> list[Spread]:
    found = [right_answers(skill, seed, samples) for seed in range(count)]
    return [weighted_metrics.of_samples(right.mean(axis=1), right) for right in found]


def by_name(ranks: Ranks) -> dict[str, tuple[float, float, float]]:
    return {row.backbone: (row.rank, row.low, row.high) for row in ranks.rows}


def test_a_backbone_far_ahead_is_first_for_certain() -> None:
    ranks = bootstrap_ranks(NAMES, tasks([2.0, 0.5, 0.45, -1.0]), ["linear"] * 8)
    best, *_, worst = ranks.rows
    assert (best.backbone, best.low, best.high, best.first) == ("a", 1.0, 1.0, 1.0)
    assert (worst.backbone, worst.low, worst.high, worst.first) == ("d", 4.0, 4.0, 0.0)


def test_backbones_that_cannot_be_told_apart_share_a_group() -> None:
    ranks = bootstrap_ranks(NAMES, tasks([2.0, 0.5, 0.49, -1.0]), ["linear"] * 8)
    groups = {row.backbone: row.group for row in ranks.rows}
    assert groups == {"a": 1, "b": 2, "c": 2, "d": 3}


def test_chances_of_being_first_add_up_to_1() -> None:
    ranks = bootstrap_ranks(NAMES, tasks([0.5, 0.5, 0.5, 0.5]), ["linear"] * 8)
    assert sum(row.first for row in ranks.rows) == pytest.approx(1.0)
    assert max(row.first for row in ranks.rows) < 0.95


def test_equal_backbones_share_their_place_in_every_replicate() -> None:
    same = Spread(np.array([50.0, 50.0]), np.array([[2.0], [2.0]]))
    ranks = bootstrap_ranks(("a", "b"), [same, same], ["linear"] * 2)
    assert [(row.rank, row.low, row.high, row.first, row.group) for row in ranks.rows] == [(1.5, 1.5, 1.5, 0.5, 1)] * 2


def test_more_samples_make_ranks_more_certain() -> None:
    widths = []
    for samples in (100, 10_000):
        ranks = bootstrap_ranks(NAMES, tasks([0.6, 0.5, 0.4, 0.3], count=1, samples=samples), ["linear"])
        widths.append(sum(row.high - row.low for row in ranks.rows))
    assert widths[1] < widths[0]


def test_ranks_agree_with_drawing_single_images_again() -> None:
    """The normal limit, compared with the bootstrap on one task."""
    right = right_answers([0.62, 0.55, 0.5, 0.3], seed=3)
    ranks = bootstrap_ranks(
        NAMES, [weighted_metrics.of_samples(right.mean(axis=1), right)], ["linear"], replicates=4000
    )
    generator = np.random.default_rng(1)
    drawn = np.stack([right[:, generator.integers(0, SAMPLES, SAMPLES)].mean(axis=1) for _ in range(4000)])
    best = drawn == drawn.max(axis=1, keepdims=True)
    expected = dict(zip(NAMES, (best / best.sum(axis=1, keepdims=True)).mean(axis=0), strict=True))
    for row in ranks.rows:
        assert row.first == pytest.approx(expected[row.backbone], abs=0.03)


def test_what_backbones_share_does_not_blur_their_order() -> None:
    right = right_answers([0.6, 0.5], seed=4, samples=3000)
    values = right.mean(axis=1)
    together = weighted_metrics.of_samples(values, right)
    apart = weighted_metrics.of_intervals(values, 1.96 * right.std(axis=1) / np.sqrt(3000))
    first = [bootstrap_ranks(("a", "b"), [one], ["linear"]).rows[0].first for one in (together, apart)]
    assert first[0] > first[1]


def test_tasks_are_drawn_within_their_family() -> None:
    """One family has a single task: it is in every replicate, so it has no uncertainty."""
    sure = Spread(np.array([90.0, 10.0]), np.zeros((2, 1)))
    unsure = Spread(np.array([10.0, 90.0]), np.zeros((2, 1)))
    alone = bootstrap_ranks(("a", "b"), [sure, unsure], ["linear", "knn"])
    mixed = bootstrap_ranks(("a", "b"), [sure, unsure], ["linear", "linear"])
    assert by_name(alone) == {"a": (1.5, 1.5, 1.5), "b": (1.5, 1.5, 1.5)}
    assert by_name(mixed) == {"a": (1.5, 1.0, 2.0), "b": (1.5, 1.0, 2.0)}


def test_the_user_chooses_what_a_missing_cell_means() -> None:
    whole, holed = (Spread(np.array(v), np.zeros((3, 1))) for v in ([90.0, 80.0, 70.0], [90.0, 80.0, np.nan]))
    rows = bootstrap_ranks("abc", [whole, holed], ["t", "t"], missing="complete rows")
    assert ([row.backbone for row in rows.rows], rows.left_out, rows.tasks) == (["a", "b"], ("c",), 2)
    common = bootstrap_ranks("abc", [whole, holed], ["t", "t"], missing="common tasks")
    assert ([row.backbone for row in common.rows], common.left_out, common.tasks) == (["a", "b", "c"], (), 1)
    drawn = bootstrap_ranks("abc", [whole, holed], ["t", "t"], missing="drawn")
    assert by_name(common)["c"] == (3.0, 3.0, 3.0)
    assert by_name(drawn)["c"][1] < 3.0


def test_a_table_of_which_nothing_is_left_is_refused() -> None:
    holes = Spread(np.array([np.nan, 1.0]), np.zeros((2, 1)))
    other = Spread(np.array([1.0, np.nan]), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="nothing can be ranked with complete rows"):
        bootstrap_ranks("ab", [holes, other], ["t", "t"])


def test_ranks_can_be_read_while_more_replicates_are_drawn() -> None:
    bootstrap = RankBootstrap.of(NAMES, tasks([0.6, 0.5, 0.4, 0.3]), ["linear"] * 8)
    with pytest.raises(ValueError, match="no replicates yet"):
        bootstrap.ranks()
    bootstrap.add(50)
    assert bootstrap.ranks().replicates == 50
    bootstrap.add(50)
    assert bootstrap.ranks().replicates == 100


def test_the_same_seed_gives_the_same_ranks() -> None:
    given = (NAMES, tasks([0.6, 0.5, 0.4, 0.3]), ["linear"] * 8)
    assert bootstrap_ranks(*given, seed=3) == bootstrap_ranks(*given, seed=3)


def test_the_spread_of_mean_per_class_accuracy_is_that_of_its_bootstrap() -> None:
    generator = np.random.default_rng(5)
    labels = generator.choice(4, 800, p=[0.6, 0.2, 0.15, 0.05])
    right = right_answers([0.8, 0.3], seed=6, samples=800) / 100
    found = weighted_metrics.of_classes(np.array([1.0, 2.0]), right, labels)
    drawn = np.stack([_recalls(right, labels, generator.integers(0, 800, 800)) for _ in range(3000)])
    assert found.factor @ found.factor.T == pytest.approx(np.cov(drawn.T), rel=0.15)


def test_the_spread_of_average_precision_is_that_of_its_bootstrap() -> None:
    generator = np.random.default_rng(7)
    positives = (generator.random((500, 2)) < 0.3).astype(np.int64)
    scores = [positives + generator.normal(0, noise, positives.shape) for noise in (0.8, 1.2)]
    found = weighted_metrics.of_precisions(np.array([1.0, 2.0]), scores, positives)
    again = weighted_metrics.of_precisions(np.array([1.0, 2.0]), scores, positives, seed=9)
    deviations = np.sqrt(np.diag(found.factor @ found.factor.T))
    assert deviations == pytest.approx(np.sqrt(np.diag(again.factor @ again.factor.T)), rel=0.3)


def _recalls(right: Floats, labels: Integers, drawn: Integers) -> Floats:
    recalls = [right[:, drawn[labels[drawn] == label]].mean(axis=1) for label in range(4)]
    found: Floats = 100 * np.mean(recalls, axis=0)
    return found
