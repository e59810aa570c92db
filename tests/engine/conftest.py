"""A bench for every test of the engine that wants one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.engine.bench import Bench, a_bench

settings.register_profile("engine", deadline=None, max_examples=50)  # on a busy machine any example may be slow
settings.load_profile("engine")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A fresh workspace; its processes are ended with the test."""
    with a_bench(tmp_path, monkeypatch) as made:
        yield made
