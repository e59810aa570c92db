"""Calls of Slurm's own commands, the jobs that squeue and sacct report, and the doctor's checks of `[slurm]`. Each call
has a time limit, and an environment free of other jobs' settings.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

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
PREFIX = "sslc-"
"""Prefix of every job's name, followed by the console's own token; Slurm's numbers are reused, so they are never
a key.
"""
SQUEUE_FORMAT = "%i|%j|%K|%T|%P|%N|%r"
SACCT_FORMAT = "JobID,State"
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY", "REVOKED"})
TAKEN = frozenset({"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REQUEUED"})
"""States after which Slurm may restart the job under the same name."""
WAITING = frozenset({"PENDING", "REQUEUE_HOLD", "REQUEUE_FED", "CONFIGURING", "SPECIAL_EXIT"})


class SlurmError(Exception):
    """Slurm rejected the command; the message is its own."""


class SlurmUnavailable(SlurmError):  # noqa: N818 - a state, not a fault of the caller
    """Slurm did not respond, so it is unknown whether the command took effect."""


class SlurmQueueFull(SlurmError):  # noqa: N818
    """The user has as many jobs as the cluster allows; retry later."""


def ask(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> str:
    """Output of one of Slurm's commands, with messages in English. Raises SlurmError with its own message."""
    # without the settings of another job or script for its own Slurm commands
    inherited = {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(LEAKING)}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env={**inherited, "LC_ALL": "C.UTF-8"},
            check=False,
        )
    except FileNotFoundError:
        raise SlurmError(f"{command[0]} is not installed here: is this a login node of the cluster?") from None
    except subprocess.TimeoutExpired:
        raise SlurmUnavailable(f"{command[0]} did not respond within {timeout_s:.0f} s") from None
    if done.returncode:
        raise _error(command[0], done.returncode, done.stderr)
    return done.stdout or done.stderr


def _error(name: str, code: int, words: str) -> SlurmError:
    message = " ".join(line.strip() for line in words.splitlines() if line.strip()) or f"{name} exited with code {code}"
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


@dataclass(frozen=True)
class ListedJob:
    """A job as last listed."""

    name: str
    """The console's name for it, `token.index`."""
    job_id: str
    state: str
    partition: str = ""
    node: str = ""
    reason: str = ""

    @property
    def ended(self) -> bool:
        """Whether its state is final."""
        return self.state in ENDED

    @property
    def taken(self) -> bool:
        """Whether it lost its node and may be restarted."""
        return self.state in TAKEN

    @property
    def waits(self) -> bool:
        """Whether it is in the queue."""
        return self.state in WAITING


def parse_squeue(lines: Iterable[str]) -> dict[str, ListedJob]:
    """The console's jobs, by name. Of several with one name (submitted again after a lost response) a living one
    counts.
    """
    found: dict[str, ListedJob] = {}
    for job in _parsed(lines):
        before = found.get(job.name)
        if before is None or before.ended or (before.taken and not job.ended):
            found[job.name] = job
    return found


def parse_sacct(lines: Iterable[str]) -> dict[str, str]:
    """States of one batch's jobs by index, from `JobID|State` lines; the newest of several."""
    found = {}
    for line in lines:
        job_id, bar, state = line.strip().partition("|")
        if bar:
            found[job_id.partition("_")[2] or "0"] = base_state(state)
    return found


def base_state(word: str) -> str:
    """`CANCELLED by 1000` and `CANCELLED+` are `CANCELLED`."""
    return word.split(maxsplit=1)[0].rstrip("+") if word.strip() else ""


def _parsed(lines: Iterable[str]) -> Iterator[ListedJob]:
    for line in lines:
        parts = line.rstrip("\n").split("|", 6)
        if len(parts) == 7 and parts[1].startswith(PREFIX):
            job_id, name, index, state, partition, node, reason = map(str.strip, parts)
            number = index if index.isdigit() else "0"
            yield ListedJob(f"{name}.{number}", job_id, base_state(state), partition, node, _reason(reason))


def _reason(word: str) -> str:
    return "" if word in {"None", "(null)", "N/A"} else word
