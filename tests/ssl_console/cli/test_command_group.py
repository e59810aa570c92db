from __future__ import annotations

import pytest

from ssl_console.cli.command_group import expand_options


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("run -b one two -t three", "run -b one -b two -t three"),
        ("run -b one -b two", "run -b one -b two"),
        ("--workspace w plan --seed 1 2 3 --json", "--workspace w plan --seed 1 --seed 2 --seed 3 --json"),
        ("run -t a b --suite s --set x.y=1 x.z=2", "run -t a -t b --suite s --set x.y=1 --set x.z=2"),
        ("rank --sort mean -b a b", "rank --sort mean -b a -b b"),
        ("cancel one two", "cancel one two"),
        ("weights fetch one two", "weights fetch one two"),
        ("--help", "--help"),
        ("", ""),
    ],
)
def test_an_option_may_be_followed_by_several_values(given: str, meant: str) -> None:
    assert expand_options(given.split()) == meant.split()
