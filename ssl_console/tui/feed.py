"""The thread that looks at the workspace, so that a slow disk never holds up a key press."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ssl_console.errors import ConsoleError
from ssl_console.tui.core import Core, News

LOOKS_PER_SECOND = 4.0
SLOW_LOOKS_PER_SECOND = 2.0


class Feed:
    """Looks a few times a second and hands over what changed: after the first look, nothing while nothing changes."""

    def __init__(self, core: Core, deliver: Callable[[News], object], *, slow: bool = False) -> None:
        self._core, self._deliver = core, deliver
        self._seconds = 1 / (SLOW_LOOKS_PER_SECOND if slow else LOOKS_PER_SECOND)
        self._stop = threading.Event()
        self._now = threading.Event()
        self._taken = threading.Event()
        self._taken.set()
        self._thread = threading.Thread(target=self._look_on, name="feed", daemon=True)
        self._problem = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns when the thread has ended or hangs in the file system."""
        self._stop.set()
        self._now.set()
        self._thread.join(timeout=2)

    def slow_down(self, slow: bool) -> None:
        """Look less often, or as often as usual."""
        self._seconds = 1 / (SLOW_LOOKS_PER_SECOND if slow else LOOKS_PER_SECOND)

    def hurry(self) -> None:
        """Look now: the user has just changed something."""
        self._now.set()

    def taken(self) -> None:
        """The last news have been shown; until then no more are delivered, so they cannot pile up."""
        self._taken.set()

    def _look_on(self) -> None:
        first = True
        while not self._stop.is_set():
            self._taken.wait(timeout=self._seconds)
            if not self._taken.is_set():
                continue
            news = self._look()
            if (first or not news.empty) and not self._stop.is_set():
                first = False
                self._taken.clear()
                self._deliver(news)
            self._now.wait(self._seconds)
            self._now.clear()

    def _look(self) -> News:
        """One look; what cannot be read becomes news once, and the next look tries again."""
        try:
            news = self._core.news()
        except (ConsoleError, OSError, ValueError) as error:
            news = News(problem=str(error) or type(error).__name__)
        if (news.problem or "") == self._problem:
            return News(news.runs, news.gone, news.results, news.devices, news.supervisor)
        self._problem = news.problem or ""
        return News(news.runs, news.gone, news.results, news.devices, news.supervisor, self._problem)
