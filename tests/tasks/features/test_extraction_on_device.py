"""Extraction on an emulated device: batches follow its free memory, the host waits only for finished copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.cpu import threads
from backbones.cpu.free_cores import CoreMonitor
from backbones.model import cuda_graphs
from backbones.model.cuda_graphs import GraphedForward
from backbones.model.encoder import Encoder
from backbones.model.preprocessing import Picture, prepared_view
from tasks.features import extraction as extraction_module
from tasks.features.batches import CardMemory
from tasks.features.extraction import BATCHES_AHEAD, BATCHES_BEGUN, Extraction, Machine, SplitImages
from tests.tasks.dispatch_counts import counted
from tests.tasks.features.test_store import Listener
from tests.tasks.workspace_fixture import network

SIDE = 4
SPEC = PreprocessingSpec("paper", SIDE, SIDE, "shorter", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
WEIGHTS, PER_IMAGE = 100, 1
"""Memory in units of what one image needs."""


@dataclass
class Images:
    """Arrays whose first pixel is the image's number."""

    count: int
    side: int = SIDE

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Image.Image:
        pixels = np.zeros((self.side, self.side, 3), np.uint8)
        pixels[0, 0, :2] = index // 256, index % 256
        return Image.fromarray(pixels)


@dataclass
class Device:
    """Memory that this process and `others` use, and an encoder on it."""

    total: int
    others: Callable[[int], int] = lambda encoded: 0
    """Memory of other processes, after this number of images."""
    encoded: int = 0
    peak: int = WEIGHTS
    batches: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    dimension: int = 1

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def read(self) -> CardMemory:
        return CardMemory(self.total - self.others(self.encoded) - WEIGHTS, self.peak, WEIGHTS)

    def prepare(self, image: Picture, spec: PreprocessingSpec) -> Tensor:
        return prepared_view(image, spec)

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        need = WEIGHTS + PER_IMAGE * len(batch)
        if need > self.total - self.others(self.encoded):
            self.refused.append(len(batch))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.peak = max(self.peak, need)
        self.encoded += len(batch)
        self.batches.append(len(batch))
        return (256 * batch[:, 0, 0, 0].float() + batch[:, 1, 0, 0])[:, None]


def extracted(device: Device, count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], Listener]:
    monkeypatch.setattr(extraction_module, "card_reader", lambda _: device.read)
    listener, source = Listener(), SplitImages("a/b", "made/train", Images(count), [str(row) for row in range(count)])
    run = Extraction(source, device, SPEC, Machine(batch_size=64, decode_threads=2), listener)
    ranges = [(start, min(start + 512, count)) for start in range(0, count, 512)]
    return [float(row[0]) for _, rows in run.shards(ranges) for row in rows], listener


def test_batches_grow_into_free_memory_and_every_image_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(total=4000)
    found, listener = extracted(device, 6000, monkeypatch)
    assert found == list(range(6000))
    assert (device.batches[0], max(device.batches)) == (64, 512)
    assert listener.warnings == []
    assert device.refused == []


def test_batches_stay_where_a_larger_one_would_take_more_than_a_quarter_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(total=WEIGHTS + 600)
    found, _ = extracted(device, 6000, monkeypatch)
    assert found == list(range(6000))
    assert max(device.batches) == 256  # a second 128 is below 600 / 4, a second 256 is not
    assert device.refused == []


def test_batches_shrink_while_another_process_has_the_memory_and_grow_when_it_lets_it_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(total=4000, others=lambda encoded: 3800 if 6000 < encoded < 7000 else 0)
    found, listener = extracted(device, 12_000, monkeypatch)
    assert found == list(range(12_000))
    assert device.refused == [512, 256, 128]
    small = device.batches.index(64, device.batches.index(512))
    assert max(device.batches[small : small + 12]) == 64
    assert max(device.batches[small:]) > 64
    assert "memory ran out at 512 images a batch; continuing with 256" in listener.warnings


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.load(network("test_vit"), WeightsFolder(tmp_path_factory.mktemp("weights")))


def run_through(encoder: Encoder, machine: Machine, count: int, ranges: int = 1) -> list[np.ndarray]:
    spec = preprocessing_for(encoder.card, "paper")
    source = SplitImages("a/b", "made/train", Images(count, spec.crop), [str(row) for row in range(count)])
    run = Extraction(source, encoder, spec, machine, Listener())
    size = count // ranges
    return [rows for _, rows in run.shards([(start, start + size) for start in range(0, count, size)])]


