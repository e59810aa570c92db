"""No file is opened for writing by its path alone: a symbolic link under its name is not followed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("backbones", "tasks", "ssl_console")
WRITING = frozenset("wax+")
ALLOWED = {
    "ssl_console/system/file_system.py": "a folder of its own, made a moment before (mkdtemp, 0700)",
    "ssl_console/worker/provenance.py": "a file of /proc",
    "ssl_console/worker/__main__.py": "a file of /proc",
    "tasks/features/array_files.py": "a folder of its own, made a moment before (mkdtemp, 0700)",
    "ssl_console/operations/backbone_cards.py": "a folder of its own, made a moment before (mkdtemp, 0700)",
    "ssl_console/operations/bundle/archive.py": "the bundle that this call has just made exclusively",
}
"""Reason why a file may write by path."""


def calls(path: Path) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def is_followed(call: ast.Call) -> bool:
    """Whether the call writes a file by its path and would follow a link."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in {"touch", "write_text", "write_bytes"}:
        return isinstance(function, ast.Attribute) and not any(word.arg == "path" for word in call.keywords)
    text = ast.unparse(call)
    if name == "open" and isinstance(function, ast.Attribute) and ast.unparse(function.value) == "os":
        return "O_CREAT" in text and "O_EXCL" not in text and "O_NOFOLLOW" not in text
    if name != "open" or any(word.arg == "opener" for word in call.keywords):
        return False
    return any(_is_writing_mode(argument) for argument in (*call.args, *(word.value for word in call.keywords)))


def _is_writing_mode(argument: ast.expr) -> bool:
    value = getattr(argument, "value", None)
    return isinstance(value, str) and len(value) <= 3 and set(value) <= set("rwaxbt+") and bool(WRITING & set(value))


def test_what_the_check_finds() -> None:
    followed = ('path.open("wb")', 'open(path, "a")', "path.touch()", "path.write_text(x)", "os.open(path, os.O_CREAT)")
    safe = (
        'path.open("rb")',
        "open(path)",
        'open(path, "wb", opener=own_opener)',
        "os.open(p, os.O_CREAT | os.O_EXCL)",
    )
    for text in (*followed, *safe):
        (call,) = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
        assert is_followed(call) is (text in followed), text


def test_no_file_is_written_through_a_symbolic_link() -> None:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    found = {
        f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)}"
        for path in files
        for call in calls(path)
        if str(path.relative_to(ROOT)) not in ALLOWED and is_followed(call)
    }
    assert found == set()


def test_files_that_may_write_by_path_still_do() -> None:
    assert {name for name in ALLOWED if any(map(is_followed, calls(ROOT / name)))} == set(ALLOWED)
