"""A run: one backbone on one task with one seed, from its specification to its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from backbones.catalog.card import BackboneCard, Precision
from backbones.catalog.layer_info import LayerRequest
from ssl_console.system.device import DEVICE_NAME, Reading
from ssl_console.workspace.config import LOCAL, DevicesPerRun, Share
from ssl_console.workspace.records import Record, shares_keys
from tasks.catalog.spec import TaskSpec
from tasks.datasets.card import DatasetCard

SPEC_VERSION = 1
RUN_ID_DIGITS = 12

JOB_ID_VARIABLE = "SSL_CONSOLE_JOB_ID"
NODE_VARIABLE = "SSL_CONSOLE_NODE"
PARTITION_VARIABLE = "SSL_CONSOLE_PARTITION"
"""Environment of a worker in a cluster job: the cluster's number for the job, its node and its partition."""


ASSIST = "assist:"
"""In front of a run id: the worker helps the run's own worker to compute features, instead of executing the run."""


class RunState(StrEnum):
    """State of a run."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the state only changes by a new request."""
        return self in {RunState.DONE, RunState.FAILED, RunState.CANCELLED}


FailureKind = Literal["oom", "nan", "data", "weights", "crash", "timeout", "stalled", "memory", "lost", "interrupted"]
"""`memory`: its worker exceeded the limit of host memory. `interrupted`: its node was taken away (preemption,
time limit, node failure), and the run continues automatically.
"""


def check_version(found: object, known: int = SPEC_VERSION) -> int:
    """Version of a record. Raises ValueError for a newer program's."""
    if not isinstance(found, int):
        raise ValueError(f"its version is {found!r}, which is not a number")
    if found > known:
        raise ValueError(f"its version is {found}, this program supports up to {known}: upgrade ssl-console")
    return found


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a run may be executed."""

    launcher: str = LOCAL
    """Name of the launcher that starts its worker."""
    devices: tuple[str, ...] = ()
    """Devices of this machine that it may use, `cuda` meaning every CUDA device; empty for any."""
    share: Share | None = None
    """When it starts on a CUDA device that other processes use; None for the setting."""
    devices_per_run: DevicesPerRun | None = None
    """Devices that compute its features together; None for the setting."""


def stored_devices(placement: Placement) -> tuple[str, ...]:
    """`devices` as stored in a record.

    Earlier versions only read `devices`, where a launcher was written in place of a device. With the launcher's name in
    front of every device they leave the run to a launcher, or queued, instead of starting it as a local process.
    """
    if placement.launcher == LOCAL:
        return placement.devices
    return tuple(f"{placement.launcher}:{device}" for device in placement.devices) or (placement.launcher,)


@lru_cache
def read_placement(launcher: str | None, stored: tuple[str, ...]) -> Placement:
    """Inverse of `stored_devices`. `launcher` is None in records of earlier versions."""
    if launcher is None:
        alone = stored[0] if len(stored) == 1 and not DEVICE_NAME.fullmatch(stored[0]) else None
        return Placement(alone) if alone else Placement(LOCAL, stored)
    devices = (device.removeprefix(f"{launcher}:") for device in stored if device != launcher)
    return Placement(launcher, tuple(devices))


class PlacedRecord(Record):
    """A record with a placement in its fields `launcher` and `devices`."""

    @model_validator(mode="before")
    @classmethod
    def _read_placement(cls, values: object) -> object:
        if not isinstance(values, Mapping) or not isinstance(stored := values.get("devices"), list | tuple):
            return values
        placement = read_placement(values.get("launcher"), tuple(map(str, stored)))
        return {**values, "launcher": placement.launcher, "devices": placement.devices}


class RunSpec(PlacedRecord):
    """`run.json`. Complete: a worker needs no card file to execute it, on this machine or another."""

    version: int = SPEC_VERSION
    run_id: str
    key: str | None
    """Identity of the result (`tasks.catalog.spec`); None when weights or data were missing at submission."""
    backbone: BackboneCard
    task: TaskSpec
    dataset: DatasetCard
    seed: int = 0
    precision: Precision = "float32"
    priority: int = 0
    """Higher priorities run first; among equal ones the older run."""
    created: float = Field(default_factory=time.time)
    """Seconds since the epoch."""
    launcher: str = LOCAL
    """Name of the launcher that starts its worker."""
    devices: tuple[str, ...] = ()
    """Devices of this machine that the run may use; empty for any."""
    share: Share | None = None
    """When it starts on a CUDA device that other processes use; None for the setting."""
    devices_per_run: DevicesPerRun | None = None
    """Devices that compute its features together; None for the setting."""
    fresh: bool = False
    """Recompute everything: stored features are neither read nor written."""
    concerns: tuple[str, ...] = ()
    """Failed checks of the backbone, which is measured with --force; the result repeats them."""
    in_parts: bool = False
    """Score test images in parts, in random order, and write those so far to `part.npz`."""
    store_layers: tuple[LayerRequest, ...] = ()
    """Layer-wise features that other runs of the launch read from the same images, stored in the same pass."""

    @property
    def placement(self) -> Placement:
        """Where the run may be executed."""
        return Placement(self.launcher, self.devices, self.share, self.devices_per_run)

    @field_validator("version")
    @classmethod
    def _known(cls, version: int) -> int:
        return check_version(version)

    @field_serializer("devices")
    def _stored_devices(self, _devices: tuple[str, ...]) -> tuple[str, ...]:
        return stored_devices(self.placement)


@shares_keys
class Attempt(Record):
    """`attempt.<n>.json`: the worker that executes attempt n.

    Created by a link, so that one of two claimants wins. Attempt n + 1 begins only after `end.<n>.json` exists, and an
    attempt that has ended may not publish a result.
    """

    attempt: int
    host: str
    machine: str = ""
    """Boot and PID namespace (`ssl_console.system.processes.this_machine`)."""
    pid: int = Field(gt=1)
    """Receiver of signals: 0, 1 and negative numbers are invalid because they do not mean a worker."""
    pid_started: float
    """Start time of the process (seconds since the epoch), to detect a reused pid."""
    device: str
    started: float
    job: str = ""
    """On a cluster: the console's name for the job, which the cluster may start several times."""
    job_id: str = ""
    """On a cluster: the cluster's number for it."""
    partition: str = ""

    @property
    def place(self) -> str:
        """Device; on a cluster with its node."""
        return f"{self.host} {self.device}" if self.job else self.device


