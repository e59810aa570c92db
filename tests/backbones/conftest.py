"""Shared fixtures of the loading tests: small backbones with real names, and a writer of TensorFlow bundles."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backbones.catalog.card import BackboneCard
from backbones.catalog.catalog import BackboneCatalog
from backbones.model.architecture import make

Array = np.ndarray[Any, np.dtype[Any]]
TYPE_NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}


@pytest.fixture(scope="session")
def catalog() -> BackboneCatalog:
    return BackboneCatalog.load()


def narrow(card: BackboneCard) -> BackboneCard:
    """The card of a ResNet-50 with all its tensors and names, with a sixteenth of the inner width."""
    return card.model_copy(update={"architecture_arguments": {"base_width": 4}})


@pytest.fixture(scope="session")
def narrow_card() -> Callable[[BackboneCard], BackboneCard]:
    return narrow


def randomised(model: nn.Module, seed: int) -> nn.Module:
    """Random values for every tensor, including batch norm statistics, so that missing or mixed-up tensors are
    detected."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) * 0.2 + (0.9 if "var" in name else -0.1))
    return model.eval()


@pytest.fixture(scope="session")
def resnet() -> nn.Module:
    """A narrow ResNet-50 with random tensors, from which the published checkpoints are built in these tests."""
    return randomised(make("resnet50", base_width=4), seed=1)


@pytest.fixture(scope="session")
def resnet_tensors(resnet: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in resnet.state_dict().items()}


@pytest.fixture(scope="session")
def other_tensors() -> dict[str, Tensor]:
    """The same names with other values: momentum encoders and other weights that must not be loaded."""
    return dict(randomised(make("resnet50", base_width=4), seed=2).state_dict())


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value) if value else b""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _block(entries: list[tuple[bytes, bytes]], interval: int) -> bytes:
    out, restarts, last = bytearray(), [], b""
    for index, (key, value) in enumerate(entries):
        shared = 0
        if index % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        last = key
    return bytes(out) + b"".join(struct.pack("<I", r) for r in restarts or [0]) + struct.pack("<I", len(restarts) or 1)


def _table(entries: list[tuple[bytes, bytes]]) -> bytes:
    """LevelDB's table: data blocks of some 20 entries, an empty meta-index, an index block, the footer."""
    file, handles = bytearray(), []

    def add(block: bytes) -> bytes:
        handle = _varint(len(file)) + _varint(len(block))
        file.extend(block + b"\0" + struct.pack("<I", _crc32c(block + b"\0")))
        return handle

    for start in range(0, len(entries), 20):
        chunk = entries[start : start + 20]
        handles.append((chunk[-1][0], add(_block(chunk, 16))))
    meta = add(_block([], 16))
    index = add(_block(handles, 1))
    return bytes(file) + (meta + index).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def bundle_bytes(variables: Mapping[str, Array], shards: int = 1) -> tuple[bytes, list[bytes]]:
    """Index and data of a TensorFlow V2 checkpoint with these variables, distributed over the shards in turn."""
    data = [bytearray() for _ in range(shards)]
    header = _field(1, shards) + _field(3, _field(1, 1))
    entries = [(b"", header)]
    for number, name in enumerate(sorted(variables, key=str.encode)):
        value = np.asarray(variables[name], order="C")
        shape = b"".join(_field(2, _field(1, size) or b"") for size in value.shape)
        shard = number % shards
        entry = _field(1, TYPE_NUMBERS[str(value.dtype)]) + _field(2, shape) + _field(3, shard)
        entry += _field(4, len(data[shard])) + _field(5, value.nbytes) + _varint(6 << 3 | 5) + struct.pack("<I", 0)
        data[shard] += value.tobytes()
        entries.append((name.encode(), entry))
    return _table(entries), [bytes(shard) for shard in data]


@pytest.fixture
def write_bundle() -> Callable[..., Path]:
    """Writes variables as `folder/model.ckpt-7.index` with its data; returns the index."""

    def write(folder: Path, variables: Mapping[str, Array], shards: int = 1, stem: str = "model.ckpt-7") -> Path:
        index, data = bundle_bytes(variables, shards)
        folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(data):
            (folder / f"{stem}.data-{number:05d}-of-{shards:05d}").write_bytes(content)
        path = folder / f"{stem}.index"
        path.write_bytes(index)
        return path

    return write


@pytest.fixture
def simclr_variables(resnet_tensors: dict[str, Tensor]) -> dict[str, Array]:
    """Tensors under SimCLR's names in TensorFlow, next to momentum, moving averages and heads."""
    return dict(_simclr_variables(resnet_tensors))


def _simclr_variables(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Array]]:
    for number, (convolution, norm) in enumerate(_made_in_order()):
        suffix = f"_{number}" if number else ""
        kernel = tensors[f"{convolution}.weight"].permute(2, 3, 1, 0).numpy()
        for model in ("base_model", "ema_model/base_model"):
            sign = 1 if model == "base_model" else -1
            yield f"{model}/conv2d{suffix}/kernel", sign * kernel
            for part, key in (
                ("gamma", "weight"),
                ("beta", "bias"),
                ("moving_mean", "running_mean"),
                ("moving_variance", "running_var"),
            ):
                yield f"{model}/batch_normalization{suffix}/{part}", sign * tensors[f"{norm}.{key}"].numpy()
        yield f"base_model/conv2d{suffix}/kernel/Momentum", -kernel
    yield "global_step", np.array(7, dtype=np.int64)
    yield "head_supervised/linear_layer/dense/kernel", np.zeros((8, 3), dtype=np.float32)
    yield "head_contrastive/nl_0/dense/kernel", np.zeros((8, 8), dtype=np.float32)


def _made_in_order() -> Iterator[tuple[str, str]]:
    yield "conv1", "bn1"
    for stage, blocks in ((1, 3), (2, 4), (3, 6), (4, 3)):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            if block == 0:
                yield f"{name}.downsample.0", f"{name}.downsample.1"
            for i in "123":
                yield f"{name}.conv{i}", f"{name}.bn{i}"
