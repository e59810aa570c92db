"""Nearest neighbours are exact for any block size, and their memory use does not grow with the bank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from backbones.cpu import threads
from tasks.features.shards import FeatureRows, StoredRows
from tasks.reporter import SilentReporter
from tasks.solvers import nearest_neighbours
from tasks.solvers.nearest_neighbours import BlockSizes, Neighbours, nearest
from tests.backbones.cpu.test_threads import ChosenCores
from tests.tasks.memory import peak_bytes

FLOAT = 4


def features(rows: int, dimensions: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dimensions), dtype=np.float32)


def on_disk(folder: Path, rows: int, dimensions: int) -> np.ndarray:
    """A half-precision bank in a file, memory-mapped like the feature store's."""
    np.save(folder / f"{rows}.npy", features(rows, dimensions).astype(np.float16))
    mapped: np.ndarray = np.load(folder / f"{rows}.npy", mmap_mode="r")
    return mapped


def by_sorting(queries: np.ndarray, bank: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, bank.astype(np.float32))]
    similarity = unit[0] @ unit[1].T
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :kept]
    return np.take_along_axis(similarity, order, axis=1), order


@pytest.fixture
def few_queries_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_neighbours, "QUERIES_HELD", 40)


@pytest.mark.parametrize("block", [7, 64, 1000])
@pytest.mark.parametrize("kept", [1, 5, 30, 400])
def test_blocks_give_the_neighbours_that_sorting_everything_gives(
    few_queries_held: None, block: int, kept: int
) -> None:
    queries, bank = features(97, seed=1), features(300)
    found = nearest(queries, bank, kept, blocks=BlockSizes(block, 16))
    similarity, order = by_sorting(queries, bank, kept)
    assert found.similarity.numpy() == pytest.approx(similarity, abs=1e-6)
    assert np.mean(found.index.numpy() == order) > 0.999


def test_a_bank_that_gets_better_block_by_block_is_found_whole(few_queries_held: None) -> None:
    """Every block replaces all earlier neighbours: the shortcut for blocks with few of them must lose none."""
    query, angles = np.array([[1.0, 0.0]], dtype=np.float32), np.linspace(1.5, 0.1, 50)
    bank = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert nearest(query, bank, 6, blocks=BlockSizes(4, 16)).index.tolist() == [[49, 48, 47, 46, 45, 44]]


