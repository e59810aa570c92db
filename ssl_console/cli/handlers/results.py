"""`show`, `why` and `reproduce`: everything about one result."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from ssl_console.analysis.badged_results import BaselineComparison, distances, twins
from ssl_console.analysis.ranking_cell import SeedSpread, record_text, seed_spread, seeds_text
from ssl_console.analysis.result_diff import FieldDifference, Group
from ssl_console.analysis.statistics.paired_from_predictions import EpisodeIntervals, of_record
from ssl_console.cli.handlers.follow import follow_runs
from ssl_console.cli.output import stdout
from ssl_console.operations.disagreements import record_difference
from ssl_console.operations.session import Session, resolve_run
from ssl_console.planning.candidates import folders_of_key
from ssl_console.planning.plan import new_run_id
from ssl_console.system.errors import ConsoleError, ExitCode, OperationFailed
from ssl_console.system.safe_text import shorten
from ssl_console.workspace.badges import Badge, marks
from ssl_console.workspace.config import LOCAL
from ssl_console.workspace.pictures import (
    ASCII_SHADES,
    SHADES,
    Picture,
    Row,
    colour_cells,
    open_picture,
    picture_files,
    shaded,
)
from ssl_console.workspace.requests import submit
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.run import RunSpec

NAME_COLUMNS = 14
MOST_COLUMNS, MOST_ROWS = 72, 36


def record_of(session: Session, name: str) -> ResultRecord:
    """Record of the finished run with this id or prefix. Raises ConsoleError, UnknownName."""
    done = [folder.run_id for folder in session.workspace.run_folders() if folder.result.exists()]
    if not done:
        raise ConsoleError("no results yet: start with `ssl-console run`")
    run_id = resolve_run(name, done)
    record = session.record(run_id)
    if record is None:
        raise ConsoleError(f"run {run_id} has been removed: {session.workspace.run(run_id).path}")
    return record


def show(session: Session, name: str, *, as_json: bool) -> None:
    """Print one result: score, intervals, warnings, and what produced it."""
    record = record_of(session, name)
    results = session.results()
    current = next((one for one in results if one.run_id == record.result.run_id), record.result)
    record = record.model_copy(update={"result": current})
    spread = seed_spread(record.result, results)
    distance = distances([*results, record.result], twins(session.backbones.cards.values())).get(record.result.run_id)
    badges = session.badge_sources.explained(record.result, record, results)
    pictures = picture_files(session.workspace.run(record.result.run_id))
    if as_json:
        found = _document(record, badges, spread, distance)
        stdout.document({**found, "pictures": [str(path) for path in pictures]})
        return
    result = record.result
    seed = seeds_text(result.protocol_name, [result.seed])
    stdout.lines([f"{result.backbone} on {result.task} [{result.variant}], {seed}"])
    for badge in badges:
        stdout.lines([f"{marks([badge.name])} {badge.name}: {badge.advice}"])
    for title, pairs in _sections(record, spread, distance).items():
        stdout.lines(["", title, *(f"  {key:<{NAME_COLUMNS}}  {value}" for key, value in pairs.items())])
    show_pictures(pictures)


def _sections(
    record: ResultRecord, spread: SeedSpread | None, distance: BaselineComparison | None
) -> Mapping[str, Mapping[str, str]]:
    result = record.result
    score = {result.metric: f"{result.value:.2f}", **_intervals(record, of_record(record), spread)}
    if distance is not None:
        interval = f"{distance.low:+.2f} to {distance.high:+.2f}"
        score["random twin"] = f"{distance.margin:+.2f} points against {distance.twin} ({interval})"
    found = {
        "score": score,
        "all scores": {name: f"{value:.3f}" for name, value in record.metrics.items()},
        "warnings": {str(number): text for number, text in enumerate(record.warnings, start=1)},
        "samples": {name: f"{count:,}" for name, count in record.samples.items()},
        "parameters": {name: f"{value}" for name, value in record.parameters.items()},
        "chosen": {name: f"{value}" for name, value in record.hyperparameters.items()},
        "run": _run(record),
        "made of": _made_of(record),
        "versions": record.versions,
    }
    return {title: pairs for title, pairs in found.items() if pairs}


def _intervals(record: ResultRecord, episodes: EpisodeIntervals | None, spread: SeedSpread | None) -> dict[str, str]:
    result = record.result
    method = result.interval_method or record.interval_method
    found = {"95 % interval": f"{result.ci_low:.2f} to {result.ci_high:.2f} ({method}, {record_text(result, record)})"}
    if episodes is not None:
        title, text = episodes.other_interval
        found[title] = text
    if spread is not None:
        found["over seeds"] = f"{spread.mean:.2f}, deviation {spread.deviation:.2f} ({len(spread.values)} seeds)"
    return found


def _run(record: ResultRecord) -> dict[str, str]:
    result = record.result
    found = {
        "run": result.run_id,
        "finished": time_text(result.finished),
        "took": f"{result.duration_s:.1f} s",
        "device": " ".join(filter(None, [result.device, record.machine.get("device", "")])),
        "host": record.host,
        "origin": "" if record.origin is None else f"{result.origin}, {time_text(record.origin.imported)}",
        "peak memory": "" if result.memory_mb is None else f"{result.memory_mb:,.0f} MB",
        "energy": "not reported by the device"
        if record.energy_j is None
        else f"{record.energy_j:,.0f} J (of the whole device)",
        "code": code_text(record),
    }
    return {name: value for name, value in found.items() if value}


def time_text(seconds: float) -> str:
    """Local time for seconds since the epoch."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def code_text(record: ResultRecord) -> str:
    """`1a2b3c4d, with changes` or `1a2b3c4d, unchanged`; the digest of the source files where there is no commit."""
    if record.code is None:
        return ""
    if record.code.commit is None:
        return f"source files {record.code.digest[:12]}"
    changes = {True: ", with changes", False: ", unchanged", None: ""}[record.code.dirty]
    return f"{record.code.commit[:12]}{changes}"


