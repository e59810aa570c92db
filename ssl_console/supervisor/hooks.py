"""Hooks: a command or a webhook receives one JSON object when a run has failed, or when the queue has ended.

They run in a thread, one after another, each within its time limit. The supervisor never waits for them, except before
it exits.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from queue import Full, Queue
from tempfile import TemporaryFile
from threading import Thread, Timer
from typing import Any, Self
from urllib.parse import quote, urlsplit

from backbones.io.urls import basic_authorization
from ssl_console.system.processes import signal_group, this_host
from ssl_console.workspace.config import HookEvent, HookSettings, expand
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_index import RunInfo

LOG = logging.getLogger(__name__)
MOST_WAITING = 100
"""Maximum number of events that wait for a slow hook; further ones are dropped and logged."""
LOG_REACH = 4096
"""Bytes at the end of a command's output in which its last line is searched."""
ENDED = (RunState.DONE, RunState.FAILED, RunState.CANCELLED)

Message = Mapping[str, object]


@dataclass
class Hooks:
    """Detects events between ticks. An event is sent one tick later, if it still applies.

    By then a run that ran out of memory is queued again, and new submissions are visible.
    """

    workspace: Workspace
    settings: HookSettings = field(default_factory=HookSettings)
    _began: float | None = None
    """Time at which runs were added to an empty queue; None while it is empty."""
    _active: set[str] = field(default_factory=set)
    """Unfinished runs."""
    _ended: dict[str, RunState] = field(default_factory=dict)
    """Runs that have ended since then."""
    _failed: dict[str, int] = field(default_factory=dict)
    """Attempts that failed in the last tick, by run."""
    _was_idle: bool = False
    _sender: Sender | None = None

    @property
    def busy(self) -> bool:
        """Whether a hook is running or waiting."""
        return self._sender is not None and self._sender.busy

    def observe(self, changed: Iterable[RunInfo], entries: Mapping[str, RunInfo], now: float) -> None:
        """Process the runs that have changed in this tick, given all runs."""
        if not (self.settings.command or self.settings.webhook):
            return
        failed, self._failed = self._failed, {}
        for run_id, attempt in failed.items():
            run = entries.get(run_id)
            if run is not None and run.status.state is RunState.FAILED and run.status.attempt == attempt:
                self._send("run-failed", now, run=_run_facts(run))
        for entry in changed:
            self._note(entry)
        self._active = {run_id for run_id in self._active if run_id in entries}
        if self._active and self._began is None:
            self._began = now
        elif not self._active and self._began is not None and self._was_idle and not self._failed:
            states = list(self._ended.values())
            counts = {state.value: states.count(state) for state in ENDED}
            self._send("queue-ended", now, **counts, seconds=round(now - self._began, 1))
            self._began, self._ended = None, {}
        self._was_idle = not self._active

    def _note(self, entry: RunInfo) -> None:
        state = entry.status.state
        if not state.final:
            self._active.add(entry.run_id)
            self._ended.pop(entry.run_id, None)
            return
        self._active.discard(entry.run_id)
        if self._began is None:  # it had ended before the first tick
            return
        self._ended[entry.run_id] = state
        if state is RunState.FAILED and entry.status.end is not None:
            self._failed[entry.run_id] = entry.status.attempt

    def _send(self, event: HookEvent, now: float, **facts: object) -> None:
        if event not in self.settings.events:
            return
        if self._sender is None:
            self._sender = Sender(self.settings)
        about = {"event": event, "time": now, "workspace": str(self.workspace.root.absolute()), "host": this_host()}
        self._sender.send({**about, **facts})


def _run_facts(entry: RunInfo) -> Message:
    return {
        "id": entry.run_id,
        "backbone": entry.backbone,
        "task": entry.task,
        "seed": entry.seed,
        "attempt": entry.status.attempt,
        "kind": entry.status.kind,
        "reason": entry.status.reason,
    }


