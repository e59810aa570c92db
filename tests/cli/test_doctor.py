from __future__ import annotations

import pytest

from ssl_console.doctor import logout_check, terminal_checks


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        ((), "good"),
        (("#KillUserProcesses=yes",), "good"),
        (("KillUserProcesses=no",), "good"),
        (("KillUserProcesses=yes",), "bad"),
        (("KillUserProcesses = yes",), "bad"),
        (("KillUserProcesses=yes", "KillUserProcesses=no"), "good"),
    ],
)
def test_systemd_that_ends_everything_at_logout_is_found(lines: tuple[str, ...], verdict: str) -> None:
    check = logout_check({"USER": "nobody-lingers-like-this"}, lines)
    assert check.verdict == verdict
    assert ("loginctl enable-linger" in check.words) == (verdict == "bad")


def test_a_locale_without_unicode_is_noted() -> None:
    found = {check.name: check for check in terminal_checks({"LANG": "C", "TERM": "xterm-256color"})}
    assert (found["locale"].verdict, found["terminal"].verdict) == ("note", "good")


@pytest.mark.parametrize("name", ["en_US.UTF-8", "C.utf8"])
def test_a_unicode_locale_is_good_however_it_is_written(name: str) -> None:
    assert next(iter(terminal_checks({"LC_ALL": name, "LANG": "C", "TERM": "xterm"}))).verdict == "good"


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}, {"TERM": "screen", "TMUX": "/tmp/tmux"}])
def test_a_terminal_that_cannot_show_everything_is_noted(environment: dict[str, str]) -> None:
    assert {check.name: check.verdict for check in terminal_checks(environment)}["terminal"] == "note"
