"""Features with a key made of names and sizes are used for the same images, and never for others with these names."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.datasets.images import FileImages
from tasks.datasets.readers.make_splits import newest_change
from tasks.features import earlier_entries
from tasks.features.earlier_entries import are_same, sample
from tasks.features.extraction import Machine
from tasks.features.manifest import read_manifest
from tasks.features.store import FeatureRequest, Features, FeatureStore
from tests.tasks.features.test_store import COUNT, Listener, Noise, ProjectingEncoder, never, request

NAMED = "9" * 64
LATER = 4e9
"""Seconds since the epoch: after every test."""


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """A store with the features that an earlier version computed of the noise."""
    found = FeatureStore(tmp_path / "features", Machine(batch_size=5, decode_threads=2, shard_rows=12))
    found.features(request(images=NAMED), ProjectingEncoder, Listener())
    return found


def wanted(changed: float, *, dataset: str = "noise", source: Noise | None = None) -> FeatureRequest:
    """The same images with a content-based key, from files that last changed at `changed`."""
    asked = request(source)
    split = replace(asked.split, named_digest=NAMED, newest_change=changed)
    return replace(asked, split=split, dataset=dataset)


def other_noise() -> Noise:
    noise = Noise()
    noise.pixels = noise.pixels[::-1].copy()
    return noise


def given(store: FeatureStore, asked: FeatureRequest) -> tuple[Features, ProjectingEncoder, list[str]]:
    encoder, listener = ProjectingEncoder(), Listener()
    return store.features(asked, lambda: encoder, listener), encoder, listener.warnings


def test_features_younger_than_everything_in_the_dataset_are_used_as_they_are(store: FeatureStore) -> None:
    found = store.features(wanted(5.0), never, Listener())
    assert found.manifest.earlier_key == request(images=NAMED).key.digest
    assert read_manifest(store.root / wanted(5.0).key.digest).key == wanted(5.0).key.digest


def test_features_older_than_a_file_are_used_once_images_that_are_encoded_again_gave_the_same(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier_entries, "SAMPLE", 7)
    found, encoder, warnings = given(store, wanted(LATER))
    assert (found.encoded, encoder.seen) == (0, 7)
    assert warnings == [
        "train: features of an earlier version are used: 7 of 40 images were encoded again and gave the same"
    ]


@pytest.mark.parametrize("dataset", ["noise", "a corrected copy"])
def test_other_images_under_the_same_names_and_sizes_get_features_of_their_own(
    dataset: str, store: FeatureStore
) -> None:
    changed = LATER if dataset == "noise" else 5.0
    found, encoder, warnings = given(store, wanted(changed, dataset=dataset, source=other_noise()))
    assert (found.encoded, warnings) == (COUNT, [])
    assert encoder.seen == 2 * COUNT, "the sample and then all"
    fresh = ProjectingEncoder()
    expected = fresh.encode(fresh.prepare(other_noise()[0], request().spec)[None], request().spec)
    assert np.allclose(found.values[0], expected, atol=1e-5)
    assert store.holds(request(images=NAMED).key), "the earlier ones stay"


def test_one_image_that_is_another_one_is_enough_and_files_that_are_newer_are_all_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = np.ones((3, 4), np.float32)
    encoded = stored.copy()
    assert are_same(stored, encoded + 1e-5, "float32")
    encoded[1, 2] += 0.1
    assert not are_same(stored, encoded, "float32")
    assert not are_same(stored, encoded[:2], "float32")
    monkeypatch.setattr(earlier_entries, "SAMPLE", 2)
    files = tuple(f"{number}.png" for number in range(6))
    for name in files:
        (tmp_path / name).write_bytes(b"")
    split = replace(request().split, images=FileImages("some", tmp_path, files))
    assert len(sample(split, since=0)) == 2, "all are newer"
    assert len(sample(split, since=time.time() + 100)) == 2, "none is"


def test_a_folder_that_was_renamed_to_take_the_place_of_another_has_changed(tmp_path: Path) -> None:
    (tmp_path / "second" / "cat").mkdir(parents=True)
    (tmp_path / "second" / "cat" / "0.png").write_bytes(b"x")
    root, before = tmp_path / "second", newest_change(tmp_path / "second", ["cat/0.png"], [])
    bound = time.monotonic() + 10
    while newest_change(root, ["cat/0.png"], []) <= before:  # until the clock of the file system has advanced
        assert time.monotonic() < bound
        root = root.rename(tmp_path / ("away" if root.name == "second" else "second"))
