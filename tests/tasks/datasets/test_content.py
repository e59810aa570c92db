"""A dataset is identified by its content: a changed file is noticed whatever its name, size and times are."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.describe_main import describe
from tasks.datasets import content_digests, file_states
from tasks.datasets.card import DatasetCard
from tasks.datasets.content_digests import ContentDigests
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.file_states import FileRecord, ReadFile, state_of
from tasks.datasets.images import FileImages
from tasks.datasets.manifest import Manifest, known_manifest, manifests
from tasks.datasets.presence import files_place
from tasks.datasets.readers.ade20k import file_masks
from tasks.datasets.registry import open_dataset

CATALOG = TaskCatalog.load()
LATER = 10_000_000_000
"""Nanoseconds after which a file's times are trusted."""


def draw(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 6, 3), value, np.uint8)).save(path)
    return path


def folder(root: Path) -> Path:
    for place, kind in enumerate(("cat", "dog")):
        for number in range(3):
            draw(root / kind / "deep" / f"{number}.bmp", 40 * place + number)
    return root


def card_of(root: Path) -> DatasetCard:
    return CATALOG.dataset(f"imagefolder:{root}")


def opened(root: Path, cache: Path | None = None) -> Dataset:
    return open_dataset(card_of(root), Path("/nowhere"), cache)


