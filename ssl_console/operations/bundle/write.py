"""Making a bundle out of a workspace."""

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
from ssl_console.analysis.ranking import Ranking, rank
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
    """By member name: the ranking as JSON, CSV and Markdown, and how certain the ranks are, with all marks."""
    ranking = rank(sources.badged(results), columns)
    found = {
        "tables/ranking.json": to_json(ranking),
        "tables/ranking.csv": to_csv(ranking),
        "tables/ranking.md": to_markdown(ranking),
    }
    ranks = _ranks(ranking, predictions)
    return found if ranks is None else {**found, RANKS: json.dumps(ranks, indent=2) + "\n"}


def _ranks(ranking: Ranking, predictions: Predictions) -> Mapping[str, object] | None:
    """Of the complete rows; where there are none, by the next way of treating what is missing."""
    for missing in get_args(Missing):
        try:
            return ranks_document(rank_table(ranking, predictions, missing=missing))
        except ValueError:
            continue
    return None


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
    """SHA-256 of the whole file, to be published with it."""
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
    sources: BadgeSources = BadgeSources(),  # noqa: B008 - frozen
) -> Bundled:
    """Write the bundle; it appears under its name when it is whole.

    Raises FileExistsError when there is a file of that name, OSError when the disk cannot take it.
    """
    if path.exists():
        raise FileExistsError(17, "there is a file of that name", str(path))
    kept = [one for one in results if workspace.run(one.run_id).result.is_file()]
    members = dict(_members(workspace, kept, columns, manifests, sources))
    measured = {one.backbone for one in kept}
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
    left_out = tuple(sorted({one.run_id for one in results} - {one.run_id for one in kept}))
    return Bundled(path, whole, len(kept), left_out, path.stat().st_size)


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
"""How far a rank's bound, and a share of replicates, may move with another linear algebra library."""
_MOVING = {"low": RANK_STEP, "high": RANK_STEP, "group": RANK_STEP, "first": SHARE_STEP}


def first_difference(kept: str, again: str, *, numbers_may_move: bool) -> str:
    """In words, what is wrong with `kept`, or nothing; JSON by value, everything else by line.

    What `kept` does not say at all is not wrong: an earlier version wrote fewer fields.
    """
    if kept == again:
        return ""
    try:
        before, after = json.loads(kept), json.loads(again)
    except ValueError:
        return _by_line(kept, again)
    return next(_by_value(before, after, "", _MOVING if numbers_may_move else {}), "")


def _by_line(kept: str, again: str) -> str:
    for number, (before, after) in enumerate(zip_longest(kept.splitlines(), again.splitlines()), start=1):
        if before != after:
            return f"line {number} {_where(before or '', after or '')}"
    return "its line ends were changed"


def _where(before: str, after: str) -> str:
    """The first cell that differs, of a line of cells."""
    for sign in ("|", ","):
        cells = list(zip_longest(before.split(sign), after.split(sign), fillvalue="nothing"))
        if len(cells) > 1:
            one, other = next((pair for pair in cells if pair[0] != pair[1]), ("", ""))
            return f"says {one.strip()}, its records give {other.strip()}"
    return f"says {before!r}, its records give {after!r}"


def _by_value(before: Any, after: Any, place: str, moving: dict[str, float]) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            yield from _by_value(before.get(name), after.get(name), f"{place}.{name}" if place else str(name), moving)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _by_value(one, other, f"{place}[{_name(one, number)}]", moving)
    elif not _alike(before, after, moving.get(place.rpartition(".")[2], 0.0)):
        yield f"{place} says {before}, its records give {after}"


def _name(element: object, number: int) -> str:
    return str(element["backbone"]) if isinstance(element, dict) and "backbone" in element else str(number)


def _alike(before: object, after: object, step: float) -> bool:
    if isinstance(before, int | float) and isinstance(after, int | float):
        return abs(before - after) <= step + 1e-9 * abs(before)
    return before == after
