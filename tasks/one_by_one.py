"""Work on one image after another that carries on after an interruption."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint

KEEP_EVERY_S = 30.0


def one_by_one(
    indices: Sequence[int],
    work: Callable[[int], Tensor],
    checkpoint: Checkpoint | None,
    reporter: Reporter,
    skipped: Callable[[int], None] = lambda _count: None,
) -> list[Tensor]:
    """What `work` makes of each index, a tensor on the CPU. `skipped` is told how many were done by an earlier attempt.

    Raises OSError when the disk cannot take what is kept.
    """
    state = checkpoint.restore(reporter) if checkpoint is not None else None
    done: list[Tensor] = list(state["done"]) if state is not None else []
    if done:
        skipped(len(done))
    kept = time.monotonic()
    for index in indices[len(done) :]:
        done.append(work(index))
        if checkpoint is not None and time.monotonic() - kept >= KEEP_EVERY_S:
            checkpoint.save({"done": done})
            kept = time.monotonic()
    return done


def spread_over(count: int, wanted: int) -> list[int]:
    """At most `wanted` of `count` positions, evenly spaced, because neighbours are often of one class."""
    return [int(place) for place in np.linspace(0, count - 1, min(wanted, count)).round()]
