"""One extraction by two workers, of one core and one thread each, compared with one of them.

    python -m tests.benchmarks.shared_extraction [--quick] [--turns 3]

Workers are processes that have loaded the backbone when the time starts, each bound to a core of its own. On a machine
that others use, wall time measures their load too; `by CPU` is therefore also given for the worker that computed more:
the processor time of the single worker relative to its, which is the speed-up on idle cores. Shards have 16 images here
instead of 512, as in a large data set the last ones, which one worker waits for, do not matter.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from backbones.catalog.card import identity, preprocessing_for
from tasks.datasets.dataset import SourceSplit
from tasks.features.extraction import Machine
from tasks.features.manifest import ARRAY, FeatureKey
from tasks.features.store import FeatureRequest, FeatureStore
from tasks.reporter import SilentReporter
from tests.benchmarks._comparison import Timing, in_turns, row
from tests.benchmarks._options import parser
from tests.benchmarks._photographs import photographs
from tests.benchmarks._record import keep, tell
from tests.benchmarks.extraction import SIZE, SMALL, Subject

MODEL, TITLE, FILES = "resnet18", "ResNet-18", 512
MACHINE = Machine(batch_size=4, decode_threads=1, shard_rows=16, patience_s=1e9)


@dataclass(frozen=True)
class Done:
    """Work of one worker."""

    seconds: float
    """Wall time until it had nothing left to do."""
    cpu_s: float


def main() -> int:
    """Print and store the comparison."""
    options = parser(__doc__)
    options.add_argument("--turns", type=int, default=3)
    given = options.parse_args()
    files, turns, model = (64, 1, SMALL) if given.quick else (FILES, given.turns, MODEL)
    cores = sorted(os.sched_getaffinity(0))[:2]
    slower: list[float] = []
    contents: set[bytes] = set()
    with tempfile.TemporaryDirectory() as folder:
        split = photographs(Path(folder), files, SIZE)

        def extract(used: list[int]) -> Timing:
            with tempfile.TemporaryDirectory(dir=folder) as store:
                done = computed(Path(folder), Path(store), model, split, used)
                contents.update(path.read_bytes() for path in Path(store).glob(f"*/{ARRAY}"))
            slower.append(max(one.cpu_s for one in done)) if len(used) > 1 else None
            return Timing(done[0].seconds, sum(one.cpu_s for one in done))

        ways: dict[str, Callable[[], object]] = {"two": lambda: extract(cores), "one": lambda: extract(cores[:1])}
        found = in_turns(ways, turns)
    speedups = [one.cpu_s / max(most, 1e-9) for one, most in zip(found["one"], slower, strict=True)]
    made = row(
        f"{TITLE if model == MODEL else model}, {files} files, two workers of one thread",
        "one worker of one thread",
        found["two"],
        found["one"],
        goal=1.8,
        speedup_by_cpu_of_the_slower_worker=round(sorted(speedups)[len(speedups) // 2], 3),
        same_bytes=len(contents) == 1,
    )
    tell(made)
    keep("shared_extraction", f"One extraction by two workers, files of {SIZE[0]} x {SIZE[1]}", [made], given.results)
    return 0 if len(contents) == 1 else 1


def computed(folder: Path, store: Path, model: str, split: SourceSplit, cores: list[int]) -> list[Done]:
    """Extract features by one worker on each core; the first is the one that completes the entry."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in cores]
    places = zip(cores, pipes, strict=True)
    workers = [
        context.Process(target=work, args=(theirs, folder, store, model, split, core, number > 0))
        for number, (core, (_, theirs)) in enumerate(places)
    ]
    for worker in workers:
        worker.start()
    for ours, _ in pipes:
        ours.recv()
    for ours, _ in pipes:
        ours.send(None)
    done: list[Done] = [ours.recv() for ours, _ in pipes]
    for worker in workers:
        worker.join()
    return done


def work(pipe: Connection, folder: Path, store: Path, model: str, split: SourceSplit, core: int, assists: bool) -> None:
    """Load the backbone, wait for the start, extract, and send what it took."""
    os.sched_setaffinity(0, [core])
    torch.set_num_threads(1)
    subject = Subject.on(folder, model, split)
    spec = preprocessing_for(subject.encoder.card, "paper")
    key = FeatureKey(identity(subject.encoder.card, subject.encoder.weights_digest, spec), subject.split.images_digest)
    request = FeatureRequest(key, subject.encoder.card.name, "photographs", subject.split, spec)
    subject.encoder.encode(torch.zeros(4, 3, spec.crop, spec.crop, dtype=torch.uint8), spec)
    pipe.send(None)
    pipe.recv()
    begun, cpu = time.perf_counter(), time.process_time()
    features = FeatureStore(store, MACHINE)
    if assists:
        features.assist([request], lambda: subject.encoder, SilentReporter(), lambda: None)
    else:
        features.features(request, lambda: subject.encoder, SilentReporter())
    pipe.send(Done(time.perf_counter() - begun, time.process_time() - cpu))


if __name__ == "__main__":
    sys.exit(main())
