"""The files that belong to a checkpoint: the one that is named, or those of the folder that is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

CHECKPOINTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".npz", ".tar", ".pkl")
"""Endings of files that may be a network's weights."""
SHARD_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
USUAL = ("model.safetensors", "pytorch_model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
"""What the model hub's libraries call a whole network's weights; safetensors is preferred where both are there."""
PREFERRED = (*SHARD_INDICES[:1], *USUAL, *SHARD_INDICES[1:])
"""All of these, the preferred ones first."""
DEEPSPEED = "mp_rank_00_model_states.pt"
DISTRIBUTED = ".metadata"
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER_CONFIG = "adapter_config.json"
"""PEFT's names of an adapter and its configuration, which names the network that it belongs to."""
BESIDE = ("optim", "scheduler", "rng_state", "training_args", "scaler", "random_states")
"""Parts of names of files that trainers write beside the weights."""


def checkpoint_files(path: Path) -> list[Path]:
    """The files of a checkpoint, the first of which names the others.

    A file itself; of a folder its only checkpoint, a TensorFlow index with its data, shards with their index, a
    distributed checkpoint, or what DeepSpeed's `latest` names. A folder with a choice is returned as it is.
    """
    if path.is_dir():
        path = _in_folder(path)
    if path.name in ADAPTERS and (base := adapter_base(path)) is not None:
        return [path, path.with_name(ADAPTER_CONFIG), *checkpoint_files(base)]
    if path.name.endswith(".index.json"):
        return [path, *shards_of(path)]
    if path.name == DISTRIBUTED:
        return [path, *sorted(path.parent.glob("*.distcp"))]
    if path.suffix == ".index":
        return [path, *sorted(path.parent.glob(f"{path.name.removesuffix('.index')}.data-*"))]
    return [path]


def candidates(folder: Path) -> list[Path]:
    """Every file of the folder that may be a checkpoint, in the order of their names."""
    found = [file for file in sorted(folder.iterdir()) if file.suffix in CHECKPOINTS and file.is_file()]
    return [file for file in found if not any(part in file.name for part in BESIDE)]


def adapter_base(adapter: Path) -> Path | None:
    """The network's file or folder as the configuration beside an adapter names it; None where it is not here."""
    try:
        stated = json.loads(adapter.with_name(ADAPTER_CONFIG).read_bytes())["base_model_name_or_path"]
        place = adapter.parent / Path(stated).expanduser()
        return place if place.exists() and place.resolve() != adapter.parent.resolve() else None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _in_folder(folder: Path) -> Path:
    """The file of the folder that names its checkpoint; the folder where nothing decides."""
    try:
        return next(_named(folder), folder)
    except OSError:
        return folder


def _named(folder: Path) -> Iterator[Path]:
    indices = sorted(folder.glob("*.index"))
    if len(indices) == 1:
        yield indices[0]
    for name in (DISTRIBUTED, *PREFERRED, DEEPSPEED):
        if (folder / name).is_file():
            yield folder / name
    if (folder / "latest").is_file():
        step = folder / (folder / "latest").read_text(errors="replace").strip()[:200] / DEEPSPEED
        if step.is_file() and step.resolve().is_relative_to(folder.resolve()):
            yield step
    found = candidates(folder)
    if len(found) == 1:
        yield found[0]


def shards_of(index: Path) -> list[Path]:
    """The files that an index names, in the order of their names; those outside of its folder are left out."""
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return [index.parent / name for name in sorted(names) if isinstance(name, str) and Path(name).name == name]
