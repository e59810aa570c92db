"""HTTP downloads that survive interruption: a `.part` file, resumed by range, hashed, renamed when complete."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from backbones.io.errors import WeightsError
from backbones.io.file_locks import locked_for_appending
from backbones.io.files import write_if_possible
from backbones.io.urls import basic_authorization, redacted, without_secrets

Progress = Callable[[int, int | None], None]
"""Called with the received and the total number of bytes, None while unknown."""

CHUNK = 1 << 18
TIMEOUT = 30.0
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})


class RefusedDownload(WeightsError):  # noqa: N818 - a domain word, raised as such
    """The server refused: `status` is HTTP's, `reason` the server's code (a model hub's X-Error-Code)."""

    def __init__(self, message: str, status: int, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class _LostConnectionError(Exception):
    """The transfer was interrupted; received bytes are stored."""


@dataclass(frozen=True)
class Download:
    """One download. `secret_headers` are sent to the first host only, never along with a redirect.

    The address may contain a user, a password or a token; messages omit them (`backbones.io.urls`).
    """

    url: str = field(repr=False)
    target: Path
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    attempts: int = 5
    """Number of consecutive connections that may fail without receiving a byte."""
    pause: float = 1.0
    """Seconds before the second attempt; doubled before each further one."""

    @property
    def shown(self) -> str:
        """Address without secrets."""
        return redacted(self.url)

    @property
    def part(self) -> Path:
        """File of the received bytes until the download is complete."""
        return self.target.with_name(self.target.name + ".part")

    @property
    def validator(self) -> Path:
        """File of the server's identifier of this version, so that two versions are never joined."""
        return self.target.with_name(self.target.name + ".part.version")

    def run(self, on_progress: Progress) -> str:
        """Download the file and return its SHA-256. Raises WeightsError; received bytes are stored for the next
        attempt.
        """
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            with locked_for_appending(self.part) as file:
                digest = self._fill(file, on_progress)
                file.flush()
                os.fsync(file.fileno())
                self.part.replace(self.target)
                self.validator.unlink(missing_ok=True)
                return digest
        except OSError as error:
            raise WeightsError(self._disk_sentence(error)) from error

    def _fill(self, file: IO[bytes], on_progress: Progress) -> str:
        failures = 0
        while True:
            before = file.seek(0, os.SEEK_END)
            try:
                return self._attempt(file, on_progress)
            except _LostConnectionError as error:
                failures = 0 if file.seek(0, os.SEEK_END) > before else failures + 1
                if failures >= self.attempts:
                    size = file.tell()
                    kept = f"; the first {megabytes(size)} are stored, fetch again to resume" if size else ""
                    raise WeightsError(
                        f"{self.shown} cannot be downloaded: {error}{kept}. Or save the file as {self.target} by "
                        "other means"
                    ) from error
                time.sleep(self.pause * 2**failures)

    def _attempt(self, file: IO[bytes], on_progress: Progress) -> str:
        """One connection; returns the digest if it completes the file. Raises _LostConnectionError if it was
        interrupted.
        """
        version = _read(self.validator)
        size = file.seek(0, os.SEEK_END) if version else 0
        try:
            with self._open(size, version) as answer:
                start = _start(answer)
                if start not in (0, size):
                    raise WeightsError(f"{self.shown}: the server sent byte {start} instead of byte {size}")
                return self._receive(answer, file, start, on_progress)
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                return self._after_the_end(file, size, error)
            if error.code in _WORTH_RETRYING:
                raise _LostConnectionError(f"HTTP {error.code}") from error
            reason = error.headers.get("X-Error-Code", "")
            raise RefusedDownload(self._status_sentence(error.code), error.code, reason) from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            words = without_secrets(str(getattr(error, "reason", error)), self.url)
            raise _LostConnectionError(words or type(error).__name__) from None  # the cause may contain the address

    def _open(self, size: int, version: str) -> http.client.HTTPResponse:
        url, login = basic_authorization(self.url)
        request = urllib.request.Request(url, headers={"User-Agent": "backbones", "Accept-Encoding": "identity"})  # noqa: S310
        for key, value in {**login, **self.secret_headers}.items():
            request.add_unredirected_header(key, value)
        if size:
            request.add_header("Range", f"bytes={size}-")
            request.add_header("If-Range", version)
        answer: http.client.HTTPResponse = _OPENER.open(request, timeout=TIMEOUT)
        return answer

    def _receive(self, answer: http.client.HTTPResponse, file: IO[bytes], start: int, on_progress: Progress) -> str:
        total = _total(answer, start)
        self._check_answer(answer, start, total)
        digest = _digest_of_start(file, start)
        write_if_possible(self.validator, _version(answer).encode())
        done = start
        on_progress(done, total)
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            on_progress(done, total)
        file.flush()
        if total is not None and done != total:
            raise _LostConnectionError(f"{done:,} of {total:,} bytes arrived")
        return digest.hexdigest()

    def _check_answer(self, answer: http.client.HTTPResponse, start: int, total: int | None) -> None:
        """Raise WeightsError for a web page, or a file that the disk has no room for."""
        if answer.headers.get_content_type() == "text/html":
            raise WeightsError(
                f"{self.shown} answered with a web page instead of a file: open it in a browser and save the file as "
                f"{self.target}"
            )
        free = shutil.disk_usage(self.target.parent).free
        if total is not None and total - start > free:
            raise WeightsError(
                f"{self.target.parent} has {megabytes(free)} free, but {self.target.name} needs "
                f"{megabytes(total - start)} more: free some space or choose another folder"
            )

    def _after_the_end(self, file: IO[bytes], size: int, error: urllib.error.HTTPError) -> str:
        """Handle a request beyond the end: the file is complete, or the part belongs to another file."""
        if error.headers.get("Content-Range") == f"bytes */{size}":
            return _digest_of_start(file, size).hexdigest()
        file.truncate(0)
        self.validator.unlink(missing_ok=True)
        raise _LostConnectionError("the stored part did not belong to the file") from error

    def _disk_sentence(self, error: OSError) -> str:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"the disk of {self.target.parent} is full: free some space and fetch again, "
                "the download resumes where it stopped"
            )
        if isinstance(error, BlockingIOError):
            return f"{self.part} is being downloaded by another process: wait for it"
        return f"{self.target} cannot be written: {error.strerror or error}"

    def _status_sentence(self, code: int) -> str:
        login = "accept its terms in a browser, and log in with `hf auth login` if it is on the hub"
        way_out = {
            401: f"it needs a login: {login}",
            403: f"it needs permission: {login}",
            404: "the file no longer exists",
            410: "the file no longer exists",
        }.get(code, "the server refuses it")
        return f"{self.shown}: HTTP {code}, {way_out}. Or save the file as {self.target} by other means"


class _SameHostKeepsSecrets(urllib.request.HTTPRedirectHandler):
    """Redirect handler that sends secret headers along within the same host and scheme only, as model hubs require."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Request for the new address."""
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if request is not None and (before.scheme, before.netloc) == (after.scheme, after.netloc):
            for key, value in req.unredirected_hdrs.items():
                if key.lower() == "authorization":
                    request.add_unredirected_header(key, value)
        return request


_OPENER = urllib.request.build_opener(_SameHostKeepsSecrets)


def megabytes(size: int) -> str:
    """A size in megabytes or gigabytes for display."""
    return f"{size / 1e6:,.1f} MB"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="latin-1")
    except OSError:
        return ""


def _digest_of_start(file: IO[bytes], size: int) -> hashlib._Hash:
    """Truncate the file to `size` bytes and hash them; the position is then at its end."""
    file.truncate(size)
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest


def _start(answer: http.client.HTTPResponse) -> int:
    """First byte in the response: that of `Content-Range: bytes 5-9/10`, or 0 for a whole file."""
    if answer.status != http.client.PARTIAL_CONTENT:
        return 0
    first = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else -1


def _total(answer: http.client.HTTPResponse, start: int) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _version(answer: http.client.HTTPResponse) -> str:
    """A strong entity tag or the date of the file; empty when the server sends neither, and then downloads are
    not resumed.
    """
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
