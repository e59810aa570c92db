"""The console in a browser: one process of it for every page that is open, all on the same workspace."""

from __future__ import annotations

import copy
import ipaddress
import logging
import shlex
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

from ssl_console.system.errors import OperationFailed

NAMES_OF_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ConsoleServer(Server):
    """textual-serve, for pages of its own only: whoever may open its socket may start and cancel runs."""

    def __init__(self, command: Sequence[str], host: str, port: int, ready: Callable[[str], None]) -> None:
        super().__init__(shlex.join(command), host=host, port=port, title="ssl-console")
        self._ready = ready
        """Told the address once it listens."""

    def serve(self, debug: bool = False) -> None:
        """Serve until interrupted. Raises OperationFailed when the address cannot be had."""
        self.debug = debug
        self.initialize_logging()
        try:
            web.run_app(self._make_app(), host=self.host, port=self.port, print=lambda *_: self._ready(self.public_url))
        except OSError as error:
            raise OperationFailed(
                f"{self.host}:{self.port} cannot be had: {error.strerror or error}; choose another --port or --host"
            ) from error

    def initialize_logging(self) -> None:
        """Only what goes wrong."""
        logging.basicConfig(level=logging.WARNING, format="ssl-console serve: %(message)s")

    async def on_startup(self, app: web.Application) -> None:
        """Nothing to say yet: it does not listen before this has been done."""

    async def handle_index(self, request: web.Request) -> Any:  # noqa: ANN401 - the library's template answer
        """The page; its addresses are those by which the browser came, through a forwarded port too."""
        self._refuse_strangers(request)
        asked = copy.copy(self)
        asked.public_url = f"{request.scheme}://{request.host}"
        return await Server.handle_index(asked, request)

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """The line to a console, for the page that this server has sent."""
        self._refuse_strangers(request)
        return await super().handle_websocket(request)

    def _refuse_strangers(self, request: web.Request) -> None:
        """Any page in the user's browser can ask for any address: only this server's own may talk to a console."""
        name = urlsplit(f"//{request.host}").hostname or ""
        if is_loopback(self.host) and name not in NAMES_OF_THIS_MACHINE:
            raise web.HTTPForbidden(text=f"this console is served to this machine only, not to {name}")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text=f"pages of {origin} may not use this console")
