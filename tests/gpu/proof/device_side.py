"""What the device itself decides: CUDA graphs of forward passes, and the batch size from its free memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from backbones.catalog.card import Precision, preprocessing_for
from backbones.cpu.malloc import keep_freed_memory
from backbones.model import cuda_graphs
from backbones.model.cuda_graphs import GraphedForward
from tasks.datasets.dataset import SourceSplit
from tasks.features.batches import GROWS_FROM, LARGEST
from tasks.features.extraction import Machine
from tests.benchmarks.extraction import SMALL, Subject, forwarded
from tests.gpu.proof.record import Check, Setting
from tests.gpu.proof.speed import listed_files, prepared, speed

SOON = 4
"""Batches before a graph is tried here, as there are few."""
TIMED = 24
"""Batches that are timed."""
NETWORKS: Sequence[tuple[str, Precision]] = (("resnet50", "bfloat16"), ("vit_small_patch16_224", "bfloat16"))
BATCHES = (64, 256)
REHEARSED = 2
"""Batches that are timed in a rehearsal."""


def graphs(setting: Setting) -> Sequence[Check]:
    """Forward passes by CUDA graphs: the decision, features and speed, alone and in the pipeline."""
    keep_freed_memory()
    split = listed_files(setting)
    cuda_graphs.CONSIDERED_AFTER = SOON
    checks: list[Check] = []
    for architecture, precision in ((SMALL, "float32"),) if setting.rehearsal else NETWORKS:
        subject = Subject.on(setting.folder, architecture, split, precision, setting.device)
        if setting.rehearsal:
            subject.encoder.forwards = GraphedForward(lambda forward, _: forward)
        name = f"{architecture} at {precision}"
        for size in (2,) if setting.rehearsal else BATCHES:
            checks += _alone(subject, prepared(subject, size), REHEARSED if setting.rehearsal else TIMED, name)
        checks += _piped(setting, subject, split, name)
    return checks


def _alone(subject: Subject, images: Tensor, batches: int, network: str) -> Sequence[Check]:
    """Decision, equality of features, and images per second without and with graphs enabled."""
    name = f"{network}, batches of {len(images)}"
    encoder, spec = subject.encoder, preprocessing_for(subject.encoder.card, "paper")
    images = images if encoder.device.type == "cpu" else images.pin_memory()
    rates, features = [], []
    for encoder.forwards.enabled in (False, True):
        forwarded(encoder, images, spec, SOON + 1)
        features.append(encoder.encode(images, spec))
        rates.append(speed(batches * len(images), lambda: forwarded(encoder, images, spec, batches)))
    decision = encoder.finish()
    return [
        Check(f"{name}: decision", decision, holds=bool(decision)),
        Check(f"{name}: features with graphs enabled equal", "bit for bit", holds=torch.equal(*features)),
        Check(f"{name}: speed with graphs enabled, to without", rates[1] / rates[0], "x"),
    ]


def _piped(setting: Setting, subject: Subject, split: SourceSplit, name: str) -> Sequence[Check]:
    """The pipeline, and what it decided."""
    checks = []
    for enabled in (False, True):
        machine = Machine(batch_size=BATCHES[-1], cuda_graphs=enabled)
        rate = speed(len(split.images), lambda m=machine: subject.pipeline(None, m))  # type: ignore[misc]
        checks.append(Check(f"{name}: pipeline with graphs {'enabled' if enabled else 'off'}", rate, "images/s"))
    return checks if setting.rehearsal else [*checks, Check(f"{name}: decision in the pipeline", machine.forward_pass)]


def growth(setting: Setting) -> Sequence[Check]:
    """The batch size at the end of an extraction: grown on a device with free memory, smaller on one with little."""
    keep_freed_memory()
    split = listed_files(setting)
    architecture, precision = (SMALL, "float32") if setting.rehearsal else NETWORKS[0]
    subject = Subject.on(setting.folder, architecture, split, precision, setting.device)  # type: ignore[arg-type]
    machine = Machine(batch_size=GROWS_FROM)
    subject.pipeline(None, machine)
    free = Check("batch size at the end, device free", machine.batch_size, f"from {GROWS_FROM}, at most {LARGEST}")
    if setting.rehearsal:
        return [free]
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    total = torch.cuda.get_device_properties(setting.device).total_memory
    blank = torch.zeros(GROWS_FROM, 3, 224, 224, dtype=torch.uint8)
    subject.encoder.encode(blank, preprocessing_for(subject.encoder.card, "paper")).cpu()
    need = torch.cuda.max_memory_allocated() - held
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((held + need / 8) / total)
    machine = Machine(batch_size=LARGEST)
    subject.pipeline(None, machine)
    torch.cuda.set_per_process_memory_fraction(1.0)
    little = Check("batch size at the end, with little memory", machine.batch_size, f"from {LARGEST}")
    return [
        Check(free.name, free.value, free.unit, int(free.value) > GROWS_FROM),
        Check(little.name, little.value, little.unit, machine.batch_size < LARGEST),
    ]
