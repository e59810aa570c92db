"""Encoding, neighbours and episodes on a GPU: the results of a CPU, also when the GPU is nearly full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from backbones.catalog.card import Precision, identity, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.encoder import Encoder
from tasks.features.extraction import Machine
from tasks.features.manifest import FeatureKey
from tasks.features.store import FeatureRequest, Features, FeatureStore
from tasks.protocols.few_shot import episode_accuracies, sample_episodes
from tasks.solvers.nearest_neighbours import nearest
from tests.benchmarks._photographs import photographs
from tests.tasks.workspace_fixture import Listener, network

GENERATOR = np.random.default_rng(0)


LARGE = "vit_large_patch16_224"
BATCH = 40


@pytest.fixture
def little_memory(gpu: torch.device, tmp_path: Path) -> Iterator[None]:
    """The memory of `LARGE` itself and a third of that of `BATCH` images: measured, as kernels differ."""
    card = network(LARGE, 224)
    encoder = Encoder.load(card, WeightsFolder(tmp_path), "cuda", "float32")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(gpu)
    weights = torch.cuda.memory_reserved(gpu)
    encoder.encode(torch.zeros(BATCH, 3, 224, 224, dtype=torch.uint8), preprocessing_for(card, "paper")).cpu()
    needed = torch.cuda.max_memory_reserved(gpu) - weights
    del encoder
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(gpu).total_memory
    torch.cuda.set_per_process_memory_fraction((weights + needed / 3) / total, gpu)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, gpu)


def encoded(
    folder: Path, device: str, *, architecture: str = "resnet50", precision: Precision = "float32", batch: int = 16
) -> tuple[Features, Listener]:
    card, reporter = network(architecture, 224), Listener()
    split, spec = photographs(folder, 40, (320, 240)), preprocessing_for(network(architecture, 224), "paper")
    torch.manual_seed(0)
    encoder = Encoder.load(card, WeightsFolder(folder), device, precision)
    key = FeatureKey(identity(card, encoder.weights_digest, spec), split.images_digest)
    request = FeatureRequest(key, card.name, "photographs", split, spec)
    store = FeatureStore(folder / f"{device}-{precision}-{batch}", Machine(batch_size=batch, shard_rows=24))
    return store.features(request, lambda: encoder, reporter), reporter


@pytest.mark.parametrize("architecture", ["resnet50", "vit_tiny_patch16_224"])
@pytest.mark.parametrize(("precision", "near"), [("float32", 1e-4), ("bfloat16", 0.05), ("float16", 0.01)])
def test_features_are_the_cpus(tmp_path: Path, architecture: str, precision: Precision, near: float) -> None:
    expected, _ = encoded(tmp_path, "cpu", architecture=architecture)
    found, _ = encoded(tmp_path, "cuda", architecture=architecture, precision=precision)
    assert far(found, expected) < near


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(tmp_path: Path, little_memory: None) -> None:
    whole, _ = encoded(tmp_path, "cuda", architecture=LARGE, batch=1)
    found, reporter = encoded(tmp_path, "cuda", architecture=LARGE, batch=BATCH)
    assert any("memory ran out at" in warning for warning in reporter.warnings), reporter.warnings
    assert far(found, whole) < 1e-3


def far(found: Features, expected: Features) -> float:
    """The largest distance of a vector, relative to its length."""
    lengths = np.linalg.norm(expected.values, axis=1)
    return float((np.linalg.norm(found.values - expected.values, axis=1) / lengths).max())


@pytest.mark.parametrize("architecture", ["resnet50", "vit_tiny_patch16_224"])
def test_encoding_a_batch_does_not_wait_for_the_device(tmp_path: Path, architecture: str) -> None:
    card = network(architecture, 224)
    encoder, spec = Encoder.load(card, WeightsFolder(tmp_path), "cuda", "bfloat16"), preprocessing_for(card, "paper")
    batch = torch.zeros(8, 3, 224, 224, dtype=torch.uint8).pin_memory()
    encoder.encode(batch, spec).cpu()
    torch.cuda.set_sync_debug_mode("error")
    try:
        encoder.encode(batch, spec)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_neighbours_are_the_cpus() -> None:
    queries = GENERATOR.standard_normal((700, 96), dtype=np.float32)
    bank = GENERATOR.standard_normal((50_000, 96), dtype=np.float32).astype(np.float16)
    on_cpu, on_gpu = nearest(queries, bank, 50), nearest(queries, bank, 50, device="cuda")
    assert on_gpu.similarity.cpu().numpy() == pytest.approx(on_cpu.similarity.numpy(), abs=1e-5)
    assert np.mean(on_gpu.index.cpu().numpy() == on_cpu.index.numpy()) > 0.999


def test_a_bank_is_searched_in_memory_that_does_not_grow_with_it(gpu: torch.device) -> None:
    queries = GENERATOR.standard_normal((100, 512), dtype=np.float32)
    peaks = []
    for rows in (40_000, 160_000):
        torch.cuda.reset_peak_memory_stats()
        nearest(queries, np.zeros((rows, 512), np.float16), 20, device="cuda")
        peaks.append(torch.cuda.max_memory_allocated(gpu))
    assert peaks[1] <= 1.01 * peaks[0]


def test_accuracies_of_episodes_are_the_cpus() -> None:
    labels = np.arange(3000) % 30
    means = GENERATOR.standard_normal((30, 512))
    features = (0.1 * means[labels] + GENERATOR.standard_normal((3000, 512))).astype(np.float32)
    episodes = sample_episodes(labels, ways=5, shots=5, queries=15, episodes=600, seed=0)
    on_cpu, on_gpu = (episode_accuracies(features, episodes, device=device) for device in ("cpu", "cuda"))
    right = [np.rint(accuracies * 5 * 15 / 100) for accuracies in (on_cpu, on_gpu)]
    assert np.mean(right[0] == right[1]) > 0.99  # counts of correct answers: means in float32 differ in the last bit
    assert on_gpu.mean() == pytest.approx(on_cpu.mean(), abs=0.02)
