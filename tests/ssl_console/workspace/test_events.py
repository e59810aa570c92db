"""Folding events into progress, and events as lines."""

from __future__ import annotations

import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ssl_console.workspace.events import (
    CURVE_POINTS,
    WARNINGS_KEPT,
    Curve,
    Event,
    Progress,
    decode_event,
    encode_event,
    fold,
)

PHASES = [
    Event("started", 10.0, device="cpu"),
    Event("phase", 11.0, name="encoding", total=100, unit="images"),
    Event("advance", 12.0, done=20),
]
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(["started", "phase", "advance", "metric", "warning", "resources", "heartbeat", "ended"]),
    time=st.floats(0, 1e10),
    name=st.text(max_size=5),
    done=st.integers(0, 1 << 40),
    total=st.none() | st.integers(0, 1 << 40),
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    step=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    message=st.text(max_size=20),
)


def test_progress_knows_phase_share_and_time_left() -> None:
    progress = fold(PHASES)
    assert (progress.device, progress.phase, progress.unit, progress.share) == ("cpu", "encoding", "images", 0.2)
    assert progress.eta_s(now=13.0) == 8.0
    assert progress.last_event == 12.0


def test_new_phase_starts_from_nothing() -> None:
    progress = fold([*PHASES, Event("phase", 20.0, name="solving")])
    assert (progress.phase, progress.done, progress.share, progress.eta_s(30.0)) == ("solving", 0, None, None)


def test_repeated_and_lost_lines_do_no_harm() -> None:
    repeated = [PHASES[0], PHASES[1], PHASES[2], PHASES[2]]
    assert fold(repeated) == fold(PHASES)


@given(st.lists(EVENTS, max_size=30), st.integers(0, 30))
def test_folding_in_two_parts_is_folding_at_once(events: list[Event], cut: int) -> None:
    assert fold(events[cut:], fold(events[:cut])) == fold(events)


@given(EVENTS)
def test_event_survives_its_line(event: Event) -> None:
    line = encode_event(event)
    assert line.count(b"\n") == 1
    assert decode_event(line) == event


def test_what_is_not_a_number_is_left_out_of_a_curve() -> None:
    line = encode_event(Event("metric", 1.0, name="loss", value=float("nan")))
    event = decode_event(line)
    assert event is not None
    assert fold([event]).metrics == {}


def test_curve_stays_small_and_keeps_its_ends() -> None:
    curve = Curve()
    for step in range(100_000):
        curve = curve.after(step, step / 2)
    assert len(curve.points) <= CURVE_POINTS
    assert curve.points[0] == (0, 0.0)
    assert curve.latest == 49_999.5
    steps = [step for step, _ in curve.points if step is not None]
    assert {later - earlier for earlier, later in pairwise(steps)} == {curve.stride}
    assert steps[-1] > 100_000 - 2 * curve.stride


def test_warnings_are_counted_and_the_last_ones_kept() -> None:
    progress = fold(Event("warning", 1.0, message=f"{number // 2}") for number in range(200))
    assert progress.warning_count == 200
    assert progress.warnings == tuple(map(str, range(100 - WARNINGS_KEPT, 100)))


def test_thousands_of_events_a_second_can_be_folded() -> None:
    lines = [encode_event(Event("metric", 1.0, name="loss", value=1.0, step=float(step))) for step in range(20_000)]
    begun = time.process_time()
    progress = fold((event for line in lines if (event := decode_event(line))), Progress())
    assert progress.metrics["loss"].seen == 20_000
    assert time.process_time() - begun < 4.0
