"""Nearest neighbours in a memory-mapped half-precision bank, beside scikit-learn and beside sorting all similarities.

    python -m tests.benchmarks.knn [--quick] [--imagenet [--folder DIR]]

`--imagenet` searches a bank as large as ImageNet's, 1,281,167 x 2,048, which takes 5.3 GB of disk in DIR while it runs;
there the other way is the matrix product alone, of the same blocks.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from backbones.cpu.malloc import keep_freed_memory
from backbones.cpu.matmul import matmul_transposed
from tasks.solvers.nearest_neighbours import CACHED, nearest
from tests.benchmarks._comparison import in_turns, row, timed
from tests.benchmarks._options import parser
from tests.benchmarks._record import Figure, Row, keep, tell
from tests.tasks.memory import peak_bytes

DIMENSIONS, NEIGHBOURS = 2048, 200
IMAGENET = 1_281_167
MEBIBYTE = 2**20
TITLE = f"Nearest neighbours, {NEIGHBOURS} of them in {DIMENSIONS:,} dimensions"

Floats = npt.NDArray[np.float32]


def main() -> int:
    """Print and store the comparisons."""
    options = parser(__doc__)
    options.add_argument("--imagenet", action="store_true", help="a bank of 1,281,167 rows instead")
    options.add_argument("--folder", type=Path, help="where its file may be while this runs")
    given = options.parse_args()
    keep_freed_memory()  # as in a worker; the alternatives profit too
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, threadpool_limits(1):
        if given.imagenet:
            rows, figures = as_large_as_imagenet(Path(folder), 64 if given.quick else 1000)
        else:
            rows, figures = side_by_side(Path(folder), given)
    for line in (*rows, *figures):
        tell(line)
    keep("knn_imagenet" if given.imagenet else "knn", TITLE, rows, given.results, figures)
    return 0


def side_by_side(folder: Path, given: Namespace) -> tuple[list[Row], list[Figure]]:
    """Three methods alternately: ours from disk, the others with the bank in memory as float32."""
    count, asked, turns = (5_000, 200, 1) if given.quick else (40_000, 1_000, 5)
    bank, queries = stored(folder, count), features(asked, 1)
    whole = np.asarray(bank, dtype=np.float32)
    ways = {
        "ours": lambda: nearest(queries, bank, NEIGHBOURS),
        "scikit-learn, brute force": lambda: by_scikit_learn(queries, whole),
        "all similarities in one matrix, sorted": lambda: by_sorting(queries, whole),
    }
    found = in_turns(ways, turns)
    work = f"{asked:,} images in a bank of {count:,}"
    rows = [row(work, name, found["ours"], found[name], goal=2.0) for name in list(ways)[1:]]
    return rows, [
        Figure("memory of ours beside the bank", peak_bytes(ways["ours"]) / MEBIBYTE, "MiB", note="counted"),
        Figure("memory of all similarities in one matrix", 4 * asked * count / MEBIBYTE, "MiB", note="of the matrix"),
    ]


def as_large_as_imagenet(folder: Path, asked: int) -> tuple[list[Row], list[Figure]]:
    """Once, streamed from disk; the matrix product alone for every tenth block."""
    making, bank = timed(lambda: stored(folder, IMAGENET))
    tell(f"made a bank of {bank.nbytes / 1e9:.2f} GB in {making.wall_s:.0f} s")
    queries = features(asked, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ours, _ = timed(lambda: nearest(queries, bank, NEIGHBOURS))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    product, _ = timed(lambda: products(queries, IMAGENET))
    work = f"{asked:,} images in a bank of {IMAGENET:,}, streamed from the disk"
    rows = [row(work, "the matrix products alone, from memory", [ours], [product])]
    return rows, [
        Figure(work, ours.wall_s, "s"),
        Figure("images a second", asked / ours.wall_s, "1/s", note=f"{torch.get_num_threads()} thread"),
        Figure("resident memory before, pages of the file included", before, "MiB"),
        Figure("resident memory at its highest, pages of the file included", after, "MiB"),
    ]


def features(rows: int, seed: int) -> Floats:
    """Rectified noise around 1,000 directions, with similarities like those of pooled ResNet features."""
    generator = np.random.default_rng(seed)
    means = np.random.default_rng(0).standard_normal((1000, DIMENSIONS), dtype=np.float32)
    made = means[generator.integers(1000, size=rows)] + generator.standard_normal((rows, DIMENSIONS), dtype=np.float32)
    return np.asarray(np.maximum(made, 0.0), dtype=np.float32)


def stored(folder: Path, rows: int) -> npt.NDArray[np.float16]:
    """A half-precision bank in a file, memory-mapped like the feature store's arrays."""
    made = np.lib.format.open_memmap(folder / "bank.npy", mode="w+", dtype=np.float16, shape=(rows, DIMENSIONS))
    pattern = features(16_384, 2).astype(np.float16)
    generator = np.random.default_rng(3)
    for start in range(0, rows, len(pattern)):  # shifted copies of one block: fast to create, all different
        part = made[start : start + len(pattern)]
        part[:] = np.roll(pattern, int(generator.integers(DIMENSIONS)), axis=1)[: len(part)]
    made.flush()
    return np.load(folder / "bank.npy", mmap_mode="r")  # type: ignore[no-any-return]


def by_scikit_learn(queries: Floats, bank: Floats) -> object:
    """As in typical use."""
    found = NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine", algorithm="brute").fit(bank)
    return found.kneighbors(queries)


def by_sorting(queries: Floats, bank: Floats) -> object:
    """The simplest implementation."""
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, bank)]
    similarity = unit[0] @ unit[1].T
    order = np.argsort(-similarity, axis=1)[:, :NEIGHBOURS]
    return np.take_along_axis(similarity, order, axis=1), order


def products(queries: Floats, rows: int) -> None:
    """The minimum floating-point work, on one block that stays in memory."""
    block, asked = torch.rand(CACHED.bank, DIMENSIONS), torch.from_numpy(queries)
    for start in range(0, rows, CACHED.bank):
        for part in torch.split(asked, CACHED.queries):
            matmul_transposed(part, block[: min(CACHED.bank, rows - start)])


if __name__ == "__main__":
    sys.exit(main())
