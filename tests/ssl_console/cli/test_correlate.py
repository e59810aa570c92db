from __future__ import annotations

import pytest

from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.cli.test_compare import leave

PAPER_MODELS = {"paper/insdis": 0.5, "paper/byol": 0.7, "paper/swav": 0.75, "paper/moco-v1": 0.52}
"""Backbones with a published ImageNet accuracy, and their accuracy on `cars` in this test."""


def test_correlate_shows_the_published_analysis(shell: Shell) -> None:
    document = shell("correlate", "--json").document
    linear = next(one for one in document["settings"] if one["name"] == "linear")
    assert (linear["n"], linear["source"], len(linear["tasks"])) == (14, "paper", 11)
    assert linear["pearson"]["value"] == pytest.approx(0.93, abs=0.01)
    assert linear["pearson"]["ci_low"] < 0.93 < linear["pearson"]["ci_high"]


def test_correlate_prints_a_line_for_every_setting(shell: Shell) -> None:
    finished = shell("correlate")
    assert finished.code == 0
    assert any(line.startswith("linear ") and "+0.93" in line for line in finished.out.splitlines())


def test_correlate_takes_own_results(shell: Shell, workspace: Workspace) -> None:
    for name, share in PAPER_MODELS.items():
        leave(workspace, name, "linear/cars", share)
    (setting,) = shell("correlate", "--source", "mine", "--json").document["settings"]
    assert (setting["source"], setting["n"]) == ("mine", 4)
    assert setting["pearson"]["value"] > 0.9


def test_three_own_results_are_too_few_for_a_coefficient(shell: Shell, workspace: Workspace) -> None:
    for name, share in list(PAPER_MODELS.items())[:3]:
        leave(workspace, name, "linear/cars", share)
    (setting,) = shell("correlate", "--source", "mine", "--json").document["settings"]
    assert (setting["n"], setting["pearson"]) == (3, None)


def test_correlate_shows_both_sources_side_by_side(shell: Shell, workspace: Workspace) -> None:
    for name, share in PAPER_MODELS.items():
        leave(workspace, name, "linear/cars", share)
    settings = shell("correlate", "--source", "both", "--json").document["settings"]
    assert [one["source"] for one in settings if one["name"] == "linear"] == ["paper", "mine"]


def test_correlate_says_when_there_is_nothing_to_correlate(shell: Shell) -> None:
    finished = shell("correlate", "--source", "mine")
    assert (finished.code, finished.out) == (2, "")
    assert "--source paper" in finished.err


def test_correlate_with_a_score_meets_own_results_on_the_same_dataset(shell: Shell, workspace: Workspace) -> None:
    shares = {"a": 0.5, "b": 0.7, "c": 0.75, "d": 0.52}
    for name, share in shares.items():
        leave(workspace, name, "linear/cars", share, protocol="linear", dataset="cars")
        leave(workspace, name, "knn/cars", share - 0.3, protocol="knn", dataset="cars")
    found = shell("correlate", "--with", "knn", "--json").document
    (one,) = found["correlations"]
    assert (one["score"], one["task"], one["n"]) == ("knn/cars", "linear/cars", 4)
    assert one["spearman"]["value"] == one["weighted_tau"] == 1.0
    assert found["protocols"] == {"linear": {"tasks": 1, "spearman": 1.0, "weighted_tau": 1.0}}
    failed = shell("correlate", "--with", "logme")
    assert failed.code != 0
    assert "no two backbones have 'logme'" in failed.err
    assert "available: linear, knn" in failed.err or "available: knn, linear" in failed.err
