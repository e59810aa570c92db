"""Speed on the device: extraction, decoded images, the regularisation path, nearest neighbours."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from backbones.catalog.card import Precision, preprocessing_for
from backbones.cpu.malloc import keep_freed_memory
from backbones.cpu.optimise import TOLERANCE
from backbones.model.preprocessing import prepare, stack
from tasks.datasets.dataset import SourceSplit
from tasks.datasets.images import FileImages, pixels_of
from tasks.features.decoded_images import DecodedImages
from tasks.features.device_decoding import DeviceDecodedImages, usable_decoder
from tasks.features.extraction import Machine
from tasks.features.manifest import Decoder
from tasks.reporter import SilentReporter
from tasks.solvers.logistic import Settings, solve_path
from tasks.solvers.nearest_neighbours import nearest
from tests.benchmarks._features import made_up
from tests.benchmarks._photographs import photographs
from tests.benchmarks.extraction import SIZE, SMALL, Chained, Subject, forwarded
from tests.benchmarks.knn import DIMENSIONS, IMAGENET, NEIGHBOURS, features
from tests.benchmarks.linear_path_cuda import SIZES, compared
from tests.gpu.proof.record import Check, Setting

FILES, TIMES = 1024, 8
"""Number of files, and how often each is listed: enough images for a GPU, without minutes of encoding them first."""
NETWORKS: Sequence[tuple[str, Precision]] = (
    ("resnet50", "float32"),
    ("resnet50", "bfloat16"),
    ("resnet50", "float16"),
    ("vit_small_patch16_224", "bfloat16"),
)
DECODERS: Sequence[Decoder] = ("cpu", "nvjpeg")
BATCH = 256
TINY = (800, 32, 4)
"""Samples, dimensions and classes of a path that takes a second."""
OCCUPIED = (20_000, 1024, 100)
"""The same of one whose device time is measured."""
OF_BARE, OF_PUBLISHED = 0.9, 1.0
"""Goals: relative to the bare forward pass from decoded images, and to the published loop with as many workers as
cores."""


def extraction(setting: Setting) -> Sequence[Check]:
    """Images per second of the pipeline, the forward pass from bytes on the host, and the published loop."""
    keep_freed_memory()
    split = listed_files(setting)
    checks = []
    for architecture, precision in _networks(setting):
        subject = _subject(setting, architecture, precision, split)
        bare, whole = (
            _bare(setting, subject),
            _piped(subject),
        )
        name = f"{architecture} at {precision}"
        checks += [
            Check(f"{name}: bare forward pass", bare, "images/s"),
            Check(f"{name}: pipeline", whole, "images/s", None if setting.rehearsal else whole >= _published(subject)),
            Check(f"{name}: pipeline of bare", whole / bare),
            *_weights_cast_once(setting, subject, name),
        ]
    return [*checks, Check("the published loop, last network", _published(subject), "images/s")]


def _weights_cast_once(setting: Setting, subject: Subject, name: str) -> Sequence[Check]:
    """In half precision: features and speed compared with weights that are cast in every batch."""
    encoder, spec = subject.encoder, preprocessing_for(subject.encoder.card, "paper")
    if encoder.network is encoder.model:
        return ()
    images = prepared(subject, 16 if setting.rehearsal else BATCH)
    with torch.inference_mode():
        ours, theirs = (encoder._pooled(network, images, spec) for network in (encoder.network, encoder.model))
    apart = float((ours - theirs).norm() / theirs.norm())
    speeds = []
    for network in (encoder.network, encoder.model):
        encoder.network = network
        forwarded(encoder, images, spec, 2)
        speeds.append(speed(4 * len(images), lambda: forwarded(encoder, images, spec, 4)))
    return [
        Check(f"{name}: features with weights cast once, relative difference", apart, holds=apart <= TOLERANCE),
        Check(f"{name}: speed with weights cast once, to cast in every batch", speeds[0] / speeds[1], "x"),
    ]


def decoded(setting: Setting) -> Sequence[Check]:
    """Images per second from the store of decoded images."""
    keep_freed_memory()
    split, checks = listed_files(setting), []
    for architecture, precision in _networks(setting)[:2]:
        subject = _subject(setting, architecture, precision, split)
        store = DecodedImages(setting.folder / "decoded", 10**11)
        subject.pipeline(store, _machine())
        rate = _piped(subject, store)
        ratio = rate / _bare(setting, subject)
        name = f"{architecture} at {precision}, decoded"
        checks.append(Check(name, rate, "images/s"))
        checks.append(Check(f"{name}, of bare", ratio, holds=None if setting.rehearsal else ratio >= OF_BARE))
    return checks


def nvjpeg(setting: Setting) -> Sequence[Check]:
    """Images per second with files decoded on the device, and how far pixels and features are from the threads'."""
    split = listed_files(setting)
    architecture, precision = _networks(setting)[-1]
    subject = _subject(setting, architecture, precision, split)
    checks = []
    if not setting.rehearsal:
        checks.append(Check("engine", usable_decoder("nvjpeg", setting.device, SilentReporter())))
    speeds = {name: speed(len(split.images), partial(subject.pipeline, None, _machine(name))) for name in DECODERS}
    title = f"{architecture} at {precision}, decoded by"
    checks += [Check(f"{title} {name}", speeds[name], "images/s") for name in DECODERS]
    encoder, rows = subject.encoder, range(min(64, len(split.images)))
    spec = preprocessing_for(encoder.card, "paper")
    threads = [prepare(pixels_of(split.images, row), spec) for row in rows]
    batches = DeviceDecodedImages(
        split.images, spec, threads.__getitem__, iter([rows]), encoder.device, threads=4, ahead=1
    )
    with closing(batches):
        ours, theirs = next(batches), stack(threads).to(encoder.device)
    apart = (ours.int() - theirs.int()).abs()
    features = [encoder.encode(images, spec).double() for images in (ours, theirs)]
    distance = (features[0] - features[1]).norm(dim=1) / features[1].norm(dim=1)
    return [
        *checks,
        Check("images decoded on the device", batches.decoded, f"of {len(rows)}", batches.decoded == len(rows)),
        Check("largest difference of a pixel", int(apart.max()), "grey levels"),
        Check("mean difference of pixels", float(apart.double().mean()), "grey levels"),
        Check("largest difference of features, relative", float(distance.max())),
    ]


