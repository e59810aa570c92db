"""Registry of launchers, of this package and of others by their entry points, and the placement of new runs on them.

[project.entry-points."ssl_console.launchers"]   module with LAUNCHERS, a sequence of subclasses of Launcher
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast, get_args

from backbones.io.card_files import suggest
from backbones.io.plugins import LAUNCHERS, PlugInProblem, find
from ssl_console.launchers.base import Launcher
from ssl_console.launchers.local.launcher import LocalLauncher
from ssl_console.launchers.slurm.launcher import SlurmLauncher
from ssl_console.system.device import slots_of
from ssl_console.system.devices import all_devices, choose_devices, require_usable
from ssl_console.system.errors import ConsoleError
from ssl_console.system.machine_checks import Check
from ssl_console.workspace.config import AUTO, LOCAL, MOST_DEVICES, Config, DevicesPerRun, Share
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.run import Placement

BUILT_IN: tuple[type[Launcher], ...] = (LocalLauncher, SlurmLauncher)
OPTION = "--launcher"


@dataclass(frozen=True)
class Registry:
    """Launchers by name, and why some of those of other packages cannot be used."""

    launchers: Mapping[str, type[Launcher]]
    problems: tuple[PlugInProblem, ...]


@cache
def registry() -> Registry:
    """Every installed launcher, collected once per process."""
    launchers = {launcher.name: launcher for launcher in BUILT_IN}
    found = find(LAUNCHERS)
    problems = list(found.problems)
    for plug_in in found.plug_ins:
        declared = getattr(plug_in.module, "LAUNCHERS", None)
        for launcher in declared if isinstance(declared, list | tuple) else (declared,):
            message = refusal(launcher, launchers)
            if message:
                problems.append(plug_in.problem(message))
            elif isinstance(launcher, type) and issubclass(launcher, Launcher):
                launchers[launcher.name] = launcher
    return Registry(launchers, tuple(problems))


def check_launcher(name: str, where: str) -> str:
    """Check that a launcher of this name is installed; returns the name. Raises ConsoleError with `where` it was
    given.
    """
    known = registry().launchers
    if name in known:
        return name
    near = suggest(name, known)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConsoleError(f"{where}: unknown launcher {name!r}; {hint}available: {', '.join(known)}")


def open_launcher(name: str, workspace: Workspace, config: Config, where: str = "launcher") -> Launcher:
    """Open the launcher of that name. Raises ConsoleError for an unknown name, or settings that the launcher
    rejects.
    """
    launcher = registry().launchers[check_launcher(name, where)]
    try:
        return launcher.open(workspace, config)
    except Exception as error:  # an error of another package must not stop the console
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConsoleError(f"launcher {name} cannot be used with {workspace.config}: {words}") from error


def check_settings(workspace: Workspace, config: Config) -> None:
    """Raise ConsoleError if config.toml names a launcher that is not installed."""
    check_launcher(config.launcher, f"{workspace.config}: launcher")
    for name in config.launchers:
        check_launcher(name, f"{workspace.config}: [launchers.{name}]")


def launcher_checks(workspace: Workspace, config: Config, suites: Collection[str]) -> Iterator[Check]:
    """Checks of the doctor: the available launchers, and the findings of each."""
    problems = [str(problem) for problem in registry().problems]
    try:
        check_settings(workspace, config)
    except ConsoleError as error:
        problems.append(str(error))
    names = ", ".join(registry().launchers)
    yield Check("launchers", "bad", "; ".join(problems)) if problems else Check("launchers", "good", names)
    for name in registry().launchers:
        try:
            yield from open_launcher(name, workspace, config).checks(suites)
        except ConsoleError as error:
            yield Check(name, "bad", str(error))
        except Exception as error:  # noqa: BLE001 - of another package: the doctor reports it
            yield Check(name, "bad", f"its checks failed: {type(error).__name__}: {error}")


def worker_output(workspace: Workspace, config: Config, folder: RunFolder) -> Path | None:
    """File of output outside of the run by the worker of a run's newest attempt; None if there is no such file."""
    for name in registry().launchers:
        with suppress(ConsoleError):
            path = open_launcher(name, workspace, config).output(folder)
            if path is not None:
                return path
    return None


def refusal(launcher: object, known: Mapping[str, type[Launcher]]) -> str:
    """Why an object of a plug-in is not accepted as a launcher; empty if it is."""
    if not (isinstance(launcher, type) and issubclass(launcher, Launcher)):
        return f"{launcher!r} is not a launcher: LAUNCHERS must be a sequence of subclasses of Launcher"
    texts = {name: getattr(launcher, name, None) for name in ("name", "summary")}
    odd = next((name for name, text in texts.items() if not isinstance(text, str) or not text.isprintable()), None)
    if odd is not None:
        return f"launcher {launcher.__name__}: its {odd} is {texts[odd]!r}, not a line of text"
    if launcher.name in known:
        return f"a launcher {launcher.name!r} already exists"
    return ""


def parse_launcher(text: str | None) -> str | None:
    """Name of a launcher, or None for the one in the settings. Raises ConsoleError."""
    return None if text is None else check_launcher(text, OPTION)


def parse_share(text: str | None) -> Share | None:
    """Sharing of a GPU, or None for the one in the settings. Raises ConsoleError."""
    if text is not None and text not in get_args(Share):
        raise ConsoleError(f"--share {text}: choose {', '.join(get_args(Share))}")
    return cast("Share | None", text)


def parse_devices_per_run(text: str | None) -> DevicesPerRun | None:
    """Number of devices of a run, or None for the setting. Raises ConsoleError."""
    if text is None or text == AUTO:
        return AUTO if text else None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_DEVICES:
        raise ConsoleError(f"--devices-per-run {text}: choose a number from 1 to {MOST_DEVICES}, or {AUTO}")
    return int(text)


def resolve_placement(
    workspace: Workspace,
    config: Config,
    launcher: str | None = None,
    devices: tuple[str, ...] = (),
    share: Share | None = None,
    devices_per_run: DevicesPerRun | None = None,
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
    if devices_per_run == AUTO and chosen.capacity() is not None:
        raise ConsoleError(
            f"--devices-per-run {AUTO} is for this machine, and {OPTION} {name} runs elsewhere: give a number"
        )
    return Placement(name, devices, share, devices_per_run)


def slots_for(workspace: Workspace, config: Config, placement: Placement) -> int:
    """Number of concurrent runs. Raises ConsoleError for a device that does not exist."""
    capacity = open_launcher(placement.launcher, workspace, config).capacity()
    if capacity is not None:
        return capacity.workers
    chosen = choose_devices(placement.devices or config.devices, all_devices())
    require_usable(chosen)
    return sum(slots_of(device, config.slots_per_device) for device in chosen)
