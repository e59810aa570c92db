"""The launch dialog as lines: counts, options, disk space, and the reasons why runs cannot start. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from backbones.io.errors import counted
from ssl_console.planning.disk_usage import Disk
from ssl_console.planning.duration import format_duration, megabytes
from ssl_console.planning.plan import Blocker, Plan, PlannedRun
from ssl_console.tui.data.backend import LaunchRequest
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, line, wrap
from ssl_console.tui.views.coverage import Downloads, download_of, reading_text
from ssl_console.workspace.config import AUTO, DevicesPerRun, Share
from tasks.datasets.manifest import ReadingProgress

MOST_SEEDS = 100
LABEL = 15
"""Width of the names of options in cells."""
SHARING: Mapping[Share, str] = {
    "free-memory": "start as soon as the required memory is free",
    "idle": "start when only own runs use them",
    "never": "start when nothing else uses them",
}
"""Sharing of GPUs with other processes."""
DEVICE_NUMBERS = (1, 2, 4, 8)
_SEEDS = re.compile(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?")


def launch_lines(
    plan: Plan, disk: Disk, request: LaunchRequest, downloads: Downloads, width: int, glyphs: Glyphs
) -> list[Line]:
    """Preview of a launch on lines of `width` cells."""
    return [
        line(Span(f"{counted(plan.counts['total'], 'run')} selected", Tone.STRONG)),
        line(),
        *_counts(plan),
        line(),
        *_choices(request),
        _disk(disk),
        *_reasons(plan, downloads, width, glyphs),
    ]


def looking_lines(
    picked: int, elapsed_s: float, activity: str, reading: Iterable[ReadingProgress], *, starts: bool, width: int
) -> list[Line]:
    """While a launch is planned: elapsed time, current activity, and whether it starts automatically."""
    head = line(
        Span(f"Planning {counted(picked, 'selected pair')} ...", Tone.DIM),
        Span(f"  {format_duration(elapsed_s)}", Tone.DIM),
    )
    activities = [reading_text(progress) for progress in reading] or ([activity] if activity else [])
    lines = [head, *(line(Span(f" {part}", Tone.BUSY)) for text in activities for part in wrap(text, width - 2))]
    if starts:
        lines.append(line(Span(" starts after planning if nothing prevents it; enter again cancels", Tone.ACCENT)))
    return lines


def nothing_to_start(plan: Plan, request: LaunchRequest) -> str:
    """Reason why a launch would start nothing, with the keys that change this."""
    kinds = {item.kind for item in plan.missing}
    keys = ["o runs refused backbones"] if "doctor" in kinds else []
    keys += [f"w fetches {kinds_of(fetchable(plan))}"] if fetchable(plan) else []
    keys += ["a repeats finished runs"] if plan.counts["done"] and not request.again else []
    return f"Nothing to start{': ' if keys else '.'}{', '.join(keys)}"


def refused(plan: Plan) -> list[Blocker]:
    """Backbones with failed checks, each once."""
    return [item for item in plan.missing if item.kind == "doctor"]


def fetchable(plan: Plan) -> list[Blocker]:
    """Missing weights and data that can be downloaded."""
    return [item for item in plan.missing if item.kind in {"weights", "data"} and item.fetchable]


def kinds_of(items: Iterable[Blocker]) -> str:
    """Kinds of missing inputs in one phrase: `weights`, `data` or `weights and data`."""
    kinds = {item.kind for item in items}
    return " and ".join(kind for kind in ("weights", "data") if kind in kinds)


def fetch_question(items: Sequence[Blocker]) -> tuple[str, str]:
    """Question before downloads: the items, with their sizes if the cards state them."""
    what = f"{kinds_of(items)} of {len(items)}" if len(items) > 1 else f"{items[0].kind} of {items[0].name}"
    sizes = [item.megabytes for item in items]
    known = [size for size in sizes if size is not None]
    listed = ", ".join(
        item.name if item.megabytes is None else f"{item.name} ({megabytes(1e6 * item.megabytes)} to download)"
        for item in items
    )
    sums = [f"{megabytes(1e6 * sum(known))} together"] if len(known) > 1 and len(known) == len(sizes) else []
    return f"Fetch the {what}?", "; ".join((listed, *sums))


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0-4, 7` as 0, 1, 2, 3, 4, 7. Raises ValueError naming the part that is no seed."""
    seeds: dict[int, None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _SEEDS.fullmatch(part)
        if found is None:
            raise ValueError(f"{part!r} is not a seed: enter 0-4 or 0,3,7, for example")
        first, last = int(found[1]), int(found[2] or found[1])
        if not 0 <= last - first < MOST_SEEDS:
            raise ValueError(f"{part!r} is not a range of up to {MOST_SEEDS} seeds: enter the smaller one first")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    if not 0 < len(seeds) <= MOST_SEEDS:
        raise ValueError(f"{len(seeds)} seeds: enter 1 to {MOST_SEEDS}, e.g. 0-4")
    return tuple(seeds)


def format_seeds(seeds: Sequence[int]) -> str:
    """Inverse of `parse_seeds`, with ranges for three or more consecutive seeds."""
    parts: list[str] = []
    for start, stop in _ranges(seeds):
        parts += [f"{start}-{stop}"] if stop - start > 1 else [str(seed) for seed in range(start, stop + 1)]
    return ", ".join(parts)


def _ranges(seeds: Sequence[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], seed)
        else:
            ranges.append((seed, seed))
    return ranges


def _counts(plan: Plan) -> list[Line]:
    counts = {**plan.counts, **Counter(filter(None, map(_obstacle, plan.runs)))}
    cost = "duration unknown: no similar run in this workspace"
    if plan.eta_s is not None:
        cost = f"about {format_duration(plan.eta_s)}{f', {plan.slots} at a time' if plan.slots > 1 else ''}"
    rows = (
        ("done", "already done", "not repeated", Tone.PLAIN),
        ("active", "under way", "not started twice", Tone.BUSY),
        ("stale", "out of date", "measured again", Tone.WARN),
        ("to_run", "will run", cost, Tone.GOOD),
        ("refused", "refused", "checks fail, see below", Tone.BAD),
        ("lacking", "cannot run yet", "weights or data missing, see below", Tone.BAD),
        ("impossible", "not possible", "see below", Tone.DIM),
    )
    lines = []
    for key, what, note, tone in rows:
        count = counts.get(key, 0)
        if count or key in plan.counts:
            strong = tone if count else Tone.FAINT
            lines.append(line(Span(f"{count:>6}  {what:<14}", strong), Span(f" {note}" if count else "", Tone.DIM)))
    return lines


def _obstacle(run: PlannedRun) -> str:
    """Reason why a run cannot start, one without a remedy before others; empty if it can."""
    kinds = {item.kind for item in run.candidate.missing}
    if "backbone" in kinds:
        return "impossible"
    return "lacking" if kinds & {"weights", "data"} else "refused" if kinds else ""


def _choices(request: LaunchRequest) -> list[Line]:
    preset = request.preset or (f"those of suite {request.suite}" if request.suite else "default")
    again = "yes: finished runs are repeated" if request.again else "no"
    launcher = (("launcher", request.launcher),) if request.launcher else ()
    share = (("GPUs in use", SHARING[request.share]),) if request.share else ()
    number = request.devices_per_run or 1
    together = "1" if number == 1 else f"{'all idle ones' if number == AUTO else f'up to {number}'}, while no run waits"
    pairs = (
        ("seeds", format_seeds(request.seeds)),
        ("parameters", preset),
        ("measure again", again),
        *launcher,
        *share,
        ("devices per run", together),
    )
    return [line(Span(f"{name:>{LABEL}}  ", Tone.DIM), value) for name, value in pairs]


def next_device_number(number: DevicesPerRun, *, local: bool) -> DevicesPerRun:
    """The next larger number of devices per run, then every idle one where the launcher is `local`, then 1."""
    if number == AUTO:
        return 1
    return next((one for one in DEVICE_NUMBERS if one > number), AUTO if local else 1)


def _disk(disk: Disk) -> Line:
    free = f"{megabytes(disk.free)} free"
    needed = (
        f"about {megabytes(disk.needed)}"
        if disk.needed
        else "nothing more"
        if disk.needed == 0
        else "required space unknown"
    )
    layers = f" ({megabytes(disk.layers)} of layer-wise features)" if disk.layers else ""
    spans = [Span(f"{'disk':>{LABEL}}  ", Tone.DIM), Span(needed + layers), Span(f", {free}", Tone.DIM)]
    return line(*spans) if disk.enough else line(*spans, Span("  too little", Tone.BAD))


def _reasons(plan: Plan, downloads: Downloads, width: int, glyphs: Glyphs) -> list[Line]:
    """Reasons why results are out of date or marked, and why runs cannot start, each group with its remedy."""
    stale = dict.fromkeys(run.reason for run in plan.runs if run.status == "stale" and run.reason)
    concerns = {run.candidate.backbone.name: run.candidate.concerns for run in plan.runs if run.candidate.concerns}
    overridden = [f"{name} fails its checks: {'; '.join(failed)}" for name, failed in concerns.items()]
    lacking = [_lacking(item, downloads) for item in plan.missing if item.kind in {"weights", "data"}]
    missing = f"Missing: w fetches {kinds_of(fetchable(plan))}" if fetchable(plan) else "Missing"
    impossible = [item.advice for item in plan.missing if item.kind == "backbone"]
    failed = [item.reason for item in refused(plan)]
    groups = (
        ("Out of date because", Tone.WARN, glyphs.stale, list(stale)),
        (
            "Measured despite failed checks (o cancels this); every result is marked",
            Tone.WARN,
            glyphs.failed,
            overridden,
        ),
        ("Refused: o measures them anyway and marks every result", Tone.BAD, glyphs.failed, failed),
        (missing, Tone.BAD, glyphs.missing, lacking),
        ("Not possible", Tone.DIM, glyphs.empty, impossible),
    )
    lines: list[Line] = []
    for title, tone, sign, sentences in groups:
        lines += [line(), line(Span(title, tone))] if sentences else []
        for sentence in sentences:
            first, *rest = wrap(sentence, width - 4)
            lines += [line(Span(f"  {sign} ", tone), first), *(line(f"    {text}") for text in rest)]
    return lines


def _lacking(item: Blocker, downloads: Downloads) -> str:
    """Missing inputs with the progress of their downloads, or with the way to provide them."""
    if not item.fetchable:
        return item.advice
    download = downloads.get(download_of(item))
    return item.reason if download is None or download.state == "done" else str(download)
