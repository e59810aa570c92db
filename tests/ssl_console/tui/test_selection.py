from __future__ import annotations

from ssl_console.tui.data.state import PairSelection

ROW = [("a", "x"), ("a", "y")]


def test_toggling_several_ticks_them_all_unless_all_are_ticked() -> None:
    some = PairSelection().toggle(ROW[:1])
    both = some.toggle(ROW)
    assert (some.extent(ROW), both.extent(ROW), both.toggle(ROW).extent(ROW)) == ("some", "all", "none")


def test_ticked_pairs_come_in_the_order_of_the_catalogue_and_without_what_is_gone() -> None:
    ticked = PairSelection().add([("b", "x"), ("a", "y"), ("a", "x"), ("gone", "x")])
    assert ticked.ordered(["a", "b"], ["x", "y"]) == [("a", "x"), ("a", "y"), ("b", "x")]
