"""Keys of stored features: components that change them, and settings that do not."""

from __future__ import annotations

import pytest

from tasks.features.manifest import FeatureKey, flattened

BACKBONE = {"weights": "a" * 64, "input": {"size": 224, "mean": (0.5, 0.5, 0.5)}}


def test_parts_are_shown_under_dotted_names() -> None:
    parts = FeatureKey(BACKBONE, images="b" * 64).parts
    assert parts["backbone.input.size"] == 224
    assert parts["backbone.input.mean.2"] == 0.5
    assert parts["precision"] == "float32"


def test_the_order_of_parts_and_tuple_or_list_make_no_difference() -> None:
    other = {"input": {"mean": [0.5, 0.5, 0.5], "size": 224}, "weights": "a" * 64}
    assert FeatureKey(BACKBONE, "b" * 64).digest == FeatureKey(other, "b" * 64).digest


def test_every_part_changes_the_name() -> None:
    keys = [
        FeatureKey(BACKBONE, "b" * 64),
        FeatureKey(BACKBONE, "c" * 64),
        FeatureKey(BACKBONE, "b" * 64, "bfloat16"),
        FeatureKey({**BACKBONE, "weights": "c" * 64}, "b" * 64),
        FeatureKey({**BACKBONE, "pooling": "cls"}, "b" * 64),
    ]
    assert len({key.digest for key in keys}) == len(keys)


def test_what_is_not_json_cannot_name_features() -> None:
    with pytest.raises(TypeError, match=r"input\.size = .* only JSON values"):
        flattened({"input": {"size": object()}})
