"""`budget`: the runs that fit into a time budget, most informative for the ranking first; with `--run`, run them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ssl_console.cli.handlers.follow import follow_runs
from ssl_console.cli.handlers.run import RunOptions, RunSelection, exit_without_runs, plan_selection, report_missing
from ssl_console.cli.output import stdout
from ssl_console.operations.budget import Budget, BudgetCell, Profiler, UncertainRun, belief_of, cells_of, plan_budget
from ssl_console.operations.session import Session
from ssl_console.planning.duration import History, format_duration
from ssl_console.planning.plan import Plan
from ssl_console.planning.submit import submit_runs
from ssl_console.system.errors import ExitCode
from tasks.datasets.card import DatasetCard
from tasks.datasets.manifest import known_manifest

HOUR_S = 3600.0
WRONG_PAIRS = "pairs of backbones in the wrong order"


@dataclass(frozen=True)
class Limits:
    """Limits of the selection."""

    hours: float
    slots: int | None = None
    """Concurrent runs; None for as many as the devices or the cluster's settings allow."""


@dataclass(frozen=True)
class _BudgetAnswer:
    budget: Budget
    unknown: Sequence[UncertainRun]
    plan: Plan
    slots: int


def budget(session: Session, selection: RunSelection, limits: Limits, options: RunOptions, *, run: bool) -> ExitCode:
    """Print the fitting runs; with `run`, execute them in that order and follow them, which determines the exit
    code.
    """
    options = options.with_placement(session)
    answer = _answer(session, selection, limits, options)
    if options.as_json and not run:
        stdout.document(budget_document(answer))
    elif options.as_json:
        stdout.json_line({"event": "budget", **budget_document(answer)})
    else:
        _show(answer, limits.hours)
    if not run:
        return ExitCode.DONE
    if not answer.budget.choices:
        return exit_without_runs(answer.plan, options)
    runs = [choice.cell.run for choice in answer.budget.choices if choice.cell.run is not None]
    # with slots of its own, a launcher groups runs of one backbone only at equal priorities
    submitted = submit_runs(session.workspace, runs, options.placement, in_order=not options.remote)
    return follow_runs(session, submitted.run_ids, options.placement, as_json=options.as_json)


def _answer(session: Session, selection: RunSelection, limits: Limits, options: RunOptions) -> _BudgetAnswer:
    found = plan_selection(session, selection, options)
    slots = limits.slots or session.slots(options.placement)
    results, profiler = session.results(), _profiler(session, options)
    history = History.of(results)
    under_way, unclear = cells_of((run for run in found.runs if run.status == "active"), history, profiler)
    for one in unclear:
        run = f"{one.backbone} on {one.task}"
        stdout.say(f"ssl-console: {run} is active with unknown duration: no time is reserved for it")
    cells, unknown = cells_of(found.to_run, history, profiler)
    belief = belief_of([one.candidate.backbone.name for one in found.runs], results)
    return _BudgetAnswer(plan_budget(cells, belief, limits.hours * HOUR_S, slots, under_way), unknown, found, slots)


def budget_document(answer: _BudgetAnswer) -> dict[str, object]:
    """The budget as `--json` prints it."""
    chosen = answer.budget
    return {
        "slots": answer.slots,
        "pairs": chosen.pairs,
        "wrong_pairs_before": chosen.doubt_before,
        "wrong_pairs_after": chosen.doubt_after,
        "ends_s": chosen.ends_s,
        "runs": [
            {
                "backbone": choice.cell.backbone,
                "task": choice.cell.task,
                "seconds": choice.seconds,
                "basis": choice.cell.basis,
                "ends_s": choice.ends_s,
                "wrong_pairs": choice.doubt,
            }
            for choice in chosen.choices
        ],
        "left_out": [
            {"backbone": cell.backbone, "task": cell.task, "seconds": cell.seconds} for cell in chosen.left_out
        ],
        "unknown": [asdict(one) for one in answer.unknown],
        "missing": [{"kind": item.kind, "name": item.name, "advice": item.advice} for item in answer.plan.missing],
    }


def _show(answer: _BudgetAnswer, hours: float) -> None:
    chosen = answer.budget
    rows = [
        (
            str(number),
            choice.cell.backbone,
            choice.cell.task,
            format_duration(choice.seconds),
            choice.cell.basis,
            format_duration(choice.ends_s),
            f"{choice.doubt:.2f}",
        )
        for number, choice in enumerate(chosen.choices, start=1)
    ]
    head = ("", "backbone", "task", "duration", "estimated from", "done after", "wrong pairs")
    if rows:
        stdout.table(head, rows, right=frozenset({0, 3, 5, 6}))
    stdout.lines([_fits(answer, hours), *_left_out(chosen.left_out)])
    if rows:
        doubt = f"{chosen.doubt_before:.2f} now, {chosen.doubt_after:.2f} then"
        stdout.lines([f"expected number of {WRONG_PAIRS}: {doubt}, of {chosen.pairs}"])
    for (task, why), count in Counter((one.task, one.why) for one in answer.unknown).items():
        stdout.say(f"ssl-console: {_runs(count)} of {task} cannot be planned: {why}")
    report_missing(answer.plan)


def _fits(answer: _BudgetAnswer, hours: float) -> str:
    """`12 of 20 runs fit into 8 h on 2 slots, done after 7 h 40 min; 3 are already done`."""
    chosen, counts = answer.budget, answer.plan.counts
    fitting, of = len(chosen.choices), len(chosen.choices) + len(chosen.left_out)
    where = f"{answer.slots} slot{'s' if answer.slots != 1 else ''}"
    nothing = "nothing can be planned" if answer.unknown or counts["missing"] else "nothing is left to run"
    words = f"{fitting} of {of} runs fit into {hours:g} h on {where}" if of else nothing
    done = f", done after {format_duration(chosen.ends_s)}" if fitting else ""
    others = (("done", "already done"), ("active", "active"), ("missing", "cannot run"))
    besides = ", ".join(f"{counts[what]} {label}" for what, label in others if counts[what])
    return f"{words}{done}{'; ' if besides else ''}{besides}"


def _left_out(cells: tuple[BudgetCell, ...]) -> list[str]:
    """Runs that do not fit, by task, with the duration of the shortest."""
    shortest: dict[str, float] = {}
    for cell in cells:
        shortest[cell.task] = min(cell.seconds, shortest.get(cell.task, cell.seconds))
    counts = Counter(cell.task for cell in cells)
    return [
        f"left out: {task}, {_runs(counts[task])} of {format_duration(least)} or more"
        for task, least in shortest.items()
    ]


def _runs(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"


def _profiler(session: Session, options: RunOptions) -> Profiler:
    def images(card: DatasetCard) -> int | None:
        manifest = known_manifest(card, session.data_root, session.workspace.cache)
        if manifest is not None:
            return sum(split.images for split in manifest.splits.values())
        return sum(card.images.values()) or None

    device = session.checker(options.placement.devices).device
    folder = session.workspace.cache / "speeds"
    return Profiler(folder, session.workspace.weights, device, images, notify=stdout.say)
