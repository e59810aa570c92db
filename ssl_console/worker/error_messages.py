"""Classification of failures, and the message that users read."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

from backbones.io.errors import WeightsError
from ssl_console.workspace.run import FailureKind
from tasks.features.manifest import NotFiniteError, OutOfMemoryError

LONGEST = 600
_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def classify_failure(error: BaseException, log: Path) -> tuple[FailureKind, str]:
    """Kind of failure and one sentence; `log` is the file that contains the traceback."""
    kind = _kind(error)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        place = f" ({error.filename})" if error.filename else ""
        return kind, f"the disk is full{place}: make room (`ssl-console cache prune` frees features) and retry"
    sentence = _one_line(str(error))
    if kind == "crash" and not _says_enough(error):
        return kind, f"{_named(error, sentence)} {_place(error)}; the traceback is in {log}"
    if kind == "oom" and type(error).__module__.partition(".")[0] != "tasks":
        return kind, f"memory ran out: {sentence or type(error).__name__}"
    return kind, sentence or type(error).__name__


def _kind(error: BaseException) -> FailureKind:
    # imported here because it imports numpy, which a worker without failures may not need
    from tasks.datasets.dataset import DataError  # noqa: PLC0415

    kinds: tuple[tuple[type[BaseException], FailureKind], ...] = (
        (OutOfMemoryError, "oom"),
        (MemoryError, "oom"),
        (NotFiniteError, "nan"),
        (DataError, "data"),
        (WeightsError, "weights"),
    )
    if isinstance(error, RuntimeError) and any(message in str(error) for message in _MEMORY_MESSAGES):
        return "oom"
    return next((kind for types, kind in kinds if isinstance(error, types)), "crash")


def _says_enough(error: BaseException) -> bool:
    """Whether the message is meant for users: the project's own errors name the place and the fix."""
    return type(error).__module__.partition(".")[0] in {"tasks", "backbones", "ssl_console"}


def _named(error: BaseException, sentence: str) -> str:
    return f"{type(error).__name__}: {sentence}" if sentence else type(error).__name__


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def _one_line(text: str) -> str:
    first = text.strip().splitlines()[0].strip() if text.strip() else ""
    return first if len(first) <= LONGEST else first[: LONGEST - 1] + "…"
