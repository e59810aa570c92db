"""Work that every version of this project can do, run by path in the tree given as the first argument.

Prints a JSON object: for each piece of work the seconds by the clock, those of the processor, and a digest of its
numbers. Everything of the project is imported from that tree, so only names are used that its versions share.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

FILES, BATCH, SIZE = 48, 16, (500, 375)
NETWORKS = (("resnet50", "float32"), ("vit_small_patch16_224", "bfloat16"))
PATHS = {"2,000 x 256, 20 classes": (2000, 256, 20), "1,500 x 128, 2 classes": (1500, 128, 2)}


def digest(values: Any) -> str:
    """Of an array's numbers."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def of_any(name: str, *modules: str) -> Any:
    """An object that versions have in different modules."""
    for module in modules:
        with suppress(ImportError, AttributeError):
            return getattr(importlib.import_module(module), name)
    raise ImportError(f"{name} is in none of {', '.join(modules)}")


def features(folder: Path, architecture: str, precision: Any) -> str:
    """Features of JPEG files, through the feature store."""
    from backbones.catalog.card import identity, preprocessing_for  # noqa: PLC0415 - of that tree
    from tasks.features.extraction import Machine  # noqa: PLC0415
    from tasks.features.store import FeatureRequest, FeatureStore  # noqa: PLC0415
    from tasks.reporter import SilentReporter  # noqa: PLC0415
    from tests.benchmarks._photographs import photographs  # noqa: PLC0415
    from tests.benchmarks.extraction import Subject  # noqa: PLC0415

    feature_key = of_any("FeatureKey", "tasks.features.manifest", "tasks.features.key")
    torch.manual_seed(0)
    one = Subject.on(folder, architecture, photographs(folder, FILES, SIZE), precision)
    spec = preprocessing_for(one.encoder.card, "paper")
    key = feature_key(identity(one.encoder.card, one.encoder.weights_digest, spec), one.split.images_digest)
    request = FeatureRequest(key, "random", "photographs", one.split, spec)
    with tempfile.TemporaryDirectory(dir=folder) as store:
        made = FeatureStore(Path(store), Machine(batch_size=BATCH))
        return digest(made.features(request, lambda: one.encoder, SilentReporter()).values)


def path(samples: int, dimensions: int, classes: int) -> str:
    """Weights of a regularisation path."""
    from tasks.solvers.logistic import solve_path  # noqa: PLC0415 - of that tree
    from tests.benchmarks._features import made_up  # noqa: PLC0415

    found = solve_path(*made_up(samples, dimensions, classes, signal=0.3).train, np.logspace(-6, 4, 21).tolist())
    return digest(np.stack([one.weights.numpy() for one in found.solutions]))


def timed(work: Callable[[], str]) -> tuple[float, float, str]:
    """Clock time, processor time, digest; the second time, when everything is loaded."""
    work()
    wall, used = time.perf_counter(), time.process_time()
    made = work()
    return time.perf_counter() - wall, time.process_time() - used, made


def main(root: str) -> None:
    """Print the object."""
    sys.path.insert(0, root)
    torch.set_num_threads(1)  # waiting threads would count as processor time
    found: dict[str, tuple[float, float, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for architecture, precision in NETWORKS:
            work = f"{FILES} files through {architecture}, {precision}"
            found[work] = timed(lambda a=architecture, p=precision: features(Path(folder), a, p))  # type: ignore[misc]
    shapes: Mapping[str, tuple[int, int, int]] = PATHS
    for name, shape in shapes.items():
        found[f"path of 21 C, {name}"] = timed(lambda s=shape: path(*s))  # type: ignore[misc]
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
