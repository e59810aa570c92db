"""The state of an unfinished training on disk: whole or absent, and only of the training that asks for it."""

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
    """The file is not what was written."""


@dataclass(frozen=True)
class Checkpoint:
    """One file. `owner` names the training: its state is of no use to any other."""

    path: Path
    owner: str

    def save(self, state: dict[str, Any]) -> None:
        """Write the state (tensors and plain values): to a temporary file, to the disk, then under its name.

        Raises OSError that names the file when the disk cannot take it; the last state stays.
        """
        buffer = io.BytesIO()
        torch.save({"owner": self.owner, "state": state}, buffer)
        content = buffer.getbuffer()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path) as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)

    def restore(self, reporter: Reporter, device: str = "cpu") -> dict[str, Any] | None:
        """The state to carry on from; None when there is none, or, with a warning, when it is torn or another's."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            kept = _opened(content, device)
        except TornCheckpoint as error:
            reporter.warn(f"{self.path} is damaged ({error}): this training starts over")
            return None
        if kept["owner"] != self.owner:
            reporter.warn(f"{self.path} is of another training: this one starts over")
            return None
        state: dict[str, Any] = kept["state"]
        return state

    def remove(self) -> None:
        """Forget the state."""
        self.path.unlink(missing_ok=True)


def _opened(content: bytes, device: str) -> dict[str, Any]:
    if hashlib.sha256(content[DIGEST_BYTES:]).digest() != content[:DIGEST_BYTES]:
        raise TornCheckpoint(f"{len(content):,} bytes whose digest is wrong")
    try:
        kept = torch.load(io.BytesIO(content[DIGEST_BYTES:]), map_location=device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TornCheckpoint(str(error)) from error
    if not isinstance(kept, dict) or set(kept) != {"owner", "state"}:
        raise TornCheckpoint("it holds something else")
    return kept


KEEP_EVERY_S = 30.0


def resumable_map(
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


class StopRequest:
    """Whether the process was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        """A signal handler: only takes note."""
        self.asked = True


@contextmanager
def termination_deferred() -> Iterator[StopRequest]:
    """Inside, SIGTERM is noted; afterwards it is sent again, to whoever handles it outside.

    Signals belong to the main thread: in any other, nothing is deferred.
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
