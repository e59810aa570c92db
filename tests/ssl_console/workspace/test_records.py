"""Objects in little memory are equal to those that pydantic makes."""

from __future__ import annotations

import sys

import pytest
from pydantic import ValidationError

from ssl_console.workspace.records import SharedFieldSets, with_values
from tests.ssl_console.workspace.test_results_db import result


def test_a_shared_object_is_the_same_value_in_less_memory() -> None:
    plain, shared = result(1), SharedFieldSets().share(result(1))
    assert shared == plain
    assert hash(shared) == hash(plain)
    assert shared.model_dump_json() == plain.model_dump_json()
    assert shared.model_fields_set == plain.model_fields_set
    assert shared.model_copy(update={"seed": 3}) == plain.model_copy(update={"seed": 3})
    assert sys.getsizeof(shared.__dict__) < 0.6 * sys.getsizeof(plain.__dict__)
    with pytest.raises(ValidationError, match="frozen"):
        shared.seed = 2  # type: ignore[misc]


def test_a_copy_with_other_values_leaves_the_original() -> None:
    first = result(1)
    copy = with_values(first, badges=("a",))
    assert (first.badges, copy.badges) == ((), ("a",))
    assert copy == first.model_copy(update={"badges": ("a",)})