def swap(first: Path, second: Path, *, keep_time: bool) -> None:
    contents, times = (first.read_bytes(), second.read_bytes()), (first.stat(), second.stat())
    for path, content, before in zip((second, first), contents, reversed(times), strict=True):
        path.write_bytes(content)
        if keep_time:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old as soon as they are written."""
    monkeypatch.setattr(file_states, "GRAIN_NS", -LATER)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of all files whose content is read from now on."""
    seen: list[str] = []
    of_content = content_digests.of_content

    def counted(content: bytes, *rest: object) -> ReadFile:
        seen.append(content[:2].decode("latin-1"))
        return of_content(content, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(content_digests, "of_content", counted)
    return seen


@pytest.mark.parametrize("keep_time", [False, True])
@pytest.mark.usefixtures("aged")
def test_a_file_written_anew_with_its_size_and_even_its_time_kept_is_another_dataset(
    keep_time: bool, tmp_path: Path
) -> None:
    root, cache = folder(tmp_path / "data"), tmp_path / "cache"
    before = opened(root, cache).manifest_digest
    assert opened(root, cache).manifest_digest == before
    swap(root / "cat/deep/0.bmp", root / "dog/deep/0.bmp", keep_time=keep_time)
    assert opened(root, cache).manifest_digest != before


def test_equal_names_and_sizes_elsewhere_are_another_dataset(tmp_path: Path) -> None:
    first, second = folder(tmp_path / "first"), folder(tmp_path / "second")
    assert opened(first).manifest_digest == opened(second).manifest_digest
    draw(second / "cat/deep/0.bmp", 200)
    assert opened(first).manifest_digest != opened(second).manifest_digest
    assert opened(first).named_digest == opened(second).named_digest, "what earlier versions compared"


@pytest.mark.usefixtures("aged")
def test_unchanged_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = folder(tmp_path / "data"), tmp_path / "cache"
    opened(root, cache)
    seen = reads(monkeypatch)
    opened(root, cache)
    assert seen == []
    (root / "cat/deep/1.bmp").touch()
    opened(root, cache)
    assert seen == ["BM"]


def test_a_file_as_young_as_the_clocks_grain_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = folder(tmp_path / "data"), tmp_path / "cache"
    opened(root, cache)
    seen = reads(monkeypatch)
    opened(root, cache)
    assert seen == 6 * ["BM"]


def test_a_file_is_young_until_its_change_time_is_older_than_the_grain() -> None:
    now = time.time_ns()
    grain = file_states.GRAIN_NS

    def young(modified: int, changed: int) -> bool:
        return ReadFile((1, modified, changed, 1), now, b"").young

    assert young(now - 2 * grain, now - grain // 2), "a preserved modification time"
    assert young(now - grain // 2, now - 2 * grain), "a file system whose change time is no such"
    assert not young(now - 2 * grain, now - 2 * grain)
    assert not young(now + 10**18, now - 2 * grain), "a modification time from the future stays for years"


@pytest.mark.usefixtures("aged")
def test_the_console_sees_a_changed_image_without_opening_the_dataset(tmp_path: Path) -> None:
    root, cache = folder(tmp_path / "data"), tmp_path / "cache"
    card = card_of(root)
    first = manifests([card], tmp_path, cache)[card.name]
    assert isinstance(first, Manifest)
    record = FileRecord.read(files_place(card, tmp_path, cache))
    assert record is not None
    aged = FileRecord(record.paths, record.states, record.read_ns, record.digests, record.traits, young=False)
    aged.write(files_place(card, tmp_path, cache))
    assert known_manifest(card, tmp_path, cache) == first
    swap(root / "cat/deep/0.bmp", root / "dog/deep/0.bmp", keep_time=True)
    assert known_manifest(card, tmp_path, cache) is None
    draw(root / "cat/deep/0.bmp", 0)
    open_dataset(card, tmp_path, cache)
    assert known_manifest(card, tmp_path, cache) is None, "the record is new, and the manifest is not of it"


@pytest.mark.usefixtures("aged")
def test_an_image_added_in_a_folder_of_a_folder_is_noticed(tmp_path: Path) -> None:
    root, cache = folder(tmp_path / "data"), tmp_path / "cache"
    opened(root, cache)
    record = FileRecord.read(files_place(card_of(root), Path("/nowhere"), cache))
    assert record is not None
    assert record.holds()
    draw(root / "dog/deep/new.bmp", 9)
    assert not record.holds()


def test_a_record_is_read_as_it_was_written_and_a_damaged_one_not_at_all(tmp_path: Path) -> None:
    names = {f"{tmp_path}/{name}": name for name in ("a", "new\nline", "ö", os.fsdecode(b"\xff"))}
    files = {path: ReadFile((1, -2, 3, 4), 5, name[:1].encode("utf-8", "replace") * 32) for path, name in names.items()}
    files = {path: ReadFile(one.state, 5, one.digest[:32], "transparent") for path, one in files.items()}
    FileRecord.of(files, {str(tmp_path): state_of(str(tmp_path))}, 7).write(tmp_path / "record")
    found = FileRecord.read(tmp_path / "record")
    assert found is not None
    assert {path: one for path, one in found.files().items() if path in files} == files
    content = (tmp_path / "record").read_bytes()
    for damaged in (b"", b"{}", content[:-1], content[5:], content.replace(b'"format": 2', b'"format": 9')):
        (tmp_path / "record").write_bytes(damaged)
        assert FileRecord.read(tmp_path / "record") is None


@pytest.mark.usefixtures("aged")
def test_thorough_reads_everything_and_names_a_change_that_left_no_trace(tmp_path: Path) -> None:
    root, cache = folder(tmp_path / "data"), tmp_path / "cache"
    card = card_of(root)
    assert isinstance(describe(card, tmp_path, cache), Manifest)
    place = files_place(card, tmp_path, cache)
    kept = ContentDigests.load(place)
    path = next(iter(kept.known))
    kept.used = {**kept.known, path: ReadFile(kept.known[path].state, kept.known[path].read_ns, bytes(32))}
    kept.record().write(place)  # as if the file had had another content when it was read
    trusted = describe(card, tmp_path, cache)
    assert isinstance(trusted, Manifest)
    assert trusted.problems == ()
    found = describe(card, tmp_path, cache, thorough=True)
    assert isinstance(found, Manifest)
    assert found.problems[0].startswith(f"1 file changed although sizes and times are unchanged, e.g. {path}")


def test_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    root = folder(tmp_path)
    digests = ContentDigests(advance=lambda done, total: reports.append((done, total)))
    open_dataset(card_of(root), Path("/nowhere"), digests=digests)
    assert reports[-1] == (6, 6)


def test_a_pipe_among_the_images_is_refused_and_not_read(tmp_path: Path) -> None:
    root = folder(tmp_path)
    os.mkfifo(root / "cat" / "pipe.bmp")
    with pytest.raises(DataError, match="not a file but a device, a pipe or a folder: remove it"):
        opened(root)


def test_the_preset_paper_of_a_built_in_dataset_reads_images_as_they_are_stored() -> None:
    assert CATALOG.card_of(CATALOG.resolve("linear/pets", "paper")).orientation == "stored"
    assert CATALOG.card_of(CATALOG.resolve("linear/pets")).orientation == "upright"
    assert CATALOG.card_of(CATALOG.resolve("linear/imagefolder:/x", "paper")).orientation == "upright"


@pytest.mark.usefixtures("aged")
def test_an_image_or_mask_that_changes_after_the_dataset_was_opened_is_refused_when_it_is_read(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    path = root / "cat" / "deep" / "0.bmp"
    images = opened(root).splits["all"].images
    mask(path)
    masks = file_masks(card_of(root), "all", path.parent, ["mask.png"], ("a", "b"), 0)
    assert isinstance(images, FileImages)
    assert images[0] == images[0]
    assert masks[0].max() == 1
    draw(path, 200)
    mask(path, 0)
    for read in (images.__getitem__, images.pixels):
        with pytest.raises(DataError, match=r"0\.bmp changed after the dataset was opened: run it again"):
            read(0)
    with pytest.raises(DataError, match=r"mask\.png changed after"):
        masks[0]
    assert opened(root).splits["all"].images[0], "opened again, it is another dataset"


def mask(beside: Path, value: int = 1) -> None:
    Image.fromarray(np.full((6, 6), value, np.uint8)).save(beside.with_name("mask.png"))
