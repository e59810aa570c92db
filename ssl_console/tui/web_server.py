"""The console in a browser, with one process per open page, all on the same workspace. Every path begins with a
secret, for the page, its files, and its socket, because other users of this machine can reach a local port. A
second secret opens read-only consoles. Pages load no external resources.
"""

from __future__ import annotations

import copy
import hmac
import html
import ipaddress
import logging
import os
import secrets
import shlex
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import textual_serve.server
from aiohttp import web
from textual_serve.server import Server, to_int

from backbones.catalog.trusted_code import SERVED_VARIABLE
from ssl_console.system.errors import OperationFailed, user_name
from ssl_console.system.safe_text import PrintableFormatter, RateLimit
from ssl_console.workspace.ownership import connection_owner, problems_above

NAMES_OF_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
SECRET_BYTES = 32
SHELLS = ("EDITOR", "VISUAL", "PAGER", "BROWSER")
"""Environment variables that name programs from which a shell can be started."""
PRIVATE_FOLDER, PRIVATE_SOCKET, OPEN_TO_OTHERS = 0o700, 0o600, 0o077
LIBRARY = Path(textual_serve.server.__file__).parent / "static"
OWN = Path(__file__).parent / "web"
ASSETS = {
    "textual.js": LIBRARY / "js" / "textual.js",
    "xterm.css": LIBRARY / "css" / "xterm.css",
    "RobotoMono.ttf": LIBRARY / "fonts" / "RobotoMono-VariableFont_wght.ttf",
    "RobotoMono-Italic.ttf": LIBRARY / "fonts" / "RobotoMono-Italic-VariableFont_wght.ttf",
    "page.js": OWN / "page.js",
    "page.css": OWN / "page.css",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "font-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of all responses. xterm.js creates style elements, hence 'unsafe-inline' for styles."""
LOG = logging.getLogger(__name__)


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Entrance:
    """A console protected by a secret."""

    command: tuple[str, ...]
    """Command that starts the console."""
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(SECRET_BYTES), repr=False)
    """First part of the path; empty: no secret is required."""

    @property
    def path(self) -> str:
        """Address of its page on this server."""
        return f"/{self.secret}/" if self.secret else "/"


@dataclass(frozen=True)
class Address:
    """Listening address: a TCP port, or a Unix socket in a private folder."""

    host: str = "127.0.0.1"
    port: int = 8000
    socket: Path | None = None

    @property
    def local(self) -> bool:
        """Whether it can only be reached from this machine."""
        return self.socket is not None or is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return str(self.socket) if self.socket else f"{host}:{self.port}"


