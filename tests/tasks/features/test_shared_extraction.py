"""Several processes compute the shards of one entry: no shard twice, none lost, the same bytes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from tasks.features.extraction import Machine
from tasks.features.manifest import ARRAY
from tasks.features.store import FeatureStore
from tasks.reporter import SilentReporter
from tests.tasks.features.encode_in_a_process import COUNT, KEY
from tests.tasks.features.encoding_processes import Process, until
from tests.tasks.features.test_store import ProjectingEncoder, request

Start = Callable[..., Process]
VALUES = [[float(number) for number in range(COUNT)]]
SHARD = 8


def whole_shards(numbers: list[int]) -> set[int]:
    """First images of the shards that are complete among `numbers`."""
    return {start for start in range(0, COUNT, SHARD) if set(range(start, start + SHARD)) <= set(numbers)}


def shards_of(folder: Path) -> list[str]:
    partial = folder / "features" / f"{KEY.digest}.partial" / "shards"
    return sorted(path.name for path in partial.glob("rows-*"))


@pytest.mark.slow
def test_two_processes_share_the_shards_and_compute_none_twice(start: Start, tmp_path: Path) -> None:
    go = tmp_path / "go"
    main = start("main", "--hold-at", "0", "--until", str(go))
    until(lambda: main.told("holding") == [0])
    helper = start("helper", "--assist")
    until(lambda: len(shards_of(tmp_path)) == 3)
    go.touch()
    assert main.wait() + helper.wait() == ""
    assert sorted(main.encoded + helper.encoded) == list(range(COUNT))
    assert (main.told("values"), main.told("done"), sum(main.told("advance"))) == (VALUES, [COUNT], COUNT)
    assert helper.told("assisted") == [3 * SHARD]


@pytest.mark.slow
def test_a_killed_helper_costs_its_unfinished_shards_only(start: Start, tmp_path: Path) -> None:
    go = tmp_path / "go"
    main = start("main", "--hold-at", "0", "--until", str(go))
    until(lambda: main.told("holding") == [0])
    helper = start("helper", "--assist", "--hold-at", "27")
    until(lambda: helper.told("holding") == [27])
    helper.kill()
    go.touch()
    assert main.wait() == ""
    assert main.told("values") == VALUES
    assert sorted(main.encoded) == [number for number in range(COUNT) if number not in range(16, 24)]


@pytest.mark.slow
def test_a_main_process_that_is_killed_leaves_the_shards_of_both_to_the_next(start: Start, tmp_path: Path) -> None:
    main = start("main", "--hold-at", "11")
    until(lambda: main.told("holding") == [11])
    helper = start("helper", "--assist", "--hold-at", "35")
    until(lambda: helper.told("holding") == [35])
    main.kill()
    heir = start("heir", "--hold-at", "11")
    until(lambda: heir.told("holding") == [11])
    assert heir.told("phase") == ["encoding train"]
    heir.kill()
    helper.kill()
    last = start("last")
    assert last.wait() == ""
    assert last.told("values") == VALUES
    finished = whole_shards(main.encoded) | whole_shards(helper.encoded)
    assert finished == {0, 24}
    assert sorted(last.encoded) == [n for n in range(COUNT) if n // SHARD * SHARD not in finished]


@pytest.mark.slow
def test_a_helper_that_is_suspended_is_waited_for_no_longer_than_agreed(start: Start, tmp_path: Path) -> None:
    go = tmp_path / "go"
    main = start("main", "--hold-at", "0", "--until", str(go), "--patience", "0.2")
    until(lambda: main.told("holding") == [0])
    helper = start("helper", "--assist", "--hold-at", "27")
    until(lambda: helper.told("holding") == [27])
    os.kill(helper.process.pid, signal.SIGSTOP)
    go.touch()
    assert main.wait() == ""
    assert main.told("values") == VALUES


@pytest.mark.parametrize("halves", [False, True], ids=["in order", "the second half first"])
def test_bytes_do_not_depend_on_which_process_computed_a_shard(tmp_path: Path, halves: bool) -> None:
    machine = Machine(batch_size=5, decode_threads=2, shard_rows=12)
    alone, shared = FeatureStore(tmp_path / "alone", machine), FeatureStore(tmp_path / "shared", machine)
    alone.features(request(), ProjectingEncoder, SilentReporter())

    class Assisted(ProjectingEncoder):
        """An encoder during whose first batch another process does all that it can."""

        def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
            if halves and not self.batches:
                self.batches.append(0)
                other = FeatureStore(shared.root, machine)
                other._assist([request()], ProjectingEncoder(), SilentReporter())
            return super().encode(batch, spec)

    main = Assisted()
    shared.features(request(), lambda: main, SilentReporter())
    ours, theirs = ((store.root / request().key.digest / ARRAY).read_bytes() for store in (shared, alone))
    assert ours == theirs
    assert (sum(main.batches) < COUNT) is halves


def test_a_claim_left_by_a_dead_process_is_taken_at_once(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, Machine(shard_rows=12, patience_s=1e9))
    shards = tmp_path / f"{request().key.digest}.partial" / "shards"
    shards.mkdir(parents=True)
    (shards / "claim-000000012").touch()
    assert store.features(request(), ProjectingEncoder, SilentReporter()).encoded == COUNT


def test_a_link_named_like_a_claim_is_not_followed(tmp_path: Path) -> None:
    store, victim = FeatureStore(tmp_path / "features"), tmp_path / "victim"
    shards = store.root / f"{request().key.digest}.partial" / "shards"
    shards.mkdir(parents=True)
    (shards / "claim-000000000").symlink_to(victim)
    with pytest.raises(OSError, match="claim-000000000"):
        store.features(request(), ProjectingEncoder, SilentReporter())
    assert not victim.exists()


def test_a_damaged_shard_of_another_process_is_computed_again(tmp_path: Path) -> None:
    machine = Machine(batch_size=5, decode_threads=2, shard_rows=12)
    store = FeatureStore(tmp_path, machine)
    shards = tmp_path / f"{request().key.digest}.partial" / "shards"

    class Damaged(ProjectingEncoder):
        def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
            if not self.batches:
                (shards / f"rows-000000036-000000040-{'0' * 64}.npy").write_bytes(b"torn")
            return super().encode(batch, spec)

    encoder = Damaged()
    values = store.features(request(), lambda: encoder, SilentReporter()).values
    assert sum(encoder.batches) == COUNT
    assert np.isfinite(values).all()
