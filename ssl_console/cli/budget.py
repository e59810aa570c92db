"""`budget`: what fits into some hours, in the order that tells most about the ranking; and on request, run it."""

from __future__ import annotations

from contextlib import suppress

from ssl_console.budget import Budget, belief_of, plan_budget
from ssl_console.cli import output
from ssl_console.cli.follow import follow_runs
from ssl_console.cli.launch import Manner, Picked, planned
from ssl_console.cli.session import Session
from ssl_console.errors import ExitCode
from ssl_console.estimate import History, in_words
from ssl_console.profiling import Profiler, cells_of
from ssl_console.requests import NotPossible, set_priority
from ssl_console.submission import submit_runs
from tasks.card import DatasetCard
from tasks.datasets.manifest import known_manifest

HOUR_S = 3600.0


def budget(session: Session, picked: Picked, hours: float, *, run: bool, as_json: bool) -> ExitCode:
    """Say what fits; with `run`, carry it out in that order and follow it."""
    found = planned(session, picked, Manner())
    results, slots = session.results(), session.slots()
    cells, unknown = cells_of(found.to_run, History.of(results), _profiler(session))
    backbones = [one.candidate.backbone.name for one in found.runs]
    chosen = plan_budget(cells, belief_of(backbones, results), hours * HOUR_S * slots)
    if as_json and not run:
        output.document(as_document(chosen, list(unknown), slots))
    elif not as_json:
        _show(chosen, list(unknown), hours, slots)
    if not run or not chosen.choices:
        return ExitCode.DONE
    runs = [choice.cell.run for choice in chosen.choices if choice.cell.run is not None]
    submitted = submit_runs(session.workspace, runs)
    for place, run_id in enumerate(reversed(submitted.run_ids)):
        with suppress(NotPossible):  # it has started already
            set_priority(session.workspace, run_id, place)
    return follow_runs(session, submitted.run_ids, (), as_json=as_json)


def as_document(chosen: Budget, unknown: list[str], slots: int) -> dict[str, object]:
    """The budget as `--json` prints it."""
    return {
        "slots": slots,
        "pairs": chosen.pairs,
        "wrong_pairs_before": chosen.doubt_before,
        "wrong_pairs_after": chosen.doubt_after,
        "runs": [
            {
                "backbone": choice.cell.backbone,
                "task": choice.cell.task,
                "seconds": choice.cell.seconds,
                "basis": choice.cell.basis,
                "ends_s": choice.ends_s / slots,
                "wrong_pairs": choice.doubt,
            }
            for choice in chosen.choices
        ],
        "left_out": [f"{cell.backbone} on {cell.task}" for cell in chosen.left_out],
        "unknown": unknown,
    }


def _show(chosen: Budget, unknown: list[str], hours: float, slots: int) -> None:
    rows = [
        (
            str(number),
            choice.cell.backbone,
            choice.cell.task,
            in_words(choice.cell.seconds),
            choice.cell.basis,
            f"{choice.doubt:.2f}",
        )
        for number, choice in enumerate(chosen.choices, start=1)
    ]
    output.table(("", "backbone", "task", "takes", "known by", "wrong pairs"), rows, right=frozenset({0, 3, 5}))
    work = chosen.choices[-1].ends_s if chosen.choices else 0.0
    fits = f"{len(rows)} runs fit into {hours:g} h on {slots} slots ({in_words(work / slots)})"
    doubt = f"{chosen.doubt_before:.2f} now, {chosen.doubt_after:.2f} then, of {chosen.pairs}"
    output.lines([f"{fits}, {len(chosen.left_out)} do not; expected pairs in the wrong order: {doubt}"])
    for name in unknown:
        output.say(f"{name}: nothing like it was measured yet, so it is not planned; run it once")


def _profiler(session: Session) -> Profiler:
    def images(card: DatasetCard) -> int | None:
        manifest = known_manifest(card, session.data_root, session.workspace.cache)
        if manifest is not None:
            return sum(split.images for split in manifest.splits.values())
        return sum(card.images.values()) or None

    device = session.practice().device
    folder = session.workspace.cache / "speeds"
    return Profiler(folder, session.workspace.weights, device, images, tell=output.say)
