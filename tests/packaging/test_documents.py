"""The documents: short, and every link in them resolves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from ssl_console.cli.commands.main import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path for path in ROOT.glob("**/README.md") if not {".venv", "build"} & set(path.parts))
MOST_BYTES = 12_000
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """Files that a document links to, each with its anchor or ''."""
    for found in LINK.finditer(document.read_text(encoding="utf-8")):
        if ":" not in found[1]:
            yield (document.parent / found[1]).resolve() if found[1] else document, found[2] or ""


def anchors(document: Path) -> set[str]:
    """Anchors of the headings of a document on a forge."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for path, anchor in links(document):
        assert path.exists(), f"{path} is not there"
        assert not anchor or anchor in anchors(path), f"{path.name} has no heading {anchor}"


def test_the_first_page_is_short_and_begins_with_the_demo_and_a_ranking_of_ones_own() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= MOST_BYTES
    assert text.index("make demo") < text.index("make test") < text.index("## Your own ranking") < 1200


def test_commands_on_the_first_page_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"ssl-console ([a-z][a-z-]*)", text)) - {"gpu-box"}
    known = set(getattr(get_command(app), "commands", {}))
    assert named <= known, named - known
