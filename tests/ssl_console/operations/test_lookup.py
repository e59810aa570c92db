from __future__ import annotations

import pytest

from backbones.io.card_files import UnknownName
from ssl_console.operations.session import resolve_run, resolve_runs
from ssl_console.system.errors import ConsoleError

RUNS = ("aa11", "aa12", "aa11-2", "bb22")


def test_a_whole_id_means_itself_even_when_others_begin_like_it() -> None:
    assert resolve_run("aa11", RUNS) == "aa11"


def test_the_beginning_of_one_id_is_enough() -> None:
    assert resolve_run("b", RUNS) == "bb22"


def test_the_beginning_of_several_ids_is_refused_with_all_of_them() -> None:
    with pytest.raises(ConsoleError, match="aa11, aa11-2, aa12"):
        resolve_run("aa", RUNS)


def test_an_unknown_id_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'bb22'"):
        resolve_run("bb23", RUNS)


def test_nothing_means_no_run() -> None:
    with pytest.raises(UnknownName):
        resolve_run("", RUNS)


def test_several_names_of_one_run_mean_it_once() -> None:
    assert resolve_runs(["b", "bb", "aa12"], RUNS) == ("bb22", "aa12")
