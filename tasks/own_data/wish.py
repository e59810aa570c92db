"""What the user says about a dataset, how splits are called, and what is asked when something is not clear."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from backbones.card import CardModel

Kind = Literal["class-folders", "split-files", "csv", "voc", "coco", "webdataset"]

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval"), "test"),
}


class Wish(CardModel):
    """Everything may be left open."""

    layout: Kind | None = None
    file_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    several: bool = False
    """Several labels per image in a table, separated by | or ;."""
    test_share: float = Field(0.2, gt=0, lt=1)
    """Share of every class that is set aside as test where the dataset has no splits."""
    seed: int = 0
    skip_unreadable: bool = False


class Ambiguous(ValueError):  # noqa: N818 - a domain word, raised as such
    """Several readings are possible; the message names them and the option that decides."""


def split_of(name: str) -> str | None:
    """Our name of a split from a file's or column's word: `train2017`, `instances_val`, `Training`."""
    words = "".join(sign if sign.isalpha() else " " for sign in name.lower()).split()
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)