class Sender:
    """Delivers messages in order, in a separate thread. Failures are logged and not repeated."""

    def __init__(self, settings: HookSettings) -> None:
        self._settings = settings
        self._messages: Queue[Message] = Queue(MOST_WAITING)
        Thread(target=self._run, name="hooks", daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether any message is undelivered."""
        return self._messages.unfinished_tasks > 0

    def send(self, message: Message) -> None:
        """Queue a message without blocking."""
        try:
            self._messages.put_nowait(message)
        except Full:
            LOG.error("hook %s dropped: %d events wait for slow hooks", message["event"], MOST_WAITING)

    def _run(self) -> None:
        while True:
            message = self._messages.get()
            try:
                self._deliver(message)
            except Exception as error:  # noqa: BLE001 - without the thread, the supervisor would wait for its messages without end
                LOG.error("hook %s failed: %s", message["event"], type(error).__name__)
            finally:
                self._messages.task_done()

    def _deliver(self, message: Message) -> None:
        content = json.dumps(message).encode()
        if self._settings.command:
            run_command(self._settings.command, content, self._settings.timeout_s)
        if self._settings.webhook:
            post(self._settings, content)


def run_command(command: tuple[str, ...], content: bytes, timeout_s: float) -> None:
    """Run a command with `content` on its standard input; its process group is killed after the time limit."""
    with TemporaryFile() as errors:  # background processes of the command would keep a pipe open
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=errors, stderr=errors, start_new_session=True
            )
        except (OSError, ValueError) as error:  # a null character in an argument is a ValueError
            LOG.error("hook %s cannot be started: %s", command[0], getattr(error, "strerror", None) or error)
            return
        try:
            process.communicate(content, timeout_s)
        except subprocess.TimeoutExpired:
            signal_group(process.pid, signal.SIGKILL)
            process.wait()
            LOG.error("hook %s was killed after %g s ([hooks] timeout_s in config.toml)", command[0], timeout_s)
            return
        if process.returncode:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - LOG_REACH))
            last_line = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
            LOG.error("hook %s exited with code %d: %s", command[0], process.returncode, last_line)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirect handler that refuses redirects: a secret address or header must not be sent to another host."""

    def redirect_request(self, *_: object) -> None:
        """Follow no redirect."""


@dataclass
class _Deadline:
    """Deadline of a connection: a socket's own timeout restarts with every byte."""

    seconds: float
    over: bool = False
    _connections: list[HTTPConnection] = field(default_factory=list)

    def watch(self, connection: HTTPConnection) -> HTTPConnection:
        """The same connection, ended at the deadline."""
        self._connections.append(connection)
        return connection

    def end(self) -> None:
        """End all connections."""
        self.over = True
        for connection in self._connections:
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._timer = Timer(self.seconds, self.end)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


class _Watched(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Connection handler of both schemes, with a deadline."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def do_open(self, http_class: Callable[..., HTTPConnection], req: Any, **arguments: Any) -> Any:  # noqa: ANN401 - of urllib
        """Open a connection."""
        return super().do_open(lambda *a, **k: self._deadline.watch(http_class(*a, **k)), req, **arguments)


def post(settings: HookSettings, content: bytes) -> None:
    """Post `content` to the webhook; messages never contain its address, which may be a secret."""
    with _Deadline(settings.timeout_s) as deadline:
        problem = _post(settings, content, deadline)
    if deadline.over:
        problem = f"took longer than {settings.timeout_s:g} s ([hooks] timeout_s in config.toml)"
    if problem:
        LOG.error("hook webhook %s", problem)


def _post(settings: HookSettings, content: bytes, deadline: _Deadline) -> str:
    """Problem in words; empty when the server has accepted the post."""
    try:
        request = _request(settings, content)
        opener = urllib.request.build_opener(_NoRedirect, _Watched(deadline))
        with opener.open(request, timeout=settings.timeout_s):
            return ""
    except KeyError as error:
        return f"is not sent: the environment of the supervisor has no {error.args[0]}"
    except urllib.error.HTTPError as error:
        return f"was rejected: status {error.code}"
    except urllib.error.URLError as error:
        return f"cannot be reached: {error.reason}"
    except (OSError, HTTPException) as error:
        return f"cannot be reached: {type(error).__name__}"
    except ValueError:
        return "is not an http or https address"


def _request(settings: HookSettings, content: bytes) -> urllib.request.Request:
    """Build the request. Raises KeyError for an unset variable, ValueError for another scheme."""
    parts = urlsplit(settings.webhook or "")
    user, at, host = parts.netloc.rpartition("@")
    # a password from a variable may contain any character
    quoted = {name: quote(value, safe="") for name, value in os.environ.items()} if at else {}
    webhook = parts._replace(netloc=f"{expand(user, quoted)}{at}{host}").geturl()
    address, login = basic_authorization(expand(webhook, os.environ))
    headers = {name: expand(value, os.environ) for name, value in settings.headers.items()}
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked in the settings, or by the next line
        address, content, {"Content-Type": "application/json", **login, **headers}, method="POST"
    )
    if request.type not in {"http", "https"}:
        raise ValueError("not http or https")
    return request
