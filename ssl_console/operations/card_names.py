"""Default names of new cards, from the path of a checkpoint: its file, else the folder or repository that
identifies it.
"""

from __future__ import annotations

import re
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
"""A card's name; no part of it is a hidden file or a parent folder."""
ENDINGS = frozenset(
    {
        *("safetensors", "pth", "pt", "ckpt", "bin", "tar", "pkl", "pickle", "npz", "npy", "index", "msgpack", "h5"),
        *("json", "pyth", "torch", "model", "weights", "gz", "zip", "th", "t7"),
    }
)
SAME_IN_EVERY_FOLDER = re.compile(
    r"(pytorch_model|flax_model|tf_model|model|open_clip_pytorch_model|open_clip_model|diffusion_pytorch_model"
    r"|checkpoint|ckpt|state_dict|weights|backbone|encoder|teacher|student|module|network|net|params)"
    r"([-_.]?[0-9]+-of-[0-9]+|\.safetensors|[-_](state_dict|checkpoint|ckpt|weights|best))?",
    re.IGNORECASE,
)
"""File names that are the same in most trainings: the card is named by the folder only."""
ONE_OF_A_TRAINING = re.compile(
    r"(last|latest|best|final|top|newest)([-_.]?(model|checkpoint|ckpt|weights|epoch|step|state))?([-_.=]?[0-9]+)?"
    r"|(epoch|step|iter|iteration|ep|global_step|training|eval|checkpoint|ckpt|model)[-_=.]?[0-9]+.*|[0-9]+k?",
    re.IGNORECASE,
)
"""File names that distinguish checkpoints of one training: the card is named by folder and file."""
NO_NAME = re.compile(
    r"(checkpoints?|ckpts?|weights|models?|runs?|outputs?|results?|logs?|lightning_logs|wandb|files|snapshots?|blobs|refs"
    r"|experiments?|exps?|save[sd]?|trained|pretrained|train(ing)?|eval|artifacts?|tmp|temp|downloads?|hub|cache"
    r"|version_[0-9]+|[0-9a-f]{40}|tensorboard|home|data|mnt|scratch|work|root)",
    re.IGNORECASE,
)
"""Folder names that do not identify a model."""
REPOSITORY = re.compile(r"models--(?P<organisation>[^/]+?)--(?P<model>.+)")
"""Folder of a repository in the model hub's cache."""
UNNAMED = "checkpoint"


def name_of_checkpoint(path: Path) -> str:
    """Name of a card without `own/`: `/exp/simclr-r50/checkpoints/last.pth` gives `simclr-r50-last`."""
    name, folder = path.name, _folder(path.parent)
    stem, dot, ending = name.rpartition(".")
    while dot and stem and ending.lower() in ENDINGS:
        name = stem
        stem, dot, ending = name.rpartition(".")
    stem = name.strip(".") or name
    if folder and (SAME_IN_EVERY_FOLDER.fullmatch(stem) or NO_NAME.fullmatch(stem)):
        return plain(folder)
    return plain(f"{folder}-{stem}" if folder and ONE_OF_A_TRAINING.fullmatch(stem) else stem)


def plain(text: str) -> str:
    """Text reduced to the characters of a card's name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or UNNAMED


def _folder(folder: Path) -> str:
    """The nearest folder with an identifying name; empty without one."""
    for part in (folder, *folder.parents):
        repository = REPOSITORY.fullmatch(part.name)
        if repository is not None:
            return repository["model"]
        if part == Path.home():
            return ""
        if part.name and not NO_NAME.fullmatch(part.name):
            return part.name
    return ""
