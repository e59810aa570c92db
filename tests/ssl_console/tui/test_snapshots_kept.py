"""The snapshots that screens are compared with."""

from __future__ import annotations

from pathlib import Path

from tests.ssl_console.tui import test_snapshots

PICTURES = Path(__file__).parent / "__snapshots__" / "test_snapshots"


def test_every_picture_belongs_to_a_test() -> None:
    """Where tests are spread over processes, none of them knows of the pictures that no test asked for."""
    tests = [name for name in vars(test_snapshots) if name.startswith("test_")]
    sizes = [f"{width}x{height}" for width, height in test_snapshots.SIZES]
    assert {path.stem for path in PICTURES.iterdir()} == {f"{name}[{size}]" for name in tests for size in sizes}
