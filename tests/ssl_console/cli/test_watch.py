"""Watching a training: after any kill every checkpoint is measured exactly once, and none is read incompletely."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save

import backbones
from ssl_console.operations.checkpoints.record import (
    TransferCurve,
    TransferPoint,
    WatchedCheckpoint,
    WatchedTraining,
    curve_of,
    read_training,
    training_folder,
    write_training,
)
from ssl_console.operations.checkpoints.watcher import is_whole, sightings, step_of, take
from ssl_console.workspace.results_db import ResultStore
from tests.faults.scale import full
from tests.ssl_console.cli import fake_training
from tests.ssl_console.cli.shell import Shell

CHECKPOINTS, KILLED_AFTER = (30, (4, 12)) if full() else (10, (2, 5))
SECONDS = 300
WATCH = ("-t", "echo/things", "--norm", "half", "--size", "64", "--poll", "0.1", "--force")


@pytest.mark.slow
def test_checkpoints_are_each_measured_exactly_once_though_the_watcher_is_killed_twice(
    shell: Shell, tmp_path: Path
) -> None:
    folder, contents = tmp_path / "run", tmp_path / "contents"
    folder.mkdir()
    contents.mkdir()
    for step in range(CHECKPOINTS):
        (contents / f"checkpoint_{step:04}.pth").write_bytes(fake_training.content(step))
    training = subprocess.Popen(
        [sys.executable, "-P", fake_training.__file__, str(folder), str(contents), "0.15"], env=shell.environment
    )
    place = training_folder(shell.workspace, folder)
    for enough in KILLED_AFTER:
        watcher = shell.start("watch", str(folder), *WATCH)
        wait_for(lambda: measured(place) >= enough or watcher.poll() is not None)  # noqa: B023
        watcher.send_signal(signal.SIGKILL)
        _, complaint = watcher.communicate()
        assert watcher.returncode == -signal.SIGKILL, complaint
    assert training.wait(SECONDS) == 0
    ended = shell("watch", str(folder), *WATCH, "--idle-stop", "3", "--json")
    assert ended.code == 0, ended.err
    known = read_training(place)
    assert known is not None
    assert Counter(one.status for one in known.checkpoints) == {"done": CHECKPOINTS}
    assert [one.step for one in known.checkpoints] == list(range(CHECKPOINTS))
    journal = (shell.workspace.features / "journal").read_text().splitlines()
    assert Counter(journal) == {f"training/run/checkpoint-{step} echo/things 0": 1 for step in range(CHECKPOINTS)}
    assert not list((place / "checkpoints").iterdir())
    curve = [line for line in ended.lines if line["event"] == "curve"][-1]
    assert [point["step"] for point in curve["points"]] == list(range(CHECKPOINTS))


def measured(place: Path) -> int:
    known = read_training(place)
    return 0 if known is None else sum(one.status == "done" for one in known.checkpoints)


def wait_for(condition: object) -> None:
    end = time.monotonic() + SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_folder_is_watched_by_one_process_only(shell: Shell, tmp_path: Path) -> None:
    first = shell.start("watch", str(tmp_path), "-t", "echo/things", "--poll", "0.1")
    wait_for((training_folder(shell.workspace, tmp_path) / "lock").exists)
    try:
        second = shell("watch", str(tmp_path), "-t", "echo/things", "--idle-stop", "0")
        assert second.code == 2
        assert f"process {first.pid} already watches this folder" in second.err
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate()
    assert first.returncode == 130


def test_what_is_no_folder_is_said(shell: Shell, tmp_path: Path) -> None:
    refused = shell("watch", str(tmp_path / "nowhere"), "-t", "echo/things")
    assert refused.code == 2
    assert "is not a folder" in refused.err


def test_a_half_written_checkpoint_is_not_whole(tmp_path: Path) -> None:
    whole = fake_training.content(1)
    for share, expected in ((0.5, False), (0.99, False), (1.0, True)):
        (tmp_path / "a.pth").write_bytes(whole[: int(len(whole) * share)])
        assert is_whole(tmp_path / "a.pth") is expected


def test_half_a_safetensors_file_is_not_whole(tmp_path: Path) -> None:
    whole = save({"conv1.weight": torch.ones(8, 3, 3, 3)})
    for size, expected in ((4, False), (40, False), (len(whole) - 1, False), (len(whole), True)):
        (tmp_path / "a.safetensors").write_bytes(whole[:size])
        assert is_whole(tmp_path / "a.safetensors") is expected


def test_a_file_that_changes_while_it_is_copied_is_left_for_later(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    path = tmp_path / "a.pth"
    path.write_bytes(fake_training.content(1))
    (seen,) = sightings(tmp_path).values()
    path.write_bytes(fake_training.content(2))
    assert take(seen, tmp_path / "kept") is None
    assert not list((tmp_path / "kept").iterdir())


def test_drafts_and_optimizers_are_no_checkpoints(tmp_path: Path) -> None:
    names = ("step-10.ckpt", ".hidden.pth", "a.pth.tmp", "b.pth.part", "optimizer.pt", "notes.txt", "model.safetensors")
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert {path.name for path in sightings(tmp_path)} == {"step-10.ckpt", "model.safetensors"}


@pytest.mark.parametrize(
    ("name", "step", "unit"),
    [
        ("epoch=3-step=1200.ckpt", 1200, "step"),
        ("checkpoint_0099.pth.tar", 99, "checkpoint"),
        ("ep-20.pth", 20, "epoch"),
        ("checkpoint-5000/model.safetensors", 5000, "checkpoint"),
        ("resnet50_iter_900.pth", 900, "step"),
    ],
)
def test_the_step_is_read_from_the_name(name: str, step: int, unit: str) -> None:
    found = step_of(Path("/run") / name)
    assert found is not None
    assert (found.number, found.unit) == (step, unit)


def test_a_name_without_a_number_has_no_step() -> None:
    assert step_of(Path("/run/last.ckpt")) is None


def test_what_is_known_of_a_training_survives_in_one_file(tmp_path: Path) -> None:
    training = WatchedTraining(folder="/run", name="run", tasks=("echo/things",))
    for step in (20, 10):
        training = training.with_checkpoint(
            WatchedCheckpoint(file=f"{step}.pth", size=1, mtime_ns=step, step=step, status="done", backbone=f"b{step}")
        )
    write_training(tmp_path / "place", training)
    assert read_training(tmp_path / "place") == training
    assert [one.step for one in training.checkpoints] == [10, 20]


def curve(*means: float, error: float = 0.5) -> TransferCurve:
    points = [TransferPoint(10 * n, f"c{n}", mean, error, {}) for n, mean in enumerate(means)]
    return TransferCurve(tuple(points), {})


@pytest.mark.parametrize(
    ("means", "beginning"),
    [
        ((), "no checkpoint"),
        ((10, 20, 30), "best so far at step 20"),
        ((10, 40, 30, 20), "best so far at step 10"),
        ((10, 40, 35, 34, 33), "peaked at step 10 (40.0): the last 3 checkpoints are 6.0 points below"),
        ((10, 40, 39.8, 39.9, 39.7), "level since step 10"),
    ],
)
def test_a_peak_is_called_when_three_later_checkpoints_are_clearly_worse(
    means: tuple[float, ...], beginning: str
) -> None:
    assert curve(*means).verdict.startswith(beginning)


def test_references_are_the_backbones_measured_on_the_same_tasks(shell: Shell) -> None:
    assert shell("run", "-b", "own/*", "-t", "echo/things").code == 0
    results = ResultStore(shell.workspace).results()
    found = curve_of(WatchedTraining(folder="/run", name="run", tasks=("echo/things",)), results)
    assert found.references == {"own/first": 50.0, "own/second": 50.0}
    both = curve_of(WatchedTraining(folder="/run", name="run", tasks=("echo/things", "echo/others")), results)
    assert not both.references
    assert json.dumps(found.verdict)


@pytest.mark.slow
def test_watching_judges_every_checkpoint_against_the_best_one_before_it_on_the_same_images(
    shell: Shell, tmp_path: Path
) -> None:
    """Copies of one checkpoint with one number changed by next to nothing: too few images to call them equal."""
    stored = load_file(Path(backbones.__file__).parent / "demo" / "simclr.safetensors")
    tensors = {name: values.astype("float32") for name, values in stored.items()}
    name = next(name for name, values in tensors.items() if values.ndim > 1)
    for step in range(1, 5):
        tensors[name].flat[0] *= 1 + 1e-6
        save_file(tensors, tmp_path / f"step-{step}.safetensors")
    ended = shell("watch", str(tmp_path), "-t", "knn/digits", "--like", "demo/simclr", "--idle-stop", "2", "--json")
    assert ended.code == 0, ended.err
    curve = [line for line in ended.lines if line["event"] == "curve"][-1]
    assert len(curve["points"]) == 4
    assert curve["improvement"] == "no checkpoint is certainly better than step 1 yet, and 0 of 3 are no better"
    assert curve["stopped_improving"] is False