def _made_of(record: ResultRecord) -> dict[str, str]:
    backbone, data = record.identity.get("backbone"), record.identity.get("data")
    return {
        "key": record.result.key[:16],
        "weights": str(backbone.get("weights", ""))[:16] if isinstance(backbone, dict) else "",
        "data": str(data.get("manifest", ""))[:16] if isinstance(data, dict) else "",
        "column": record.result.column[:16],
    }


def _document(
    record: ResultRecord, badges: Sequence[Badge], spread: SeedSpread | None, distance: BaselineComparison | None
) -> dict[str, object]:
    episodes = of_record(record)
    return {
        **record.model_dump(mode="json"),
        "badges": [badge.model_dump() for badge in badges],
        "episode_intervals": None
        if episodes is None
        else {"episodes": episodes.episodes, "data": episodes.data, "disjoint": episodes.disjoint},
        "seeds": None
        if spread is None
        else {"values": {str(seed): value for seed, value in spread.values.items()}, "deviation": spread.deviation},
        "random_twin": None
        if distance is None
        else {"backbone": distance.twin, "lead": distance.margin, "low": distance.low, "high": distance.high},
    }


TITLES: Mapping[Group, str] = {
    "made of": "changes the number",
    "run by": "should not change it",
    "came out": "came out",
}
VALUE_COLUMNS = 34


def why(session: Session, first: str, second: str, *, as_json: bool) -> None:
    """Print the differences. Raises ConsoleError for one and the same run."""
    one, other = record_of(session, first), record_of(session, second)
    if one.result.run_id == other.result.run_id:
        raise ConsoleError(f"{one.result.run_id} is one result: name two")
    found = record_difference(session, one, other)
    if as_json:
        stdout.document(difference_document(found))
        return
    head = ("", "part", one.result.run_id, other.result.run_id)
    rows = [(TITLES[part.group], part.name, _short(part.first), _short(part.second)) for part in found.changes]
    if rows:
        stdout.table(head, rows)
    stdout.lines([*([""] if rows else []), found.sentence])


def difference_document(found: FieldDifference) -> dict[str, object]:
    """JSON document of `why --json`."""
    return {
        "first": found.first.result.run_id,
        "second": found.second.result.run_id,
        "difference": found.moved if found.comparable else None,
        "same_measurement": found.same_key,
        "changes": [
            {"group": one.group, "part": one.name, "before": one.first, "after": one.second} for one in found.changes
        ],
        "samples": None if found.flips is None else found.flips.samples,
        "samples_differing": None if found.flips is None else found.flips.differing,
        "sentence": found.sentence,
    }


