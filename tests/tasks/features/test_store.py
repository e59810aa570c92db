"""The feature store: computed once, resumed after a crash, shared by processes, never silently wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.model.preprocessing import Picture
from tasks.datasets.dataset import DataError, SourceSplit
from tasks.features.cache_report import entries
from tasks.features.extraction import Machine
from tasks.features.manifest import ARRAY, MANIFEST, FeatureKey, NotFiniteError, OutOfMemoryError, read_manifest
from tasks.features.shards import verify
from tasks.features.store import FeatureRequest, FeatureStore
from tasks.reporter import SilentReporter
from tests.tasks.features.encoding_processes import Process, until

COUNT = 40
PREPROCESSING = PreprocessingSpec("paper", 8, 8, "shorter", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Noise:
    """Small images of fixed noise; reading one in `broken` fails like an unreadable file."""

    def __init__(self, broken: int = -1) -> None:
        generator = np.random.default_rng(0)
        self.pixels = generator.integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
        self.broken = broken

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Image.Image:
        if index == self.broken:
            raise DataError(f"noise/{index}.jpg cannot be decoded")
        return Image.fromarray(self.pixels[index])


@dataclass
class ProjectingEncoder:
    """A fixed random projection of the pixels, on a device with room for `room` images."""

    room: int = 1000
    nan_at: int = -1
    seen: int = 0
    batches: list[int] = field(default_factory=list)
    dimension: int = 16

    def prepare(self, image: Picture, spec: PreprocessingSpec) -> Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        weights = torch.randn(192, self.dimension, generator=torch.Generator().manual_seed(0))
        features = batch.flatten(1).double() @ weights.double() / 255
        if self.seen <= self.nan_at < self.seen + len(batch):
            features[self.nan_at - self.seen, 3] = float("nan")
        self.seen += len(batch)
        self.batches.append(len(batch))
        return features.float()


@dataclass
class Listener(SilentReporter):
    phases: list[tuple[str, int | None]] = field(default_factory=list)
    done: int = 0
    warnings: list[str] = field(default_factory=list)

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.phases.append((name, total))

    def advance(self, count: int = 1) -> None:
        self.done += count

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def request(source: Noise | None = None, **parts: Any) -> FeatureRequest:
    key = FeatureKey(**{"backbone": {"weights": "a" * 64}, "images": "1" * 64, **parts})
    names = [f"noise/{number}.jpg" for number in range(COUNT)]
    split = SourceSplit("train", source or Noise(), np.zeros(COUNT, np.int64), names, "1" * 64, "2" * 64)
    return FeatureRequest(key, "paper/simclr", "noise", split, PREPROCESSING)


def never() -> ProjectingEncoder:
    raise AssertionError("the encoder was asked for although everything is stored")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", Machine(batch_size=5, decode_threads=2, shard_rows=12))


def test_features_come_back_in_the_images_order(store: FeatureStore) -> None:
    encoder = ProjectingEncoder()
    features = store.features(request(), lambda: encoder, SilentReporter())
    whole = torch.stack([encoder.prepare(image, PREPROCESSING) for image in Noise()])  # type: ignore[attr-defined]
    assert np.array_equal(features.values, ProjectingEncoder().encode(whole, PREPROCESSING).numpy())
    assert isinstance(features.values, np.memmap)
    assert (features.encoded, encoder.seen) == (COUNT, COUNT)


def test_what_is_stored_is_read_without_an_encoder(store: FeatureStore) -> None:
    first = store.features(request(), ProjectingEncoder, SilentReporter())
    again = FeatureStore(store.root).features(request(), never, SilentReporter())
    assert again.encoded == 0
    assert np.array_equal(first.values, again.values)


@pytest.mark.parametrize(
    "other",
    [
        {"backbone": {"weights": "b" * 64}},
        {"backbone": {"weights": "a" * 64, "preprocessing": "own"}},
        {"images": "2" * 64},
        {"precision": "bfloat16"},
    ],
    ids=["weights", "preprocessing", "images", "precision"],
)
def test_another_part_of_the_key_is_another_entry(store: FeatureStore, other: dict[str, Any]) -> None:
    store.features(request(), ProjectingEncoder, SilentReporter())
    assert store.features(request(**other), ProjectingEncoder, SilentReporter()).encoded == COUNT
    assert len(entries(store.root)) == 2


def test_progress_counts_every_image_once(store: FeatureStore) -> None:
    listener = Listener()
    store.features(request(), ProjectingEncoder, listener)
    assert listener.phases == [("encoding train", COUNT)]
    assert listener.done == COUNT


def test_nothing_but_the_entry_is_left_behind(store: FeatureStore) -> None:
    features = store.features(request(), ProjectingEncoder, SilentReporter())
    (entry,) = store.root.iterdir()
    assert {path.name for path in entry.iterdir()} == {ARRAY, MANIFEST, "plan.json", "used"}
    assert verify(entry, features.manifest) == []


def test_a_smaller_batch_after_running_out_of_memory_gives_the_same_numbers(
    store: FeatureStore, tmp_path: Path
) -> None:
    roomy = store.features(request(), ProjectingEncoder, SilentReporter()).values
    tight, listener = ProjectingEncoder(room=2), Listener()
    cramped = FeatureStore(tmp_path / "cramped", Machine(batch_size=32, shard_rows=12))
    assert np.array_equal(cramped.features(request(), lambda: tight, listener).values, roomy)
    assert max(tight.batches) <= 2
    assert listener.warnings[-1] == "memory ran out at 3 images a batch; continuing with 1"
    assert listener.done == COUNT


def test_no_room_for_one_image_is_an_error_with_a_way_out(store: FeatureStore) -> None:
    with pytest.raises(OutOfMemoryError, match=r"paper/simclr: not even one image of noise/train fits .* CPU"):
        store.features(request(), lambda: ProjectingEncoder(room=0), SilentReporter())


def test_other_runtime_errors_are_not_taken_for_lack_of_memory(store: FeatureStore) -> None:
    class Wrong(ProjectingEncoder):
        def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        store.features(request(), Wrong, SilentReporter())


def test_nan_features_name_backbone_split_and_first_image(store: FeatureStore) -> None:
    with pytest.raises(NotFiniteError, match=r"paper/simclr gives NaN .* of noise/train, first noise/17\.jpg"):
        store.features(request(), lambda: ProjectingEncoder(nan_at=17), SilentReporter())


def test_an_unreadable_image_ends_the_extraction_and_keeps_what_was_finished(store: FeatureStore) -> None:
    with pytest.raises(DataError, match=r"noise/30\.jpg cannot be decoded"):
        store.features(request(Noise(broken=30)), ProjectingEncoder, SilentReporter())
    repaired = ProjectingEncoder()
    assert store.features(request(), lambda: repaired, SilentReporter()).encoded == COUNT - 24


def test_a_truncated_array_is_set_aside_told_and_computed_again(store: FeatureStore) -> None:
    whole = np.array(store.features(request(), ProjectingEncoder, SilentReporter()).values)
    array = store.root / request().key.digest / ARRAY
    os.truncate(array, array.stat().st_size - 100)
    listener = Listener()
    again = store.features(request(), ProjectingEncoder, listener)
    assert np.array_equal(again.values, whole)
    assert "damaged and are computed again" in listener.warnings[0]
    assert sorted(entry.state for entry in entries(store.root)) == ["complete", "damaged"]


def test_a_manifest_of_another_entry_is_not_believed(store: FeatureStore) -> None:
    store.features(request(), ProjectingEncoder, SilentReporter())
    other = request(images="2" * 64)
    (store.root / request().key.digest).rename(store.root / other.key.digest)
    assert store.features(other, ProjectingEncoder, SilentReporter()).encoded == COUNT


def test_verification_finds_changed_bytes_that_opening_cannot_see(store: FeatureStore) -> None:
    store.features(request(), ProjectingEncoder, SilentReporter())
    folder = store.root / request().key.digest
    with (folder / ARRAY).open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\1")
    assert [(shard.start, shard.stop) for shard in verify(folder, read_manifest(folder))] == [(36, 40)]


def test_a_damaged_shard_is_computed_again(store: FeatureStore) -> None:
    with pytest.raises(DataError):
        store.features(request(Noise(broken=30)), ProjectingEncoder, SilentReporter())
    (first, _) = sorted((store.root / f"{request().key.digest}.partial" / "shards").glob("rows-*"))
    first.write_bytes(first.read_bytes()[:-4] + b"\0\0\0\1")
    assert store.features(request(), ProjectingEncoder, SilentReporter()).encoded == COUNT - 12


@pytest.mark.slow
def test_a_killed_extraction_carries_on_with_the_finished_shards(start: Callable[..., Process]) -> None:
    killed = start("killed", "--hold-at", "20")
    until(lambda: killed.told("holding") == [20])
    killed.kill()
    heir = start("heir")
    assert heir.wait() == ""
    assert heir.told("done") == [24]
    assert sorted(number for batch in heir.told("encoded") for number in batch) == list(range(16, 40))
    assert heir.told("values") == [[float(number) for number in range(COUNT)]]


@pytest.mark.slow
def test_of_two_processes_one_computes_and_the_other_waits_and_reads(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    first = start("first", "--hold-at", "20", "--until", str(go))
    until(lambda: first.told("holding") == [20])
    second = start("second")
    until(lambda: second.told("phase") == ["waiting for features"] and sum(second.told("advance")) == 16)
    go.touch()
    assert first.wait() + second.wait() == ""
    assert first.told("done") == [COUNT]
    assert second.told("done") == [0]
    assert second.told("encoded") == []
    assert first.told("values") == second.told("values")


@pytest.mark.slow
def test_a_waiting_process_takes_over_when_the_other_is_killed(start: Callable[..., Process]) -> None:
    first = start("first", "--hold-at", "20")
    until(lambda: first.told("holding") == [20])
    second = start("second")
    until(lambda: "waiting for features" in second.told("phase"))
    first.kill()
    assert second.wait() == ""
    assert second.told("done") == [24]


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_keeps_what_is_finished(start: Callable[..., Process], tmp_path: Path) -> None:
    full = start("full", "--file-limit", "5000")
    message = full.wait()
    assert message.startswith("DiskFullError: the disk is full (")
    assert str(tmp_path / "features") in message
    assert message.rstrip().endswith("make room (`ssl-console cache prune`) and retry: 40 of 40 images are stored")
    roomy = start("roomy")
    assert roomy.wait() == ""
    assert roomy.told("done") == [0]
