"""The console in a browser: the same app, on the local machine only, for no page but its own."""

from __future__ import annotations

import io
import os
import pwd
import re
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest

from ssl_console.tui.web_server import is_loopback
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui.browser import a_page, browser_command
from tests.ssl_console.tui.filled import used_workspace


@pytest.fixture
def still(tmp_path: Path) -> Workspace:
    """An idle workspace."""
    return used_workspace(tmp_path / "still", results=60, runs=12)


@dataclass(frozen=True)
class Served:
    """A console that is being served."""

    url: str
    """Its secret address."""
    to_look: str
    """The read-only address."""
    process: psutil.Process

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self.url.rsplit("/", 2)[0]


@contextmanager
def serving(workspace: Workspace, *options: str, stderr: IO[str] | None = None) -> Iterator[Served]:
    """A console that is being served; its output after the start goes to `stderr`, or nowhere."""
    command = [*serve_command(workspace), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Served(*addresses(process), psutil.Process(process.pid))
        finally:
            process.terminate()
            assert process.stderr is not None
            rest = process.stderr.read()
            if stderr is not None:
                stderr.write(rest)


def addresses(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The two addresses that it prints once it listens; for a read-only console, twice the same."""
    assert process.stderr is not None
    first = ""
    for line in process.stderr:
        if found := re.search(r"(http://\S+) (?:shows the console|there$)", line):
            first = found[1]
        if found := re.match(r"(http://\S+) is read-only", line):
            return first, found[1]
        if "treat these addresses as passwords" in line:
            return first, first
    raise AssertionError("it does not serve")


def free_port() -> int:
    """A port without a listener."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


needs_browser = pytest.mark.skipif(
    browser_command() is None, reason="no chromium is installed: apt-get install chromium"
)


@pytest.mark.slow
@needs_browser
async def test_the_browser_shows_the_console_and_its_keys_reach_it(still: Workspace, tmp_path: Path) -> None:
    with serving(still) as served:
        async with a_page(served.url, tmp_path / "browser") as page:
            await page.until(lambda: "demo/mae on linear/digits" in page.text)
            await page.click(300, 300)
            await page.press("2")
            await page.until(lambda: "done in" in page.text)
            await page.press("p")
            await page.until(lambda: "paused: no further run is started" in page.text)
            assert still.paused.exists()
            assert {urlsplit(url).netloc for url in page.requested if not url.startswith("data:")} == {
                urlsplit(served.url).netloc
            }
            assert page.complaints == []
            consoles = served.process.children(recursive=True)
            assert consoles
            for console in consoles:
                assert "EDITOR" not in console.environ()
                assert not any(served.url.split("/")[3] in word for word in console.cmdline())
        _, left = psutil.wait_procs(consoles, timeout=30)
        assert not left, "a closed page ends its console"


@pytest.mark.slow
@needs_browser
async def test_the_second_address_opens_a_console_that_changes_nothing(still: Workspace, tmp_path: Path) -> None:
    with serving(still) as served:
        assert served.to_look != served.url
        async with a_page(served.to_look, tmp_path / "browser") as page:
            await page.until(lambda: "demo/mae on linear/digits" in page.text)
            await page.click(300, 300)
            await page.press("2")
            await page.until(lambda: "done in" in page.text)
            await page.press("p")
            await page.press("3")
            await page.until(lambda: "mean" in page.text)
            assert not still.paused.exists()


async def test_a_page_of_another_origin_or_host_name_is_refused(still: Workspace) -> None:
    with serving(still) as served:
        async with aiohttp.ClientSession() as session:
            async with session.get(served.url) as page:
                assert page.status == 200
            for headers in ({"Origin": "https://elsewhere.example"}, {"Host": "rebound.example"}):
                async with session.get(served.url, headers=headers) as page:
                    assert page.status == 403
                with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                    await session.ws_connect(f"{served.url}ws", headers=headers)


async def test_page_files_socket_and_downloads_are_refused_without_the_secret(still: Workspace) -> None:
    with serving(still) as served:
        secret = served.url.split("/")[3]
        wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
        async with aiohttp.ClientSession(served.origin) as session:
            for start in ("", f"/{wrong}", f"/{secret[:20]}", "/%00", f"/{secret}x", "/ä"):
                for path in ("/", "/static/textual.js", "/download/1", "/ws"):
                    async with session.get(f"{start}{path}") as page:
                        assert page.status == 403, (start, path)
                with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                    await session.ws_connect(f"{start}/ws")
        assert served.process.children() == []


async def test_every_answer_carries_a_policy_that_allows_only_itself(still: Workspace) -> None:
    with serving(still) as served:
        async with aiohttp.ClientSession() as session:
            for url in (served.url, f"{served.url}static/page.js", f"{served.origin}/", f"{served.url}static/none"):
                async with session.get(url) as page:
                    policy = page.headers["Content-Security-Policy"]
                    assert policy.startswith("default-src 'none'")
                    assert "http:" not in policy
                    assert "//" not in policy
                    assert page.headers["Referrer-Policy"] == "no-referrer"


async def test_wrong_secrets_are_logged_once_a_minute_and_do_not_delay_the_owner(still: Workspace) -> None:
    written = io.StringIO()
    with serving(still, stderr=written) as served:
        async with aiohttp.ClientSession(served.origin) as session:
            for _ in range(300):
                async with session.get("/guess/") as page:
                    assert page.status == 403
            began = time.monotonic()
            async with session.get(served.url) as page:
                assert page.status == 200
            assert time.monotonic() - began < 1
    lines = [line for line in written.getvalue().splitlines() if "without the right secret" in line]
    assert len(lines) == 1
    assert f"from {pwd.getpwuid(os.geteuid()).pw_name} at 127.0.0.1" in lines[0]


async def test_a_socket_serves_to_its_owner_alone_and_is_removed_at_the_end(still: Workspace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own" / "console.sock"
        with serving(still, "--socket", str(path)) as served:
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
                async with session.get(served.url) as page:
                    assert page.status == 200
                async with session.get(f"{served.origin}/") as page:
                    assert page.status == 403
        assert not path.exists()


def test_a_socket_in_a_folder_that_is_open_to_others_is_refused_with_the_command_that_mends_it(
    still: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    done = refused(still, "--socket", str(folder / "console.sock"))
    assert f"chmod 700 {folder}" in done.stderr


def test_serving_without_a_secret_takes_two_options(still: Workspace) -> None:
    assert "--open-to-all-users" in refused(still, "--no-token", code=2).stderr
    assert "requires --no-token" in refused(still, "--open-to-all-users", code=2).stderr


async def test_a_console_without_a_secret_warns_of_every_user_of_the_machine(still: Workspace) -> None:
    command = [*serve_command(still), "--no-token", "--open-to-all-users"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = [process.stderr.readline() for _ in range(3)]
        async with aiohttp.ClientSession() as session, session.get(first[2].split()[0]) as page:
            assert page.status == 200
        process.terminate()
    assert "WARNING: no secret is required" in first[0]
    assert "all users of this machine: " in first[1]


def test_an_address_that_other_machines_reach_is_warned_of(still: Workspace) -> None:
    command = [*serve_command(still), "--host", "0.0.0.0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline() + process.stderr.readline()
        process.terminate()
    assert "WARNING: 0.0.0.0 can be reached from other machines, unencrypted" in first
    assert "an eavesdropper can start and cancel runs here as you" in first


def serve_command(workspace: Workspace) -> list[str]:
    """Serve at a free port."""
    words = [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(workspace.root), "serve"]
    return [*words, "--port", str(free_port())]


def refused(workspace: Workspace, *options: str, code: int = 1) -> subprocess.CompletedProcess[str]:
    """A server that does not respond."""
    command = [*serve_command(workspace), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_taken_port_is_named_with_the_way_out(still: Workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(still.root), "serve", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"127.0.0.1:{port} is unavailable" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("host", "private"),
    [("localhost", True), ("127.0.0.2", True), ("::1", True), ("10.0.0.1", False), ("gpu-box", False)],
)
def test_addresses_that_only_this_machine_reaches(host: str, private: bool) -> None:
    assert is_loopback(host) == private
