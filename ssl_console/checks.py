"""One answer of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "note", "bad"]


@dataclass(frozen=True)
class Check:
    """One answer."""

    name: str
    verdict: Verdict
    words: str
    """What was found and, unless it is good, what to do."""
