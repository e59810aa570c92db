"""The state of an unfinished training on disk: whole or absent, and only of the training that asks for it."""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tasks.reporter import Reporter
from tasks.whole_file import whole_file

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
