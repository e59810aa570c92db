from __future__ import annotations

import time
from pathlib import Path

import pytest

from ssl_console.tui.widgets import log_view
from ssl_console.tui.widgets.log_view import BLOCK, MOST_LINES, LogWindow


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.1.txt"
    path.write_text("".join(f"line {number}\n" for number in range(30_000)))
    return path


def test_a_log_of_100_mb_opens_at_its_end_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.1.txt"
    with path.open("wb") as file:
        for _ in range(100):
            file.write(b"epoch 1 loss 0.5 and so on and on\n" * 30_840)
        file.write(b"the last line\n")
    began = time.process_time()
    window = log_view.open_end(path)
    assert window.lines[-1] == "the last line"
    assert window.size > 100_000_000
    assert time.process_time() - began < 0.1
    assert window.end - window.start <= BLOCK


def test_reading_on_towards_the_beginning_joins_without_a_gap(log: Path) -> None:
    window = log_view.open_end(log)
    while not window.at_start and len(window.lines) < MOST_LINES:
        before = window.lines
        window = log_view.earlier(window)
        kept = window.lines[window.added_before :]
        assert kept == before[: len(kept)]
    numbers = [int(text.split()[1]) for text in window.lines]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_reading_on_from_the_beginning_reaches_the_end_and_keeps_its_bound(log: Path) -> None:
    window = log_view.open_start(log)
    assert window.lines[0] == "line 0"
    while not window.at_end:
        window = log_view.later(window)
        assert len(window.lines) <= MOST_LINES
    assert window.lines[-1] == "line 29999"
    numbers = [int(text.split()[1]) for text in window.lines]
    assert numbers == list(range(numbers[0], 30_000))


def test_what_is_appended_arrives_and_an_unfinished_line_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "log.1.txt"
    path.write_text("first\nsec")
    window = log_view.open_end(path)
    assert window.lines == ("first", "sec")
    with path.open("a") as file:
        file.write("ond\nthird\n")
    window = log_view.later(window)
    assert window.lines == ("first", "second", "third")
    assert log_view.later(window).lines == window.lines


def test_a_log_that_was_cut_short_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "log.1.txt"
    path.write_text("old\n" * 100)
    window = log_view.open_end(path)
    path.write_text("new\n")
    assert log_view.later(window).lines == ("new",)


def test_a_log_that_is_not_there_yet_is_empty_and_then_is_not(tmp_path: Path) -> None:
    path = tmp_path / "log.1.txt"
    window = log_view.open_end(path)
    assert window == LogWindow(path)
    path.write_text("now\n")
    assert log_view.later(window).lines == ("now",)


def test_a_progress_bar_shows_its_last_state_and_no_escape_sequence(tmp_path: Path) -> None:
    path = tmp_path / "log.1.txt"
    path.write_bytes(b" 10%\r 50%\r100%\n\x1b[31mred\x1b[0m\n\xff\xfe broken utf-8\n")
    window = log_view.open_end(path)
    assert window.lines[:2] == ("100%", "red")
    assert all(text.isprintable() for text in window.lines)