class Backoff(Record):
    """Conditions of an attempt after other processes left too little device memory."""

    number: int = Field(ge=1)
    """Consecutive attempts that waited in this way."""
    until: float
    """Earliest start, in seconds since the epoch."""
    need_mb: float
    """Device memory in MB that the earlier attempt needed when it failed."""


class Retry(PlacedRecord):
    """`retry.<n>.json`: the request for attempt n."""

    reason: str = "requested"
    batch_scale: float = Field(1.0, gt=0, le=1)
    """Factor on the extraction batch size (without effect on scores): halved after running out of memory."""
    launcher: str | None = None
    """Name of the launcher from now on; None for that of the specification."""
    devices: tuple[str, ...] | None = None
    """Devices that the run may use from now on; None for those of the specification."""
    share: Share | None = None
    """Sharing of a CUDA device from now on, with `devices`."""
    devices_per_run: DevicesPerRun | None = None
    """Number of devices from now on, with `devices`."""
    backoff: Backoff | None = None
    """When the attempt may begin, after other processes left too little device memory."""

    @property
    def placement(self) -> Placement | None:
        """New placement of the run; None for the placement of the specification."""
        if self.devices is None:
            return None
        return Placement(self.launcher or LOCAL, self.devices, self.share, self.devices_per_run)

    @field_serializer("devices")
    def _stored_devices(self, _devices: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return stored_devices(self.placement) if self.placement else None


class MemoryShortage(Record):
    """Memory of a device when an attempt ran out of it."""

    device: str
    reading: Reading
    """Memory of the device, with the worker's own process marked as ours where the driver lists it."""
    need_mb: float
    """Memory in MB that the worker held, plus that which it requested."""


@shares_keys
class End(Record):
    """`end.<n>.json`: how attempt n ended without a result."""

    attempt: int
    state: Literal["failed", "cancelled"]
    kind: FailureKind | None = None
    message: str = ""
    """One sentence: the value, the place and the fix."""
    log_tail: tuple[str, ...] = ()
    ended: float = Field(default_factory=time.time)
    shortage: MemoryShortage | None = None
    """Memory of the device, for an end of kind `oom` on a CUDA device."""


class JobState(Record):
    """Last known state of a cluster job."""

    job_id: str = ""
    """The cluster's number; empty while it has none."""
    state: str = ""
    """The cluster's word for the state."""
    partition: str = ""
    node: str = ""
    reason: str = ""
    """Why it has not started yet."""
    waits: bool = False
    """Whether it has not started yet."""

    @property
    def place(self) -> str:
        """`12_3 on gpu2, partition main`."""
        parts = [self.job_id or "not submitted yet", f" on {self.node}" if self.node else ""]
        return "".join([*parts, f", partition {self.partition}" if self.partition else ""])

    @property
    def words(self) -> str:
        """`job 12_3 waits: Resources (partition main)`."""
        number = f"job {self.job_id}" if self.job_id else "a job"
        where = f" (partition {self.partition})" if self.partition else ""
        if self.waits:
            return f"{number} waits{f': {self.reason}' if self.reason else ''}{where}"
        return f"{number} {self.state.lower()}{f' on {self.node}' if self.node else ''}{where}"
