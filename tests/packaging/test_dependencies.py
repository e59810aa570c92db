"""Installed packages are pinned, and every direct dependency has a stated reason."""

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

from ssl_console.system.torch_build import _TORCH

REPOSITORY = Path(__file__).parents[2]
PROJECT = REPOSITORY / "pyproject.toml"
NOT_INSTALLED = {"transformers"}
"""Optional extras: tests that need them are skipped if they are not installed."""


NEWEST, CUDA_12 = "constraints.txt", "constraints-cuda12.txt"
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9A-Za-z.+!]*")


def pins(file: str = NEWEST) -> dict[str, Version]:
    """The version of every package in a file of constraints."""
    lines = (REPOSITORY / file).read_text().splitlines()
    pairs = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, _, version in pairs}


def asked_for() -> list[Requirement]:
    """Direct dependencies, including those of extras."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    tables = project["optional-dependencies"]
    extras = (line for name, lines in tables.items() if name not in NOT_INSTALLED for line in lines)
    return [Requirement(line) for line in (*project["dependencies"], *extras)]


def closure() -> Iterator[str]:
    """All installed packages that they require on this machine."""
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


@pytest.mark.parametrize("file", [NEWEST, CUDA_12])
def test_every_line_of_the_constraints_is_one_package_at_one_version(file: str) -> None:
    lines = [line for line in (REPOSITORY / file).read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not PIN.fullmatch(line)] == []
    assert len(pins(file)) == len(lines)


def test_the_constraints_for_older_drivers_differ_in_torch_and_its_cuda_alone() -> None:
    newest, older = pins(NEWEST), pins(CUDA_12)
    others = {name for name in newest.keys() | older.keys() if not _TORCH.match(f"{name}==")}
    assert {name for name in others if newest.get(name) != older.get(name)} == set()
    assert {"torch", "torchvision", "triton", "nvidia-cublas-cu12", "nvidia-nccl-cu12"} <= older.keys()
    for requirement in asked_for():
        assert requirement.specifier.contains(older[canonicalize_name(requirement.name)]), requirement


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
