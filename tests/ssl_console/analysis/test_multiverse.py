"""Verdicts over protocols: the sentence, where it is reversed, ranks, and the specification curve."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from ssl_console.analysis.figures import save_specification_curve
from ssl_console.analysis.multiverse import (
    curve_text,
    multiverse_document,
    pairs_of,
    specification_curve,
    spreads,
)
from tasks.features.requests import BackboneScores, EvaluationChoice, MultiverseResult, PairwiseWins

PROTOCOLS = tuple(
    EvaluationChoice(pooling=pooling, blocks="last", head=head, seed=seed)
    for pooling, head, seed in product(("cls", "mean"), ("knn", "ridge"), (0, 1))
)


def made(first: list[float], second: list[float], low: float = 0.4, high: float = 0.9) -> MultiverseResult:
    wins = [0.5 if one == two else float(one > two) for one, two in zip(first, second, strict=True)]
    pair = PairwiseWins(
        first="own/a", second="own/b", share=sum(wins) / len(wins), low=low, high=high, ties=wins.count(0.5)
    )
    return MultiverseResult(
        dataset="cars", manifest_digest="1", metric="accuracy", test_images=100, protocols=PROTOCOLS, pairs=(pair,),
        backbones=tuple(
            BackboneScores(backbone=name, weights_digest="2", scores=tuple(scores))
            for name, scores in (("own/a", first), ("own/b", second))
        ),
    )  # fmt: skip


def test_the_sentence_names_where_the_verdict_is_reversed() -> None:
    result = made([70, 70, 70, 51, 80, 80, 80, 80], [75, 75, 75, 50, 70, 70, 70, 70], low=0.55)
    (pair,) = pairs_of(result)
    assert pair.sentence == (
        "own/a beats own/b in 62 % [55, 90] of 8 protocols; it loses where pooling is cls (25 % of 4)"
    )


def test_the_backbone_that_is_ahead_more_often_comes_first_with_its_interval() -> None:
    (pair,) = pairs_of(made([1.0] * 6 + [9.0] * 2, [5.0] * 8, low=0.1, high=0.45))
    assert (pair.first, pair.share) == ("own/b", 0.75)
    assert [pair.low, pair.high] == pytest.approx([0.55, 0.9])
    assert not pair.open


def test_a_verdict_that_other_images_may_reverse_is_called_so() -> None:
    (pair,) = pairs_of(made([60.0] * 5 + [50.0] * 3, [55.0] * 8, low=0.45))
    assert pair.sentence.endswith("on other test images this may be the other way round")
    (even,) = pairs_of(made([60.0] * 4 + [50.0] * 4, [55.0] * 8))
    assert even.sentence == "own/a and own/b are ahead equally often over 8 protocols"


def test_no_exception_is_rounded_away() -> None:
    many = made([60.0] * 8, [50.0] * 8)
    nearly = many.pairs[0].model_copy(update={"share": 0.998})
    (pair,) = pairs_of(many.model_copy(update={"pairs": (nearly,)}))
    assert "in over 99 % [" in pair.sentence


def test_first_places_are_shared_by_equal_scores_and_ranks_are_means() -> None:
    one, two = spreads(made([60.0] * 8, [60.0] * 4 + [50.0] * 4))
    assert (one.backbone, one.first, two.first) == ("own/a", 0.75, 0.25)
    assert (one.best_rank, one.worst_rank, two.worst_rank) == (1.0, 1.5, 2.0)


def test_the_curve_rises_and_has_a_line_for_every_value_with_alternatives(tmp_path: Path) -> None:
    result = made([60, 61, 62, 63, 64, 65, 66, 67], [63.0] * 8)
    curve = specification_curve(result, "own/a", "own/b")
    assert [one.difference for one in curve] == [-3, -2, -1, 0, 1, 2, 3, 4]
    lines = curve_text(curve, "own/a", "own/b", 80)
    assert sum(line.count("*") for line in lines[1:10]) == 8
    assert [line.split()[:2] for line in lines[10:]] == [
        ["pooling", "cls"],
        ["pooling", "mean"],
        ["head", "knn"],
        ["head", "ridge"],
    ]
    assert all(len(line) <= 80 for line in lines)
    path = tmp_path / "curve.svg"
    save_specification_curve(curve, ("own/a", "own/b"), path, ["a note"])
    text = path.read_text()
    assert "own/a minus own/b, 8 protocols" in text
    assert "pooling cls" in text
    assert "http" not in text.split("<metadata>")[-1].split("</metadata>")[-1].replace("http://www.w3.org", "")


def test_the_document_holds_every_score_and_sentence() -> None:
    result = made([60.0] * 8, [50.0] * 8)
    document = multiverse_document(result)
    assert document["dataset"] == "cars"
    assert len(document["protocols"]) == 8  # type: ignore[arg-type]
    assert document["pairs"][0]["sentence"].startswith("own/a beats own/b in all 8 protocols")  # type: ignore[index]
