"""What few-shot episodes cost from stored features, beside a loop over episodes and beside encoding their images again.

    python -m tests.benchmarks.few_shot_episodes [--quick]

First 600 episodes at 2,048 dimensions from a memory-mapped array, beside a loop that draws and classifies one episode
at a time. Then the published way, on the same images and the same small backbone: every episode's images go through the
backbone. That one is timed on a few episodes and extrapolated, which the row says.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from backbones.catalog.card import (
    BackboneCard,
    FactsCard,
    InputCard,
    PreprocessingSpec,
    RandomWeights,
    identity,
    preprocessing_for,
)
from backbones.catalog.weights_folder import WeightsFolder
from backbones.cpu.malloc import keep_freed_memory
from backbones.model.encoder import Encoder
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.protocols import FewShotParameters
from tasks.datasets.dataset import Dataset, ImageSource
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import PoolInputs, Samples
from tasks.evaluation.splits import SplitFeatures
from tasks.features.manifest import FeatureKey
from tasks.features.store import FeatureRequest, FeatureStore
from tasks.protocols.few_shot import Episodes, episode_accuracies, evaluate, sample_episodes
from tasks.reporter import SilentReporter
from tests.benchmarks._comparison import Timing, in_turns, row, timed
from tests.benchmarks._options import parser
from tests.benchmarks._record import Figure, Row, keep, tell

SHOTS = (5, 20, 50)
WAYS, QUERIES, EPISODES = 5, 15, 600
POOL, CLASSES, DIMENSION = 5000, 50, 2048
LIMIT_S = 2.0
"""Accuracies of 600 episodes at one shot count."""

CARD = BackboneCard(
    name="benchmark/small",
    title="A small ResNet",
    architecture="test_resnet",
    weights=RandomWeights(),
    input=InputCard(size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    facts=FactsCard(method="none"),
)


def main() -> int:
    """Print and store both comparisons."""
    given = parser(__doc__).parse_args()
    keep_freed_memory()  # as in a worker; the alternatives profit too
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows, figures = beside_a_loop(wide_inputs(Path(folder)), 1 if given.quick else 5)
        rows += beside_encoding_again(Path(folder), 1 if given.quick else 3)
    for line in (*rows, *figures):
        tell(line)
    keep("few_shot_episodes", "Few-shot, 600 episodes of 5 ways and 15 queries", rows, given.results, figures)
    return 0


def beside_a_loop(inputs: PoolInputs, turns: int) -> tuple[list[Row], list[Figure]]:
    """All shot counts at 2,048 dimensions, batched and episode by episode."""
    found = in_turns(
        {"ours": lambda: [score(inputs, shots) for shots in SHOTS], "loop": lambda: [looped(inputs, s) for s in SHOTS]},
        turns,
    )
    work = f"{len(SHOTS)} shot counts from {POOL:,} stored features x {DIMENSION:,}"
    rows = [row(work, "one episode after another, from the same features", found["ours"], found["loop"])]
    figures = [
        Figure(
            f"{EPISODES} episodes, {shots} shots", timed(functools.partial(score, inputs, shots))[0].wall_s, "s", 2.0
        )
        for shots in SHOTS
    ]
    return rows, figures


def looped(inputs: PoolInputs, shots: int) -> float:
    """The usual loop: draw classes, draw images, mean of the support, nearest by squared Euclidean distance."""
    generator = np.random.default_rng(0)
    members = [np.flatnonzero(inputs.pool.labels == label) for label in range(len(inputs.classes))]
    features = torch.from_numpy(np.array(inputs.pool.features))
    truth = torch.arange(WAYS).repeat_interleave(QUERIES)
    accuracies = []
    for _ in range(EPISODES):
        drawn = [
            generator.permutation(members[label])[: shots + QUERIES]
            for label in generator.choice(len(members), WAYS, replace=False)
        ]
        support, query = (np.stack([images[part] for images in drawn]) for part in (slice(shots), slice(shots, None)))
        prototypes = features[torch.from_numpy(support)].mean(dim=1)
        distances = torch.cdist(features[torch.from_numpy(query.ravel())], prototypes) ** 2
        accuracies.append(float((distances.argmin(dim=1) == truth).float().mean()))
    return 100 * float(np.mean(accuracies))


def beside_encoding_again(folder: Path, episodes: int) -> list[Row]:
    """All shot counts on digits, including one encoding; the alternative from a few episodes of each."""
    dataset = open_dataset(TaskCatalog.load().dataset("digits"), folder)
    spec, encoder = preprocessing_for(CARD, "paper"), Encoder.load(CARD, WeightsFolder(folder))
    encoding, inputs = timed(lambda: stored_inputs(folder, dataset, encoder, spec))
    scoring = [timed(functools.partial(score, inputs, shots))[0] for shots in SHOTS]
    ours = total([encoding, *scoring])
    differences: list[float] = []
    theirs = []
    for number in range(episodes):
        again = functools.partial(one_of_each, inputs, dataset, encoder, spec, number)
        taken, difference = timed(again)
        theirs.append(Timing(taken.wall_s * EPISODES, taken.cpu_s * EPISODES))
        differences.append(difference)
    return [
        row(
            f"{len(SHOTS)} shot counts from {len(inputs.pool):,} images, encoded once",
            "encoding every episode's images (the published way)",
            [ours],
            theirs,
            extrapolated_from=f"{episodes} of {EPISODES} episodes",
            accuracies_differ_by=max(differences),
        )
    ]


def one_of_each(inputs: PoolInputs, dataset: Dataset, encoder: Encoder, spec: PreprocessingSpec, number: int) -> float:
    """One episode of every shot count with its images encoded again, and the difference of the accuracies."""
    found = []
    for shots in SHOTS:
        episodes = sample_episodes(
            inputs.pool.labels, ways=WAYS, shots=shots, queries=QUERIES, episodes=number + 1, seed=0
        )
        episode = part(episodes, number)
        again = encoded_again(dataset, encoder, spec, episode)
        found.append(abs(again - float(episode_accuracies(np.asarray(inputs.pool.features), episode)[0])))
    return max(found)


def total(timings: Sequence[Timing]) -> Timing:
    """Episode by episode."""
    return Timing(sum(one.wall_s for one in timings), sum(one.cpu_s for one in timings))


def wide_inputs(folder: Path) -> PoolInputs:
    """Random features with the width of a ResNet-50's, memory-mapped like the store's."""
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
    return SplitFeatures(dataset, "accuracy", found, spec).pool()


def encoded_again(dataset: Dataset, encoder: Encoder, spec: PreprocessingSpec, episode: Episodes) -> float:
    """The published method (few_shot.py of linusericsson/ssl-transfer): one episode's images through the backbone.

    Images are also preprocessed again; there they are stored preprocessed in memory, 0.6 MB each, which few datasets
    allow.
    """
    images = [(split.images, place) for split in dataset.splits.values() for place in range(len(split.images))]
    rows = np.concatenate([episode.support.ravel(), episode.query.ravel()])
    features = encoder.encode(torch.stack([prepared(encoder, spec, *images[row]) for row in rows]), spec)
    support, query = np.split(np.arange(len(rows)), [episode.support.size])
    local = replace(episode, support=support.reshape(episode.support.shape), query=query.reshape(episode.query.shape))
    return float(episode_accuracies(features.numpy(), local)[0])


def prepared(encoder: Encoder, spec: PreprocessingSpec, images: ImageSource, place: int) -> torch.Tensor:
    """One image as the encoder's input."""
    return encoder.prepare(images[place], spec)


def score(inputs: PoolInputs, shots: int) -> float:
    """The whole protocol: draw episodes, classify, average."""
    return evaluate(inputs, FewShotParameters(shots=shots, episodes=EPISODES), 0, SilentReporter()).value


def part(episodes: Episodes, number: int) -> Episodes:
    """One of the episodes."""
    one = slice(number, number + 1)
    return replace(episodes, classes=episodes.classes[one], support=episodes.support[one], query=episodes.query[one])


if __name__ == "__main__":
    sys.exit(main())
