"""Downloads of weights, one after another in a thread of this process; received bytes are stored when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from queue import Queue
from threading import Lock, Thread
from typing import Literal

from backbones.io.card_files import CardNameError
from backbones.io.download import Progress
from backbones.io.errors import WeightsError
from ssl_console.planning.duration import megabytes
from ssl_console.system.errors import ConsoleError

DownloadState = Literal["waiting", "fetching", "done", "failed"]
REPORT_EVERY_S = 0.5


@dataclass(frozen=True)
class DownloadProgress:
    """Progress of downloading one backbone's weights."""

    backbone: str
    state: DownloadState = "waiting"
    done: int = 0
    """Received bytes."""
    total: int | None = None
    problem: str = ""
    """Why it failed, and the fix."""

    @property
    def active(self) -> bool:
        """Whether it is waiting or downloading."""
        return self.state in {"waiting", "fetching"}

    @property
    def share(self) -> float | None:
        """Received fraction, 0 to 1; None while the size is unknown."""
        return min(1.0, self.done / self.total) if self.total else None

    def __str__(self) -> str:
        if self.state == "fetching":
            of = f" of {megabytes(self.total)}" if self.total else ""
            return f"fetching the weights of {self.backbone}: {megabytes(self.done)}{of}"
        words = {"waiting": "wait for the download before them", "done": "are here"}
        return f"the weights of {self.backbone} {words.get(self.state, f'could not be fetched: {self.problem}')}"


@dataclass
class WeightsQueue:
    """Queue of downloads. `fetch` downloads the weights of a backbone and reports bytes; its errors only end that
    download.
    """

    fetch: Callable[[str, Progress], object]
    progress: Mapping[str, DownloadProgress] = field(default_factory=dict)
    """By backbone, in the order of requests; replaced as a whole."""
    _names: Queue[str] = field(default_factory=Queue)
    _lock: Lock = field(default_factory=Lock)
    _thread: Thread | None = None

    def add(self, names: Iterable[str]) -> int:
        """Queue downloads; return the number of those that were neither waiting nor active."""
        with self._lock:
            fresh = [name for name in dict.fromkeys(names) if not self._is_active(name)]
            self.progress = {**self.progress, **{name: DownloadProgress(name) for name in fresh}}
            if fresh and self._thread is None:
                self._thread = Thread(target=self._run, name="weights", daemon=True)
                self._thread.start()
        for name in fresh:
            self._names.put(name)
        return len(fresh)

    def _is_active(self, name: str) -> bool:
        return name in self.progress and self.progress[name].active

    def _run(self) -> None:
        while True:
            name = self._names.get()
            self._set(DownloadProgress(name, "fetching"))
            try:
                self.fetch(name, _Reporter(name, self._set))
            except (WeightsError, ConsoleError, CardNameError, OSError) as error:
                self._set(replace(self.progress[name], state="failed", problem=str(error)))
            else:
                self._set(replace(self.progress[name], state="done"))

    def _set(self, progress: DownloadProgress) -> None:
        with self._lock:
            self.progress = {**self.progress, progress.backbone: progress}


@dataclass
class _Reporter:
    """Throttles the progress reports of a download to a few per second."""

    name: str
    report: Callable[[DownloadProgress], None]
    _reported_at: float = 0.0

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._reported_at >= REPORT_EVERY_S or done == total:
            self._reported_at = now
            self.report(DownloadProgress(self.name, "fetching", done, total))
