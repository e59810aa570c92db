"""Canonical JSON: equal values give equal bytes, for digests."""

from __future__ import annotations

import json


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces, as bytes: the input of every digest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
