"""Thread that runs Slurm's commands, so that nothing else waits for them: requests are queued, and reads return
the last known state.

A batch whose submission was not confirmed is looked up by its name before it is submitted again, so it exists only
once.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ssl_console.launchers.slurm.commands import (
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    ListedJob,
    SlurmError,
    SlurmQueueFull,
    SlurmUnavailable,
    ask,
    parse_sacct,
    parse_squeue,
)
from ssl_console.launchers.slurm.submit import JobScript, settle
from ssl_console.workspace.paths import Workspace

LOG = logging.getLogger(__name__)
MISSING_S = 15.0
"""Seconds after which a job that is missing from squeue and unknown to sacct is gone."""
TAKEN_S = 20.0
"""Seconds after which a job that lost its node, and is not queued again, is considered gone."""
SLOWEST_S = 60.0
PATIENCE = 20.0
"""The pause between two polls, as a multiple of the duration of a poll."""

Stage = Literal["new", "unsure", "submitted", "refused"]


@dataclass
class JobEntry:
    """A batch and the known state of its jobs."""

    batch: JobScript
    stage: Stage
    words: str = ""
    """Slurm's message for a rejected batch."""
    seen: dict[str, ListedJob] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    """By job: time since which it has been missing, or without its node (monotonic clock)."""
    gone: dict[str, str] = field(default_factory=dict)
    """Ended jobs, with their state as Slurm names it; empty when it reports none."""

    @property
    def over(self) -> bool:
        """Whether none of its jobs can be alive."""
        return self.stage == "refused" or len(self.gone) == len(self.batch.jobs)


