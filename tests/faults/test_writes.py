"""Failed writes of every kind of file: the previous state is unchanged, nothing partial is left, and a retry
succeeds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from backbones.catalog.card import PreprocessingSpec
from ssl_console.worker.error_messages import classify_failure
from ssl_console.worker.reporter import EventLog
from ssl_console.workspace.events import Event, EventTail, encode_event
from tasks.features.decoded_images import DecodedImages
from tasks.reporter import SilentReporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import train
from tests.faults.disk import Disk, a_disk, no_file_longer_than
from tests.faults.scale import full
from tests.faults.tally import Tally
from tests.faults.writings import WRITINGS, Writing, contents
from tests.tasks.training.test_training import same, training

GROUP = "full or read-only disk"
LIMITS = 40 if full() else 4
"""Maximum file lengths, among those that its writing would pass."""
SEED = 11
NOTHING_CHANGED = (
    "one error that names the place; the state before stays, nothing half is left; done when there is room"
)
PIXELS = 6
SPEC = PreprocessingSpec("paper", PIXELS, PIXELS, "shorter", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """A small disk shared by the tests of this file."""
    with a_disk(tmp_path_factory.mktemp("writes") / "little disk", 32) as mounted:
        if mounted is None:
            pytest.skip("needs the right to mount a file system")
        yield mounted


def refused(writing: Writing, place: Path, number: int, failing: AbstractContextManager[object]) -> None:
    """Make the write fail; check that nothing has changed and the error names the place."""
    before = contents(place)
    if writing.optional:
        with failing:
            writing.write(place, number)
    else:
        with failing, pytest.raises(OSError, match=r".") as caught:
            writing.write(place, number)
        assert caught.value.filename, caught.value
    assert contents(place) == before


def written(writing: Writing, place: Path, number: int) -> int:
    """Let it succeed; return the length of the longest changed file."""
    before = contents(place)
    writing.write(place, number)
    after = contents(place)
    changed = [len(content) for name, content in after.items() if before.get(name) != content]
    assert changed, "nothing was written"
    return max(changed)


@pytest.mark.parametrize("writing", WRITINGS, ids=lambda writing: writing.name)
def test_file_that_may_not_grow_leaves_the_one_before(writing: Writing, tmp_path: Path, tally: Tally) -> None:
    writing.prepare(tmp_path, 1)
    length = written(writing, tmp_path, 1)
    chance = random.Random(SEED)
    limits = {0, 1, length // 2, *(chance.randrange(length // 2) for _ in range(LIMITS))}
    writing.prepare(tmp_path, 2)
    for limit in sorted(limits):
        refused(writing, tmp_path, 2, no_file_longer_than(limit))
    written(writing, tmp_path, 2)
    tally.add(
        f"a write refused because a file may not grow (RLIMIT_FSIZE), {len(WRITINGS)} kinds of files",
        len(limits),
        NOTHING_CHANGED,
    )


@pytest.mark.parametrize("how", ["full", "read-only"])
@pytest.mark.parametrize("writing", WRITINGS, ids=lambda writing: writing.name)
def test_disk_that_takes_nothing_leaves_what_was_there(writing: Writing, how: str, disk: Disk, tally: Tally) -> None:
    place = disk.root / f"{writing.name} {how}"
    place.mkdir()
    writing.prepare(place, 1)
    written(writing, place, 1)
    writing.prepare(place, 2)
    refused(writing, place, 2, HOW[how](disk))
    written(writing, place, 2)
    tally.add(f"a write to a {how} disk, {len(WRITINGS)} kinds of files", 1, NOTHING_CHANGED)


@contextmanager
def _full(disk: Disk) -> Iterator[None]:
    disk.leave_pages(0)
    try:
        yield
    finally:
        disk.make_room()


@contextmanager
def _readonly(disk: Disk) -> Iterator[None]:
    disk.remount(readonly=True)
    try:
        yield
    finally:
        disk.remount(readonly=False)


HOW: dict[str, Callable[[Disk], AbstractContextManager[None]]] = {"full": _full, "read-only": _readonly}


def test_events_that_cannot_be_written_are_lost_alone(tmp_path: Path, tally: Tally) -> None:
    line, times = encode_event(Event("advance", 1.0, done=1)), 0
    for limit in range(len(line) * 3):
        path = tmp_path / f"events.{limit}.jsonl"
        log = EventLog(path)
        with no_file_longer_than(limit):
            for _ in range(4):
                log.write(Event("advance", 1.0, done=1))
        log.write(Event("advance", 1.0, done=2))
        log.close()
        tail = EventTail.of(path)
        seen = [event.done for event in tail.poll()]
        assert seen == [1] * ((limit + 1) // len(line)) + [2]
        assert tail.bad_lines <= 1
        times += 4 - (limit + 1) // len(line)
    tally.add("an event that cannot be written, at every length of its file", times, "the run goes on, others are read")


def test_training_whose_state_cannot_be_kept_ends_in_words_and_goes_on_from_the_last_one(
    tmp_path: Path, tally: Tally
) -> None:
    """The loop shared by finetune, segmentation, normals, detection and the analysis of attention."""
    whole = training()
    train(whole, None, SilentReporter())
    kept = Checkpoint(tmp_path / "state.pt", "me")
    first = training()
    train(first, kept, SilentReporter(), every_s=0, stop=lambda one: one.step >= 3)
    with no_file_longer_than(100), pytest.raises(OSError, match="File too large") as caught:
        train(training(), kept, SilentReporter(), every_s=0)
    assert classify_failure(caught.value, tmp_path)[1].startswith(f"the disk is full ({kept.path})")
    assert contents(tmp_path).keys() == {"state.pt"}
    second = training()
    train(second, kept, SilentReporter(), every_s=0)
    assert same(second, whole)
    tally.add("a training whose state cannot be written", 1, "failed in words; retried, it ends bit for bit the same")


def test_decoded_images_without_room_are_decoded_each_time(tmp_path: Path, tally: Tally) -> None:
    image, count = torch.arange(3 * PIXELS * PIXELS, dtype=torch.uint8).view(3, PIXELS, PIXELS), 10
    cache, whole = DecodedImages(tmp_path / "decoded", 1 << 20), count * image.numel()
    for limit in range(0, whole + 1, 36):
        with no_file_longer_than(limit), cache.rows("1" * 64, count, SPEC) as rows:
            for row in range(count if rows else 0):
                assert rows is not None
                rows.put(row, image + row)
                found = rows.get(row)
                assert found is None or torch.equal(found, image + row)
    with cache.rows("1" * 64, count, SPEC) as rows:
        assert rows is not None
        rows.put(0, image)
        kept = rows.get(0)
        assert kept is not None
        assert torch.equal(kept, image)
    tally.add("decoded images that may not be kept", whole // 36 + 1, "decoded again each time; never a wrong one")
