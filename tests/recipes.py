"""Recipes of the documents: files listed under one heading, in order."""

from __future__ import annotations

import re
from pathlib import Path

STEP = re.compile(r"^\d+\. `(?P<file>[^`]+)`.*?^```\w+\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)


def recipe(document: Path, heading: str) -> dict[str, str]:
    """Contents by file name, in the order of the steps. Raises ValueError for a missing heading."""
    _, found, rest = document.read_text(encoding="utf-8").partition(f"# {heading}\n")
    if not found:
        raise ValueError(f"{document} has no heading {heading!r}")
    section = re.split(r"^#{2,3} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return {step["file"]: step["text"] for step in STEP.finditer(section)}