@dataclass
class SlurmPoller:
    """Submits, monitors and ends jobs."""

    workspace: Workspace
    poll_s: float
    problem: str = ""
    """Why the state of Slurm is unknown at the moment, or why it accepts no more jobs."""
    _entries: dict[str, JobEntry] = field(default_factory=dict)
    _unwanted: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _wake: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _submit_at: float = 0.0

    def take(self, batch: JobScript, stage: Stage = "new") -> None:
        """Add a batch to submit; with `unsure`, one that an earlier supervisor may have submitted."""
        with self._lock:
            self._entries[batch.slurm_name] = JobEntry(batch, stage)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="slurm", daemon=True)
                self._thread.start()
        self._wake.set()

    def end(self, name: str) -> None:
        """End a job as soon as Slurm can be reached."""
        with self._lock:
            self._unwanted.add(name)
        self._wake.set()

    def entries(self) -> dict[str, JobEntry]:
        """Known state. The entries of batches that are over are returned once."""
        with self._lock:
            found = {
                name: replace(entry, seen=dict(entry.seen), since=dict(entry.since), gone=dict(entry.gone))
                for name, entry in self._entries.items()
            }
            for name, entry in found.items():
                if entry.over:
                    del self._entries[name]
                    settle(self.workspace, entry.batch)
        return found

    def _work(self) -> None:
        quiet = 0.0
        while True:
            self._wake.wait(quiet)
            self._wake.clear()
            began = time.monotonic()
            try:
                self._tick()
                quiet = max(self.poll_s, min(SLOWEST_S, PATIENCE * (time.monotonic() - began)))
            except SlurmUnavailable as error:
                self.problem = f"Slurm does not respond: {error}; running jobs continue"
                LOG.warning("%s", self.problem)
                quiet = min(SLOWEST_S, max(2 * quiet, self.poll_s))
            except (SlurmError, OSError) as error:
                self.problem = f"Slurm cannot be queried: {error}"
                LOG.exception("%s", self.problem)
                quiet = SLOWEST_S

    def _tick(self) -> None:
        """Poll first, to find batches whose submission was not confirmed; then submit, then end unwanted jobs."""
        with self._lock:
            entries = list(self._entries.values())
        if any(entry.stage in {"unsure", "submitted"} for entry in entries):
            self._look(entries)
        self.problem = ""
        if time.monotonic() >= self._submit_at:
            for entry in entries:
                if entry.stage == "new":
                    self._submit(entry)
        self._end_unwanted(entries)

    # -- submission ---------------------------------------------------------------------------------------------

    def _submit(self, entry: JobEntry) -> None:
        batch = entry.batch
        if all(name in self._unwanted for name in batch.names):
            self._mark(entry, gone=dict.fromkeys(batch.names, "CANCELLED"))
            return
        folder = batch.write(self.workspace)
        try:
            job_id = ask(batch.command(folder)).strip().partition(";")[0]
        except SlurmUnavailable:
            entry.stage = "unsure"
            raise
        except SlurmQueueFull as error:
            self.problem = f"Slurm accepts no more jobs at present: {error}"
            self._submit_at = time.monotonic() + SLOWEST_S
        except SlurmError as error:
            LOG.warning("%s was rejected: %s", batch.slurm_name, error)
            entry.words = str(error)
            entry.stage = "refused"
        else:
            LOG.info("%s: %d jobs submitted as job %s", batch.slurm_name, len(batch.jobs), job_id)
            entry.stage = "submitted"
            self._wake.set()  # to see it in the queue

    # -- polling ------------------------------------------------------------------------------------------------

    def _look(self, entries: Iterable[JobEntry]) -> None:
        command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}"]
        asked = [entry for entry in entries if entry.stage in {"unsure", "submitted"}]
        found = parse_squeue(ask([*command, f"--format={SQUEUE_FORMAT}"]).splitlines())
        now = time.monotonic()
        for entry in asked:
            mine = {name: job for name in entry.batch.names if (job := found.get(name)) is not None}
            if entry.stage == "unsure":  # its submission was not confirmed
                entry.stage = "submitted" if mine or self._accounted(entry.batch) else "new"
            if entry.stage == "submitted":
                self._note(entry, mine, now)

    def _note(self, entry: JobEntry, mine: Mapping[str, ListedJob], now: float) -> None:
        gone: dict[str, str] = {}
        missing = [name for name in entry.batch.names if name not in entry.gone and name not in mine]
        for name, job in mine.items():
            if job.ended:
                gone[name] = job.state
            elif not job.taken:
                entry.since.pop(name, None)
            elif now - entry.since.setdefault(name, now) > TAKEN_S:
                gone[name] = job.state
        overdue = [name for name in missing if now - entry.since.setdefault(name, now) > MISSING_S]
        if overdue:
            known = self._accounted(entry.batch)
            gone |= {name: known.get(name.rpartition(".")[2], "") for name in overdue}
        with self._lock:
            entry.seen = entry.seen | dict(mine)
        self._mark(entry, gone)

    def _accounted(self, batch: JobScript) -> dict[str, str]:
        """States by index from sacct; empty where accounting is not set up."""
        command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--format={SACCT_FORMAT}"]
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(batch.created - 60))
        try:
            return parse_sacct(ask([*command, f"--name={batch.slurm_name}", f"--starttime={start}"]).splitlines())
        except SlurmError:
            return {}

    def _mark(self, entry: JobEntry, gone: Mapping[str, str]) -> None:
        with self._lock:
            entry.gone = {**entry.gone, **gone}
            self._unwanted.difference_update(gone)

    # -- ending -------------------------------------------------------------------------------------------------

    def _end_unwanted(self, entries: Iterable[JobEntry]) -> None:
        """End unwanted jobs by Slurm's current number and by name, so that a number reassigned to another job
        ends nothing.
        """
        for entry in entries:
            for name in self._unwanted.intersection(entry.seen):
                job = entry.seen[name]
                if name not in entry.gone and not job.ended:
                    self._cancel(entry.batch, job)
                with self._lock:
                    self._unwanted.discard(name)

    def _cancel(self, batch: JobScript, job: ListedJob) -> None:
        try:
            ask(["scancel", f"--name={batch.slurm_name}", job.job_id])
        except SlurmUnavailable:
            raise
        except SlurmError as error:  # it has ended in the meantime
            LOG.info("%s", error)
