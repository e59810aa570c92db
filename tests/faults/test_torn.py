"""Torn files: truncated or with flipped bits, each is skipped, set aside, rebuilt or named in an error; nothing
crashes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import torch

from backbones.catalog.card import BackboneCard
from backbones.io.card_files import read_cards
from ssl_console.operations.bundle.archive import NotABundle
from ssl_console.operations.bundle.verify import check
from ssl_console.operations.bundle.write import bundle
from ssl_console.operations.checkpoints.record import WatchedTraining, read_training, write_training
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.config import load_config
from ssl_console.workspace.events import Event, EventTail, encode_event
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.predictions import RunOutputs
from ssl_console.workspace.results_db import ResultStore, StoreError, rebuild
from ssl_console.workspace.run import Attempt, End, Retry
from ssl_console.workspace.run_index import RunIndex
from ssl_console.workspace.run_status import read_status
from ssl_console.workspace.supervisor_state import SupervisorState, SupervisorView
from tasks.features.decoded_images import DecodedImages
from tasks.features.extraction import Machine
from tasks.features.manifest import ARRAY, MANIFEST, read_manifest
from tasks.features.shards import finished_shards, verify, write_shard
from tasks.features.store import FeatureStore
from tasks.reporter import SilentReporter
from tasks.training.checkpoint import Checkpoint
from tests.faults.scale import Scale
from tests.faults.stage import BACKBONE
from tests.faults.tally import Tally
from tests.ssl_console.tui.filled import finish
from tests.ssl_console.workspace_fixture import spec
from tests.tasks.features.test_store import PREPROCESSING, ProjectingEncoder, request

GROUP = "files cut short, with a zeroed page, or with a flipped bit"

SEED = 7


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Truncate it, flip a bit, or write a page of zeros over its bytes."""
    place = chance.randrange(len(content))
    match chance.randrange(3):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]
        case _:
            return content[:place] + bytes(min(4096, len(content) - place)) + content[place + 4096 :]


def try_all(path: Path, times: int, look: Callable[[], object]) -> None:
    """Damage a file repeatedly, read it each time, and repair it at the end."""
    whole, chance = path.read_bytes(), random.Random(SEED)
    for _ in range(times):
        path.write_bytes(damaged(whole, chance))
        look()
    path.write_bytes(whole)
    look()


def make_run(workspace: Workspace, name: str) -> RunFolder:
    folder = workspace.run(name)
    folder.path.mkdir()
    folder.spec.write_text(spec(name).model_dump_json())
    return folder


def test_files_of_a_run_never_bring_down_who_reads_them(workspace: Workspace, scale: Scale, tally: Tally) -> None:
    whole, torn = make_run(workspace, "whole"), make_run(workspace, "torn")
    about = Attempt(attempt=2, host="here", pid=4_000_000, pid_started=1.0, device="cpu", started=1.0)
    torn.end(1).write_text(End(attempt=1, state="failed", kind="oom", message="memory ran out").model_dump_json())
    torn.retry(2).write_text(Retry(batch_scale=0.5).model_dump_json())
    torn.attempt(2).write_text(about.model_dump_json())
    torn.priority.write_text("5\n")

    def look() -> None:
        index = RunIndex(workspace)
        index.refresh(time.time())
        assert whole.run_id in index.entries
        assert torn.run_id in index.entries or torn.run_id in index.unreadable
        read_status(torn, time.time())

    paths = [torn.spec, torn.end(1), torn.retry(2), torn.attempt(2), torn.priority]
    for path in paths:
        try_all(path, scale.flips, look)
    tally.add(
        "specification, claim, end, retry and priority of a run",
        len(paths) * scale.flips,
        "the run is listed or named as unreadable; the others are untouched",
    )


def test_whole_lines_of_a_torn_events_file_are_still_read(tmp_path: Path, scale: Scale, tally: Tally) -> None:
    path = tmp_path / "events.1.jsonl"
    lines = [encode_event(Event("advance", float(number), done=number)) for number in range(50)]
    path.write_bytes(b"".join(lines))

    def look() -> None:
        tail = EventTail.of(path)
        events = tail.poll()
        before = path.read_bytes().rpartition(b"\n")[0].count(b"\n")
        assert len(events) + tail.bad_lines >= min(before, len(lines) - 45)
        assert tail.bad_lines <= 4096 // len(lines[0]) + 2

    try_all(path, scale.flips, look)
    tally.add("events", scale.flips, "whole lines are read, torn ones counted")


