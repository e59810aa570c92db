"""Processes on one feature store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tasks.features.encoding_processes import Process


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def begin(name: str, *options: str) -> Process:
        started.append(Process(tmp_path, name, *options))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