def _short(value: object) -> str:
    return "—" if value is None else shorten(f"{value:.6g}" if isinstance(value, float) else str(value), VALUE_COLUMNS)


def reproduce(session: Session, name: str, *, fresh: bool, within: float, as_json: bool) -> ExitCode:
    """Queue the run again under a new id, follow it, and report whether the score is the same.

    `within` is in the unit of the score. Raises ConsoleError when the result cannot be found.
    """
    before = record_of(session, name)
    spec = _spec_again(session, before, fresh=fresh)
    submit(session.workspace, spec.run_id, spec.model_dump_json(indent=2).encode())
    if not as_json:
        stdout.say(f"{before.result.run_id} is repeated as {spec.run_id}")
    code = follow_runs(session, [spec.run_id], spec.placement, as_json=as_json)
    if code is not ExitCode.DONE:
        return code
    after = session.outputs.record(spec.run_id)
    if after is None:
        raise OperationFailed(f"{session.workspace.run(spec.run_id).result} cannot be read, so nothing was compared")
    return _verdict(record_difference(session, before, after), within, as_json=as_json)


def _spec_again(session: Session, before: ResultRecord, *, fresh: bool) -> RunSpec:
    """The run's own specification under a new id, independent of cards that have changed since."""
    from pydantic import ValidationError

    path = session.workspace.run(before.result.run_id).spec
    try:
        spec = RunSpec.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise ConsoleError(f"{path} is missing or unreadable, so the run cannot be repeated") from error
    taken = [folder_id for folder_id, _ in folders_of_key(session.workspace, before.result.key)]
    run_id = new_run_id(before.result.key, [before.result.run_id, *taken])
    return spec.model_copy(
        update={"run_id": run_id, "created": time.time(), "fresh": fresh, "launcher": LOCAL, "devices": ()}
    )


def _verdict(found: FieldDifference, within: float, *, as_json: bool) -> ExitCode:
    repeated = found.same_key and abs(found.moved) <= within
    exactly = found.same_key and found.first.metrics == found.second.metrics
    if as_json:
        stdout.json_line(
            {"event": "reproduced", "repeated": repeated, "exactly": exactly, **difference_document(found)}
        )
    else:
        word = "reproduced exactly" if exactly else "reproduced" if repeated else "NOT reproduced"
        was, now = found.first.result.value, found.second.result.value
        stdout.lines([f"{word}: {was:.4f} before, {now:.4f} now. {found.sentence}"])
    return ExitCode.DONE if repeated else ExitCode.RUN_FAILED


def show_pictures(paths: Sequence[Path]) -> None:
    """Print the images one after the other."""
    for path in paths:
        stdout.lines(["", f"picture  {path}"])
        picture = open_picture(path) if stdout.terminal_columns() else None
        if picture is not None:
            _draw(picture)


def _draw(picture: Picture) -> None:
    """Draw in the terminal's number of colours, or in characters without colours (NO_COLOR)."""
    from rich.console import Console
    from rich.segment import Segment, Segments

    from ssl_console.tui.style.glyphs import choose
    from ssl_console.tui.terminal.colour_depth import ColourDepth
    from ssl_console.tui.widgets.graphics import style_of

    console = Console(file=sys.stdout, highlight=False)
    columns, unicode = min(console.width, MOST_COLUMNS), choose().braille
    depth = ColourDepth.of(console.color_system)
    colours = console.is_terminal and console.color_system and not console.no_color and unicode
    if not colours or depth is ColourDepth.SIXTEEN:
        rows: list[Row] = shaded(picture, columns, MOST_ROWS, SHADES if unicode else ASCII_SHADES)
    else:
        rows = colour_cells(picture, columns, MOST_ROWS, few_colours=depth is ColourDepth.MANY)
    for row in rows:
        console.print(Segments([*(Segment(cell.sign, style_of(cell, depth)) for cell in row), Segment.line()]), end="")
