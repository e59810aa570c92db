"""Features of JPEG files: the whole pipeline beside forward passes alone and beside the published loop.

    python -m tests.benchmarks.extraction [--quick] [--precision bfloat16] [--models resnet50 ...]

Ours runs as in a worker, which keeps the memory that it frees. Bare forward pass: the same network, layout, precision,
memory and parts, images ready in memory, on the same threads; what is missing to 1 is what decoding, resizing,
normalising, and storing the features durably add. On a CPU these need the cores that the model needs, so 1 cannot be
reached: the row says what share of all processor time they take, `at best`. In a process of their own, as a script
runs: the plain forward pass, of the model as it was loaded, images ready in memory; and the published loop: a
DataLoader with one worker and the chain of Pillow images, rows appended to a list.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from backbones.catalog.card import (
    BackboneCard,
    FactsCard,
    InputCard,
    Precision,
    PreprocessingSpec,
    RandomWeights,
    identity,
    preprocessing_for,
)
from backbones.catalog.weights_folder import WeightsFolder
from backbones.cpu.malloc import keep_freed_memory
from backbones.model.encoder import Encoder
from backbones.model.precision import arithmetic
from backbones.model.preprocessing import normalise, prepare, stack
from tasks.datasets.dataset import SourceSplit
from tasks.datasets.images import FileImages, pixels_of
from tasks.features.decoded_images import DecodedImages
from tasks.features.extraction import Machine
from tasks.features.manifest import FeatureKey
from tasks.features.store import FeatureRequest, FeatureStore
from tasks.reporter import SilentReporter
from tests.benchmarks._comparison import Timing, in_turns, row, timed
from tests.benchmarks._options import parser
from tests.benchmarks._photographs import MEAN, STD, photographs, published_chain
from tests.benchmarks._record import Row, keep, tell

MODELS = {"resnet50": "ResNet-50", "vit_small_patch16_224": "ViT-S/16"}
SMALL = "test_resnet"
FILES, BATCH, SIZE = 256, 64, (500, 375)


def main() -> int:
    """Print and store the comparisons of every model."""
    options = parser(__doc__)
    options.add_argument("--models", nargs="+", help=f"timm's names; without: {', '.join(MODELS)}")
    options.add_argument("--precision", choices=get_args(Precision), default="float32")
    options.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch; every core by default")
    given = options.parse_args()
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    rows: list[Row] = []
    script = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with tempfile.TemporaryDirectory() as folder, script:
        for name in given.models or ((SMALL,) if given.quick else MODELS):
            rows += compared(Subject.made(Path(folder), name, given), script, given)
        rows.append(second_backbone(Subject.made(Path(folder), SMALL, given), 1 if given.quick else 5))
    title = f"Features of JPEG files of {SIZE[0]} x {SIZE[1]}, {given.precision}, {given.threads} threads"
    keep("extraction" if given.precision == "float32" else "extraction_bfloat16", title, rows, given.results)
    return 0


@dataclass(frozen=True)
class Subject:
    """A backbone, files, and a folder for features."""

    folder: Path
    encoder: Encoder
    split: SourceSplit

    @classmethod
    def made(cls, folder: Path, architecture: str, given: Namespace) -> Subject:
        """Random weights: speed does not depend on them."""
        split = photographs(folder, 2 if given.quick else FILES, SIZE)
        return cls.on(folder, architecture, split, given.precision)

    @classmethod
    def on(
        cls, folder: Path, architecture: str, split: SourceSplit, precision: Precision = "float32", device: str = "cpu"
    ) -> Subject:
        """Random weights, on a device, over given files."""
        return cls(folder, Encoder.load(_card(architecture), WeightsFolder(folder), device, precision), split)

    def pipeline(self, decoded: DecodedImages | None = None, machine: Machine | None = None) -> None:
        """Features through a new feature store."""
        spec = preprocessing_for(self.encoder.card, "paper")
        key = FeatureKey(identity(self.encoder.card, self.encoder.weights_digest, spec), self.split.images_digest)
        request = FeatureRequest(key, self.encoder.card.name, "photographs", self.split, spec)
        with tempfile.TemporaryDirectory(dir=self.folder) as store:
            FeatureStore(Path(store), machine or Machine(batch_size=BATCH), decoded).features(
                request, lambda: self.encoder, SilentReporter()
            )

    def batch(self) -> Tensor:
        """All images as the model's input."""
        spec = preprocessing_for(self.encoder.card, "paper")
        places = range(len(self.split.images))
        batch = normalise(stack([prepare(pixels_of(self.split.images, place), spec) for place in places]), spec)
        weight = next(p for p in self.encoder.network.parameters() if p.ndim == 4)
        last = weight.is_contiguous(memory_format=torch.channels_last)
        return batch.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    @torch.inference_mode()
    def bare(self, batch: Tensor) -> None:
        """The forward pass only."""
        with arithmetic(self.encoder.device, self.encoder.precision):
            for part in self.encoder.parts(batch):
                self.encoder.network(part)


