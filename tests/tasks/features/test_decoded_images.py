"""Decoded images are shared by backbones, within a size limit, and never wrong."""

from __future__ import annotations

import errno
import itertools
import os
import select
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.model.preprocessing import Picture
from tasks.datasets.dataset import SourceSplit
from tasks.features.decoded_images import DecodedImages
from tasks.features.extraction import Machine
from tasks.features.manifest import FeatureKey
from tasks.features.store import FeatureRequest, FeatureStore
from tasks.reporter import SilentReporter

COUNT, SIZE = 30, 6
SPEC = PreprocessingSpec("paper", SIZE, SIZE, "shorter", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
ONE = COUNT * (3 * SIZE * SIZE + 4)
"""Size of the whole split in bytes."""


@dataclass
class Counted:
    """Noise that counts its decodings."""

    decoded: int = 0
    pixels: np.ndarray = field(
        default_factory=lambda: np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), dtype=np.uint8)
    )

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Image.Image:
        self.decoded += 1
        return Image.fromarray(self.pixels[index])


class Sum:
    dimension = 3

    def prepare(self, image: Picture, spec: PreprocessingSpec) -> Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        return batch.float().mean(dim=(2, 3))


def request(images: Counted, weights: str, digest: str = "1" * 64, spec: PreprocessingSpec = SPEC) -> FeatureRequest:
    names = [str(number) for number in range(COUNT)]
    split = SourceSplit("train", images, np.zeros(COUNT, np.int64), names, digest, "2" * 64)
    return FeatureRequest(FeatureKey({"weights": weights}, digest), weights, "noise", split, spec)


def store(folder: Path, limit: int = 10 * ONE) -> FeatureStore:
    return FeatureStore(folder / "features", Machine(7, 2, 8), DecodedImages(folder / "decoded", limit))


def features(of: FeatureStore, wanted: FeatureRequest) -> np.ndarray:
    return of.features(wanted, Sum, SilentReporter()).values


