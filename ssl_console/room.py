"""Whether the disk of a workspace takes anything at the moment."""

from __future__ import annotations

import os
from pathlib import Path

LEAST_BYTES = 1 << 20
"""With less free than this no run is begun: it could not even say how it ended."""


def shortage(place: Path) -> str:
    """Why nothing can be written at `place`, and the way out; empty when it can, or when that cannot be said."""
    try:
        found = os.statvfs(place)
    except OSError:
        return ""
    if found.f_flag & os.ST_RDONLY:
        return f"the file system of {place} is read-only: nothing is started until it can be written"
    free = found.f_bavail * found.f_frsize
    if free >= LEAST_BYTES:
        return ""
    return (
        f"the disk of {place} is full ({free // 1024} kB free): make room (`ssl-console cache prune` frees features); "
        "nothing is started until then"
    )