@pytest.mark.parametrize("by_numpy", [("cpu",), ()], ids=["NumPy selects", "torch selects, as on other devices"])
@pytest.mark.parametrize("blocks", [None, BlockSizes(7, 5), BlockSizes(64, 97)])
def test_of_equally_similar_rows_the_first_ones_count(
    few_queries_held: None, blocks: BlockSizes | None, by_numpy: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of 64 signs: every norm is 8 and every similarity one of 65 numbers, without rounding."""
    monkeypatch.setattr(nearest_neighbours, "BY_NUMPY", by_numpy)
    signs = np.sign(features(397, 64)).astype(np.float32)
    queries, bank = signs[:97], signs[97:][np.random.default_rng(5).integers(120, size=300)]
    for kept in (1, 10, 50, 300):
        found = nearest(queries, bank, kept, blocks=blocks)
        similarity, order = by_sorting(queries, bank, kept)
        assert np.array_equal(found.similarity.numpy(), similarity)
        assert np.array_equal(found.index.numpy(), order)


@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-5])
def test_neighbours_are_those_of_scikit_learn_with_duplicates_and_near_ties(noise: float) -> None:
    """The same similarities up to rounding; the same rows, except those as similar as the last neighbour."""
    generator = np.random.default_rng(6)
    bank = np.abs(features(700, 96))[generator.integers(700, size=5000)]  # about seven of each
    bank += noise * generator.standard_normal(bank.shape, dtype=np.float32)
    queries, kept, rounding = np.abs(features(300, 96, seed=1)), 40, 1e-6
    found = nearest(queries, bank, kept)
    exact = NearestNeighbors(metric="cosine", algorithm="brute").fit(bank.astype(np.float64))
    distance, rows = exact.kneighbors(queries.astype(np.float64), n_neighbors=kept)
    assert np.abs(found.similarity.numpy() - (1 - distance)).max() < rounding
    for mine, theirs, far in zip(found.index.numpy(), rows, distance, strict=True):
        surely = theirs[far < far[-1] - rounding]
        assert np.isin(surely, mine).all()
        assert len(np.unique(mine)) == kept


def test_progress_is_told_block_by_block_for_every_reading_of_the_bank(few_queries_held: None) -> None:
    class Listener(SilentReporter):
        def __init__(self) -> None:
            self.total, self.done = 0, list[int]()

        def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
            self.total = total or 0

        def advance(self, count: int = 1) -> None:
            self.done.append(count)

    listener = Listener()
    nearest(features(97), features(300), 5, blocks=BlockSizes(128, 16), reporter=listener)
    assert listener.done == 3 * [128, 128, 44]
    assert sum(listener.done) == listener.total


def test_a_tensor_that_is_searched_stays_as_it_was() -> None:
    bank = torch.from_numpy(features(50))
    before = bank.clone()
    nearest(bank, bank, 3)
    assert torch.equal(bank, before)


def test_a_bank_of_several_stored_parts_is_the_bank_of_their_rows(few_queries_held: None) -> None:
    first, second = features(50), features(80, seed=2)
    chosen = np.arange(0, 80, 3)
    parts = StoredRows(((first, np.arange(50)), (second, chosen)))
    together = np.concatenate([first, second[chosen]])
    assert parts.shape == together.shape
    assert np.shares_memory(parts[10:40], first), "neighbouring rows are a view"
    for start, stop in ((0, 77), (0, 10), (45, 55), (50, 77), (60, 61), (77, 90)):
        assert np.array_equal(parts[start:stop], together[start:stop])
    queries = features(20, seed=3)
    assert torch.equal(nearest(queries, parts, 5, blocks=BlockSizes(9, 16)).index, nearest(queries, together, 5).index)


def test_half_precision_banks_are_searched_in_single_precision(few_queries_held: None) -> None:
    queries, bank = features(30, seed=1), features(200).astype(np.float16)
    assert torch.equal(
        nearest(queries, bank, 9, blocks=BlockSizes(32, 16)).similarity,
        nearest(queries, bank.astype(np.float32), 9, blocks=BlockSizes(32, 16)).similarity,
    )


def test_memory_does_not_grow_with_the_bank(tmp_path: Path, few_queries_held: None) -> None:
    """The bound in the docstring, in bytes, for a bank of 4,000 rows and one of 64,000, in blocks of 500."""
    queries, block, dimensions, kept = features(60, 64), 500, 64, 20
    banks = [on_disk(tmp_path, rows, dimensions) for rows in (4_000, 64_000)]
    peaks = [peak_bytes(lambda bank=bank: search(queries, bank, kept, block)) for bank in banks]  # type: ignore[misc]
    answers = 2 * 60 * kept * (FLOAT + 8)
    bound = FLOAT * ((40 + 3 * block) * dimensions + 10 * 16 * block + 8 * 40 * kept) + answers
    assert max(peaks) < bound
    assert peaks[1] < 1.05 * peaks[0]
    assert bound < banks[1].nbytes / 8
    assert bound < FLOAT * 60 * len(banks[1]) / 8, "all similarities at once would be seen"


def test_counting_memory_sees_a_whole_matrix_of_similarities() -> None:
    """Control: without this the test above could not fail."""
    queries, bank = torch.randn(60, 8), torch.randn(5_000, 8)
    assert peak_bytes(lambda: (queries @ bank.T).topk(3)) >= FLOAT * 60 * 5_000
    assert peak_bytes(lambda: np.zeros((60, 5_000), np.float32).sum()) >= FLOAT * 60 * 5_000


def search(queries: FeatureRows, bank: FeatureRows, kept: int, block: int) -> Neighbours:
    return nearest(queries, bank, kept, blocks=BlockSizes(block, 16))


def test_a_long_search_follows_the_free_cores_and_finds_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor, seen, usual = ChosenCores(), list[int](), torch.get_num_threads()
    update = nearest_neighbours.RunningTopK.update

    def noted(self: nearest_neighbours.RunningTopK, similarity: torch.Tensor, first: int) -> None:
        seen.append(torch.get_num_threads())
        update(self, similarity, first)

    monkeypatch.setattr(nearest_neighbours.RunningTopK, "update", noted)
    monkeypatch.setattr(nearest_neighbours, "LONG", 0)
    monkeypatch.setattr(threads, "core_monitor", lambda: monitor)
    torch.set_num_threads(2)
    try:
        found = []
        for monitor.now in (2, 1):
            found.append(nearest(features(40), features(400, seed=1), 5, blocks=BlockSizes(bank=100, queries=40)))
    finally:
        torch.set_num_threads(usual)
    assert seen == [2] * 4 + [1] * 4
    assert torch.equal(found[0].similarity, found[1].similarity)
    assert torch.equal(found[0].index, found[1].index)