def test_the_whole_loop_reads_nothing_from_the_device_but_one_copy_per_batch(encoder: Encoder) -> None:
    with counted() as counts:
        run_through(encoder, Machine(batch_size=2, decode_threads=2), 14)
    assert counts.copies == 7
    assert counts.host_reads == counts.copies


def test_features_are_equal_to_the_bit_while_the_number_of_threads_follows_the_free_cores(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, seen, encode = Machine(batch_size=2, decode_threads=2), list[int](), Encoder.encode

    def noted(self: Encoder, batch: torch.Tensor, spec: PreprocessingSpec) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return encode(self, batch, spec)

    monkeypatch.setattr(Encoder, "encode", noted)
    extracted = by_free_cores(monkeypatch, encoder, machine, [[2, 2, 2, 2], [1, 1, 1, 1], [1, 2, 1, 1]])
    assert seen[:4] == [2, 2, 2, 2]
    assert seen[4:9] == [2, 2, 1, 1, 1], "the second batch is encoded with both numbers and compared"
    assert np.array_equal(extracted[0], extracted[1])
    assert np.array_equal(extracted[0], extracted[2])


def test_features_that_depend_on_the_number_of_threads_do_not_depend_on_the_load(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Encoder.encode

    def rounded(self: Encoder, batch: torch.Tensor, spec: PreprocessingSpec) -> torch.Tensor:
        return encode(self, batch, spec) * (1 + torch.get_num_threads() * 1e-6)

    monkeypatch.setattr(Encoder, "encode", rounded)
    machine = Machine(batch_size=2, decode_threads=2)
    idle, busy = by_free_cores(monkeypatch, encoder, machine, [[2, 2, 2, 2], [1, 1, 1, 1]])
    assert np.array_equal(idle, busy)


def by_free_cores(
    monkeypatch: pytest.MonkeyPatch, encoder: Encoder, machine: Machine, free: list[list[int]]
) -> list[np.ndarray]:
    """Features of eight images in four ranges by two threads, for each list of free cores."""
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = []
        for cores in free:
            monitor = FreeCores(cores)
            monkeypatch.setattr(threads, "core_monitor", lambda monitor=monitor: monitor)
            found.append(np.concatenate(run_through(encoder, machine, 8, ranges=4)))
        return found
    finally:
        torch.set_num_threads(usual)


class FreeCores(CoreMonitor):
    """Prepared numbers of free cores; the first one is also there before the first range."""

    def __init__(self, free: list[int]) -> None:
        super().__init__(2)
        self._prepared = [free[0], *free]

    def free(self) -> int:
        return self._prepared.pop(0)


def test_a_copy_is_read_after_two_later_batches_have_been_started(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, whose copies are awaited by events."""
    order: list[str] = []

    @dataclass(frozen=True)
    class Awaited:
        row: int
        features: Tensor

        @classmethod
        def begun(cls, row: int, features: Tensor) -> Awaited:
            order.append(f"begun {row}")
            return cls(row, features)

        def numbers(self) -> np.ndarray:
            order.append(f"awaited {self.row}")
            return self.features.numpy()

    monkeypatch.setattr(extraction_module, "_Computing", Awaited)
    monkeypatch.setitem(BATCHES_BEGUN, "cpu", BATCHES_BEGUN["cuda"])
    run_through(encoder, Machine(batch_size=2, decode_threads=2), 10)
    assert order[:5] == ["begun 0", "begun 2", "begun 4", "awaited 0", "begun 6"]
    assert order[-2:] == ["awaited 6", "awaited 8"]
    assert BATCHES_BEGUN["cuda"] <= BATCHES_AHEAD


def test_an_extraction_uses_a_graph_only_as_long_as_it_lasts_and_keeps_the_decision(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "CONSIDERED_AFTER", 3)
    captures: list[int] = []

    def capture(forward: cuda_graphs.Forward, batch: Tensor) -> cuda_graphs.Forward:
        captures.append(len(batch))
        return forward

    plain = np.concatenate(run_through(encoder, Machine(batch_size=2, decode_threads=2), 12))
    ticks = iter(range(10**6))
    monkeypatch.setattr(encoder, "forwards", GraphedForward(capture, clock=lambda: float(next(ticks))))
    for machine in (Machine(batch_size=2, decode_threads=2, cuda_graphs=on) for on in (True, False)):
        assert np.array_equal(np.concatenate(run_through(encoder, machine, 12)), plain)
        assert bool(machine.forward_pass) == machine.cuda_graphs
        assert encoder.forwards._graph is None
    assert captures == [2]
