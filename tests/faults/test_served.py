"""A console in a browser belongs to the user who serves it: other users of the machine have no access."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pyte
import pytest

from tests.faults.second_user import needs_second_user, open_parents, second_user
from tests.faults.stage import PATIENCE_S, Stage
from tests.faults.tally import Tally
from tests.ssl_console.tui.terminal import SIZE, UNKNOWN_TO_PYTE
from tests.ssl_console.tui.test_web_server import refused, serving

GROUP = "another user of the machine"
ATTACK = """
async def attempts(origin, secret):
    found = []
    guesses = ["", "/" + secret[:-1], "/" + secret + "A", "/" + "A" * 43, "/..", "/%2e%2e", "//"]
    paths = ["/", "/ws", "/static/textual.js", "/download/1"]
    async with aiohttp.ClientSession() as session:
        for url in [origin + start + path for start in guesses for path in paths]:
            async with session.get(url) as page:
                found.append([url, page.status])
            try:
                async with session.ws_connect(url):
                    found.append([url, 101])
            except aiohttp.WSServerHandshakeError as error:
                found.append([url, error.status])
    return found

def secret_is_seen(pid, secret):
    seen = 0
    for name in ["cmdline", "environ", "maps", "status"]:
        try:
            seen += secret.encode() in open(f"/proc/{pid}/{name}", "rb").read()
        except OSError:
            pass
    return seen

origin, secret, pid = given
print(json.dumps([asyncio.run(attempts(origin, secret)), secret_is_seen(pid, secret)]))
"""
SOCKET = """
with socket.socket(socket.AF_UNIX) as one:
    try:
        one.connect(given)
        print(json.dumps("connected"))
    except OSError as error:
        print(json.dumps(type(error).__name__))
"""


@pytest.mark.slow
@needs_second_user
def test_another_user_gets_no_page_no_file_and_no_socket_of_a_served_console(stage: Stage, tally: Tally) -> None:
    written = io.StringIO()
    with second_user() as other, serving(stage.workspace, stderr=written) as served:
        request = served.origin, served.url.split("/")[3], served.process.pid
        tried, seen = other(ATTACK, request, imports="import aiohttp, asyncio")
        assert served.process.children() == []
    assert [one for one in tried if one[1] != 403] == []
    assert seen == 0
    assert f"from {other.name} at 127.0.0.1" in written.getvalue()
    tally.add("pages, files and sockets of a served console, asked for without its secret", len(tried), "403; logged")


@pytest.mark.slow
@needs_second_user
def test_another_user_cannot_connect_to_the_socket_of_a_served_console(stage: Stage, tally: Tally) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, second_user() as other:
        path = Path(folder) / "own" / "console.sock"
        open_parents(path.parent)
        with serving(stage.workspace, "--socket", str(path)):
            assert other(SOCKET, str(path), imports="import socket") == "PermissionError"
    tally.add("connections to the Unix socket of a served console", 1, "permission denied by its folder (0700)")


# -- what a page in a browser cannot do -------------------------------------------------------------------------------


@dataclass
class Page:
    """A console at the other end of a web socket, as the page's script talks to it."""

    socket: aiohttp.ClientWebSocketResponse
    written: bytearray = field(default_factory=bytearray)
    screen: pyte.Screen = field(default_factory=lambda: pyte.Screen(*SIZE))

    async def press(self, keys: str) -> None:
        """Send what a terminal would send for these keys."""
        await self.socket.send_json(["stdin", keys])

    async def until(self, words: str) -> None:
        """Wait until this is on the screen."""
        await self.until_true(lambda: words in self.text, f"{words} is not on the screen")

    async def until_true(self, fact: Callable[[], bool], otherwise: str) -> None:
        """Read what the console writes until `fact()`."""
        stream = pyte.ByteStream(self.screen)
        try:
            async with asyncio.timeout(PATIENCE_S):  # one for each message is no bound: the server's pings restart it
                while not fact():
                    message = await self.socket.receive()
                    assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), (otherwise, self.text)
                    if isinstance(message.data, bytes):
                        self.written += message.data
                        stream.feed(message.data.replace(UNKNOWN_TO_PYTE, b""))
        except TimeoutError:
            raise AssertionError(f"{otherwise}:\n{self.text}") from None

    async def until_field(self, label: str) -> None:
        """Wait until the cursor is in this field of a form."""
        await self.until_true(
            lambda: f"│ {label} " in self.screen.display[self.screen.cursor.y], f"the cursor is not in {label}"
        )

    @property
    def text(self) -> str:
        """The screen, line by line."""
        return "\n".join(line.rstrip() for line in self.screen.display)


@asynccontextmanager
async def a_page(url: str) -> AsyncIterator[Page]:
    """An open page on a served console."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}ws?width={SIZE[0]}&height={SIZE[1]}", max_msg_size=0) as socket,
    ):
        yield Page(socket)


async def complete_outside(url: str, data: Path, outside: Sequence[Path]) -> None:
    """Have paths completed that lead out of the data, then one that does not."""
    async with a_page(url) as page:
        await page.until("demo/mae")
        await page.press("A")
        await page.until("Add a dataset")
        for folder in outside:
            await page.until_field("dataset")
            await page.press(f"{folder}/th\t")
            await page.until_field("name")  # there is nothing to complete
            await page.press("\x1b[Z\x15")  # back to the path, and clear it
        await page.until_field("dataset")
        await page.press(f"{data}/ph\t")
        await page.until("otographs")
        assert b"esis" not in page.written


async def export(url: str) -> None:
    """Press the key that writes a ranking, in a read-only page."""
    async with a_page(url) as page:
        await page.until("demo/mae")
        await page.press("3")
        await page.until("50.0")
        await page.press("x")
        await page.until("A read-only page writes no files")


@pytest.mark.slow
def test_a_page_lists_no_folders_but_those_of_the_data_and_a_readonly_one_writes_no_files(
    stage: Stage, tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run_to_the_end([0])
    data, secret = tmp_path / "data", tmp_path / "secret"
    for folder in (data / "photographs", secret / "thesis"):
        folder.mkdir(parents=True)
    (data / "leads-out").symlink_to(secret)
    outside = [secret, data / "leads-out", data / ".." / "secret", Path("/etc")]
    monkeypatch.setenv("SSL_CONSOLE_DATA", str(data))
    monkeypatch.chdir(tmp_path)
    with serving(stage.workspace) as served:
        asyncio.run(complete_outside(served.url, data, outside))
        asyncio.run(export(served.to_look))
    assert not list(tmp_path.glob("rank*"))
    tally.add("folders outside of the data, in the completion of paths of a page", len(outside), "nothing is listed")
    tally.add("exports by a holder of the read-only address", 1, "no file is written")


@pytest.mark.slow
@needs_second_user
def test_a_socket_below_a_folder_of_another_user_is_refused(stage: Stage, tally: Tally) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, second_user() as other:
        path = Path(folder, "theirs", "own", "console.sock")
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o700)
        os.chown(path.parent.parent, other.uid, other.gid)
        answer = refused(stage.workspace, "--socket", str(path)).stderr
        assert f"{path.parent.parent} belongs to {other.name}, who can replace {path.parent}" in answer
        assert "choose another --socket" in answer
    tally.add("sockets of a served console below a folder of another user", 1, "refused with the owner's name")
