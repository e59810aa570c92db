from __future__ import annotations

from ssl_console.tui.data.state import PairSelection, extent

ROW = [("a", "x"), ("a", "y")]


def test_toggling_several_ticks_them_all_unless_all_are_ticked() -> None:
    some = PairSelection().toggle(ROW[:1])
    both = some.toggle(ROW)
    assert [one.pairs for one in (some, both, both.toggle(ROW))] == [frozenset(ROW[:1]), frozenset(ROW), frozenset()]


def test_ticks_are_counted_by_row_and_by_column() -> None:
    ticked = PairSelection().add([("a", "x"), ("a", "y"), ("b", "x")])
    assert ticked.by_backbone == {"a": frozenset("xy"), "b": frozenset("x")}
    assert ticked.by_task == {"x": frozenset("ab"), "y": frozenset("a")}
    found = [extent(ticked.by_backbone.get(name, frozenset()), frozenset("xy")) for name in "abc"]
    assert found == ["all", "some", "none"]
    assert extent(frozenset("x"), frozenset()) == "none", "nothing is shown"


def test_ticked_pairs_come_in_the_order_of_the_catalogue_and_without_what_is_gone() -> None:
    ticked = PairSelection().add([("b", "x"), ("a", "y"), ("a", "x"), ("gone", "x")])
    assert ticked.ordered(["a", "b"], ["x", "y"]) == [("a", "x"), ("a", "y"), ("b", "x")]
