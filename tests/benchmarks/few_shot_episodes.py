"""What few-shot episodes cost from stored features, beside the published way that encodes every episode's images again.

    python tests/benchmarks/few_shot_episodes.py

Prints a table. First 600 episodes at 2,048 dimensions from a memory-mapped array; then the same data and the same small
backbone both ways. The published way is timed on a few episodes and extrapolated, which the table says.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from backbones.card import BackboneCard, FactsCard, InputCard, RandomWeights
from backbones.encoder import Encoder
from backbones.identity import identity
from backbones.preprocessing_spec import PreprocessingSpec, preprocessing_for
from backbones.weights import WeightsFolder
from tasks.catalog import TaskCatalog
from tasks.datasets.dataset import Dataset, ImageSource
from tasks.datasets.registry import open_dataset
from tasks.episodes import Episodes, episode_accuracies, sample_episodes
from tasks.features.key import FeatureKey
from tasks.features.store import FeatureRequest, FeatureStore
from tasks.few_shot import evaluate
from tasks.inputs import PoolInputs, Samples
from tasks.parameters import FewShotParameters
from tasks.reporter import SilentReporter
from tasks.roles import pooled

SHOTS = (5, 20, 50)
EPISODES = 600
POOL = 5000
CLASSES = 50
DIMENSION = 2048
REPEATS = 3

CARD = BackboneCard(
    name="benchmark/small",
    title="A small ResNet",
    architecture="test_resnet",
    weights=RandomWeights(),
    input=InputCard(size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    facts=FactsCard(method="none"),
)


@dataclass(frozen=True)
class Comparison:
    """Seconds of one shot count, both ways, and the scores that show them to be the same thing."""

    shots: int
    stored_s: float
    published_s: float
    timed_episodes: int
    largest_difference: float
    """Of per-episode accuracies, in percent points, over the episodes that were timed both ways."""


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timed-episodes", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    tell(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        wide_table(Path(folder), given.threads)
        small_table(Path(folder), given.timed_episodes, given.threads)
    return 0


def wide_table(folder: Path, threads: int) -> None:
    """600 episodes at 2,048 dimensions, read from the disk."""
    tell(f"{EPISODES} episodes, 5 ways, 15 queries, {POOL} images x {DIMENSION} stored float32, {threads} threads")
    inputs = wide_inputs(folder)
    for shots in SHOTS:
        seconds = best(lambda shots=shots: score(inputs, shots))  # type: ignore[misc]
        tell(f"  {shots:2d} shots: {seconds:6.2f} s   (limit 2 s)")


def small_table(folder: Path, timed: int, threads: int) -> None:
    """The same images and backbone from stored features and by encoding again."""
    card = TaskCatalog.load().dataset("digits")
    dataset = open_dataset(card, folder)
    spec = preprocessing_for(CARD, "paper")
    encoder = Encoder.load(CARD, WeightsFolder(folder))
    begun = time.perf_counter()
    inputs = stored_inputs(folder, dataset, encoder, spec)
    encoding_s = time.perf_counter() - begun
    images = len(inputs.pool)
    tell(f"digits, {images} images at {CARD.input.size} px, {CARD.architecture}, {threads} threads")
    tell(f"  encoding every image once: {encoding_s:.1f} s")
    rows = [compared(inputs, dataset, encoder, spec, shots, timed) for shots in SHOTS]
    for row in rows:
        tell(
            f"  {row.shots:2d} shots: stored {row.stored_s:5.2f} s; encoding again {row.published_s:6.0f} s "
            f"(extrapolated from {row.timed_episodes} of {EPISODES} episodes); "
            f"{row.published_s / row.stored_s:7.0f} times, {row.published_s / (row.stored_s + encoding_s):5.0f} times "
            f"with the one encoding; accuracies differ by at most {row.largest_difference:.2g}"
        )
    ours, theirs = encoding_s + sum(row.stored_s for row in rows), sum(row.published_s for row in rows)
    tell(f"  all three shot counts from nothing: {ours:.1f} s against {theirs:.0f} s, {theirs / ours:.0f} times")


def wide_inputs(folder: Path) -> PoolInputs:
    """Random features as wide as a ResNet-50's, memory-mapped as the store's are."""
    generator = np.random.default_rng(0)
    labels = np.arange(POOL) % CLASSES
    means = generator.standard_normal((CLASSES, DIMENSION), dtype=np.float32)
    features = 0.1 * means[labels] + generator.standard_normal((POOL, DIMENSION), dtype=np.float32)
    np.save(folder / "wide.npy", features)
    stored = np.load(folder / "wide.npy", mmap_mode="r")
    return PoolInputs(Samples(stored, labels, np.arange(POOL)), tuple(str(number) for number in range(CLASSES)))


def stored_inputs(folder: Path, dataset: Dataset, encoder: Encoder, spec: PreprocessingSpec) -> PoolInputs:
    """Encode every image once, through the store."""
    store = FeatureStore(folder / "features")
    found = {}
    for name, split in dataset.splits.items():
        key = FeatureKey(identity(CARD, encoder.weights_digest, spec), split.images_digest)
        request = FeatureRequest(key, CARD.name, dataset.name, split, spec)
        found[name] = store.features(request, lambda: encoder, SilentReporter()).values
    return pooled(dataset, found, "cpu")


def compared(
    inputs: PoolInputs, dataset: Dataset, encoder: Encoder, spec: PreprocessingSpec, shots: int, timed: int
) -> Comparison:
    """One shot count both ways, on the same episodes."""
    stored_s = best(lambda: score(inputs, shots))
    episodes = sample_episodes(inputs.pool.labels, ways=5, shots=shots, queries=15, episodes=EPISODES, seed=0)
    times, differences = [], []
    for number in range(timed):
        episode = part(episodes, number)
        begun = time.perf_counter()
        again = encoded_again(dataset, encoder, spec, episode)
        times.append(time.perf_counter() - begun)
        differences.append(abs(again - episode_accuracies(np.asarray(inputs.pool.features), episode)[0]))
    return Comparison(shots, stored_s, min(times) * EPISODES, timed, float(max(differences)))


def encoded_again(dataset: Dataset, encoder: Encoder, spec: PreprocessingSpec, episode: Episodes) -> float:
    """The published way (few_shot.py of linusericsson/ssl-transfer): one episode's images through the backbone.

    Images are prepared anew too; there they lie prepared in memory, 0.6 MB each, which few datasets allow.
    """
    images = [(split.images, place) for split in dataset.splits.values() for place in range(len(split.images))]
    rows = np.concatenate([episode.support.ravel(), episode.query.ravel()])
    features = encoder.encode(torch.stack([prepared(encoder, spec, *images[row]) for row in rows]), spec)
    support, query = np.split(np.arange(len(rows)), [episode.support.size])
    local = replace(episode, support=support.reshape(episode.support.shape), query=query.reshape(episode.query.shape))
    return float(episode_accuracies(features.numpy(), local)[0])


def prepared(encoder: Encoder, spec: PreprocessingSpec, images: ImageSource, place: int) -> torch.Tensor:
    """One image as the encoder wants it."""
    return encoder.prepare(images[place], spec)


def score(inputs: PoolInputs, shots: int) -> float:
    """The whole protocol: draw episodes, classify, average."""
    return evaluate(inputs, FewShotParameters(shots=shots, episodes=EPISODES), 0, SilentReporter()).value


def part(episodes: Episodes, number: int) -> Episodes:
    """One of the episodes."""
    one = slice(number, number + 1)
    return replace(episodes, classes=episodes.classes[one], support=episodes.support[one], query=episodes.query[one])


def best(work: Callable[[], object]) -> float:
    """Fastest of a few repetitions, in seconds: on a shared machine the one least disturbed (of episodes likewise)."""
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def tell(line: str) -> None:
    """One line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
