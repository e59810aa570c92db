"""A page in a real browser, driven through its debugging port: what the page was sent, and keys pressed in it."""

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
    """The browser there is."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One page, and the terminal in it as its socket has filled it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.requested: list[str] = []
        """Every address that the page has asked for."""
        self.complaints: list[str] = []
        """What the browser refused to do for the page, in its words."""

    @property
    def text(self) -> str:
        """What the terminal in the page shows."""
        return "\n".join(self.screen.display)

    async def ask(self, method: str, **parameters: Any) -> None:
        """Tell the browser to do something."""
        await self._socket.send_json({"id": next(self._numbers), "method": method, "params": parameters})

    async def click(self, x: int, y: int) -> None:
        """A click, which gives the page the keyboard."""
        for kind in ("mousePressed", "mouseReleased"):
            await self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def press(self, character: str) -> None:
        """A key."""
        await self.ask("Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
        await self.ask("Input.dispatchKeyEvent", type="keyUp", key=character)

    async def until(self, fact: Callable[[], object]) -> None:
        """Take in what the page is sent until something is true."""
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
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(told["entry"]["text"])
        elif method == "Network.webSocketFrameReceived" and told["response"]["opcode"] == 2:
            self._stream.feed(base64.b64decode(told["response"]["payloadData"]).replace(b"\x1b[<u", b""))


@asynccontextmanager
async def a_page(url: str, folder: Path) -> AsyncIterator[Page]:
    """A page in a browser that is started for it."""
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
                    await page.ask("Page.navigate", url=url)
                    yield page
        finally:
            p.terminate()


async def _port(path: Path) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while not path.exists() or "\n" not in path.read_text():
            await asyncio.sleep(0.05)
    return int(path.read_text().splitlines()[0])
