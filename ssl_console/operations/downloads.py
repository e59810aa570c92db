"""Downloads of weights and datasets, one after another in a thread of this process. Interrupted ones resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Queue
from threading import Lock, Thread
from typing import Literal, NamedTuple

from backbones.io.card_files import CardNameError
from backbones.io.errors import WeightsError
from ssl_console.operations.session import Session
from ssl_console.planning.duration import megabytes
from ssl_console.system.errors import ConsoleError
from tasks.datasets.download.fetch import FetchError, FetchProgress, Step, fetch

DownloadState = Literal["waiting", "fetching", "done", "failed"]
REPORT_EVERY_S = 0.5


class DownloadItem(NamedTuple):
    """Something that can be downloaded: the weights of a backbone, or the data of a dataset."""

    kind: Literal["weights", "data"]
    name: str

    def __str__(self) -> str:
        return f"the {self.kind} of {self.name}"


@dataclass(frozen=True)
class DownloadProgress:
    """Progress of a download."""

    of: DownloadItem
    state: DownloadState = "waiting"
    done: int = 0
    """Received or unpacked bytes of the present file."""
    total: int | None = None
    step: Step = "download"
    file: int = 1
    """Number of the present file, from 1."""
    files: int = 1
    problem: str = ""
    """Why it failed, and the fix."""

    @property
    def active(self) -> bool:
        """Whether it is waiting or downloading."""
        return self.state in {"waiting", "fetching"}

    @property
    def share(self) -> float | None:
        """Fraction of the present step and file, 0 to 1; None while the size is unknown."""
        return min(1.0, self.done / self.total) if self.total else None

    def __str__(self) -> str:
        if self.state == "fetching":
            activity = {"download": "fetching", "check": "checking", "unpack": "unpacking"}[self.step]
            of = f" of {megabytes(self.total)}" if self.total else ""
            file = f" (file {self.file} of {self.files})" if self.files > 1 else ""
            return f"{activity} {self.of}: {megabytes(self.done)}{of}{file}"
        endings = {"waiting": "wait for an earlier download", "done": "are present"}
        return f"{self.of} {endings.get(self.state, f'could not be fetched: {self.problem}')}"


Report = Callable[[DownloadProgress], None]


def fetch_into(session: Session, item: DownloadItem, report: Report) -> None:
    """Download into the session's weights folder or data root, and report at most a few times per second.

    Raises WeightsError, FetchError or ConsoleError with the fix, CardNameError for a name that no card has.
    """
    throttled = _Throttle(report)
    if item.kind == "weights":
        card = session.backbones.get(item.name)
        session.weights.fetch(card, lambda done, total: throttled(DownloadProgress(item, "fetching", done, total)))
    else:
        fetch(session.tasks.dataset(item.name), session.data_root, lambda one: throttled(_of_dataset(item, one)))


def _of_dataset(item: DownloadItem, one: FetchProgress) -> DownloadProgress:
    return DownloadProgress(item, "fetching", one.done, one.total, one.step, one.number, one.files)


@dataclass
class DownloadQueue:
    """Queue of downloads. `fetch` downloads one item and reports its progress; its errors only end that download."""

    fetch: Callable[[DownloadItem, Report], object]
    progress: Mapping[DownloadItem, DownloadProgress] = field(default_factory=dict)
    """In the order of requests; replaced as a whole."""
    _items: Queue[DownloadItem] = field(default_factory=Queue)
    _lock: Lock = field(default_factory=Lock)
    _thread: Thread | None = None

    @classmethod
    def of(cls, session: Session) -> DownloadQueue:
        """Queue that downloads into a session's folders."""
        return cls(partial(fetch_into, session))

    def add(self, items: Iterable[DownloadItem]) -> int:
        """Queue downloads; return the number of those that were neither waiting nor active."""
        with self._lock:
            active = {item for item, progress in self.progress.items() if progress.active}
            fresh = [item for item in dict.fromkeys(items) if item not in active]
            self.progress = {**self.progress, **{item: DownloadProgress(item) for item in fresh}}
            if fresh and self._thread is None:
                self._thread = Thread(target=self._run, name="downloads", daemon=True)
                self._thread.start()
        for item in fresh:
            self._items.put(item)
        return len(fresh)

    def _run(self) -> None:
        while True:
            item = self._items.get()
            self._set(DownloadProgress(item, "fetching"))
            try:
                self.fetch(item, self._set)
            except (WeightsError, FetchError, ConsoleError, CardNameError, OSError) as error:
                self._set(replace(self.progress[item], state="failed", problem=str(error)))
            else:
                self._set(replace(self.progress[item], state="done"))

    def _set(self, progress: DownloadProgress) -> None:
        with self._lock:
            self.progress = {**self.progress, progress.of: progress}


@dataclass
class _Throttle:
    """Passes on a few reports per second, the first of each step, and the last ones."""

    report: Report
    _reported_at: float = 0.0
    _step: tuple[Step, int] | None = None

    def __call__(self, progress: DownloadProgress) -> None:
        now, step = time.monotonic(), (progress.step, progress.file)
        if step != self._step or now - self._reported_at >= REPORT_EVERY_S or progress.done == progress.total:
            self._reported_at, self._step = now, step
            self.report(progress)
