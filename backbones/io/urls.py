"""Web addresses without secrets: user, password, and values of the query."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

HIDDEN = "***"
PLAIN_KEYS = frozenset(
    {"download", "dl", "raw", "export", "id", "ref", "revision", "version", "format", "file", "path"}
)
"""Keys of a query whose values are not secret and identify the file. Every other value is hidden."""


def redacted(url: str) -> str:
    """Address with user, password and values of its query hidden; unchanged without any."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    place = parts.netloc.rpartition("@")
    query = "&".join(_shown(piece) for piece in parts.query.split("&")) if parts.query else ""
    netloc = f"{HIDDEN}@{place[2]}" if place[1] else place[2]
    return urlunsplit((parts.scheme, netloc, parts.path, query, HIDDEN if "=" in parts.fragment else parts.fragment))


def _shown(piece: str) -> str:
    key, equals, value = piece.partition("=")
    return piece if not value or key.lower() in PLAIN_KEYS else f"{key}{equals}{HIDDEN}"


ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def redacted_text(text: str) -> str:
    """Text with every address in it redacted."""
    return ADDRESS.sub(lambda found: redacted(found[0]), text)


def without_secrets(text: str, url: str) -> str:
    """Message about an address, with every occurrence of the address and its secrets hidden."""
    text = text.replace(url, redacted(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    values = [value for key, value in parse_qsl(parts.query) if key.lower() not in PLAIN_KEYS]
    for value in (password, user, *values):
        yield from {value, unquote(value), quote(value, safe="")} - {"", HIDDEN}


def basic_authorization(url: str) -> tuple[str, dict[str, str]]:
    """Address without user and password, and the header that contains these; no header without any."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    token = base64.b64encode(unquote(user).encode()).decode()
    bare = urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment))
    return bare, {"Authorization": f"Basic {token}"}
