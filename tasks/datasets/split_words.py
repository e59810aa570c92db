"""Common names of splits, and the error for ambiguous input. Needs no numpy."""

from __future__ import annotations

from itertools import pairwise

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "devel", "validate"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"), "test"),
}


class Ambiguous(ValueError):  # noqa: N818 - a domain word, raised as such
    """The input has several interpretations; the message names them and the deciding option."""


def split_of(name: str) -> str | None:
    """Standard split of a file or column name: `train2017`, `instances_val`, `Training`; None if unknown."""
    words = "".join(sign if sign.isalpha() else " " for sign in name.lower()).split()
    pairs = [first + second for first, second in pairwise(words)]
    return next((SPLIT_WORDS[word] for word in (*pairs, *words) if word in SPLIT_WORDS), None)
