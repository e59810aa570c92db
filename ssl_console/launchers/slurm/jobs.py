"""The jobs in Slurm's queue as reported by squeue and sacct. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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
