"""From a plan to queued runs: each run's folder appears once, whoever submits the same work at the same time."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from ssl_console.planning.plan import PlannedRun
from ssl_console.system.device import slots_of
from ssl_console.system.devices import all_devices, choose_devices, require_usable
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.config import SLURM, Config, LauncherName
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import NotPossible, request_retry, set_priority, submit
from ssl_console.workspace.run import RunSpec

How = Literal["queued", "queued again", "queued already"]


@dataclass(frozen=True)
class Submitted:
    """What a submission did."""

    hows: dict[str, How]
    """By run id, in the order of submission."""

    @property
    def run_ids(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self.hows)

    @property
    def counts(self) -> Counter[How]:
        """How many of each."""
        return Counter(self.hows.values())


def submit_runs(
    workspace: Workspace, runs: Iterable[PlannedRun], devices: tuple[str, ...] = (), *, in_order: bool = False
) -> Submitted:
    """Queue every planned run; one that is queued, or was queued by another console meanwhile, stays one run.

    With `in_order` they start in this order, by their priorities. Raises OSError when the workspace cannot be written;
    what was queued before that stays queued.
    """
    workspace.create()
    known = [run for run in runs if run.run_id is not None]
    priorities = range(len(known) - 1, -1, -1) if in_order else [0] * len(known)
    hows = {
        run.run_id: _submit(workspace, run, devices, priority)
        for run, priority in zip(known, priorities, strict=True)
        if run.run_id is not None
    }
    return Submitted(hows)


def spec_of(run: PlannedRun, devices: tuple[str, ...] = (), priority: int = 0) -> RunSpec:
    """The specification that travels to the worker."""
    assert run.run_id is not None
    candidate = run.candidate
    return RunSpec(
        run_id=run.run_id,
        key=candidate.key,
        backbone=candidate.backbone,
        task=candidate.task,
        dataset=candidate.dataset,
        seed=candidate.seed,
        precision=candidate.precision,
        priority=priority,
        devices=devices,
        concerns=candidate.concerns,
    )


def _submit(workspace: Workspace, run: PlannedRun, devices: tuple[str, ...], priority: int) -> How:
    assert run.run_id is not None
    if not workspace.run(run.run_id).path.exists():
        try:
            submit(workspace, run.run_id, spec_of(run, devices, priority).model_dump_json(indent=2).encode())
        except OSError as error:
            if error.errno not in {None, errno.EEXIST, errno.ENOTEMPTY}:
                raise
        else:
            return "queued"
    try:
        request_retry(workspace, run.run_id, devices=devices)
        if priority:
            set_priority(workspace, run.run_id, priority)
    except NotPossible:
        return "queued already"
    return "queued again"


def parse_launcher(text: str | None) -> LauncherName | None:
    """`local`, `slurm`, or None for what the settings say. Raises ConsoleError."""
    if text is not None and text not in get_args(LauncherName):
        raise ConsoleError(f"--launcher {text}: choose {' or '.join(get_args(LauncherName))}")
    return cast("LauncherName | None", text)


def devices_of_runs(
    config: Config, launcher: LauncherName | None = None, devices: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """The devices that new runs may use; empty for any of this machine. Devices named on the command line are this
    machine's, whatever the settings say. Raises ConsoleError for such devices on a cluster.
    """
    if launcher == SLURM and devices:
        raise ConsoleError(
            f"--devices {','.join(devices)} names devices of this machine, and --launcher slurm runs elsewhere: "
            "drop one of them (gpus in [slurm] says what a job gets)"
        )
    chosen = launcher or ("local" if devices else config.launcher)
    return (SLURM,) if chosen == SLURM else devices


def slots_for(config: Config, devices: tuple[str, ...]) -> int:
    """How many runs go on at a time, as far as this side decides. Raises ConsoleError for an unknown device."""
    if devices == (SLURM,):
        return config.slurm.jobs
    chosen = choose_devices(devices or config.devices, all_devices())
    require_usable(chosen)
    return sum(slots_of(device, config.slots_per_device) for device in chosen)
