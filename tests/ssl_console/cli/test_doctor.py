from __future__ import annotations

import pytest

from ssl_console.operations.doctor import logout_check, terminal_checks
from ssl_console.system.machine_checks import cuda_check, files_check, multiplexer_check


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


def test_a_low_limit_of_open_files_is_noted_with_the_command_that_raises_it() -> None:
    check = files_check((1024, 524288))
    assert (check.verdict, "ulimit -n 524288" in check.words) == ("note", True)
    assert files_check((65536, 524288)).verdict == "good"


@pytest.mark.parametrize(
    ("environment", "verdict"),
    [
        ({"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, "note"),
        ({"SSH_CONNECTION": "x", "TMUX": "/tmp/t"}, "good"),
        ({}, "good"),
    ],
)
def test_a_console_over_ssh_without_tmux_is_noted(environment: dict[str, str], verdict: str) -> None:
    assert multiplexer_check(environment).verdict == verdict


def test_devices_that_torch_cannot_use_are_a_fault() -> None:
    assert cuda_check("12.8", sees=False, devices=0) is None
    for built_for, words in ((None, "without CUDA"), ("12.8", "the driver is too old")):
        check = cuda_check(built_for, sees=False, devices=2)
        assert check is not None
        assert (check.verdict, words in check.words) == ("bad", True)
