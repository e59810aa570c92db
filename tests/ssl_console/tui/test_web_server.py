"""The console in a browser: the same app, on this machine only, for no page but its own."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest

from ssl_console.tui.web_server import is_loopback
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.tui.browser import a_page, browser_command
from tests.ssl_console.tui.filled import used_workspace


@pytest.fixture
def still(tmp_path: Path) -> Workspace:
    """A workspace in which nothing goes on."""
    return used_workspace(tmp_path / "still", results=60, runs=12)


@contextmanager
def serving(workspace: Workspace, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """The address at which the console is served meanwhile, and the process that serves it."""
    command = [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(workspace.root), "serve"]
    command += ["--port", str(free_port()), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield address(process), psutil.Process(process.pid)
        finally:
            process.terminate()


def address(process: subprocess.Popen[str]) -> str:
    """What it says of itself, once it listens."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.match(r"(http://\S+) shows the console", line):
            return found[1]
    raise AssertionError("it does not serve")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.slow
@pytest.mark.skipif(browser_command() is None, reason="no chromium is installed: apt-get install chromium")
async def test_the_browser_shows_the_console_and_its_keys_reach_it(still: Workspace, tmp_path: Path) -> None:
    with serving(still) as (url, server):
        async with a_page(url, tmp_path / "browser") as page:
            await page.until(lambda: "demo/mae on linear/digits" in page.text)
            await page.click(300, 300)
            await page.press("2")
            await page.until(lambda: "done in" in page.text)
            await page.press("p")
            await page.until(lambda: "paused: nothing more is started" in page.text)
            assert still.paused.exists()
            consoles = server.children(recursive=True)
            assert consoles
        _, left = psutil.wait_procs(consoles, timeout=30)
        assert not left, "a closed page ends its console"


async def test_pages_of_others_may_not_use_it(still: Workspace) -> None:
    with serving(still) as (url, _):
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as page:
                assert page.status == 200
            for headers in ({"Origin": "https://elsewhere.example"}, {"Host": "rebound.example"}):
                async with session.get(url, headers=headers) as page:
                    assert page.status == 403
                with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                    await session.ws_connect(f"{url}/ws", headers=headers)


def test_anything_but_this_machine_is_warned_of(still: Workspace) -> None:
    command = [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(still.root), "serve", "--host", "0.0.0.0"]
    with subprocess.Popen([*command, "--port", str(free_port())], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline() + process.stderr.readline()
        process.terminate()
    assert "WARNING: 0.0.0.0 can be reached from other machines, without a password" in first
    assert "whoever can connect to it can start and cancel runs here as you" in first


def test_a_taken_port_is_named_with_the_way_out(still: Workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(still.root), "serve", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be had" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("host", "private"),
    [("localhost", True), ("127.0.0.2", True), ("::1", True), ("10.0.0.1", False), ("gpu-box", False)],
)
def test_addresses_that_only_this_machine_reaches(host: str, private: bool) -> None:
    assert is_loopback(host) == private
