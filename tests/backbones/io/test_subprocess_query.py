from __future__ import annotations

import subprocess

import pytest

from backbones.io.subprocess_query import last_error_line, run_module


def test_a_module_answers_what_it_is_given_on_standard_input() -> None:
    done = run_module("json.tool", "--compact", given='{"a": 1}')
    assert (done.returncode, done.stdout.strip()) == (0, '{"a":1}')


def test_the_last_words_of_a_process_that_failed_are_its_reason() -> None:
    assert last_error_line(run_module("json.tool", "/nowhere/at-all.json")).endswith("'/nowhere/at-all.json'")


def test_a_process_that_failed_silently_is_told_by_its_exit_code() -> None:
    assert last_error_line(subprocess.CompletedProcess([], 7, "", "")) == "exit code 7"


def test_a_module_that_takes_too_long_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_module("http.server", "0", "--bind", "127.0.0.1", seconds=0.5)


@pytest.mark.parametrize(
    ("name", "policy", "own"), [("OMP_WAIT_POLICY", "PASSIVE", "ACTIVE"), ("OPENBLAS_THREAD_TIMEOUT", "4", "20")]
)
def test_idle_threads_of_a_query_sleep_unless_the_user_has_chosen_otherwise(
    name: str, policy: str, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in (None, own):
        monkeypatch.delenv(name, raising=False)
        if setting is not None:
            monkeypatch.setenv(name, setting)
        done = run_module("timeit", "-n", "1", "-r", "1", f"import os; print(os.environ[{name!r}])")
        assert done.stdout.splitlines()[0] == (setting or policy)
