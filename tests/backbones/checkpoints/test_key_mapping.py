"""Comparison of keys, and advice on mismatches."""

from __future__ import annotations

import torch

from backbones.catalog.card import KeyMapping
from backbones.checkpoints.key_mapping import Fit, best_fit, check, select, without

EXPECTED = {"conv.weight": (2, 3), "bn.weight": (2,), "bn.num_batches_tracked": ()}


def test_an_exact_match_has_nothing_to_report() -> None:
    report = check(EXPECTED, dict(EXPECTED))
    assert report.exact
    assert report.matched == tuple(EXPECTED)


def test_only_the_counter_of_batches_may_be_missing() -> None:
    assert check(EXPECTED, {"conv.weight": (2, 3), "bn.weight": (2,)}).exact
    assert check(EXPECTED, {"conv.weight": (2, 3)}).missing == ("bn.weight",)


def test_long_reports_name_the_first_few() -> None:
    report = check({f"layer{i}": (1,) for i in range(10)}, {})
    assert report.sentence() == "10 missing: layer0, layer1, layer2, ..."


def test_keys_of_another_stream_are_left_by_the_prefix() -> None:
    tensors = {"q.conv.weight": torch.ones(2), "k.conv.weight": torch.zeros(2), "queue": torch.ones(1)}
    assert list(select({"state_dict": tensors}, KeyMapping(container="state_dict", prefix="q."))) == ["conv.weight"]


def test_a_container_may_be_a_path_or_hold_dots_itself() -> None:
    tensors = {"w": torch.ones(1)}
    assert select({"a": {"b": tensors}}, KeyMapping(container="a.b")).keys() == {"w"}
    assert select({"a.b": tensors}, KeyMapping(container="a.b")).keys() == {"w"}


def test_dropping_is_by_the_beginning_of_a_key_not_by_any_part_of_it() -> None:
    tensors = {"fc.weight": torch.ones(1), "layer.fc.weight": torch.ones(1)}
    assert list(without(tensors, ("fc.",))) == ["layer.fc.weight"]
    assert list(without(tensors, ())) == list(tensors)


def test_the_vote_finds_container_and_prefix_by_names_and_shapes() -> None:
    inside = {
        "module.conv.weight": torch.ones(2, 3),
        "module.bn.weight": torch.ones(2),
        "module.fc.weight": torch.ones(9),
    }
    other = {"conv.weight": torch.ones(5, 5)}
    assert best_fit({"epoch": 3, "deep": {"model": inside}, "x": other}, EXPECTED) == Fit("deep.model", "module.", 2)


def test_a_prefix_ends_at_a_dot() -> None:
    assert best_fit({"myconv.weight": torch.ones(2, 3)}, {"conv.weight": (2, 3)}) is None
