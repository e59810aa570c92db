"""How fast images reach the encoder, with an encoder that costs nothing, and what of it no second core can share.

    python -m tests.benchmarks.decoding [--quick]

No device is needed. One and two cores: the process is bound to them. Lock: processor time per image of the whole
pipeline on tiny images, less that of its calls that release the lock (reading, decoding, resizing, copying) on the same
images. Sixteen cores, simulated: what sixteen cores do at the pipeline's processor time per image with sixteen threads,
unless the lock allows less. Decoded images: the pipeline with an encoder that takes the time of `PACED` images per
second and core and leaves the processor idle, compared with that encoder alone. Other ways: the published loop
(torchvision's ImageFolder with the published transforms, DataLoader) with as many workers as this has threads; and one
task per image in threads that each have a team of torch's own, as many of both as a machine of sixteen cores has.
Compare processor time, as a busy machine gives more to whoever has more threads.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import simplejpeg
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from backbones.catalog.card import PreprocessingSpec
from backbones.cpu.malloc import keep_freed_memory
from backbones.model.preprocessing import Picture, prepare, prepared_view
from tasks.datasets.dataset import SourceSplit
from tasks.datasets.images import FileImages, pixels_of
from tasks.features.decoded_images import DecodedImages, DecodedRows
from tasks.features.extraction import EncoderLike, Extraction, Machine, SplitImages
from tasks.reporter import SilentReporter
from tests.benchmarks._comparison import Timing, in_turns, row, timed
from tests.benchmarks._options import parser
from tests.benchmarks._photographs import MEAN, STD, photographs, published_chain
from tests.benchmarks._record import Figure, Row, keep, tell

SIZE, CROP = (500, 375), 224
SMALL_SIDE = 16
CORES = 16
LOCK_LIMIT = 5.0
"""Percent of an image's processor time."""
SIMULATED_GOAL = 75.0
"""Percent of sixteen times what one core decodes and resizes."""
PACED = 14_018 / 16
"""Images per second and core: a ResNet-50's in bfloat16 on an H200 with sixteen cores."""
ROUNDS = 4
"""Passes over the decoded images."""
TIME_LIMIT = 1 / 0.9
"""Goal: from decoded images at least 90 % of the bare forward pass."""


class FreeEncoder:
    """Gives zeros."""

    dimension = 8

    def prepare(self, image: Picture, spec: PreprocessingSpec) -> Tensor:
        """One image as uint8 [3, h, w]."""
        return prepared_view(image, spec)

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        """[b, 8]."""
        return torch.zeros(len(batch), self.dimension)


class PacedEncoder(FreeEncoder):
    """Gives zeros after the time that a device would take, in which the processor is idle."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        """[b, 8]."""
        time.sleep(len(batch) / self.per_second)
        return super().encode(batch, spec)


FREE = FreeEncoder()


def spec(side: int) -> PreprocessingSpec:
    """The paper's, for crops of `side` pixels."""
    return PreprocessingSpec("paper", side, side, "shorter", "bicubic", MEAN, STD)


def extract(
    split: SourceSplit,
    side: int,
    threads: int,
    decoded: DecodedRows | None = None,
    encoder: EncoderLike = FREE,
    rounds: int = 1,
) -> None:
    """Everything of the pipeline but the disk, `rounds` times over the images."""
    source = SplitImages("free", "photographs/train", split.images, split.identifiers)
    machine = Machine(batch_size=64, decode_threads=threads)
    extraction = Extraction(source, encoder, spec(side), machine, SilentReporter(), decoded)
    for _ in extraction.shards([(0, len(split.images))] * rounds):
        pass


def by_single_tasks(split: SourceSplit, threads: int) -> None:
    """One task per image; every thread has the team that torch gives it."""
    usual = torch.get_num_threads()
    torch.set_num_threads(CORES)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda place: prepare(pixels_of(split.images, place), spec(CROP)), range(len(split.images))):
            pass
    torch.set_num_threads(usual)


def image_folder(split: SourceSplit, folder: Path) -> Path:
    """The files as a folder of one class, by links."""
    assert isinstance(split.images, FileImages)
    (folder / "all").mkdir(parents=True)
    for name in split.images.files:
        (folder / "all" / name).symlink_to(split.images.root / name)
    return folder


def by_published_loop(root: Path, workers: int) -> None:
    """Pillow's chain in worker processes, batches that are dropped."""
    images = ImageFolder(root, published_chain(CROP))
    for _ in DataLoader(images, batch_size=64, num_workers=workers, multiprocessing_context="fork"):
        pass


