"""Killed workers of one extraction: finished shards stay, claims of the dead are free, the array is the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.scale import full
from tests.faults.tally import Tally
from tests.tasks.features.encode_in_a_process import COUNT, KEY
from tests.tasks.features.encoding_processes import Process, until

GROUP = "killed processes"
SEED = 20_261_130
ROUNDS = 12 if full() else 2
SHARD = 8
VICTIMS = ("the worker of the run", "its helper", "both")


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_workers_of_one_extraction_lose_their_unfinished_shards_only(
    victim: str, tmp_path: Path, tally: Tally
) -> None:
    chance, stale = random.Random(f"{SEED} {victim}"), 0
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        stale += one_round(folder, victim, chance)
    outcome = "the next start carries on" if victim != "its helper" else "the run goes on alone"
    outcome += "; no finished shard is computed twice, and the array is the same"
    tally.add(f"{victim}, extracting together, killed by SIGKILL", ROUNDS, outcome)
    tally.add(f"claims on shards that {victim} left when killed", stale, "taken over at once")


def one_round(folder: Path, victim: str, chance: random.Random) -> int:
    """Kill workers in the middle of their shards, and complete the extraction; return the number of stale claims."""
    go, shards = folder / "go", folder / "features" / f"{KEY.digest}.partial" / "shards"
    middle = chance.randrange(3, SHARD)
    started = [Process(folder, "main", "--hold-at", str(middle), "--until", str(go), "--patience", "0.2")]
    try:
        main = started[0]
        until(lambda: main.told("holding") != [])
        started.append(Process(folder, "helper", "--assist", "--hold-at", str(COUNT - SHARD + middle)))
        until(lambda: started[1].told("holding") != [])
        for process in {"its helper": started[1:], VICTIMS[0]: started[:1], "both": started}[victim]:
            process.kill()
        finished = {int(path.name.split("-")[1]) for path in shards.glob("rows-*")}
        stale = len(list(shards.glob("claim-*")))
        before = len(main.encoded)
        go.touch()
        heir = main if victim == "its helper" else Process(folder, "heir", "--patience", "0.2")
        assert heir.wait() == ""
        again = heir.encoded[before:] if heir is main else heir.encoded
        assert heir.told("values") == [[float(image) for image in range(COUNT)]]
        assert finished
        assert not {image // SHARD * SHARD for image in again} & finished
        return stale
    finally:
        for process in started:
            process.kill()
