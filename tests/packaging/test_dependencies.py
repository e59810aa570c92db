"""What is installed is what is pinned, and for every package that we ask for it is said why."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).parents[2]
PROJECT = REPOSITORY / "pyproject.toml"
NOT_INSTALLED = {"transformers"}
"""Extras that tests do without: those that need them are skipped where they are not installed."""


def pins() -> dict[str, Version]:
    """The version of every package in `constraints.txt`."""
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pairs = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, _, version in pairs}


def asked_for() -> list[Requirement]:
    """The packages that we ask for ourselves, those of extras too."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    tables = project["optional-dependencies"]
    extras = (line for name, lines in tables.items() if name not in NOT_INSTALLED for line in lines)
    return [Requirement(line) for line in (*project["dependencies"], *extras)]


def closure() -> Iterator[str]:
    """Everything that is installed because of them on this machine."""
    seen: set[str] = set()
    queue = [(requirement, "") for requirement in asked_for()]
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        extras = tuple(sorted(requirement.extras)) or ("",)
        if f"{name}{extras}" in seen:
            continue
        seen.add(f"{name}{extras}")
        yield name
        needs = [Requirement(line) for line in metadata.requires(name) or ()]
        queue += [(need, one) for need in needs for one in extras]


def test_every_package_that_is_asked_for_is_pinned_at_a_version_that_fits() -> None:
    pinned = pins()
    for requirement in asked_for():
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{requirement} is not in constraints.txt"
        assert requirement.specifier.contains(pinned[name]), (
            f"{name} is pinned at {pinned[name]}, asked for {requirement}"
        )


def test_every_package_that_comes_along_is_pinned_at_the_version_that_is_installed() -> None:
    pinned, names = pins(), set(closure())
    assert len(names) > 60
    assert names - pinned.keys() == set()
    for name in names:
        assert Version(metadata.version(name)) == pinned[name], name


def test_nothing_is_pinned_that_nobody_needs() -> None:
    unneeded = set()
    for name in pins().keys() - set(closure()):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # of another system or Python
        unneeded.add(name)
    assert unneeded == set()


@pytest.mark.parametrize("table", ["dependencies", "figures", "transformers", "serve", "dev"])
def test_of_every_package_it_is_said_why_it_is_needed(table: str) -> None:
    block = re.search(rf"^{table} = \[\n(.*?)^\]", PROJECT.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    lines = [line for line in block[1].splitlines() if line.strip()]
    unexplained = [line.strip() for line in lines if '"' in line and not re.search(r'",\s+# \w.{5,}', line)]
    assert unexplained == []
