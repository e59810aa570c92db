"""Wilcoxon's signed-rank test, Holm's correction, Friedman's test and Nemenyi's critical difference."""

from __future__ import annotations

import numpy as np
import pytest
import scikit_posthocs as posthocs
import scipy.stats
from statsmodels.stats.multitest import multipletests

from ssl_console.analysis.ranking import average_ranks
from ssl_console.analysis.statistics.across_tasks import adjusted, cliques, critical_difference, friedman, signed_rank
from ssl_console.analysis.statistics.rank_bootstrap import places


@pytest.mark.parametrize("tasks", [3, 8, 11, 25, 40])
def test_signed_ranks_without_ties_have_the_exact_p_of_scipy(tasks: int) -> None:
    leads = np.random.default_rng(tasks).normal(0.4, 1, tasks)
    assert signed_rank(list(leads)).p_value == pytest.approx(scipy.stats.wilcoxon(leads, method="exact").pvalue)


def test_signed_ranks_with_ties_have_the_p_of_every_assignment_of_signs() -> None:
    leads = [1.0, 1.0, -1.0, 2.0, 2.0, 3.0, -0.5, 4.0]
    method = scipy.stats.PermutationMethod(n_resamples=10**6)
    expected = scipy.stats.wilcoxon(leads, method=method).pvalue
    assert signed_rank(leads).p_value == pytest.approx(expected)


def test_many_tasks_have_the_approximate_p_of_scipy() -> None:
    leads = np.round(np.random.default_rng(1).normal(0.2, 1, 80), 1)
    expected = scipy.stats.wilcoxon(leads, method="approx", correction=False).pvalue
    assert signed_rank(list(leads)).p_value == pytest.approx(expected, rel=1e-9)


def test_tasks_without_any_difference_say_nothing() -> None:
    found = signed_rank([0.0, 0.0])
    assert (found.n, found.p_value, found.effect) == (0, 1.0, 0.0)


def test_the_effect_is_1_when_every_task_is_won() -> None:
    assert signed_rank([0.1, 2.0, 3.0]).effect == 1.0
    assert signed_rank([-0.1, -2.0]).effect == -1.0


def test_holm_multiplies_the_smallest_p_by_all_and_never_falls() -> None:
    assert adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted([0.9, 0.8]) == [1.0, 1.0]
    assert adjusted([]) == []


@pytest.mark.parametrize("ties", [False, True])
def test_friedman_is_that_of_scipy(ties: bool) -> None:
    scores = np.random.default_rng(2).normal(size=(12, 6)) + np.linspace(0, 1, 6)
    scores = np.round(scores, 0 if ties else 6)
    found = friedman(scores)
    expected = scipy.stats.friedmanchisquare(*scores.T)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_the_corrected_friedman_test_follows_the_f_distribution() -> None:
    found = friedman(np.random.default_rng(3).normal(size=(10, 4)) + np.arange(4))
    f = 9 * found.statistic / (10 * 3 - found.statistic)
    assert found.f_p_value == pytest.approx(scipy.stats.f.sf(f, 3, 27), rel=1e-8)


def test_one_order_on_every_task_is_certain() -> None:
    found = friedman(np.tile(np.arange(4.0), (6, 1)))
    assert found.f_p_value == 0.0
    assert found.mean_ranks == (4.0, 3.0, 2.0, 1.0)


def test_friedman_refuses_a_single_task() -> None:
    with pytest.raises(ValueError, match="1 tasks"):
        friedman(np.zeros((1, 5)))


def test_the_critical_difference_is_the_published_one() -> None:
    """Demsar 2006, table 5 and section 3.2.4: q = 2.569 for four classifiers, CD = 1.25 over 14 data sets."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14) / np.sqrt(4 * 5 / (6 * 14)) == pytest.approx(2.569, abs=0.001)


def test_cliques_are_the_longest_runs_within_the_critical_difference() -> None:
    bars = cliques({"a": 1.0, "b": 1.8, "c": 2.4, "d": 4.0}, 1.0)
    assert bars == [("a", "b"), ("b", "c")]


def test_places_of_whole_arrays_are_those_of_single_rows() -> None:
    scores = np.round(np.random.default_rng(4).normal(size=(50, 9)), 0)
    assert np.array_equal(places(scores), [average_ranks(list(row)) for row in scores])
    assert np.array_equal(places(scores + np.arange(9) * 100.0), np.tile(np.arange(9.0, 0.0, -1.0), (50, 1)))


@pytest.mark.parametrize("ties", [False, True])
def test_nemenyi_tells_those_pairs_apart_that_scikit_posthocs_does(ties: bool) -> None:
    scores = np.random.default_rng(5).normal(size=(15, 7)) + np.linspace(0, 1.5, 7)
    scores = np.round(scores, 0 if ties else 6)
    found = friedman(scores)
    pairs = posthocs.posthoc_nemenyi_friedman(scores).to_numpy()
    gaps = np.abs(np.subtract.outer(found.mean_ranks, found.mean_ranks))
    assert np.array_equal(gaps > found.critical_difference, pairs < 0.05)
    assert (pairs < 0.05).any()


def test_the_bars_of_the_picture_join_what_scikit_posthocs_cannot_tell_apart() -> None:
    scores = np.random.default_rng(6).normal(size=(20, 8)) + np.linspace(0, 2.5, 8)
    found = friedman(scores)
    names = [f"b{number}" for number in range(8)]
    pairs = posthocs.posthoc_nemenyi_friedman(scores).to_numpy()
    joined = np.zeros((8, 8), dtype=bool)
    for bar in cliques(dict(zip(names, found.mean_ranks, strict=True)), found.critical_difference):
        places = [names.index(name) for name in bar]
        joined[np.ix_(places, places)] = True
    expected = pairs >= 0.05
    assert np.array_equal(joined | np.eye(8, dtype=bool), expected)
    assert not expected.all()


def test_holm_is_that_of_statsmodels() -> None:
    p_values = np.random.default_rng(7).uniform(0, 0.2, 12)
    assert adjusted(list(p_values)) == pytest.approx(list(multipletests(p_values, method="holm")[1]))
