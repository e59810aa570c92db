"""The console slows down when the terminal does not keep up, and speeds up again afterwards."""

from __future__ import annotations

from ssl_console.tui.terminal.driver import CONGESTED, HELD_UP_S, SMOOTH, LinkSpeed


def test_writes_that_wait_again_and_again_slow_it_down() -> None:
    pace = LinkSpeed()
    assert not pace.observe(CONGESTED, 0.0), "once may be chance"
    assert pace.observe(CONGESTED, 0.0)


def test_one_write_that_was_held_up_slows_it_down_at_once() -> None:
    assert LinkSpeed().observe(0, HELD_UP_S + 1)


def test_a_line_that_runs_smoothly_gets_the_usual_pace_again() -> None:
    pace = LinkSpeed()
    pace.observe(0, HELD_UP_S + 1)
    told = [pace.observe(0, 0.0) for _ in range(SMOOTH)]
    assert told == [True] * (SMOOTH - 1) + [False]


def test_what_was_asked_for_stays() -> None:
    pace = LinkSpeed(slow=True, fixed=True)
    assert all(pace.observe(0, 0.0) for _ in range(2 * SMOOTH))
