"""Where runs are to be carried out, from what was asked for and what the settings say."""

from __future__ import annotations

from typing import Literal, cast, get_args

from ssl_console.config import Config
from ssl_console.device import slots_of
from ssl_console.devices import all_devices, choose_devices
from ssl_console.errors import ConsoleError

LauncherName = Literal["local", "slurm"]
SLURM = "slurm"
"""The device of runs that are jobs of a cluster."""


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
    return sum(slots_of(device, config.slots_per_device) for device in chosen)
