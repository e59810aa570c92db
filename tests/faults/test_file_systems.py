"""Limited file systems: what works without the missing feature continues, the rest is refused in one sentence."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from backbones.io import files
from backbones.io.files import create_exclusively
from ssl_console.system.errors import WAYS_OUT, format_os_error, shortage
from ssl_console.system.file_system import inabilities
from ssl_console.system.processes import describe_exit
from tests.faults.conftest import MakeStage
from tests.faults.scale import full
from tests.faults.stage import PATIENCE_S, Stage
from tests.faults.tally import Tally
from tests.ssl_console.workspace_fixture import eventually

GROUP = "file systems that lack something"
SOURCE = Path(__file__).with_name("file_system_shim.c")
INODES = 600
needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler is installed (gcc)")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes calls fail, compiled."""
    target = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(target), str(SOURCE), "-ldl"], check=True)
    return target


def broken_stage(make_stage: MakeStage, shim: Path, tmp_path: Path, **faults: int | str) -> Stage:
    """A stage whose file system fails in this way."""
    root = tmp_path / "a wörkspace"
    variables = {f"FAULT_{name}": str(value) for name, value in faults.items()}
    return make_stage(root, slots=1, LD_PRELOAD=str(shim), FAULT_BELOW=str(root), **variables)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP], ids=["EPERM", "ENOTSUP"])
def test_runs_are_done_on_a_file_system_without_hard_links(
    make_stage: MakeStage, shim: Path, tmp_path: Path, number: int, tally: Tally
) -> None:
    stage = broken_stage(make_stage, shim, tmp_path, LINK=number)
    assert stage.reports("making hard links does not work here", "doctor")
    seeds = list(range(6 if full() else 2))
    stage.run_to_the_end(seeds)
    failed = stage(*stage.run_arguments([100], fate="raise"))
    assert failed.code == 1
    (again,) = [run_id for run_id, seed in stage.seeds().items() if seed == 100]
    assert stage("retry", again).code == 0
    log = stage.workspace.supervisor_log.read_text()
    assert "permission denied" not in log
    assert len(log.splitlines()) < 20 * (len(seeds) + 2)
    assert not list(stage.workspace.runs.rglob("*.claim"))
    tally.add("runs on a file system without hard links", len(seeds) + 1, "done: claims are made with O_EXCL")


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"FLOCK": errno.ENOLCK}, "the file system does not support locks"),
        ({"FLOCK": errno.ENOTSUP}, "the file system does not support this operation: choose another --workspace"),
        ({"MMAP": errno.ENODEV}, "mapping a file into memory (mmap) does not work here"),
        ({"FSYNC": errno.EIO}, "input/output error"),
        ({"WRITE": errno.EDQUOT}, "your disk quota is used up"),
        ({"OPEN": errno.ESTALE, "OPEN_NAME": "config.toml"}, "config.toml"),
    ],
    ids=["flock ENOLCK", "flock ENOTSUP", "mmap ENODEV", "fsync EIO", "write EDQUOT", "open ESTALE"],
)
def test_a_file_system_that_cannot_do_what_is_needed_is_refused_in_one_sentence(
    make_stage: MakeStage, shim: Path, tmp_path: Path, faults: dict[str, int | str], words: str, tally: Tally
) -> None:
    stage = broken_stage(make_stage, shim, tmp_path, **faults)
    done = stage(*stage.run_arguments([0]))
    assert done.code in {1, 2}, done.out
    assert words in done.err
    assert "wörkspace" in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 2, done.err
    if "OPEN" not in faults:
        assert stage.reports("BAD  workspace", "doctor")
    tally.add(
        "runs on a file system without locks, maps, syncing or quota, or whose server forgot a file",
        1,
        "refused by name",
    )


def test_exactly_one_of_many_makes_a_file_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    rounds = 200 if full() else 40
    for number in range(rounds):
        path = tmp_path / f"claim.{number}.json"
        with ThreadPoolExecutor(4) as pool:
            claims = [pool.submit(create_exclusively, path, f"{who}".encode() * 99) for who in range(4)]
        winners = [who for who, claim in enumerate(claims) if claim.result()]
        assert len(winners) == 1
        assert path.read_text() == f"{winners[0]}" * 99
    assert len(list(tmp_path.iterdir())) == rounds
    tally.add("claims by four at once, without hard links", rounds, "one winner each, its file whole")


def test_a_claim_that_was_left_behind_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(files, "CLAIM_S", 0.1)
    (tmp_path / ".end.json.claim").touch()
    assert create_exclusively(tmp_path / "end.json", b"mine")
    assert [path.name for path in tmp_path.iterdir()] == ["end.json"]


@pytest.mark.parametrize("number", sorted(WAYS_OUT), ids=lambda number: errno.errorcode[number])
def test_an_error_of_the_system_names_the_file_and_the_way_out(number: int) -> None:
    words = format_os_error(OSError(number, os.strerror(number), "/place/results.json"))
    assert words.startswith("/place/results.json: ")
    assert ": " in words.removeprefix("/place/results.json: ")


def test_a_whole_file_system_lacks_nothing(tmp_path: Path) -> None:
    assert list(inabilities(tmp_path)) == []


def test_a_limit_of_cpu_time_is_not_called_memory() -> None:
    assert "CPU time was used up: `ulimit -t`" in describe_exit(-24)
    script = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (99, 99)); "
    script += "from ssl_console.system.processes import describe_exit; print(describe_exit(-9))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=SOURCE.parents[2]
    )
    assert "its CPU time is limited to 99 s, `ulimit -t`" in done.stdout


@contextmanager
def few_files(place: Path) -> Iterator[Path]:
    """A file system with room for few files; skips where it cannot be mounted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size=64m,nr_inodes={INODES},mode=0700", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)


@pytest.mark.slow
def test_a_run_waits_for_inodes_and_says_so(make_stage: MakeStage, tmp_path: Path, tally: Tally) -> None:
    with few_files(tmp_path / "few") as place:
        stage = make_stage(place / "workspace", slots=1)
        taken = place / "taken"
        taken.mkdir()
        number = 0
        while os.statvfs(place).f_favail > 30:
            (taken / f"{number}").touch()
            number += 1
        assert "no room for more files" in shortage(stage.workspace.root)
        command = stage.start(*stage.run_arguments([0]))
        eventually(lambda: "no room for more files" in stage.words(command), "it says so", PATIENCE_S)
        shutil.rmtree(taken)
        assert stage.finish(command) == 0, stage.words(command)
        stage.check_at_rest()
        stage.check_all_gone()
    tally.add("runs on a file system without free inodes", 1, "waits and reports it; done as soon as there is room")
