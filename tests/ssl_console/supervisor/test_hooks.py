"""Hooks: a failed run and the end of the queue reach a command and a webhook, and delay nothing."""

from __future__ import annotations

import base64
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ssl_console.supervisor.hooks import MOST_WAITING, Sender, post, run_command
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.config import HookSettings, load_config
from ssl_console.workspace.run import RunState
from tests.ssl_console.workspace_fixture import Bench, eventually


def configure(bench: Bench, text: str) -> None:
    bench.workspace.config.write_text(f'devices = ["cpu"]\nslots_per_device = 1\n[hooks]\n{text}\n')


def told(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_failed_run_and_the_end_of_the_queue_are_sent_to_the_command(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "told.jsonl"
    configure(bench, f"command = ['sh', '-c', 'cat >> {file}; echo >> {file}']")
    bench.submit("good", seed=1, created=1.0)
    bench.submit("bad", "raise", seed=2, created=2.0)
    bench.submit("last", seed=3, created=3.0)
    bench.supervise(retries=0)
    bench.until("last", RunState.DONE)
    eventually(lambda: not bench.supervisor_lives(), "the supervisor has left")
    failed, ended = told(file)
    assert failed["event"] == "run-failed"
    assert failed["run"] == {
        "id": "bad",
        "backbone": "demo/a",
        "task": "rehearsal/none",
        "seed": 2,
        "attempt": 1,
        "kind": "crash",
        "reason": bench.status("bad").reason,
    }
    assert failed["workspace"] == str(bench.workspace.root.absolute())
    assert {name: ended[name] for name in ("event", "done", "failed", "cancelled")} == {
        "event": "queue-ended",
        "done": 2,
        "failed": 1,
        "cancelled": 0,
    }


def test_a_run_that_is_tried_again_by_itself_is_not_reported_before_it_fails_for_good(
    bench: Bench, tmp_path: Path
) -> None:
    file = tmp_path / "told.jsonl"
    configure(bench, f"command = ['sh', '-c', 'cat >> {file}; echo >> {file}']\nevents = ['run-failed']")
    bench.submit("hungry", "oom")
    bench.supervise(retries=1)
    eventually(lambda: not bench.supervisor_lives(), "the supervisor has left")
    assert [one["run"]["attempt"] for one in told(file)] == [2]  # type: ignore[index]


def test_a_slow_hook_is_killed_and_delays_no_run(bench: Bench, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    configure(bench, f"command = ['sh', '-c', 'touch {ready}; sleep 600']\ntimeout_s = 5")
    bench.submit("bad", "raise", seed=1, created=1.0)
    bench.submit("good", seed=2, created=2.0)
    bench.supervise(retries=0)
    eventually(ready.exists, "the hook of the first has begun")
    begun = time.monotonic()
    bench.until("good", RunState.DONE)
    assert time.monotonic() - begun < 5, "it was not waited for"
    assert bench.supervisor_lives(), "it stays until its hooks have ended"


def test_a_command_is_killed_with_its_children_and_what_it_leaves_in_the_background_is_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = time.monotonic()
    run_command(("sh", "-c", "sleep 600"), b"{}", 0.2)
    run_command(("sh", "-c", "sleep 3 & exit 0"), b"{}", 60.0)
    assert time.monotonic() - begun < 3
    assert "hook sh was killed after 0.2 s" in caplog.text


def test_a_command_that_fails_is_logged_with_its_last_line(caplog: pytest.LogCaptureFixture) -> None:
    run_command((sys.executable, "-c", "import sys; sys.exit('no such channel')"), b"{}", 60.0)
    run_command(("/nowhere/notify",), b"{}", 60.0)
    assert "exited with code 1: no such channel" in caplog.text
    assert "hook /nowhere/notify cannot be started: No such file" in caplog.text


def test_more_events_than_a_slow_hook_can_take_are_left_out_and_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr("ssl_console.supervisor.hooks.run_command", lambda *_: release.wait(60))
    sender = Sender(HookSettings(command=("notify",)))
    for _ in range(MOST_WAITING + 2):
        sender.send({"event": "run-failed"})
    assert "hook run-failed dropped: 100 events wait for slow hooks" in caplog.text
    release.set()
    eventually(lambda: not sender.busy, "all others are delivered")


# -- webhook ----------------------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers.get("Authorization"), body))
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    received: list[tuple[str, str | None, bytes]]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.received = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_webhook_gets_the_object_with_secrets_from_the_environment(
    server: _Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = HookSettings(webhook=f"{server.address}/${{PLACE}}", headers={"Authorization": "Bearer ${TOKEN}"})
    post(settings, b"{}")
    assert "the environment of the supervisor has no PLACE" in caplog.text
    monkeypatch.setenv("PLACE", "secret-path")
    monkeypatch.setenv("TOKEN", "t0ken")
    post(settings, b'{"event": "queue-ended"}')
    assert server.received == [("/secret-path", "Bearer t0ken", b'{"event": "queue-ended"}')]


def test_a_redirect_is_not_followed_and_no_message_has_the_address(
    server: _Server, caplog: pytest.LogCaptureFixture
) -> None:
    post(HookSettings(webhook=f"{server.address}/moved"), b"{}")
    assert [path for path, _, _ in server.received] == ["/moved"]
    assert "hook webhook was rejected: status 302" in caplog.text
    post(HookSettings(webhook="http://127.0.0.1:1/secret", timeout_s=2), b"{}")
    assert "hook webhook cannot be reached" in caplog.text
    assert "127.0.0.1" not in caplog.text
    assert "secret" not in caplog.text


def test_a_login_in_the_address_of_the_webhook_is_sent_as_a_header(
    server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "t0k:n@/#")
    host = server.address.removeprefix("http://")
    post(HookSettings(webhook=f"http://me:${{PASSWORD}}@{host}/x"), b"{}")
    login = f"Basic {base64.b64encode(b'me:t0k:n@/#').decode()}"
    assert server.received == [("/x", login, b"{}")]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n"], ids=["nothing", "headers without end"])
def test_a_webhook_that_answers_a_byte_at_a_time_is_given_up_after_the_time_limit(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.sendall(answer)
            while True:
                connection.sendall(b"X")
                over.wait(0.05)

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=[listening])
        thread.start()
        begun = time.monotonic()
        post(HookSettings(webhook=f"http://127.0.0.1:{listening.getsockname()[1]}/secret", timeout_s=0.4), b"{}")
        assert time.monotonic() - begun < 5
        thread.join(60)
    assert "hook webhook took longer than 0.4 s" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "settings",
    [HookSettings(command=("notify\0",)), HookSettings(webhook="${HOST}/x")],
    ids=["a null character", "half an address"],
)
def test_a_hook_that_cannot_work_does_not_keep_the_supervisor(
    settings: HookSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOST", "http://[::1")
    sender = Sender(settings)
    sender.send({"event": "run-failed"})
    sender.send({"event": "run-failed", "odd": object()})
    eventually(lambda: not sender.busy, "both have been dealt with")
    assert "hook run-failed failed: TypeError" in caplog.text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("webhook = 'https://me:p4ss@example.org/x'", "a password or token belongs in an environment variable"),
        ("webhook = 'https://p4ss@example.org/x'", "a password or token belongs in an environment variable"),
        ("webhook = 'file:///etc/passwd'", "write an http or https address"),
        ("headers = { Authorization = 'Bearer p4ss' }", "belongs in an environment variable"),
        ("timeout_s = 0", "greater than 0"),
        ("events = ['run-done']", "run-failed"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_without_repeating_a_secret(
    bench: Bench, text: str, sentence: str
) -> None:
    configure(bench, text)
    with pytest.raises(ConsoleError, match=sentence) as refusal:
        load_config(bench.workspace)
    assert "hooks." in str(refusal.value)
    assert "p4ss" not in str(refusal.value)
