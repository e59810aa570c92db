"""A full or read-only disk: one clear sentence, no damage, and work resumes when there is room."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen

import orjson
import pytest
import torch

from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.run import RunState
from tasks.reporter import SilentReporter
from tasks.training.checkpoint import Checkpoint
from tests.faults.conftest import MakeStage
from tests.faults.disk import Disk, a_disk
from tests.faults.scale import full
from tests.faults.stage import PATIENCE_S, WORK, Stage
from tests.faults.tally import Tally
from tests.ssl_console.tui.terminal import a_console
from tests.ssl_console.workspace_fixture import ROOT, eventually

GROUP = "full or read-only disk"

MEGABYTES = 16
PAGES = tuple(range(24)) if full() else (0, 8)
PAGES_AT_WORK = tuple(range(16)) if full() else (0, 6)
PREDICTIONS = {"fate": "predict", "size": 6000}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A separate small disk."""
    with a_disk(tmp_path / "little disk", MEGABYTES) as mounted:
        if mounted is None:
            pytest.skip("needs the right to mount a file system")
        yield mounted


@pytest.mark.slow
def test_command_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    make_stage: MakeStage, disk: Disk, tally: Tally
) -> None:
    stage = make_stage(disk.root / "workspace", slots=1)
    for seed, pages in enumerate(PAGES):
        disk.leave_pages(pages)
        command = stage.start(*stage.run_arguments([seed], **PREDICTIONS))
        _until_said(stage, command, f"it says so with {pages} pages left")
        disk.make_room()
        words = stage.words(command)
        assert stage.finish(command) in {0, 1}
        assert "Traceback" not in words
        stage.run_to_the_end([seed], **PREDICTIONS)
        stage.check_at_rest()
    tally.add(
        f"`run` on a disk with {PAGES[0]} to {PAGES[-1]} pages left, so that another write fails each time",
        len(PAGES),
        "one sentence that names the place; nothing damaged; done as soon as there is room",
    )


@pytest.mark.slow
def test_disk_that_becomes_full_during_a_run_fails_it_with_a_sentence_and_damages_nothing(
    make_stage: MakeStage, disk: Disk, tally: Tally
) -> None:
    stage = make_stage(disk.root / "workspace", slots=1)
    failed = 0
    for seed, pages in enumerate(PAGES_AT_WORK):
        go = stage.workspace.features / "go"
        go.unlink(missing_ok=True)
        command = stage.start(*stage.run_arguments([seed], **PREDICTIONS, wait=True))
        run_id = _at_work(stage, seed)
        disk.leave_pages(pages)
        go.touch()
        folder = stage.workspace.run(run_id)
        _until_said(stage, command, f"it is over, or says why not, with {pages} pages left", folder)
        stage.check_now()
        disk.make_room()
        eventually(partial(_over, folder), f"it is over when there is room, after {pages} pages", PATIENCE_S)
        if folder.end(1).exists():
            failed += 1
            assert _says_full(folder.end(1)), folder.end(1).read_text()
        assert stage.finish(command) in {0, 1}
        stage.run_to_the_end([seed], **PREDICTIONS, wait=True)
        stage.check_at_rest()
    assert failed
    tally.add(
        f"the disk full in the middle of a run, with {PAGES_AT_WORK[0]} to {PAGES_AT_WORK[-1]} pages left for events, "
        "predictions, result and database",
        len(PAGES_AT_WORK),
        f"{failed} runs failed with a reason, the others succeeded; all done after a further `run`",
    )


@pytest.mark.slow
def test_readonly_workspace_can_be_read_and_refuses_to_run_with_a_sentence(
    make_stage: MakeStage, disk: Disk, tally: Tally
) -> None:
    stage = make_stage(disk.root / "workspace", slots=1)
    stage.run_to_the_end([0])
    stage.check_all_gone()
    disk.remount(readonly=True)
    for verb in (["runs"], ["results"], ["rank"], ["plan", *WORK], ["logs", next(iter(stage.seeds()))], ["backbones"]):
        done = stage(*verb)
        assert (done.code, "Traceback" in done.err) == (0, False), (verb, done.err)
    refused = stage(*stage.run_arguments([1]))
    assert refused.code == 1
    assert "read-only" in refused.err
    assert "Traceback" not in refused.err
    with a_console(stage.workspace, environment=stage.environment) as console:
        console.until_shown("demo/mae")
        console.press("3")
        console.until_shown("own", "50.0")
        console.press("q")
        assert console.until_ended() == 0
    disk.remount(readonly=False)
    stage.run_to_the_end([1])
    stage.check_at_rest()
    tally.add("a read-only workspace: six reading verbs, `run`, the console", 8, "reads work, `run` is refused by name")


def test_checkpoint_on_a_full_disk_leaves_the_last_one_and_no_half_one(disk: Disk) -> None:
    kept = Checkpoint(disk.root / "checkpoint" / "state", "me")
    kept.save({"step": 1, "weights": torch.zeros(1000)})
    disk.leave_pages(2)
    with pytest.raises(OSError, match="No space left"):
        kept.save({"step": 2, "weights": torch.zeros(1_000_000)})
    assert [path.name for path in kept.path.parent.iterdir()] == ["state"]
    restored = kept.restore(SilentReporter())
    assert restored is not None
    assert restored["step"] == 1
    disk.make_room()
    kept.save({"step": 2, "weights": torch.zeros(1_000_000)})
    assert (kept.restore(SilentReporter()) or {})["step"] == 2


def test_little_disk_is_removed_when_its_process_is_killed(disk: Disk, tmp_path: Path) -> None:
    place = tmp_path / "another"
    program = f"""
from pathlib import Path
from tests.faults.disk import a_disk
with a_disk(Path({str(place)!r}), 1):
    print("mounted", flush=True)
    input()
"""
    with Popen([sys.executable, "-c", program], cwd=ROOT, stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"mounted\n"
        assert place.is_mount()
        process.kill()
    eventually(lambda: not place.is_mount(), "the disk is removed", PATIENCE_S)


def _until_said(stage: Stage, command: Popen[bytes], what: str, folder: RunFolder | None = None) -> None:
    def reported() -> bool:
        return "is full" in stage.words(command) or (folder is not None and _over(folder))

    eventually(reported, what, PATIENCE_S)


def _over(folder: RunFolder) -> bool:
    return folder.result.exists() or folder.end(1).exists()


def _at_work(stage: Stage, seed: int) -> str:
    """Wait until the evaluation of this seed has begun; return its run id."""
    found: list[str] = []

    def there() -> bool:
        found[:] = [run_id for run_id, one in stage.seeds().items() if one == seed]
        return bool(found) and stage.statuses()[found[0]].state is RunState.RUNNING

    eventually(there, f"the run of seed {seed} is under way", PATIENCE_S)
    return found[0]


def _says_full(path: Path) -> bool:
    end = orjson.loads(path.read_bytes())
    return "disk is full" in end["message"] or "disk was full" in end["message"]
