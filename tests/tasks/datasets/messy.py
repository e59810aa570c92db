"""Small real-world-like datasets for tests, and `add dataset` in this process."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.datasets.importing.main import run_import
from tasks.datasets.importing.messages import ImportOptions, ImportRequest, ImportResult

CLASSES = ("ant", "bee")
EACH = 10


def picture(number: int) -> Image.Image:
    """A picture that differs from those of other numbers."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8))


def save(path: Path, number: int, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number).save(path, **options)  # type: ignore[arg-type]
    return path


def numbered() -> list[tuple[str, int]]:
    return [(name, EACH * place + at) for place, name in enumerate(CLASSES) for at in range(EACH)]


def folders(root: Path, ending: str = ".png") -> Path:
    for name, number in numbered():
        save(root / name / f"{number}{ending if name == 'bee' else '.png'}", number)
    return root


def add(root: Path, **wish: object) -> ImportResult:
    options = ImportOptions.model_validate(wish)
    request = ImportRequest(path=str(root), name="some", index=str(root.parent / "index.csv"), wish=options)
    return run_import(request, lambda _progress: None)


def images(found: ImportResult) -> int:
    return sum(found.card.images.values())


def notes_text(found: ImportResult) -> str:
    return "\n".join([*found.notes, *(one.words for one in found.warnings)])


def shard(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """A tar file, compressed by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix.lower() in (".gz", ".tgz") else "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def png(number: int) -> bytes:
    content = io.BytesIO()
    picture(number).save(content, "PNG")
    return content.getvalue()
