"""Checkpoints of unfinished training, written atomically and only restored by the training that wrote them."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backbones.io.files import whole_file
from tasks.reporter import Reporter

DIGEST_BYTES = 32


class TornCheckpoint(ValueError):  # noqa: N818 - a domain word, raised as such
    """The file's content differs from what was written."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file. `owner` identifies the training; other trainings ignore its state."""

    path: Path
    owner: str

    def save(self, state: dict[str, Any]) -> None:
        """Write the state (tensors and plain values) atomically: temporary file, fsync, rename.

        Raises OSError with the file name if the disk is full or not writable; the previous state is kept.
        """
        buffer = io.BytesIO()
        torch.save({"owner": self.owner, "state": state}, buffer)
        content = buffer.getbuffer()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path) as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)

    def restore(self, reporter: Reporter, device: str = "cpu") -> dict[str, Any] | None:
        """The state to resume from; None if missing, or, with a warning, if damaged or not this training's."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            kept = _opened(content, device)
        except TornCheckpoint as error:
            reporter.warn(f"{self.path} is damaged ({error}): this training restarts")
            return None
        if kept["owner"] != self.owner:
            reporter.warn(f"{self.path} is of another training: this one restarts")
            return None
        state: dict[str, Any] = kept["state"]
        return state

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _opened(content: bytes, device: str) -> dict[str, Any]:
    if hashlib.sha256(content[DIGEST_BYTES:]).digest() != content[:DIGEST_BYTES]:
        raise TornCheckpoint(f"{len(content):,} bytes whose digest is wrong")
    try:
        kept = torch.load(io.BytesIO(content[DIGEST_BYTES:]), map_location=device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TornCheckpoint(str(error)) from error
    if not isinstance(kept, dict) or set(kept) != {"owner", "state"}:
        raise TornCheckpoint("its content is not a checkpoint")
    return kept


KEEP_EVERY_S = 30.0


def resumable_map(
    indices: Sequence[int],
    work: Callable[[int], Tensor],
    checkpoint: Checkpoint | None,
    reporter: Reporter,
    skipped: Callable[[int], None] = lambda _count: None,
) -> list[Tensor]:
    """Results of `work` for each index, tensors on the CPU. `skipped` is called with the number done by earlier
    attempts.

    Raises OSError if results cannot be written to disk.
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


class StopRequest:
    """Whether a stop of the process was requested."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        """Signal handler: record the request."""
        self.asked = True


@contextmanager
def termination_deferred() -> Iterator[StopRequest]:
    """Record SIGTERM in the context and send it again afterwards, to the outer handler.

    Only in the main thread, which receives the signals; in other threads nothing is deferred.
    """
    stopping = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = signal.signal(signal.SIGTERM, stopping.ask)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGTERM, before)
        if stopping.asked:
            os.kill(os.getpid(), signal.SIGTERM)
