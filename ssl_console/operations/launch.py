"""Launching runs: plan, disk space, submission, and the equivalent command lines."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import ValidationError

from backbones.catalog.card import BackboneCard, Precision
from backbones.io.file_digests import canonical
from ssl_console.operations.check_backbone import exclude_failing
from ssl_console.operations.session import Session
from ssl_console.planning.candidates import identity_of_run, resolve_candidates
from ssl_console.planning.disk_usage import Disk, disk_for
from ssl_console.planning.plan import Candidate, Plan, make_plan
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import Placement, RunSpec
from tasks.catalog.protocols import PROTOCOLS
from tasks.catalog.spec import TaskSpec

Grid = tuple[Sequence[BackboneCard], Sequence[TaskSpec]]
"""Backbones, each of which is measured on each of the tasks."""


@dataclass(frozen=True)
class LaunchOptions:
    """Options of the runs of a launch."""

    seeds: tuple[int, ...] = (0,)
    placement: Placement = field(default_factory=Placement)
    precision: Precision = "float32"
    again: bool = False
    """Repeat finished runs."""
    override: bool = False
    """Measure backbones that fail their checks, with a warning on every result."""


def plan_launch(session: Session, grids: Iterable[Grid], options: LaunchOptions, results: Iterable[Result]) -> Plan:
    """Plan of a launch. Backbones that fail their checks are excluded; with `override`, marked instead.

    Backbones that have never been checked are checked now, which takes seconds each.
    """
    plan = plan_unchecked(session, grids, options, results)
    return exclude_failing(plan, session.checker(options.placement.devices), override=options.override)


def plan_unchecked(session: Session, grids: Iterable[Grid], options: LaunchOptions, results: Iterable[Result]) -> Plan:
    """As `plan_launch`, without checking backbones."""
    candidates: list[Candidate] = []
    for backbones, tasks in grids:
        candidates += resolve_candidates(backbones, tasks, options.seeds, session.lookup, options.precision)
    return make_plan(
        candidates,
        results,
        slots=session.slots(options.placement),
        force=options.again,
        old_identity=lambda run_id: identity_of_run(session.workspace, run_id),
    )


def disk_of_plan(session: Session, plan: Plan, results: Iterable[Result]) -> Disk:
    """Disk space that the plan's new runs need, and the free space."""
    return disk_for(session.workspace, [run.candidate for run in plan.to_run], results)


def run_command(
    workspace: Path,
    backbones: Sequence[str],
    tasks: Sequence[str],
    options: LaunchOptions,
    *,
    suite: str | None = None,
    preset: str | None = None,
    launcher: str | None = None,
) -> str:
    """Equivalent `run` command for these backbones and tasks; the tasks of a `suite` are named by it.

    `launcher` is None for the one in the settings.
    """
    words = ["ssl-console", "--workspace", str(workspace), "run"]
    words += [word for name in backbones for word in ("-b", name)]
    words += ["--suite", suite] if suite else [word for name in tasks for word in ("-t", name)]
    words += [word for seed in options.seeds if options.seeds != (0,) for word in ("--seed", str(seed))]
    words += ["--preset", preset] if preset else []
    words += ["--again"] if options.again else []
    words += ["--override"] if options.override else []
    words += ["--launcher", launcher] if launcher else []
    words += ["--share", options.placement.share] if options.placement.share else []
    number = options.placement.devices_per_run
    words += ["--devices-per-run", str(number)] if number else []
    return shlex.join(words)


def repeat_command(session: Session, run_id: str) -> str:
    """The `run` command that repeats exactly this measurement; empty when the run's specification cannot be read."""
    try:
        spec = RunSpec.model_validate_json(session.workspace.run(run_id).spec.read_bytes())
    except (FileNotFoundError, ValidationError):
        return ""
    words = ["ssl-console", "--workspace", str(session.workspace.root), "run"]
    words += ["-b", spec.backbone.name, "-t", spec.task.name, "--seed", str(spec.seed)]
    words += ["--preset", spec.task.preset, *_settings(spec.task)]
    words += ["--precision", spec.precision] if spec.precision != "float32" else []
    return shlex.join([*words, "--force"])


def _settings(task: TaskSpec) -> Iterator[str]:
    """Every parameter that differs from the preset, as `--set family.key=value`."""
    protocol = PROTOCOLS[task.protocol]
    preset = json.loads(canonical(asdict(protocol.presets[task.preset])))
    for name, value in json.loads(canonical(task.parameters)).items():
        if preset.get(name) != value:
            yield from ("--set", f"{protocol.family}.{name}={value if isinstance(value, str) else json.dumps(value)}")