def reserved(folder: Path) -> int:
    """Size of images and checksums in bytes."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in {".pixels", ".checks"})


def test_a_second_backbone_decodes_nothing_and_gets_the_same_images(tmp_path: Path) -> None:
    images, shared = Counted(), store(tmp_path)
    first, second = (features(shared, request(images, name)) for name in "ab")
    assert images.decoded == COUNT
    assert np.array_equal(first, second)


def test_without_a_shared_folder_every_backbone_decodes(tmp_path: Path) -> None:
    images, alone = Counted(), FeatureStore(tmp_path)
    for name in "ab":
        features(alone, request(images, name))
    assert images.decoded == 2 * COUNT


def test_another_crop_or_border_is_decoded_anew_and_another_mean_is_not(tmp_path: Path) -> None:
    images, shared = Counted(), store(tmp_path)
    features(shared, request(images, "a"))
    features(shared, request(images, "b", spec=replace(SPEC, mean=(0.0, 0.0, 0.0))))
    assert images.decoded == COUNT
    features(shared, request(images, "c", spec=replace(SPEC, resize=SIZE + 1)))
    assert images.decoded == 2 * COUNT
    features(shared, request(images, "d", spec=replace(SPEC, mode="border")))
    assert images.decoded == 3 * COUNT


def test_a_damaged_row_is_decoded_again(tmp_path: Path) -> None:
    images, shared = Counted(), store(tmp_path)
    expected = features(shared, request(images, "a"))
    [pixels] = (tmp_path / "decoded").glob("*.pixels")
    content = bytearray(pixels.read_bytes())
    content[5] ^= 1
    pixels.write_bytes(content)
    assert np.array_equal(features(shared, request(images, "b")), expected)
    assert images.decoded == COUNT + 1


def test_the_folder_stays_within_its_limit_and_lets_the_oldest_go(tmp_path: Path) -> None:
    shared = store(tmp_path, limit=2 * ONE)
    for number, digest in enumerate("123"):
        features(shared, request(Counted(), "a", digest * 64))
        for path in (tmp_path / "decoded").glob("*.pixels"):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10))
        assert reserved(tmp_path / "decoded") <= 2 * ONE, number
    again, oldest = Counted(), Counted()
    features(shared, request(again, "b", "3" * 64))
    features(shared, request(oldest, "b", "1" * 64))
    assert (again.decoded, oldest.decoded) == (0, COUNT)


def test_images_in_use_are_not_removed(tmp_path: Path) -> None:
    folder = DecodedImages(tmp_path, ONE)
    with folder.rows("1" * 64, COUNT, SPEC) as used, folder.rows("2" * 64, COUNT, SPEC) as refused:
        assert used is not None
        assert refused is None
        used.put(0, torch.ones(3, SIZE, SIZE, dtype=torch.uint8))
        assert used.get(0) is not None
    with folder.rows("2" * 64, COUNT, SPEC) as rows:
        assert rows is not None


def test_a_split_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    images, shared = Counted(), store(tmp_path, limit=ONE - 1)
    for name in "ab":
        features(shared, request(images, name))
    assert images.decoded == 2 * COUNT
    assert not (tmp_path / "decoded").exists()


def test_a_full_disk_only_ends_the_sharing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    images, shared = Counted(), store(tmp_path)
    monkeypatch.setattr(os, "pwrite", full)
    first = features(shared, request(images, "a"))
    monkeypatch.undo()
    assert np.array_equal(features(shared, request(images, "b")), first)
    assert images.decoded == 2 * COUNT


def test_many_at_once_never_take_more_room_together_than_there_is(tmp_path: Path) -> None:
    folder = DecodedImages(tmp_path, 3 * ONE)

    def taken(number: int, stack: ExitStack) -> bool:
        return stack.enter_context(folder.rows(f"{number:064x}", COUNT, SPEC)) is not None

    with ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: taken(number, stack), range(24)))
        assert sum(found) == 3
        assert reserved(tmp_path) == 3 * ONE


def write_until_killed(folder: DecodedImages, allowed: Sequence[Tensor], says: int) -> NoReturn:
    """Child process: write all rows repeatedly, each time with another image; report after the first time."""
    try:
        with folder.rows("1" * 64, COUNT, SPEC) as rows:
            assert rows is not None
            for turn in itertools.count():
                for row in range(COUNT):
                    rows.put(row, allowed[turn % len(allowed)])
                if turn == 0:
                    os.write(says, b".")
    finally:
        os._exit(1)


def test_whatever_a_killed_process_leaves_is_whole_or_decoded_again(tmp_path: Path) -> None:
    """Child process: write row after row, different ones each round, until killed at a random moment."""
    folder = DecodedImages(tmp_path, ONE)
    allowed = [torch.full((3, SIZE, SIZE), value, dtype=torch.uint8) for value in range(5)]
    for moment in range(8):
        heard, says = os.pipe()
        child = os.fork()
        if child == 0:
            write_until_killed(folder, allowed, says)
        ready, _, _ = select.select([heard], [], [], 60)
        time.sleep(0.001 * moment)
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        os.close(says)
        os.close(heard)
        assert ready, "nothing was written within a minute"
        with folder.rows("1" * 64, COUNT, SPEC) as rows:
            assert rows is not None, "a dead process holds no room"
            found = [rows.get(row) for row in range(COUNT)]
        assert all(one is None or any(torch.equal(one, image) for image in allowed) for one in found)
        assert sum(one is None for one in found) <= 1, "all rows but the one being written are whole"


def test_a_row_whose_writing_was_interrupted_is_absent(tmp_path: Path) -> None:
    folder = DecodedImages(tmp_path, ONE)
    with folder.rows("1" * 64, COUNT, SPEC) as rows:
        assert rows is not None
        rows.put(0, torch.full((3, SIZE, SIZE), 7, dtype=torch.uint8))
        os.pwrite(rows.pixels, bytes([9, 9, 9]), 0)
        assert rows.get(0) is None
        assert rows.get(1) is None
