"""Images inside shards: tar files, plain and gzip, and parquet files."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.datasets import shards
from tasks.datasets.dataset import DataError
from tasks.datasets.folders import Ambiguous
from tasks.datasets.importing.messages import ImportResult
from tasks.datasets.registry import open_dataset
from tests.tasks.datasets.messy import add, images, notes_text, numbered, picture, png, shard


@pytest.mark.parametrize("prefix", ["", "./", "v1.0/", "./a.b/c.d/"])
def test_members_of_shards_may_begin_with_a_dot_or_lie_in_dotted_folders(prefix: str, tmp_path: Path) -> None:
    members = [(f"{prefix}{k}.png", png(k)) for _, k in numbered()]
    members += [(f"{prefix}{k}.cls", name.encode()) for name, k in numbered()]
    members += [(f"{prefix}{k}.seg.png", png(k)) for _, k in numbered()] + [(f"{prefix}._0.png", b"fork")]
    found = add(shard(tmp_path / "data" / "s.tar", members).parent)
    assert images(found) == 20
    assert "further images with the suffix .seg.png: 20" in notes_text(found)


def test_null_labels_in_shards_are_left_out_and_a_shard_without_samples_is_a_question(tmp_path: Path) -> None:
    members = [(f"{k}.png", png(k)) for _, k in numbered()]
    members += [(f"{k}.json", json.dumps({"label": None if k == 3 else name}).encode()) for name, k in numbered()]
    root = shard(tmp_path / "data" / "s-000.tar", members).parent
    found = add(root)
    assert (images(found), found.card.classes) == (19, 2)
    assert "samples without a label: 1" in notes_text(found)
    shard(root / "s-001.tar", [("readme.md", b"")])
    with pytest.raises(Ambiguous, match=r"s-001\.tar has no sample with an image"):
        add(root)
    assert images(add(root, leave_out=True)) == 19


def test_a_shard_compressed_otherwise_than_by_gzip_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "s.tar").write_bytes(b"BZh9")
    with pytest.raises(ValueError, match=r"s\.tar is compressed by bzip2, .*: unpack it to a plain \.tar first"):
        add(tmp_path / "data")


def labelled_members() -> list[tuple[str, bytes]]:
    members = [(f"{number}.png", png(number)) for _, number in numbered()]
    return members + [(f"{number}.cls", name.encode()) for name, number in numbered()]


@pytest.mark.parametrize("name", ["s.tar.gz", "S.TGZ", "s.TAR", "s.tar"])
def test_shards_give_the_images_that_were_put_into_them_whatever_their_names_say(name: str, tmp_path: Path) -> None:
    path = shard(tmp_path / "data" / name, labelled_members())
    if name == "s.tar":
        path.write_bytes(gzip.compress(path.read_bytes()))
    found = add(path.parent)
    assert images(found) == 20
    assert_pictures(found)


def assert_pictures(found: ImportResult) -> None:
    """Every image is the one of the number in its member's name, in any order of reading."""
    for split in open_dataset(found.card, Path("/")).splits.values():
        for index in reversed(range(len(split.images))):
            number = int(Path(split.identifiers[index]).stem)
            assert np.array_equal(np.asarray(split.images[index]), np.asarray(picture(number)))


def test_any_member_of_a_compressed_file_is_read_from_the_segment_that_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SEGMENT", 1000)
    monkeypatch.setattr(shards, "CHUNK", 64)
    content = np.random.default_rng(0).integers(0, 9, 20_500, np.uint8).tobytes()
    path = tmp_path / "s.tar.gz"
    path.write_bytes(gzip.compress(content[:7000]) + gzip.compress(content[7000:]) + bytes(100))
    compressed, blocks = shards.GzipShard(path), shards.BlockCache(limit=2500)
    for offset, size in [(19_990, 510), (0, 1), (999, 2), (6500, 3000), (0, 20_500), (20_499, 1), (3000, 1000)]:
        assert compressed.read(offset, size, blocks) == content[offset : offset + size]
    assert compressed.read(20_500, 5, blocks) == b"", "after the end"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(EOFError):
        shards.GzipShard(path).read(19_990, 510, shards.BlockCache())


def test_a_compressed_shard_that_is_cut_off_or_damaged_is_refused_by_name(tmp_path: Path) -> None:
    path = shard(tmp_path / "data" / "s.tar.gz", labelled_members())
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:200] + bytes(200) + whole[400:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"s\.tar\.gz is not a whole tar file"):
            add(path.parent)


def test_a_split_drawn_across_one_shard_counts_the_effects_of_reading_in_both_parts(tmp_path: Path) -> None:
    members = labelled_members()
    clear = io.BytesIO()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(clear, "PNG")
    members[:20] = [(name, clear.getvalue()) for name, _ in members[:20]]
    words = notes_text(add(shard(tmp_path / "data" / "s.tar", members).parent))
    assert "16 images of train, 4 images of test: transparent" in words


@pytest.mark.parametrize("name", ["s.tar", "s.tar.gz"])
def test_a_shard_that_is_written_anew_while_it_is_read_is_noticed(name: str, tmp_path: Path) -> None:
    path = shard(tmp_path / "data" / name, labelled_members())
    dataset = open_dataset(add(path.parent).card, Path("/"))
    assert dataset.splits["train"].images[0]
    shard(path, [(name, png(99) if name == "0.png" else content) for name, content in labelled_members()])
    with pytest.raises(DataError, match="changed after the dataset was opened: run it again"):
        dataset.splits["train"].images[0]


def test_images_of_shards_are_named_by_content_too(tmp_path: Path) -> None:
    def made(first: int) -> str:
        members = [(f"{k}.png", png(first if k == 0 else k)) for _, k in numbered()]
        members += [(f"{k}.cls", name.encode()) for name, k in numbered()]
        root = shard(tmp_path / str(first) / "s.tar", members).parent
        return str(add(root).card.manifest)

    assert made(500) != made(501)
    assert made(500) == made(500)
