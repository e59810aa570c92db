"""Layer-wise features in the store: computed in one pass with the pooled ones; overflow in half precision is an
error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.catalog.layer_info import BlockChoice, LayerColumn, LayerRequest
from tasks.features.cache_report import entries
from tasks.features.extraction import Machine
from tasks.features.manifest import NotFiniteError, layer_request_of
from tasks.features.shards import ColumnRows, StoredRows
from tasks.features.store import FeatureRequest, FeatureStore
from tasks.reporter import SilentReporter
from tests.tasks.features.test_store import COUNT, Noise, ProjectingEncoder, never, request

HALF, FULL = LayerRequest(), LayerRequest(storage="float32")


@dataclass
class LayeredEncoder(ProjectingEncoder):
    """Two blocks of two columns each: the pooled features' first columns times `scale`."""

    scale: float = 1.0

    def columns(self, choice: BlockChoice) -> tuple[LayerColumn, ...]:
        return tuple(LayerColumn(block=block, pooling="mean", width=2) for block in (1, 2))

    def encode_layers(self, batch: Tensor, spec: PreprocessingSpec, choices: Sequence[BlockChoice]) -> Tensor:
        pooled = self.encode(batch, spec)
        return torch.cat([pooled, *(pooled[:, :4] * self.scale for _ in choices)], dim=1)


def layered(wanted: LayerRequest, source: Noise | None = None) -> FeatureRequest:
    pooled = request(source)
    return replace(pooled, key=replace(pooled.key, conditions=wanted.conditions), layers=wanted)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", Machine(batch_size=5, decode_threads=2, shard_rows=12))


def test_pooled_and_layer_wise_features_come_from_one_pass(store: FeatureStore) -> None:
    encoder = LayeredEncoder()
    pooled, half, full = store.together([request(), layered(HALF), layered(FULL)], lambda: encoder, SilentReporter())
    assert encoder.seen == COUNT
    assert [one.values.dtype.name for one in (half, full, pooled)] == ["float16", "float32", "float32"]
    assert np.array_equal(full.values, pooled.values[:, :4])
    assert np.array_equal(half.values, pooled.values[:, :4].astype(np.float16))
    assert half.manifest.columns == LayeredEncoder().columns("all")


def test_only_what_is_missing_is_encoded(store: FeatureStore) -> None:
    store.features(request(), LayeredEncoder, SilentReporter())
    encoder = LayeredEncoder()
    pooled, half = store.together([request(), layered(HALF)], lambda: encoder, SilentReporter())
    assert (pooled.encoded, half.encoded, encoder.seen) == (0, COUNT, COUNT)
    again = store.together([request(), layered(HALF)], never, SilentReporter())
    assert [one.encoded for one in again] == [0, 0]


def test_an_interrupted_pass_encodes_each_image_once(store: FeatureStore) -> None:
    with pytest.raises(Exception, match="cannot be decoded"):
        store.together([request(Noise(30)), layered(HALF, Noise(30))], LayeredEncoder, SilentReporter())
    encoder = LayeredEncoder()
    whole = store.together([request(), layered(HALF)], lambda: encoder, SilentReporter())
    assert encoder.seen == COUNT - 24
    assert np.array_equal(whole[1].values, whole[0].values[:, :4].astype(np.float16))


def test_a_value_that_half_precision_cannot_hold_is_an_error_with_a_way_out(store: FeatureStore) -> None:
    message = r"paper/simclr: .* in block 1 mean of noise/0.jpg does not fit float16 .*storage=float32"
    with pytest.raises(NotFiniteError, match=message):
        store.together([request(), layered(HALF)], lambda: LayeredEncoder(scale=1e6), SilentReporter())
    full = store.features(layered(FULL), lambda: LayeredEncoder(scale=1e6), SilentReporter())
    assert np.isfinite(full.values).all()


def test_the_key_says_layers_poolings_and_precision(store: FeatureStore) -> None:
    parts = layered(HALF).key.parts
    assert parts["layers.blocks"] == "last-4-and-quarters"
    assert parts["layers.poolings"] == "cls+mean+registers"
    assert parts["layers.storage"] == "float16"
    assert layer_request_of(parts) == HALF
    assert layer_request_of(request().key.parts) is None
    assert len({layered(HALF).key.digest, layered(FULL).key.digest, request().key.digest}) == 3


def test_listings_tell_layers_from_pooled_features(store: FeatureStore) -> None:
    store.together([request(), layered(HALF)], LayeredEncoder, SilentReporter())
    assert sorted(entry.title for entry in entries(store.root)) == [
        "paper/simclr on noise/train",
        "paper/simclr on noise/train, layers",
    ]


def test_rows_and_columns_are_taken_from_several_arrays() -> None:
    first, second = np.arange(20.0).reshape(5, 4), 100 + np.arange(12.0).reshape(3, 4)
    parts = ((first, np.array([0, 2, 4])), (second, np.array([1, 2])))
    whole = np.concatenate([first[[0, 2, 4]], second[[1, 2]]])
    columns = [slice(3, 4), slice(0, 2)]
    chosen = ColumnRows(tuple(StoredRows(tuple((v[:, one], i) for v, i in parts)) for one in columns))
    wanted = whole[:, [3, 0, 1]]
    assert chosen.shape == wanted.shape
    assert np.array_equal(chosen[1:4], wanted[1:4])
    rows = np.array([4, 0, 3, 3])
    assert np.array_equal(chosen.take(rows), wanted[rows])
