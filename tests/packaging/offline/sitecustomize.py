"""Python without a network, for every process with this folder on its path: attempts are recorded and refused.

Local sockets by file name (AF_UNIX) are allowed.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

NOTES = Path(os.environ.get("SSL_CONSOLE_TEST_NETWORK_NOTES", os.devnull))
REACHES = (
    "socket.connect",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.bind",
)


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook, called for every socket that Python code of any library uses."""
    if event not in REACHES:
        return
    first = arguments[0]
    if isinstance(first, socket.socket) and first.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with NOTES.open("a", encoding="utf-8") as file:
        file.write(f"{event} {arguments[1:]!r:.200} by {' '.join(sys.argv)[:200]}\n")
    raise PermissionError(f"no network in this test: {event}")


sys.addaudithook(refuse)
