"""Calls of Slurm's own commands, each with a time limit and an environment free of other jobs' settings, and the
doctor's checks of `[slurm]` by them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence

from pydantic import ValidationError

from backbones.io.card_files import suggest
from ssl_console.system.machine_checks import Check
from ssl_console.workspace.config import Config, JobRequest, SlurmSettings
from ssl_console.workspace.paths import Workspace

TIMEOUT_S = 20.0
"""Seconds. Without a controller, squeue gives up after 18 s, sbatch after 9."""
LEAKING = ("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SACCT_", "SRUN_", "SALLOC_", "PMI_", "PMIX_")
KEPT = frozenset({"SLURM_CONF"})
_AWAY = (
    "unable to contact slurm controller",
    "socket timed out",
    "connection refused",
    "temporarily unable",
    "communication connection failure",
    "zero bytes were transmitted",
    "slurm_persist_conn_open",
    "slurm backup controller in standby",
)
_CROWDED = ("maxsubmitjob", "submitjobperuserlimit", "submitjoblimit", "job submit limit")
NAME = "slurm"


class SlurmError(Exception):
    """Slurm rejected the command; the message is its own."""


class SlurmUnavailable(SlurmError):  # noqa: N818 - a state, not a fault of the caller
    """Slurm did not respond, so it is unknown whether the command took effect."""


class SlurmQueueFull(SlurmError):  # noqa: N818
    """The user has as many jobs as the cluster allows; retry later."""


def ask(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> str:
    """Output of one of Slurm's commands. Raises SlurmError with its own message."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=clean_environment(os.environ),
            check=False,
        )
    except FileNotFoundError:
        raise SlurmError(f"{command[0]} is not installed here: is this a login node of the cluster?") from None
    except subprocess.TimeoutExpired:
        raise SlurmUnavailable(f"{command[0]} did not respond within {timeout_s:.0f} s") from None
    if done.returncode:
        raise _error(command[0], done.returncode, done.stderr)
    return done.stdout or done.stderr


def clean_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Environment without the settings of another job or script for its own Slurm commands; messages in English."""
    kept = {name: value for name, value in inherited.items() if name in KEPT or not name.startswith(LEAKING)}
    return {**kept, "LC_ALL": "C.UTF-8"}


def _error(name: str, code: int, words: str) -> SlurmError:
    message = (
        " ".join(line.strip() for line in words.splitlines() if line.strip()) or f"{name} left with exit code {code}"
    )
    low = message.lower()
    if any(sign in low for sign in _AWAY):
        return SlurmUnavailable(message)
    return SlurmQueueFull(message) if any(sign in low for sign in _CROWDED) else SlurmError(message)


def slurm_checks(workspace: Workspace, settings: SlurmSettings, suites: Collection[str]) -> Iterator[Check]:
    """Version of Slurm, and a test submission for each variant of the settings; `suites` are the names of all
    suites.
    """
    try:
        yield Check(NAME, "good", f"{ask(['sbatch', '--version']).strip()}; nodes must see {workspace.root} too")
        yield from _overrides(workspace, settings, suites)
    except SlurmUnavailable as error:
        yield Check(NAME, "bad", f"{error}: runs wait until it responds")
    except SlurmError as error:
        yield Check(NAME, "bad", str(error))
    except ValidationError as error:
        yield Check(NAME, "bad", f"{workspace.config}: {' '.join(str(error).split())}")


def is_set_up(config: Config) -> bool:
    """Whether config.toml chooses Slurm or has settings for it."""
    return config.launcher == NAME or config.slurm != SlurmSettings()


def _overrides(workspace: Workspace, settings: SlurmSettings, suites: Collection[str]) -> Iterator[Check]:
    for name in settings.suites:
        if name not in suites:
            near = suggest(name, suites)
            hint = f"did you mean {near[0]!r}?" if near else f"available: {', '.join(suites)}"
            yield Check(NAME, "bad", f"{workspace.config}: [slurm.suites] {name}: unknown suite; {hint}")
    for place, request in settings.variants():
        yield _asked(f"{workspace.config}: {place}", request)


def _asked(place: str, request: JobRequest) -> Check:
    """Request the job without submitting it."""
    try:
        words = ask(["sbatch", "--test-only", "--output=/dev/null", *request.arguments(), "--wrap=true"])
    except SlurmUnavailable:
        raise
    except SlurmError as error:
        return Check(NAME, "bad", f"{place}: {error}")
    return Check(NAME, "good", f"{place}: {' '.join(words.split())}")
