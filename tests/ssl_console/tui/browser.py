"""A page in a real browser, controlled through its debugging port: traffic of the page, and keys pressed in it."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pyte

PATIENCE_S = 60.0
NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--window-size=1200,800",
)
PORT_FILE = "DevToolsActivePort"


def browser_command() -> str | None:
    """Path of the installed browser."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """A page, and the terminal in it as filled through its socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.requested: list[str] = []
        """All addresses requested by the page."""
        self.complaints: list[str] = []
        """Actions that the browser refused, in its words."""
        self.loaded = False
        """Whether the page with everything in it has been loaded."""
        self._stopped = False

    @property
    def text(self) -> str:
        """Content of the terminal in the page."""
        return "\n".join(self.screen.display)

    async def ask(self, method: str, **parameters: Any) -> None:
        """Send the browser a command."""
        await self._socket.send_json({"id": next(self._numbers), "method": method, "params": parameters})

    async def click(self, x: int, y: int) -> None:
        """A click, which focuses the page."""
        for kind in ("mousePressed", "mouseReleased"):
            await self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def press(self, character: str) -> None:
        """Press a key."""
        await self.ask("Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
        await self.ask("Input.dispatchKeyEvent", type="keyUp", key=character)

    async def open(self, url: str) -> None:
        """Open a page; again where the browser's first empty page, which is still being set up, takes its place."""
        requested = url.partition("#")[0]
        while not (self.loaded and requested in self.requested):
            self.requested.clear()
            self.loaded = self._stopped = False
            await self.ask("Page.navigate", url=url)
            await self.until(lambda: self._stopped or (self.loaded and requested in self.requested))

    async def until(self, fact: Callable[[], object]) -> None:
        """Receive the page's traffic until a condition holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not fact():
                message = (await self._socket.receive()).json()
                self._take(message.get("method"), message.get("params", {}))

    def _take(self, method: str | None, told: dict[str, Any]) -> None:
        if method == "Network.webSocketCreated":
            size = parse_qs(urlsplit(told["url"]).query)
            self.screen.resize(int(size["height"][0]), int(size["width"][0]))
            self.requested.append(told["url"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(told["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Page.frameStoppedLoading":
            self._stopped = True
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(told["entry"]["text"])
        elif method == "Network.webSocketFrameReceived" and told["response"]["opcode"] == 2:
            self._stream.feed(base64.b64decode(told["response"]["payloadData"]).replace(b"\x1b[<u", b""))


@asynccontextmanager
async def a_page(url: str, folder: Path) -> AsyncIterator[Page]:
    """A page in a new browser."""
    command = browser_command()
    assert command is not None
    with subprocess.Popen(
        [command, *OPTIONS, f"--user-data-dir={folder}", "about:blank"], stderr=subprocess.DEVNULL
    ) as p:
        try:
            port = await _port(folder / PORT_FILE)
            async with aiohttp.ClientSession() as session:
                async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as made:
                    address = (await made.json())["webSocketDebuggerUrl"]
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    page = Page(socket)
                    await page.ask("Network.enable")
                    await page.ask("Log.enable")
                    await page.ask("Page.enable")
                    await page.open(url)
                    yield page
        finally:
            p.terminate()


async def _port(path: Path) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while not path.exists() or "\n" not in path.read_text():
            await asyncio.sleep(0.05)
    return int(path.read_text().splitlines()[0])
