"""A console in a browser belongs to the user who serves it: other users of the machine have no access."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pytest

from tests.faults.second_user import needs_second_user, open_parents, second_user
from tests.faults.stage import Stage
from tests.faults.tally import Tally
from tests.ssl_console.tui.test_web_server import serving

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
