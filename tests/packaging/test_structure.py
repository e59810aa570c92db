"""The structure of the code: names with one meaning, no import cycles, short files, documented rooms."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("ssl_console", "tasks", "backbones")
MOST_LINES = 400
NO_ROOMS = {"cards", "demo", "__pycache__"}
"""Folders of data."""


@cache
def sources() -> Mapping[str, Path]:
    """Every module of the product by its dotted name."""
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {module_name(path): path for path in files}


def module_name(path: Path) -> str:
    """`ssl_console/cli/__init__.py` is `ssl_console.cli`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """Modules of the product that a module imports anywhere, also inside functions."""
    for node in ast.walk(tree(sources()[module])):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in sources() else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_a_class_name_has_one_meaning_in_the_whole_project() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module, path in sources().items():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


@pytest.mark.parametrize(
    ("calls", "home"),
    [
        ({"fcntl.flock", "fcntl.lockf"}, "backbones.io.file_locks"),
        ({"tempfile.mkstemp", "tempfile.NamedTemporaryFile"}, "backbones.io.files"),
    ],
    ids=["locks", "temporary files"],
)
def test_files_are_locked_and_written_by_one_module_each(calls: set[str], home: str) -> None:
    attributes = [
        (module, f"{node.value.id}.{node.attr}")
        for module, path in sources().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    assert {module for module, name in attributes if name in calls} == {home}


def test_nothing_is_defined_after_a_module_has_been_run_as_a_program() -> None:
    bodies = {
        module: [ast.unparse(node).partition("\n")[0] for node in tree(path).body] for module, path in sources().items()
    }
    run = {module: body for module, body in bodies.items() if "if __name__ == '__main__':" in body}
    assert "backbones.inspection.inspect_main" in run
    assert {module: body[-1] for module, body in run.items() if body[-1] != "if __name__ == '__main__':"} == {}


def test_no_module_imports_itself_through_others_not_even_inside_functions() -> None:
    graph = {module: {name for name in imported(module) if name in sources()} - {module} for module in sources()}
    TopologicalSorter(graph).prepare()


def test_no_file_of_the_product_is_longer_than_400_lines() -> None:
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in sources().items()}
    assert {module: length for module, length in lengths.items() if length > MOST_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_readme_of_a_package_describes_each_of_its_rooms(package: str) -> None:
    rooms = {path.name for path in (ROOT / package).iterdir() if path.is_dir()} - NO_ROOMS
    words = (ROOT / package / "README.md").read_text(encoding="utf-8")
    assert {room for room in rooms if f"`{room}/`" not in words} == set()