def path(setting: Setting) -> Sequence[Check]:
    """The whole selection of C, compared with the sweep; converged, and within the stated memory."""
    checks = []
    compared("first use", *TINY, device=setting.device, warm=False)
    for name, size in ({"800 x 32, 4 classes": TINY} if setting.rehearsal else SIZES).items():
        row, figures = compared(name, *size, device=setting.device, warm=False)
        checks += [
            Check(f"{name}: times as fast as the sweep, by the clock", row.wall.median, "x"),
            Check(f"{name}: largest gap", float(row.facts["gap"] or 0), holds=bool(row.facts["converged"])),
            Check(f"{name}: products with the samples", f"{row.facts['passes']} and {row.facts['products of theirs']}"),
        ]
        checks += [Check(one.name, one.value, f"{one.unit}, {one.limit:.3g} stated", one.within) for one in figures]
    return checks if setting.rehearsal else [*checks, _busy(setting)]


def _busy(setting: Setting) -> Check:
    """Percentage of a path's time in which the device computes; the rest it waits for the host."""
    data = made_up(*OCCUPIED, signal=0.2)
    settings = Settings(device=setting.device)
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        begun = time.perf_counter()
        solve_path(*data.train, np.logspace(-6, 4, 11).tolist(), settings=settings)
        seconds = time.perf_counter() - begun
    computing = sum(one.self_device_time_total for one in recorded.key_averages()) / 1e6
    return Check("time of a path in which the device computes", 100 * computing / seconds, "%")


def knn(setting: Setting) -> Sequence[Check]:
    """5,000 queries in a half-precision bank in host memory."""
    rows, asked = (20_000, 100) if setting.rehearsal else (IMAGENET, 5_000)
    pattern = features(4096, 2).astype(np.float16)
    bank = np.empty((rows, DIMENSIONS), np.float16)
    for number, start in enumerate(range(0, rows, len(pattern))):
        part = bank[start : start + len(pattern)]
        part[:] = np.roll(pattern, number, axis=1)[: len(part)]
    queries = features(asked, 1)
    nearest(queries[:64], bank[:8192], NEIGHBOURS, device=setting.device)
    begun = time.perf_counter()
    nearest(queries, bank, NEIGHBOURS, device=setting.device).similarity.cpu()
    return [Check(f"{asked:,} queries in {rows:,} x {DIMENSIONS}", time.perf_counter() - begun, "s")]


def _networks(setting: Setting) -> Sequence[tuple[str, Precision]]:
    return ((SMALL, "bfloat16"),) if setting.rehearsal else NETWORKS


def listed_files(setting: Setting) -> SourceSplit:
    """Few files, each listed several times."""
    few = photographs(setting.folder, 8 if setting.rehearsal else FILES, SIZE)
    assert isinstance(few.images, FileImages)
    times = 2 if setting.rehearsal else TIMES
    images = replace(few.images, files=few.images.files * times)
    labels = np.zeros(len(images), np.int64)
    return replace(few, images=images, labels=labels, identifiers=images.files)


def _subject(setting: Setting, architecture: str, precision: Precision, split: SourceSplit) -> Subject:
    return Subject.on(setting.folder, architecture, split, precision, setting.device)


def _machine(decoder: Decoder = "cpu") -> Machine:
    return Machine(batch_size=BATCH, decoder=decoder)


def _piped(subject: Subject, store: DecodedImages | None = None) -> float:
    """Images per second through the feature store."""
    return speed(len(subject.split.images), lambda: subject.pipeline(store, _machine()))


def _bare(setting: Setting, subject: Subject) -> float:
    """Images per second through the encoder, with bytes ready on the host."""
    spec, count = preprocessing_for(subject.encoder.card, "paper"), 16 if setting.rehearsal else BATCH
    images = prepared(subject, count)
    rounds = 1 if setting.rehearsal else 32
    forwarded(subject.encoder, images, spec, 2)
    return speed(rounds * count, lambda: forwarded(subject.encoder, images, spec, rounds))


def prepared(subject: Subject, count: int) -> Tensor:
    """Prepared images [count, 3, h, w] on the host."""
    spec = preprocessing_for(subject.encoder.card, "paper")
    return stack([prepare(pixels_of(subject.split.images, place), spec) for place in range(count)])


def _published(subject: Subject) -> float:
    """Images per second of the published loop: Pillow transforms, as many workers as cores, batches of 64."""
    workers = len(os.sched_getaffinity(0))
    count = min(len(subject.split.images), 256 * workers)
    images = subject.split.images
    assert isinstance(images, FileImages)
    split = replace(subject.split, images=replace(images, files=images.files[:count]))
    device = subject.encoder.device

    @torch.no_grad()
    def run() -> None:
        for batch in DataLoader(Chained(split), batch_size=64, num_workers=workers, multiprocessing_context="fork"):
            subject.encoder.model(batch.to(device)).cpu()

    return speed(count, run)


def speed(images: int, work: Callable[[], object]) -> float:
    """Images per second."""
    begun = time.perf_counter()
    work()
    return images / (time.perf_counter() - begun)
