"""The backbone `example/tiny`: its card."""

from __future__ import annotations

from pathlib import Path

CARDS = Path(__file__).parent / "cards" / "backbones"
