"""Creation of a bundle from a workspace."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from ssl_console._version import __version__
from ssl_console.analysis.badged_results import BadgeSources
from ssl_console.analysis.export import to_csv, to_json, to_markdown
from ssl_console.analysis.rank_intervals import rank_table, ranks_document
from ssl_console.analysis.ranking import rank
from ssl_console.analysis.statistics.rank_bootstrap import Missing
from ssl_console.operations.bundle import archive
from ssl_console.operations.bundle.archive import Index, Listed, digest, write
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.predictions import Predictions, RunOutputs
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import RunSpec
from tasks.datasets.card import DatasetCard
from tasks.datasets.manifest import Manifest

RANKS = "tables/ranks.json"


def tables(
    results: Sequence[Result],
    predictions: Predictions,
    columns: Sequence[tuple[str, str]] | None,
    sources: BadgeSources = BadgeSources(),  # noqa: B008 - frozen
) -> Mapping[str, str]:
    """Tables by member name: the ranking as JSON, CSV and Markdown, and the rank intervals, with all marks."""
    ranking = rank(sources.badged(results), columns)
    found = {
        "tables/ranking.json": to_json(ranking),
        "tables/ranking.csv": to_csv(ranking),
        "tables/ranking.md": to_markdown(ranking),
    }
    for missing in get_args(Missing):
        try:
            ranks = ranks_document(rank_table(ranking, predictions, missing=missing))
        except ValueError:  # no complete rows: try the next treatment of missing values
            continue
        return {**found, RANKS: json.dumps(ranks, indent=2) + "\n"}
    return found


README_TEXT = """Results with everything that they are derived from.

    ssl-console verify THIS_FILE

recomputes every score and every table from the predictions, and reports whether all agree.

records/      result of each run: scores, intervals, parameters, digests of weights and data, versions, machine
specs/        specification of each run
predictions/  its outputs for every test sample (numpy arrays)
manifests/    content of each dataset: classes, numbers of images, digests
tables/       the derived rankings
bundle.json   SHA-256 of every file
"""

Manifests = Callable[[DatasetCard], Manifest | None]


@dataclass(frozen=True)
class Bundled:
    """Summary of a written bundle."""

    path: Path
    digest: str
    """SHA-256 of the whole file, to be published with it."""
    results: int
    left_out: tuple[str, ...]
    """Runs without a folder, of which only the database row exists."""
    bytes: int


def bundle(
    path: Path,
    workspace: Workspace,
    results: Sequence[Result],
    columns: Sequence[tuple[str, str]] | None,
    manifests: Manifests,
    sources: BadgeSources = BadgeSources(),  # noqa: B008 - frozen
) -> Bundled:
    """Write the bundle, which appears under its name when it is complete.

    Raises FileExistsError for an existing file, OSError when it cannot be written.
    """
    if path.exists():
        raise FileExistsError(17, "the file already exists", str(path))
    stored = [one for one in results if workspace.run(one.run_id).result.is_file()]
    members = dict(_members(workspace, stored, columns, manifests, sources))
    measured = {one.backbone for one in stored}
    index = Index(
        made_by=__version__,
        created=time.time(),
        columns=None if columns is None else tuple(columns),
        twins={name: twin for name, twin in sources.twins.items() if {name, twin} <= measured},
        seen_datasets={name: tuple(sorted(seen)) for name, seen in sources.seen.items() if name in measured},
        files={name: _listed(content) for name, content in members.items()},
    )
    front = {archive.INDEX: index.model_dump_json(indent=1).encode(), archive.README: README_TEXT.encode()}
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
    left_out = tuple(sorted({one.run_id for one in results} - {one.run_id for one in stored}))
    return Bundled(path, whole, len(stored), left_out, path.stat().st_size)


def _members(
    workspace: Workspace,
    results: Sequence[Result],
    columns: Sequence[tuple[str, str]] | None,
    manifests: Manifests,
    sources: BadgeSources,
) -> Iterator[tuple[str, bytes | Path]]:
    cards: dict[str, DatasetCard] = {}
    for result in sorted(results, key=lambda one: one.run_id):
        folder = workspace.run(result.run_id)
        yield archive.record(result.run_id), folder.result
        if folder.spec.is_file():
            yield archive.spec(result.run_id), folder.spec
            cards.update(_card(folder))
        if folder.predictions.is_file():
            yield archive.predictions(result.run_id), folder.predictions
    for card in cards.values():
        found = manifests(card)
        if found is not None:
            yield archive.manifest(found.digest), found.model_dump_json(indent=1).encode()
    for name, text in tables(results, RunOutputs(workspace).predictions, columns, sources).items():
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


RANK_STEP = 1.0
SHARE_STEP = 0.03
"""Tolerance of a rank's bound, and of a fraction of replicates, for another linear algebra library."""
_MOVING = {"low": RANK_STEP, "high": RANK_STEP, "group": RANK_STEP, "first": SHARE_STEP}


def first_difference(stored: str, again: str, *, numbers_may_move: bool) -> str:
    """First difference in words, or an empty text; JSON is compared by value, everything else by line.

    Values missing in `stored` are not an error: earlier versions wrote fewer fields.
    """
    if stored == again:
        return ""
    try:
        before, after = json.loads(stored), json.loads(again)
    except ValueError:
        return _by_line(stored, again)
    return next(_by_value(before, after, "", _MOVING if numbers_may_move else {}), "")


def _by_line(stored: str, again: str) -> str:
    """First differing line, and its first differing cell."""
    for number, lines in enumerate(zip_longest(stored.splitlines(), again.splitlines()), start=1):
        if lines[0] == lines[1]:
            continue
        before, after = lines[0] or "", lines[1] or ""
        for sign in ("|", ","):
            cells = list(zip_longest(before.split(sign), after.split(sign), fillvalue="nothing"))
            if len(cells) > 1:
                one, other = next((pair for pair in cells if pair[0] != pair[1]), ("", ""))
                return f"line {number} is {one.strip()}, its records give {other.strip()}"
        return f"line {number} is {before!r}, its records give {after!r}"
    return "its line ends were changed"


def _by_value(before: Any, after: Any, place: str, moving: dict[str, float]) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            yield from _by_value(before.get(name), after.get(name), f"{place}.{name}" if place else str(name), moving)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _by_value(one, other, f"{place}[{_name(one, number)}]", moving)
    elif not _alike(before, after, moving.get(place.rpartition(".")[2], 0.0)):
        yield f"{place} is {before}, its records give {after}"


def _name(element: object, number: int) -> str:
    return str(element["backbone"]) if isinstance(element, dict) and "backbone" in element else str(number)


def _alike(before: object, after: object, step: float) -> bool:
    if isinstance(before, int | float) and isinstance(after, int | float):
        return abs(before - after) <= step + 1e-9 * abs(before)
    return before == after
