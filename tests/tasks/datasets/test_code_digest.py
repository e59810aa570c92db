"""A manifest depends on the code that computed it: with another reader or renderer the dataset is read again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
SIGNATURES = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.presence import signature
cards = TaskCatalog.load().datasets
names = ("digits", "shapes", "caltech101")
print(json.dumps({name: signature(cards[name], Path(sys.argv[1], "data")) for name in names}))
"""


def signatures(tree: Path) -> str:
    """Signatures of the manifests of three datasets with the code in `tree`."""
    command = [sys.executable, "-P", "-c", SIGNATURES, str(tree)]
    return subprocess.check_output(command, text=True)


SOURCES = (
    "datasets/readers/image_lists.py",
    "datasets/readers/embedded.py",
    "datasets/splits.py",
    "synthetic/solids.py",
)


def test_a_change_of_a_reader_or_of_the_renderer_makes_every_manifest_old(tmp_path: Path) -> None:
    for package in ("tasks", "backbones"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
        )
    before = signatures(tmp_path)
    assert signatures(tmp_path) == before
    for source in SOURCES:
        with (tmp_path / "tasks" / source).open("a") as file:
            file.write("\n# another way to read it\n")
        after = signatures(tmp_path)
        assert after != before, source
        before = after
