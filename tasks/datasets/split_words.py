"""Words for splits as people use them, and the question where they do not decide. Needs no numpy."""

from __future__ import annotations

from itertools import pairwise

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "devel", "validate"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"), "test"),
}


class Ambiguous(ValueError):  # noqa: N818 - a domain word, raised as such
    """Several readings are possible; the message names them and the option that decides."""


def split_of(name: str) -> str | None:
    """Our name of a split from a file's or column's word: `train2017`, `instances_val`, `Training`."""
    words = "".join(sign if sign.isalpha() else " " for sign in name.lower()).split()
    pairs = [first + second for first, second in pairwise(words)]
    return next((SPLIT_WORDS[word] for word in (*pairs, *words) if word in SPLIT_WORDS), None)
