"""Run by tests as a separate process: encode 40 small images into a feature store and record events.

    python encode_in_a_process.py ROOT EVENTS [--hold-at IMAGE] [--until FILE] [--file-limit BYTES] [--assist]
        [--patience SECONDS]

Every event is one JSON line of the file EVENTS. With `--hold-at` the encoder stops before that image until FILE
exists (for ever without FILE). With `--assist` it computes shards of another process's extraction.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.model.preprocessing import Picture
from tasks.datasets.dataset import SourceSplit
from tasks.features.extraction import Machine
from tasks.features.manifest import FeatureError, FeatureKey
from tasks.features.store import FeatureRequest, FeatureStore

COUNT = 40
KEY = FeatureKey({"weights": "0" * 64, "preprocessing": {"name": "paper", "size": 8}}, images="1" * 64)
PREPROCESSING = PreprocessingSpec("paper", 8, 8, "shorter", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Stripes:
    """Image i has grey level i."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Image.Image:
        return Image.new("RGB", (8, 8), (index, index, index))


class Teller:
    """A reporter that appends JSON lines to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, **event: object) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.record(phase=name, total=total)

    def advance(self, count: int = 1) -> None:
        self.record(advance=count)

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        self.record(metric=name, value=value)

    def warn(self, message: str) -> None:
        self.record(warning=message)


class GreyEncoder:
    """The grey level, 64 times."""

    dimension = 64

    def __init__(self, recorder: Teller, hold_at: int, until: Path | None) -> None:
        self.recorder, self.hold_at, self.until = recorder, hold_at, until

    def prepare(self, image: Picture, spec: PreprocessingSpec) -> Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        grey = batch[:, 0, 0, 0].float()
        if self.hold_at in grey.int().tolist():
            self.recorder.record(holding=self.hold_at)
            self.hold()
        self.recorder.record(encoded=grey.int().tolist())
        return grey[:, None].expand(-1, self.dimension)

    def hold(self) -> None:
        if self.until is None:
            signal.pause()
        while self.until is not None and not self.until.exists():
            time.sleep(0.01)


def main() -> int:
    """Encode; print nothing on standard output and errors on standard error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("events", type=Path)
    parser.add_argument("--hold-at", type=int, default=-1)
    parser.add_argument("--until", type=Path)
    parser.add_argument("--file-limit", type=int)
    parser.add_argument("--assist", action="store_true")
    parser.add_argument("--patience", type=float, default=30.0)
    given = parser.parse_args()
    if given.file_limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (given.file_limit, given.file_limit))
    recorder = Teller(given.events)
    labels = np.zeros(COUNT, dtype=np.int64)
    split = SourceSplit("train", Stripes(), labels, [f"grey/{i}" for i in range(COUNT)], "1" * 64, "2" * 64)
    store = FeatureStore(given.root, Machine(batch_size=3, decode_threads=2, shard_rows=8, patience_s=given.patience))
    request = FeatureRequest(KEY, "grey", "stripes", split, PREPROCESSING)
    encoder = GreyEncoder(recorder, given.hold_at, given.until)
    if given.assist:
        recorder.record(assisted=store.assist([request], lambda: encoder, recorder, lambda: None))
        return 0
    try:
        stored = store.features(request, lambda: encoder, recorder)
    except FeatureError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    recorder.record(done=stored.encoded, values=stored.values[:, 0].tolist())
    return 0


if __name__ == "__main__":
    sys.exit(main())