def forwarded(encoder: Encoder, images: Tensor, spec: PreprocessingSpec, rounds: int) -> None:
    """The same prepared images [b, 3, h, w] through the encoder repeatedly, with device synchronisation."""
    for _ in range(rounds):
        features = encoder.encode(images, spec)
    features.cpu()


def _card(architecture: str) -> BackboneCard:
    return BackboneCard(
        name=f"benchmark/{architecture}",
        title="",
        architecture=architecture,
        weights=RandomWeights(),
        input=InputCard(size=224, mean=MEAN, std=STD),
        facts=FactsCard(method="none"),
    )


@dataclass(frozen=True)
class Chained(Dataset[Tensor]):
    """Images through the published preprocessing."""

    split: SourceSplit

    def __len__(self) -> int:
        return len(self.split.images)

    def __getitem__(self, place: int) -> Tensor:
        assert isinstance(self.split.images, FileImages)
        with (self.split.images.root / self.split.images.files[place]).open("rb") as file:
            made: Tensor = published_chain()(Image.open(file).convert("RGB"))
        return made


@dataclass(frozen=True)
class Script:
    """A plain script on the same files: the model as loaded, in the default memory layout."""

    split: SourceSplit
    model: torch.nn.Module
    images: Tensor
    """All images as the model's input."""

    @classmethod
    @functools.cache
    def made(cls, folder: Path, architecture: str, threads: int, quick: bool) -> Script:
        """Run once per process, in float32."""
        torch.set_num_threads(threads)
        subject = Subject.made(folder, architecture, Namespace(quick=quick, precision="float32"))
        usual = torch.contiguous_format
        model = subject.encoder.model.to(memory_format=usual)
        return cls(subject.split, model, subject.batch().contiguous(memory_format=usual))

    @torch.no_grad()
    def plain(self) -> None:
        """The forward pass only."""
        for batch in torch.split(self.images, BATCH):
            self.model(batch)

    @torch.no_grad()
    def published(self) -> None:
        """linear.py of linusericsson/ssl-transfer, from its description: loader, no gradients, lists of rows."""
        rows: list[Tensor] = []
        for images in DataLoader(Chained(self.split), batch_size=BATCH, num_workers=1):
            rows.extend(self.model(images).cpu())
        torch.stack(rows).numpy()


def scripted(way: str, *made: object) -> Timing:
    """Duration of a script's method, measured in its own process."""
    return timed(getattr(Script.made(*made), way))[0]


def compared(subject: Subject, script: ProcessPoolExecutor, given: Namespace) -> list[Row]:
    """One model, four methods alternately."""
    batch, architecture = subject.batch(), subject.encoder.card.architecture
    theirs = (subject.folder, architecture, given.threads, given.quick)
    ways: dict[str, Callable[[], object]] = {
        "ours": subject.pipeline,
        "bare": lambda: subject.bare(batch),
        "plain": lambda: script.submit(scripted, "plain", *theirs).result(),
        "published": lambda: script.submit(scripted, "published", *theirs).result(),
    }
    for way in ways.values():
        way()
    found = in_turns(ways, 1 if given.quick else 3)
    preparing, _ = timed(subject.batch)
    bare_cpu = min(timing.cpu_s for timing in found["bare"])
    at_best = bare_cpu / (bare_cpu + preparing.cpu_s)
    ours, work = found["ours"], f"{MODELS.get(architecture, architecture)}, {len(subject.split.images)} files"
    rows = [
        row(work, "the bare forward pass (1x: as fast)", ours, found["bare"], goal=0.95, at_best=at_best),
        row(work, "the plain forward pass, float32 (1x: as fast)", ours, found["plain"], goal=0.95),
        row(work, "the published loop, float32", ours, found["published"], goal=2.5),
    ]
    for one in rows:
        tell(one)
    return rows


def second_backbone(subject: Subject, turns: int) -> Row:
    """Time saved for a second, small backbone by decoded images of the first."""
    shared = DecodedImages(subject.folder / "decoded", 10**9)
    subject.pipeline(shared)
    found = in_turns({"ours": lambda: subject.pipeline(shared), "alone": subject.pipeline}, turns)
    work = f"a second, small backbone ({SMALL}) on the same files, decoded images shared"
    made = row(work, "decoding for itself", found["ours"], found["alone"])
    tell(made)
    return made


if __name__ == "__main__":
    sys.exit(main())
