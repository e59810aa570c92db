"""Files that belong to a checkpoint, given as a file or a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from backbones.io.files import expand_user

CHECKPOINTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".npz", ".tar", ".pkl")
"""Suffixes of files that may contain a network's weights."""
SHARD_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
USUAL = ("model.safetensors", "pytorch_model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
"""File names of a whole network's weights in the hub's libraries; safetensors takes precedence."""
PREFERRED = (*SHARD_INDICES[:1], *USUAL, *SHARD_INDICES[1:])
"""All of these, preferred ones first."""
DEEPSPEED = "mp_rank_00_model_states.pt"
DISTRIBUTED = ".metadata"
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER_CONFIG = "adapter_config.json"
"""PEFT's file names of an adapter and its configuration, which names the base network."""
BESIDE = ("optim", "scheduler", "rng_state", "training_args", "scaler", "random_states")
"""Parts of the names of files that trainers write next to the weights."""


def checkpoint_files(path: Path) -> list[Path]:
    """Files of a checkpoint; the first one lists the others.

    For a file, the file itself; for a folder its only checkpoint, a TensorFlow index with its data, shards with their
    index, a distributed checkpoint, or the target of DeepSpeed's `latest`. An ambiguous folder is returned unchanged.
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
    """Files of the folder that may be a checkpoint, sorted by name."""
    found = [file for file in sorted(folder.iterdir()) if file.suffix in CHECKPOINTS and file.is_file()]
    return [file for file in found if not any(part in file.name for part in BESIDE)]


def adapter_base(adapter: Path) -> Path | None:
    """Base network's file or folder according to the configuration next to an adapter; None where it is missing."""
    try:
        stated = json.loads(adapter.with_name(ADAPTER_CONFIG).read_bytes())["base_model_name_or_path"]
        place = adapter.parent / expand_user(stated)
        return place if place.exists() and place.resolve() != adapter.parent.resolve() else None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _in_folder(folder: Path) -> Path:
    """File that determines the folder's checkpoint; the folder itself where it is ambiguous."""
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
    """Files listed by an index, sorted by name, without those outside of its folder."""
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return [index.parent / name for name in sorted(names) if isinstance(name, str) and Path(name).name == name]