class ConsoleServer(Server):
    """textual-serve with pages protected by a secret, because a console can start and cancel runs."""

    def __init__(self, entrances: Sequence[Entrance], address: Address, ready: Callable[[], None]) -> None:
        super().__init__(shlex.join(entrances[0].command), host=address.host, port=address.port, title="ssl-console")
        self.entrances, self.address = tuple(entrances), address
        self._ready = ready
        """Called when the server listens."""

    def serve(self, debug: bool = False) -> None:
        """Serve until interrupted. Raises OperationFailed if the address is unavailable."""
        self.debug = debug
        self.initialize_logging()
        for name in SHELLS:
            os.environ.pop(name, None)
        os.environ[SERVED_VARIABLE] = "1"
        try:
            listening = [listen(self.address)]
        except OSError as error:
            raise OperationFailed(
                f"{self.address} is unavailable: {error.strerror or error}; choose another --port, --host or --socket"
            ) from error
        try:
            web.run_app(self._make_app(), sock=listening, print=lambda *_: self._ready(), access_log=None)
        finally:
            if self.address.socket is not None:
                self.address.socket.unlink(missing_ok=True)

    def initialize_logging(self) -> None:
        """Log only errors, each kind at most once a minute."""
        logging.basicConfig(level=logging.WARNING)
        for handler in logging.getLogger().handlers:
            handler.setFormatter(PrintableFormatter("ssl-console serve: %(message)s"))
            handler.addFilter(RateLimit())

    async def _make_app(self) -> web.Application:
        """Routes of all paths, protected by a secret or refused."""
        app = web.Application()
        start = "" if self._open else "/{secret}"
        app.add_routes(
            [
                web.get(f"{start}/", self.handle_index),
                web.get(f"{start}/ws", self.handle_websocket),
                web.get(f"{start}/static/{{name}}", self.handle_asset),
                web.route("*", "/{anything:.*}", self._refuse),
            ]
        )
        app.on_response_prepare.append(_add_headers)
        return app

    async def handle_index(self, request: web.Request) -> web.StreamResponse:
        """The page, with addresses derived from the request, so that forwarded ports work."""
        entrance = self._entrance(request)
        scheme = "wss" if request.scheme == "https" else "ws"
        fields = {
            "socket": f"{scheme}://{request.host}{entrance.path}ws",
            "font_size": str(to_int(request.query.get("fontsize", "16"), 16)),
        }
        page = (OWN / "page.html").read_text(encoding="utf-8")
        for name, value in fields.items():
            page = page.replace(f"{{{name}}}", html.escape(value))
        return web.Response(text=page, content_type="text/html")

    async def handle_asset(self, request: web.Request) -> web.StreamResponse:
        """A file of the page."""
        self._entrance(request)
        path = ASSETS.get(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path)

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """The connection to a console, for a page of this server."""
        entrance = self._entrance(request)
        service = copy.copy(self)
        service.command = shlex.join(entrance.command)
        return await Server.handle_websocket(service, request)

    @property
    def _open(self) -> bool:
        """Whether no secret is required."""
        return not self.entrances[0].secret

    def _entrance(self, request: web.Request) -> Entrance:
        """The console for the secret of a request; all secrets are compared, in constant time."""
        self._refuse_strangers(request)
        given = request.match_info.get("secret", "").encode()
        matching = [one for one in self.entrances if hmac.compare_digest(one.secret.encode(), given)]
        if not matching:
            raise self._forbidden(request)
        return matching[0]

    async def _refuse(self, request: web.Request) -> web.StreamResponse:
        raise self._forbidden(request)

    def _forbidden(self, request: web.Request) -> web.HTTPException:
        """Refusal of a request, logged with its origin and the name of a local user."""
        origin = str(self.address)
        peer = request.transport.get_extra_info("peername") if request.transport else None
        if self.address.socket is None and peer:
            owner = connection_owner(peer[1], self.address.port) if is_loopback(peer[0]) else None
            origin = peer[0] if owner is None else f"{user_name(owner)} at {peer[0]}"
        LOG.warning("a request without the right secret was refused, from %s", origin)
        return web.HTTPForbidden(text="this console opens only at the address printed by `ssl-console serve`\n")

    def _refuse_strangers(self, request: web.Request) -> None:
        """Refuse requests from other origins: any page in the user's browser can send requests to any address."""
        name = urlsplit(f"//{request.host}").hostname or ""
        if self.address.local and name not in NAMES_OF_THIS_MACHINE:
            raise web.HTTPForbidden(text=f"this console is served to this machine only, not to {name}")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text=f"pages of {origin} may not use this console")


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def listen(address: Address) -> socket.socket:
    """A listening socket. Raises OSError, and OperationFailed if a socket's folder is open to other users."""
    return (
        _listen_at(address.socket)
        if address.socket
        else socket.create_server(
            (address.host, address.port), family=socket.getaddrinfo(address.host, None, type=socket.SOCK_STREAM)[0][0]
        )
    )


def _listen_at(path: Path) -> socket.socket:
    """A private listening socket in a private folder, in place of one that has no listener."""
    _own_folder(path.parent)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) != 0:
                path.unlink()
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
        path.chmod(PRIVATE_SOCKET)
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def _own_folder(folder: Path) -> None:
    """Create the folder, or check that it belongs to this user and is closed to others."""
    with suppress(FileExistsError):
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True)
    for problem in problems_above(folder, "--socket"):
        raise OperationFailed(str(problem))
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise OperationFailed(
            f"{folder} belongs to {user_name(status.st_uid)}: put the socket into a folder of your own"
        )
    if status.st_mode & OPEN_TO_OTHERS:
        raise OperationFailed(f"{folder} is open to other users, so they could reach the socket: chmod 700 {folder}")
