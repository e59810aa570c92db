"""`show`: everything about one result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ssl_console.badges import Badge
from ssl_console.cli import output
from ssl_console.cli.picture import show_pictures
from ssl_console.cli.session import Session
from ssl_console.errors import ConsoleError
from ssl_console.names import resolve_run
from ssl_console.pictures import picture_files
from ssl_console.result import ResultRecord
from ssl_console.seeds import SeedSpread, seed_spread
from ssl_console.statistics.few_shot import EpisodeIntervals, of_record
from ssl_console.twins import Distance, distances, twins

NAME_COLUMNS = 14


def record_of(session: Session, name: str) -> ResultRecord:
    """The record of the finished run that an id, or the beginning of one, means. Raises ConsoleError, UnknownName."""
    from ssl_console.predictions import RunOutputs

    done = [folder.run_id for folder in session.workspace.run_folders() if folder.result.exists()]
    if not done:
        raise ConsoleError("there are no results yet: `ssl-console run` makes some")
    found = RunOutputs(session.workspace).record(resolve_run(name, done))
    if found is None:
        path = session.workspace.run(resolve_run(name, done)).result
        raise ConsoleError(f"{path} is no result that can be read: `ssl-console run --force` makes it again")
    return found


def show(session: Session, name: str, *, as_json: bool) -> None:
    """Print one result: score, intervals, reasons to doubt it, and what it is made of."""
    record = record_of(session, name)
    results = session.results()
    spread = seed_spread(record.result, results)
    distance = distances([*results, record.result], twins(session.backbones.cards.values())).get(record.result.run_id)
    badges = all_badges(record, distance)
    pictures = picture_files(session.workspace.run(record.result.run_id))
    if as_json:
        found = _document(record, badges, spread, distance)
        output.document({**found, "pictures": [str(path) for path in pictures]})
        return
    result = record.result
    output.lines([f"{result.backbone} on {result.task} [{result.variant}], seed {result.seed}"])
    for badge in badges:
        output.lines([f"! {badge.name}: {badge.advice}"])
    for title, pairs in _sections(record, spread, distance).items():
        output.lines(["", title, *(f"  {key:<{NAME_COLUMNS}}  {value}" for key, value in pairs.items())])
    show_pictures(pictures)


def all_badges(record: ResultRecord, distance: Distance | None) -> tuple[Badge, ...]:
    """Those that the run tells of itself, and the one from its random twin."""
    of_twin = distance.badge if distance else None
    return (*record.badges, *([of_twin] if of_twin else []))


def _sections(
    record: ResultRecord, spread: SeedSpread | None, distance: Distance | None
) -> Mapping[str, Mapping[str, str]]:
    result = record.result
    found = {
        "score": {
            result.metric: f"{result.value:.2f}",
            **_intervals(record, of_record(record), spread),
            **({"random twin": _twin(distance)} if distance else {}),
        },
        "all scores": {name: f"{value:.3f}" for name, value in record.metrics.items()},
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
    found = {"95 % interval": f"{result.ci_low:.2f} to {result.ci_high:.2f} ({record.interval_method}, n {result.n:,})"}
    if episodes is not None:
        half = "unknown" if episodes.data is None else f"±{episodes.data:.2f}"
        found["other images"] = f"{half} (as many episodes as {episodes.disjoint} without using an image twice)"
    if spread is not None:
        found["over seeds"] = f"{spread.mean:.2f}, deviation {spread.deviation:.2f} ({len(spread.values)} seeds)"
    return found


def _twin(distance: Distance) -> str:
    return f"{distance.lead:+.2f} points against {distance.twin} ({distance.low:+.2f} to {distance.high:+.2f})"


def _run(record: ResultRecord) -> dict[str, str]:
    result = record.result
    finished = datetime.fromtimestamp(result.finished).astimezone()
    found = {
        "run": result.run_id,
        "finished": finished.strftime("%Y-%m-%d %H:%M:%S"),
        "took": f"{result.duration_s:.1f} s",
        "device": " ".join(filter(None, [result.device, record.machine.get("device", "")])),
        "host": record.host,
        "peak memory": "" if result.memory_mb is None else f"{result.memory_mb:,.0f} MB",
        "energy": "not told by the device"
        if record.energy_j is None
        else f"{record.energy_j:,.0f} J (of the whole device)",
        "code": code_in_words(record),
    }
    return {name: value for name, value in found.items() if value}


def code_in_words(record: ResultRecord) -> str:
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
    record: ResultRecord, badges: Sequence[Badge], spread: SeedSpread | None, distance: Distance | None
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
        else {"backbone": distance.twin, "lead": distance.lead, "low": distance.low, "high": distance.high},
    }