def bound(cores: int, folder: Path, count: int) -> Timing:
    """The pipeline in this process, bound to this number of cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    torch.set_num_threads(cores)
    keep_freed_memory()
    split = photographs(folder, count, SIZE)
    extract(split, CROP, cores)
    return min((timed(lambda: extract(split, CROP, cores))[0] for _ in range(3)), key=lambda one: one.wall_s)


def alone_us(split: SourceSplit) -> float:
    """Processor time of decoding and resizing one image, in microseconds, without any pipeline."""
    best, usual = float("inf"), torch.get_num_threads()
    torch.set_num_threads(1)  # a team's waiting would count
    for _ in range(3):
        begun = time.thread_time()
        for place in range(len(split.images)):
            prepare(pixels_of(split.images, place), spec(CROP))
        best = min(best, 1e6 * (time.thread_time() - begun) / len(split.images))
    torch.set_num_threads(usual)
    return best


def pipeline_us(split: SourceSplit, side: int, threads: int, decoded: DecodedRows | None = None) -> float:
    """Processor time per image of the pipeline, in microseconds: the least of five."""
    timings = (timed(lambda: extract(split, side, threads, decoded))[0] for _ in range(5))
    return 1e6 * min(timing.cpu_s for timing in timings) / len(split.images)


def released_us(split: SourceSplit) -> float:
    """Processor time of what releases the lock, per image of `split`, in microseconds."""
    images, usual = split.images, torch.get_num_threads()
    assert isinstance(images, FileImages)
    content = images.content(0)
    array = simplejpeg.decode_jpeg(content, colorspace="RGB", strict=True)
    pixels = torch.from_numpy(array)[None].permute(0, 3, 1, 2)
    resize, room = torch.ops.aten._upsample_bicubic2d_aa.default, torch.empty(SMALL_SIDE // 2, SMALL_SIDE // 2, 3)
    small = pixels[0, :, : SMALL_SIDE // 2, : SMALL_SIDE // 2].permute(1, 2, 0)
    calls: Sequence[Callable[[], object]] = (
        lambda: images.content(0),
        lambda: simplejpeg.decode_jpeg(content, colorspace="RGB", strict=True),
        lambda: resize(pixels, [SMALL_SIDE // 2 + 1] * 2, False, 0.5, 0.5),
        lambda: room.copy_(small),
    )
    torch.set_num_threads(1)
    found = sum(_least_us(call) for call in calls)
    torch.set_num_threads(usual)
    return found


def _least_us(call: Callable[[], object], times: int = 500) -> float:
    best = float("inf")
    for _ in range(5):
        begun = time.thread_time()
        for _ in range(times):
            call()
        best = min(best, 1e6 * (time.thread_time() - begun) / times)
    return best


def figures(folder: Path, count: int) -> Iterator[Figure]:
    """Everything but the comparison."""
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as other:
        for number in (1, 2)[: min(2, cores)]:
            (folder / str(number)).mkdir()
            timing = other.submit(bound, number, folder / str(number), count).result()
            yield Figure(f"{number} core{'s'[: number > 1]}, images per second", count / timing.wall_s, "1/s")
    split, small = photographs(folder, count, SIZE), photographs(folder, 8 * count, (SMALL_SIDE, SMALL_SIDE))
    extract(split, CROP, cores)
    alone, whole = alone_us(split), pipeline_us(split, CROP, CORES)
    tiny = pipeline_us(small, SMALL_SIDE // 2, 1)
    lock = tiny - released_us(small)
    yield Figure("decoding and resizing one image, of a core", alone, "us")
    yield Figure("the pipeline, processor time per image", whole, "us")
    yield Figure("the pipeline on tiny images, processor time per image", tiny, "us")
    yield Figure("of it under the lock", lock, "us")
    yield Figure("share of an image's time under the lock", 100 * lock / whole, "%", LOCK_LIMIT)
    simulated = min(CORES / whole, 1 / lock) * 1e6
    ideal = CORES / alone * 1e6
    yield Figure(f"{CORES} cores, simulated", simulated, "1/s", note=f"{100 * simulated / ideal:.0f} % of {ideal:.0f}")
    with DecodedImages(folder / "decoded", 10**10).rows("0" * 64, count, spec(CROP)) as decoded:
        extract(split, CROP, cores, decoded)
        kept = pipeline_us(split, CROP, cores, decoded)
        paced = paced_times(split, cores, decoded)
    yield Figure(
        "from decoded images, processor time per image", kept, "us", note=f"{CORES / kept * 1e6:.0f} 1/s of 16"
    )
    title = f"from decoded images, an encoder of {PACED * cores:,.0f} images/s: time of the pipeline to its own"
    yield Figure(title, paced, "x", TIME_LIMIT)


def paced_times(split: SourceSplit, cores: int, decoded: DecodedRows | None) -> float:
    """Time of the pipeline from decoded images relative to that of the encoder alone: the least of five turns."""
    encoder = PacedEncoder(PACED * cores)
    batch = torch.zeros(64, 3, CROP, CROP, dtype=torch.uint8)
    count = ROUNDS * len(split.images) // len(batch)
    ways: dict[str, Callable[[], object]] = {
        "whole": lambda: extract(split, CROP, cores, decoded, encoder, ROUNDS),
        "alone": lambda: [encoder.encode(batch, spec(CROP)) for _ in range(count)],
    }
    found = in_turns(ways, 5)
    return min(a.wall_s / b.wall_s for a, b in zip(found["whole"], found["alone"], strict=True))


def compared_with_published(split: SourceSplit, root: Path, workers: int, turns: int) -> Row:
    """The pipeline compared with the published loop with as many workers as the pipeline has threads."""
    ways = {
        "ours": lambda: extract(split, CROP, workers),
        "published": lambda: by_published_loop(root, workers),
    }
    found = in_turns(ways, turns)
    work, other = f"{len(split.images)} images, decoding threads: {workers}", "the published loop with as many workers"
    return row(work, other, found["ours"], found["published"], goal=1.0)


def main() -> int:
    """Print and keep."""
    given = parser(__doc__).parse_args()
    keep_freed_memory()
    count = 64 if given.quick else 512
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = list(figures(folder, count))
        split = photographs(folder, count, SIZE)
        ways = {
            "ours": lambda: extract(split, CROP, CORES),
            "single": lambda: by_single_tasks(split, CORES),
        }
        turns = 3 if given.quick else 7
        timings = in_turns(ways, turns)
        other = f"one task per image in {CORES} threads with teams of {CORES}"
        rows = [row(f"{count} images, {CORES} decoding threads", other, timings["ours"], timings["single"], goal=1.0)]
        root = image_folder(split, folder / "published")
        rows += [compared_with_published(split, root, workers, turns) for workers in (1, 2)]
    for line in (*rows, *found):
        tell(line)
    keep(
        "decoding",
        f"JPEG files of {SIZE[0]} x {SIZE[1]} to batches, an encoder that costs nothing",
        rows,
        given.results,
        found,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