def test_torn_database_is_refused_or_read_and_made_again_from_the_runs(
    workspace: Workspace, scale: Scale, tally: Tally
) -> None:
    for number in range(5):
        finish(workspace, f"run{number}", f"demo/b{number}", "linear/digits")
    assert rebuild(workspace) == 5
    whole = ResultStore(workspace).results()
    refused = 0

    def look() -> None:
        nonlocal refused
        try:
            ResultStore(workspace).results()
        except StoreError as error:
            refused += _names(error, workspace.results, "ssl-console rebuild", "upgrade ssl-console")

    try_all(workspace.results, scale.flips, look)
    assert refused
    workspace.results.write_bytes(damaged(workspace.results.read_bytes(), random.Random(1))[:-3])
    rebuild(workspace)
    assert ResultStore(workspace).results() == whole
    assert list(workspace.root.glob("results.unreadable-*.json"))
    tally.add("the database", scale.flips, f"{refused} refused by name, set aside and rebuilt; the rest read")


def test_torn_supervisor_state_and_lock_are_passed_over(workspace: Workspace, scale: Scale) -> None:
    state = SupervisorState(host="here", pid=4_000_000, pid_started=1.0, started=1.0, updated=1.0)
    workspace.supervisor_state.write_text(state.model_dump_json())
    view = SupervisorView(workspace)
    try_all(workspace.supervisor_state, scale.flips, lambda: view.living(time.time()))


def test_torn_settings_are_refused_with_their_place(workspace: Workspace, scale: Scale) -> None:
    workspace.config.write_text('devices = ["cpu"]\nslots_per_device = 2\nstall_s = 300\n')

    def look() -> None:
        try:
            load_config(workspace)
        except ConsoleError as error:
            _names(error, workspace.config, "")

    try_all(workspace.config, scale.flips, look)


def test_torn_cards_are_named_and_hide_no_others(tmp_path: Path, scale: Scale, tally: Tally) -> None:
    for name in ("good", "torn"):
        (tmp_path / f"{name}.toml").write_text(BACKBONE)

    def look() -> None:
        found = read_cards(tmp_path, BackboneCard)
        assert "good" in found.cards
        assert "torn" in found.cards or any("torn" in str(problem) for problem in found.problems)

    try_all(tmp_path / "torn.toml", scale.flips, look)
    tally.add("a card", scale.flips, "named with its key, and hides no other")


def test_torn_shards_are_computed_again_and_whole_ones_kept(tmp_path: Path, scale: Scale, tally: Tally) -> None:
    rows = np.arange(80, dtype=np.float32).reshape(10, 8)
    bounds = [(0, 10), (10, 20)]
    other = write_shard(tmp_path, 10, rows)
    shard = write_shard(tmp_path, 0, rows)
    (path,) = tmp_path.glob("rows-000000000-*.npy")
    whole, chance, found_out = path.read_bytes(), random.Random(SEED), 0
    for _ in range(scale.flips):
        path.write_bytes(damaged(whole, chance))
        kept = finished_shards(tmp_path, 8, bounds)
        assert other in kept
        assert (shard in kept) == path.exists()
        if shard in kept:
            assert np.array_equal(np.load(path), rows)
        else:
            found_out += 1
    tally.add("a feature shard", scale.flips, f"{found_out} found by digest and removed, the rest undamaged")


def test_torn_stored_features_are_set_aside_or_found_by_verification(
    tmp_path: Path, scale: Scale, tally: Tally
) -> None:
    store = FeatureStore(tmp_path, Machine(batch_size=20, decode_threads=1, shard_rows=20))
    right = np.array(store.features(request(), ProjectingEncoder, SilentReporter()).values)
    folder, chance, times = tmp_path / request().key.digest, random.Random(SEED), scale.flips // 10
    for name in (ARRAY, MANIFEST) * times:
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, chance))
        torn = path.read_bytes() != whole
        found = store.features(request(), ProjectingEncoder, SilentReporter())
        bad = verify(folder, read_manifest(folder))
        assert np.array_equal(found.values, right) or bad
        assert not (torn and name == ARRAY) or found.encoded or bad
        if bad:
            path.write_bytes(whole)
    tally.add("stored features and their manifests", 2 * times, "set aside and computed again, or named by digest")


