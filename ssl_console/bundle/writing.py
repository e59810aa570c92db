"""Making a bundle out of a workspace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ssl_console import __version__
from ssl_console.bundle import layout
from ssl_console.bundle.archive import digest, write
from ssl_console.bundle.layout import Index, Listed
from ssl_console.bundle.tables import tables
from ssl_console.predictions import RunOutputs
from ssl_console.result import Result
from ssl_console.run import RunSpec
from ssl_console.workspace import RunFolder, Workspace
from tasks.card import DatasetCard
from tasks.datasets.manifest import Manifest

README_TEXT = """Results with everything they follow from.

    ssl-console verify THIS_FILE

counts every score and every table again from the predictions, and says whether all agree.

records/      what each run left: scores, intervals, parameters, digests of weights and data, versions, machine
specs/        what each run was asked to do
predictions/  its outputs for every test sample (numpy arrays)
manifests/    what each dataset held: classes, numbers of images, digests
tables/       the rankings that follow
bundle.json   SHA-256 of every file
"""

Manifests = Callable[[DatasetCard], Manifest | None]


@dataclass(frozen=True)
class Bundled:
    """What was written."""

    path: Path
    digest: str
    """Of the whole file; to be quoted beside it."""
    results: int
    left_out: tuple[str, ...]
    """Runs whose folder is gone: of these only the database's row is left."""
    bytes: int


def bundle(
    path: Path,
    workspace: Workspace,
    results: Sequence[Result],
    columns: Sequence[tuple[str, str]] | None,
    manifests: Manifests,
) -> Bundled:
    """Write the bundle; it appears under its name when it is whole.

    Raises FileExistsError when there is a file of that name, OSError when the disk cannot take it.
    """
    if path.exists():
        raise FileExistsError(17, "there is a file of that name", str(path))
    kept = [one for one in results if workspace.run(one.run_id).result.is_file()]
    members = dict(_members(workspace, kept, columns, manifests))
    index = Index(
        made_by=__version__,
        created=time.time(),
        columns=None if columns is None else tuple(columns),
        files={name: _listed(content) for name, content in members.items()},
    )
    front = {layout.INDEX: index.model_dump_json(indent=1).encode(), layout.README: README_TEXT.encode()}
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        whole = write(partial, {**front, **members}.items())
        partial.rename(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)
    left_out = tuple(sorted({one.run_id for one in results} - {one.run_id for one in kept}))
    return Bundled(path, whole, len(kept), left_out, path.stat().st_size)


def _members(
    workspace: Workspace, results: Sequence[Result], columns: Sequence[tuple[str, str]] | None, manifests: Manifests
) -> Iterator[tuple[str, bytes | Path]]:
    cards: dict[str, DatasetCard] = {}
    for result in sorted(results, key=lambda one: one.run_id):
        folder = workspace.run(result.run_id)
        yield layout.record(result.run_id), folder.result
        if folder.spec.is_file():
            yield layout.spec(result.run_id), folder.spec
            cards.update(_card(folder))
        if folder.predictions.is_file():
            yield layout.predictions(result.run_id), folder.predictions
    for card in cards.values():
        found = manifests(card)
        if found is not None:
            yield layout.manifest(found.digest), found.model_dump_json(indent=1).encode()
    for name, text in tables(results, RunOutputs(workspace).predictions, columns).items():
        yield name, text.encode()


def _card(folder: RunFolder) -> dict[str, DatasetCard]:
    try:
        found = RunSpec.model_validate_json(folder.spec.read_bytes()).dataset
    except ValidationError:
        return {}
    return {found.name: found}


def _listed(content: bytes | Path) -> Listed:
    whole = content if isinstance(content, bytes) else content.read_bytes()
    return Listed(sha256=digest(whole), bytes=len(whole))
