"""A model hub on this machine, with the addresses, headers and redirects of the real one (checked with its library)."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".pth")
"""Suffixes of files that the hub stores outside git, by their SHA-256."""


@dataclass
class Hub:
    """Content and behaviour of the server. `repositories`: files by commit by name; `branches`: commits by revision."""

    url: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    token: str = "hf_right"
    cuts: list[int] = field(default_factory=list)
    """For each large file in turn, the number of bytes after which the connection breaks."""
    spoilt: bool = False
    """Whether large files are sent with a changed byte."""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def publish(self, repository: str, folder: Path, branch: str = "main") -> str:
        """Add a folder's files as a new commit; return the commit."""
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        commit = hashlib.sha1(repr(sorted(files.items())).encode(), usedforsecurity=False).hexdigest()
        self.repositories.setdefault(repository, {})[commit] = files
        self.branches[repository, branch] = commit
        return commit

    @property
    def paths(self) -> list[str]:
        """Requested paths, without queries."""
        return [urlsplit(path).path for path, _ in self.requests]


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *_: object) -> None:
        """Write no log."""

    def _answer(self, *, body: bool) -> None:
        self.hub.requests.append((self.path, dict(self.headers.items())))
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[0] == "cdn":
            self._send_large(bytes.fromhex(parts[1]).decode(), body=body)
        elif parts[:2] == ["api", "models"]:
            self._send_info("/".join(parts[2:4]), "/".join(parts[5:]) or "main")
        elif parts[:2] == ["api", "resolve-cache"]:
            self._send_file("/".join(parts[3:5]), parts[5], "/".join(parts[6:]), body=body, direct=True)
        else:
            self._send_file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body=body, direct=False)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _commit(self, repository: str, revision: str) -> str | None:
        """The commit; None if the request was refused."""
        allowed = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if repository not in self.hub.repositories or (repository in self.hub.private and not allowed):
            self._refuse(404 if allowed else 401, "RepoNotFound")
            return None
        commit = self.hub.branches.get((repository, revision), revision)
        if commit in self.hub.repositories[repository]:
            return commit
        self._refuse(404, "RevisionNotFound")
        return None

    def _send_info(self, repository: str, revision: str) -> None:
        commit = self._commit(repository, revision)
        if commit is None:
            return
        siblings = []
        for name, content in self.hub.repositories[repository][commit].items():
            entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": _blob(content)}
            if name.endswith(LARGE):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        info = {
            "_id": "0", "id": repository, "modelId": repository, "sha": commit, "private": False,
            "gated": "manual" if repository in self.hub.gated else False, "disabled": False, "downloads": 0, "likes": 0,
            "tags": [], "siblings": siblings, "lastModified": "2026-01-01T00:00:00.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip
        self._send(json.dumps(info).encode(), "application/json", {})

    def _send_file(self, repository: str, revision: str, name: str, *, body: bool, direct: bool) -> None:
        commit = self._commit(repository, revision)
        if commit is None:
            return
        allowed = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if repository in self.hub.gated and not allowed:
            self._refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo")
            return
        content = self.hub.repositories[repository][commit].get(name)
        if content is None:
            self._refuse(404, "EntryNotFound")
            return
        large = name.endswith(LARGE)
        if not large and direct:
            self._send(content, "text/plain", {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": commit}, body=body)
            return
        digest = hashlib.sha256(content).hexdigest()
        place = f"{repository}/{commit}/{name}"
        there = f"{self.hub.url}/cdn/{place.encode().hex()}" if large else f"/api/resolve-cache/models/{place}"
        self.send_response(302 if large else 307)
        self.send_header("Location", there.replace("127.0.0.1", "localhost") if large else there)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-ETag" if large else "ETag", f'"{digest if large else _blob(content)}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_large(self, place: str, *, body: bool) -> None:
        owner, model, commit, name = place.split("/", 3)
        content = self.hub.repositories[f"{owner}/{model}"][commit][name]
        if self.hub.spoilt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(content[start:], "application/octet-stream", headers, body=body, status=206 if start else 200)

    def _send(
        self, content: bytes, kind: str, headers: dict[str, str], *, body: bool = True, status: int = 200
    ) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if not body:
            return
        cut = self.hub.cuts.pop(0) if self.hub.cuts and kind == "application/octet-stream" else len(content)
        self.wfile.write(content[:cut])
        if cut < len(content):
            self.close_connection = True


def _blob(content: bytes) -> str:
    """git's name of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that serves until the context ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