def test_torn_decoded_image_is_decoded_again(tmp_path: Path, scale: Scale, tally: Tally) -> None:
    side, count, chance = 6, 4, random.Random(SEED)
    spec = replace(PREPROCESSING, resize=side, crop=side)
    images = torch.randint(0, 256, (count, 3, side, side), generator=torch.manual_seed(0), dtype=torch.uint8)
    cache, found_out = DecodedImages(tmp_path, 1 << 20), 0
    for _ in range(scale.flips):
        with cache.rows("1" * 64, count, spec) as rows:
            assert rows is not None
            for row in range(count):
                rows.put(row, images[row])
        path = chance.choice(sorted(one for one in tmp_path.iterdir() if one.stat().st_size))
        path.write_bytes(damaged(path.read_bytes(), chance))
        with cache.rows("1" * 64, count, spec) as rows:
            assert rows is not None
            got = [rows.get(row) for row in range(count)]
        assert all(one is None or torch.equal(one, images[row]) for row, one in enumerate(got))
        found_out += any(one is None for one in got)
    tally.add("decoded images", scale.flips, f"{found_out} found by checksum: decoded again; none wrong")


def test_torn_record_of_a_watched_training_is_named(tmp_path: Path, scale: Scale, tally: Tally) -> None:
    write_training(tmp_path, WatchedTraining(folder="/runs/mine", name="mine", tasks=("linear/digits",)))

    def look() -> None:
        try:
            read_training(tmp_path)
        except ConsoleError as error:
            _names(error, tmp_path / "training.json", "move it away")

    try_all(tmp_path / "training.json", scale.flips, look)
    tally.add("the record of a watched training", scale.flips, "named with the way out, or read")


def test_torn_bundle_is_found_by_its_digest(workspace: Workspace, tmp_path: Path, scale: Scale, tally: Tally) -> None:
    finish(workspace, "some", "demo/random", "linear/digits")
    rebuild(workspace)
    path = tmp_path / "bundle.zip"
    bundle(path, workspace, ResultStore(workspace).results(), None, lambda _card: None)
    whole, chance, times = path.read_bytes(), random.Random(SEED), scale.flips
    for _ in range(times):
        torn = damaged(whole, chance)
        path.write_bytes(torn)
        try:
            found = not check(path).agrees
        except NotABundle:
            found = True
        assert found == (torn != whole)
    tally.add("a bundle of results", times, "every one found by `verify`")


def test_torn_checkpoint_starts_the_training_over(tmp_path: Path, scale: Scale, tally: Tally) -> None:
    kept = Checkpoint(tmp_path / "state", "me")
    kept.save({"step": 3, "weights": torch.arange(20.0)})
    whole, chance = kept.path.read_bytes(), random.Random(SEED)
    for _ in range(scale.flips):
        torn = damaged(whole, chance)
        kept.path.write_bytes(torn)
        assert (kept.restore(SilentReporter()) is None) == (torn != whole)
    tally.add("a training checkpoint", scale.flips, "every one found by digest: the training starts over")


def test_torn_predictions_are_no_predictions(workspace: Workspace, scale: Scale, tally: Tally) -> None:
    folder = make_run(workspace, "some")
    values = np.arange(100, dtype=np.int64)
    np.savez(folder.predictions, index=values, label=values)
    found_out = 0

    def look() -> None:
        nonlocal found_out
        found = RunOutputs(workspace).predictions("some")
        found_out += found is None
        for name, array in (found or {}).items():
            assert np.array_equal(array, values), name

    try_all(folder.predictions, scale.flips, look)
    tally.add("predictions", scale.flips, f"{found_out} found by checksum, the rest read right")


def test_torn_result_is_named_and_never_ranked(workspace: Workspace, scale: Scale, tally: Tally) -> None:
    finish(workspace, "some", "demo/b", "linear/digits")
    folder = workspace.run("some")
    whole = orjson.loads(folder.result.read_bytes())
    chance = random.Random(SEED)
    for _ in range(scale.flips):
        folder.result.write_bytes(damaged(orjson.dumps(whole), chance)[:-1])
        workspace.results.unlink(missing_ok=True)
        assert rebuild(workspace) == 0
    tally.add("`result.json`, so that its form is damaged", scale.flips, "never ranked")


def _names(error: Exception, path: Path, *ways_out: str) -> bool:
    """Whether the sentence contains the place and a fix."""
    assert str(path) in str(error)
    assert any(way_out in str(error) for way_out in ways_out), str(error)
    return True
