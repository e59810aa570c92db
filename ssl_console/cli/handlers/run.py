"""`plan`, `run` and `demo`: from a selection to queued and followed runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast, get_args

from backbones.catalog.card import Precision
from ssl_console.cli.handlers.follow import follow_runs
from ssl_console.cli.handlers.rank import RankView, rank
from ssl_console.cli.open_tui import LIVE, interactive, open_app
from ssl_console.cli.output import stdout
from ssl_console.cli.output.progress import end_line
from ssl_console.launchers.registry import parse_devices_per_run, parse_launcher, parse_share
from ssl_console.operations.add_dataset import further_test_sets
from ssl_console.operations.launch import Grid, LaunchOptions, disk_of_plan, plan_launch
from ssl_console.operations.session import Session
from ssl_console.planning.disk_usage import Disk
from ssl_console.planning.duration import format_duration, megabytes
from ssl_console.planning.plan import Plan, PlannedRun
from ssl_console.planning.submit import Submitted, submit_runs
from ssl_console.system import command_hints
from ssl_console.system.devices import parse_devices
from ssl_console.system.errors import ConsoleError, ExitCode
from ssl_console.workspace.config import DevicesPerRun, Share
from ssl_console.workspace.run import Placement
from tasks.catalog.spec import parse_overrides

DEMO_SUITE = "demo"


@dataclass(frozen=True)
class RunSelection:
    """Selection on the command line, as written."""

    backbones: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    suite: str | None = None
    seeds: tuple[int, ...] = (0,)
    settings: tuple[str, ...] = ()
    preset: str | None = None

    @classmethod
    def of(
        cls,
        backbones: Sequence[str] | None,
        tasks: Sequence[str] | None,
        suite: str | None,
        seeds: Sequence[int] | None,
        settings: Sequence[str] | None,
        preset: str | None,
    ) -> RunSelection:
        """Selection from option values; the seed is 0 if none was given."""
        unique = tuple(dict.fromkeys(seeds or (0,)))
        return cls(tuple(backbones or ()), tuple(tasks or ()), suite, unique, tuple(settings or ()), preset)

    def with_test_sets(self, session: Session, given: Sequence[str] | None) -> RunSelection:
        """With the settings of further test sets, whose cards are written. Raises ConsoleError."""
        found = further_test_sets(session.workspace, given or ())
        return replace(self, settings=(*self.settings, *found))


@dataclass(frozen=True)
class RunOptions:
    """Options of `run`."""

    devices: tuple[str, ...] = ()
    launcher: str | None = None
    """None for the launcher of the settings."""
    precision: Precision = "float32"
    share: Share | None = None
    """None for the sharing of GPUs in the settings."""
    devices_per_run: DevicesPerRun | None = None
    """None for the number of devices of a run in the settings."""
    detach: bool = False
    again: bool = False
    override: bool = False
    skip_missing: bool = False
    as_json: bool = False
    placement: Placement = field(default_factory=Placement)
    """Placement of the runs, from `devices`, `launcher` and the settings; see `with_placement`."""
    remote: str = ""
    """Summary of a launcher with slots of its own, whose speed is unknown, e.g. `jobs of a cluster`."""

    @classmethod
    def of(
        cls,
        devices: str | None,
        launcher: str | None,
        precision: str,
        share: str | None = None,
        devices_per_run: str | None = None,
        *,
        detach: bool = False,
        as_json: bool = False,
    ) -> RunOptions:
        """Options from option values. Raises ConsoleError for unknown devices, launchers, precisions or sharing."""
        if precision not in get_args(Precision):
            raise ConsoleError(f"--precision {precision}: choose {' or '.join(get_args(Precision))}")
        return cls(
            parse_devices(devices),
            parse_launcher(launcher),
            cast("Precision", precision),
            parse_share(share),
            parse_devices_per_run(devices_per_run),
            detach=detach,
            as_json=as_json,
        )

    def with_placement(self, session: Session) -> RunOptions:
        """Options with the placement of the runs; the settings decide where no option was given."""
        placement = session.placement(self.launcher, self.devices, self.share, self.devices_per_run)
        launcher = session.launcher(placement)
        remote = launcher.summary if launcher.capacity() else ""
        return replace(self, placement=placement, remote=remote)


def plan(session: Session, selection: RunSelection, launcher: str | None, *, as_json: bool) -> None:
    """Print what a launch would do."""
    options = RunOptions(launcher=parse_launcher(launcher)).with_placement(session)
    found = plan_selection(session, selection, options)
    disk = disk_of_plan(session, found, session.results())
    if as_json:
        sizes = {"disk_bytes": disk.needed, "disk_free_bytes": disk.free, "layer_bytes": disk.layers}
        stdout.document({**plan_document(found), **sizes})
        return
    head = ("backbone", "task", "seed", "status", "run", "why")
    stdout.table(head, [_plan_row(run) for run in found.runs], right=frozenset({2}))
    stdout.lines([plan_sentence(found, options.remote), _disk_sentence(disk)])
    report_missing(found)


def run(session: Session, selection: RunSelection, options: RunOptions) -> ExitCode:
    """Queue the runs that are not done yet, start the supervisor, and follow.

    Raises MissingInputs before anything is started when weights or data are missing, unless those runs are to be
    skipped.
    """
    options = options.with_placement(session)
    found = plan_selection(session, selection, options)
    if options.as_json:
        stdout.json_line({"event": "plan", **plan_document(found)})
    else:
        stdout.say(plan_sentence(found, options.remote))
    if found.missing:
        report_missing(found)
        if not options.skip_missing:
            stdout.say("ssl-console: nothing was started; --skip-missing runs the rest")
            return exit_without_runs(found, options)
    return _launch(session, found, options)


def demo(session: Session, launcher: str | None, *, headless: bool) -> int:
    """Run the demo suite with its backbones: watched in the terminal app, or followed here and ranked at the end."""
    watched = not headless and interactive()
    selection = RunSelection(session.tasks.suite(DEMO_SUITE).backbones, suite=DEMO_SUITE)
    code = run(session, selection, RunOptions(launcher=parse_launcher(launcher), detach=watched))
    if code in {ExitCode.MISSING, ExitCode.INTERRUPTED}:
        return code
    if watched:
        return open_app(session, LIVE)
    rank(session, RankView(suite=DEMO_SUITE))
    stdout.say(f"`{command_hints.RANK} --suite {DEMO_SUITE}` shows this again; `{command_hints.RUNS}` lists the runs")
    return code


def plan_sentence(found: Plan, remote: str = "") -> str:
    """`36 selected: 21 already done, 2 stale (the dataset changed), 13 will run, about 1 h 52 min on 2 slots`."""
    counts = found.counts
    words = [f"{counts['done']} already done"] if counts["done"] else []
    words += [f"{counts['active']} already queued or running"] if counts["active"] else []
    reasons = dict.fromkeys(run.reason for run in found.runs if run.status == "stale")
    words += [f"{counts['stale']} stale ({'; '.join(reasons)})"] if counts["stale"] else []
    words += [f"{counts['missing']} cannot run"] if counts["missing"] else []
    words += [f"{counts['to_run']} will run" if counts["to_run"] else "nothing to run"]
    if counts["to_run"] or counts["active"]:
        slots = f"on {found.slots} slot{'s' if found.slots != 1 else ''}"
        local = slots if found.eta_s is None else f"about {format_duration(found.eta_s)} {slots}"
        words.append(f"as {remote}" if remote else local)
    return f"{counts['total']} selected: {', '.join(words)}"


def _disk_sentence(disk: Disk) -> str:
    needed = f"about {megabytes(disk.needed)}" if disk.needed else "nothing more" if disk.needed == 0 else "unknown"
    layers = f" ({megabytes(disk.layers)} of layer-wise features)" if disk.layers else ""
    return f"disk: {needed}{layers}, {megabytes(disk.free)} free" + ("" if disk.enough else "; not enough")


def plan_document(found: Plan) -> dict[str, object]:
    """JSON document of `plan --json`."""
    return {
        "runs": [
            {
                "backbone": run.candidate.backbone.name,
                "task": run.candidate.task.name,
                "seed": run.candidate.seed,
                "key": run.candidate.key,
                "status": run.status,
                "run_id": run.run_id,
                "reason": run.reason,
            }
            for run in found.runs
        ],
        "counts": found.counts,
        "eta_s": found.eta_s,
        "missing": [{"kind": item.kind, "name": item.name, "advice": item.advice} for item in found.missing],
    }


def _grid(session: Session, selection: RunSelection) -> Grid:
    """Backbones and tasks of a selection. Raises ConsoleError when either is missing, CardNameError."""
    patterns = selection.backbones
    if not patterns and selection.suite is not None:
        patterns = session.tasks.suite(selection.suite).backbones
    if not patterns:
        raise ConsoleError("no backbone selected: add -b NAME, or a glob like -b 'demo/*' (ssl-console backbones)")
    if not selection.tasks and selection.suite is None:
        raise ConsoleError("no task selected: add -t TASK, a glob like -t 'linear/*', or --suite S (ssl-console tasks)")
    tasks = session.tasks.select(
        selection.tasks, selection.suite, preset=selection.preset, overrides=parse_overrides(selection.settings)
    )
    return session.backbones.select(patterns), tasks


def plan_selection(session: Session, selection: RunSelection, options: RunOptions) -> Plan:
    """Plan of a launch; backbones without earlier results are examined first."""
    launch = LaunchOptions(selection.seeds, options.placement, options.precision, options.again, options.override)
    return plan_launch(session, [_grid(session, selection)], launch, session.results())


def _launch(session: Session, found: Plan, options: RunOptions) -> ExitCode:
    active = tuple(run for run in found.runs if run.status == "active")
    if not found.to_run and not active:
        stored = {result.run_id for result in session.results()}
        if any(run.status == "done" and run.run_id not in stored for run in found.runs):
            session.start_supervisor()  # it collects results that a killed one left in their run folders
        if not options.as_json:
            stdout.say("nothing to run: every result already exists (`ssl-console rank`, or --again to repeat)")
        return _end_without_runs(options, ExitCode.DONE)
    submitted = submit_runs(session.workspace, found.to_run, options.placement)
    followed = tuple(dict.fromkeys([*(run.run_id for run in active if run.run_id), *submitted.run_ids]))
    if options.detach:
        session.start_supervisor()
        _report_detached(submitted, followed, options)
        return ExitCode.DONE
    return follow_runs(session, followed, options.placement, as_json=options.as_json)


def exit_without_runs(found: Plan, options: RunOptions) -> ExitCode:
    """Exit code of a command that started nothing: 3 when something is missing, 4 when only the doctor refuses."""
    if not found.missing:
        return _end_without_runs(options, ExitCode.DONE)
    refused = all(item.kind == "doctor" for item in found.missing)
    return _end_without_runs(options, ExitCode.REFUSED if refused else ExitCode.MISSING)


def _end_without_runs(options: RunOptions, code: ExitCode) -> ExitCode:
    if options.as_json:
        stdout.json_line(end_line({}, code))
    return code


def _report_detached(submitted: Submitted, followed: Sequence[str], options: RunOptions) -> None:
    if options.as_json:
        for run_id in followed:
            how = submitted.hows.get(run_id, "queued already")
            stdout.json_line({"event": "submitted", "run_id": run_id, "how": how})
        return
    stdout.lines(followed)
    stdout.say(
        f"continuing without this command: `{command_hints.RUNS}` lists them, `{command_hints.CANCEL_ALL}` ends them"
    )


def report_missing(found: Plan) -> None:
    """Print missing inputs and the fix for each."""
    for item in found.missing:
        stdout.say(f"ssl-console: {item.advice}")


def _plan_row(plan_selection: PlannedRun) -> tuple[str, ...]:
    candidate = plan_selection.candidate
    return (
        candidate.backbone.name,
        candidate.task.name,
        str(candidate.seed),
        plan_selection.status,
        plan_selection.run_id or "—",
        plan_selection.reason,
    )
