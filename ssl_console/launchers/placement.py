"""Placement of new runs, from options and settings, and their concurrency."""

from __future__ import annotations

from typing import cast, get_args

from ssl_console.launchers.registry import check_launcher, check_settings, open_launcher
from ssl_console.system.device import slots_of
from ssl_console.system.devices import all_devices, choose_devices, require_usable
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.config import LOCAL, Config, Share
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import Placement

OPTION = "--launcher"


def parse_launcher(text: str | None) -> str | None:
    """Name of a launcher, or None for the one in the settings. Raises ConsoleError."""
    return None if text is None else check_launcher(text, OPTION)


def parse_share(text: str | None) -> Share | None:
    """Sharing of a GPU, or None for the one in the settings. Raises ConsoleError."""
    if text is not None and text not in get_args(Share):
        raise ConsoleError(f"--share {text}: choose {', '.join(get_args(Share))}")
    return cast("Share | None", text)


def resolve_placement(
    workspace: Workspace,
    config: Config,
    launcher: str | None = None,
    devices: tuple[str, ...] = (),
    share: Share | None = None,
) -> Placement:
    """Launcher, devices and sharing of new runs. Devices on the command line belong to this machine, so without a
    launcher option they mean local workers, whatever the settings are.

    Raises ConsoleError for a launcher that is not installed, or one with devices of its own where `devices` are named
    or their sharing is.
    """
    check_settings(workspace, config)
    name = launcher or (LOCAL if devices else config.launcher)
    chosen = open_launcher(name, workspace, config, OPTION)
    if devices and chosen.capacity() is not None:
        hint = f" ({chosen.device_hint})" if chosen.device_hint else ""
        raise ConsoleError(
            f"--devices {','.join(devices)} names devices of this machine, and {OPTION} {name} runs elsewhere: "
            f"drop one of them{hint}"
        )
    if share is not None and chosen.capacity() is not None:
        raise ConsoleError(
            f"--share {share} is for GPUs of this machine, and {OPTION} {name} runs elsewhere: drop one of them"
        )
    return Placement(name, devices, share)


def slots_for(workspace: Workspace, config: Config, placement: Placement) -> int:
    """Number of concurrent runs. Raises ConsoleError for a device that does not exist."""
    capacity = open_launcher(placement.launcher, workspace, config).capacity()
    if capacity is not None:
        return capacity.workers
    chosen = choose_devices(placement.devices or config.devices, all_devices())
    require_usable(chosen)
    return sum(slots_of(device, config.slots_per_device) for device in chosen)
