"""Results of finished runs: the whole record in `result.json`, its row in the database, and its identity."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, JsonValue

from ssl_console.workspace.badges import Badge
from ssl_console.workspace.records import Record, shares_keys
from tasks.features.manifest import Part, flattened

RESULT_VERSION = 1

Source = Literal["mine", "paper"]
Identity = Mapping[str, Any]
Identities = Callable[[str], Identity | None]
"""Parts of a result's key by run id; None when unknown."""
COMPARED = ("data", "task", "precision")
"""Parts of a result's identity that must be equal in a comparison."""
CHANGES = (
    ("backbone.weights", "the weights changed"),
    ("backbone.preprocessing", "the preprocessing changed"),
    ("backbone", "the backbone's card changed"),
    ("data", "the dataset changed"),
    ("task.version", "the protocol has a new version"),
    ("task", "the task's parameters changed"),
    ("precision", "the precision changed"),
    ("seed", "the seed changed"),
)
"""Part of a result's identity and the description of its change; the first match counts."""


@shares_keys
class Result(Record):
    """One row of the database: the values that rankings, plans and listings need, without large ones."""

    run_id: str
    key: str
    backbone: str
    task: str
    variant: str = "default"
    """Preset, or preset and digest of the overrides; each variant is a separate column."""
    column: str
    """Comparability key: digest of protocol, version, parameters and dataset manifest; only equal ones share a
    column.
    """
    made_of: str = ""
    """Short digest of the backbone's identity (weights, architecture, preprocessing), and of the precision."""
    seed: int
    metric: str
    value: float
    ci_low: float
    ci_high: float
    interval_method: str = ""
    """Method of the interval; empty in rows of earlier versions."""
    n: int
    """Number of test samples (or episodes)."""
    higher_is_better: bool = True
    finished: float
    """Seconds since the epoch."""
    duration_s: float
    images_per_s: float | None = None
    memory_mb: float | None = None
    """Peak device memory, or resident memory on the CPU, in MB."""
    device: str = ""
    warnings: int = 0
    badges: tuple[str, ...] = ()
    """Names of the warnings (`ssl_console.workspace.badges`)."""
    data_notes: tuple[str, ...] = ()
    """How images were processed and which were skipped: transparent ones composited, others rotated, unreadable
    files.
    """
    source: Source = "mine"
    origin: str = ""
    """Host of an imported result, and its bundle; empty for one measured here."""
    protocol: str = ""
    """Name of the protocol; empty in rows of earlier versions, whose task is named `protocol/dataset`."""
    dataset: str = ""
    """Name of the dataset's card; empty as above."""
    identified_by: Literal["", "content"] = ""
    """How the key identifies the data; empty in versions that used names and sizes of files."""

    @property
    def protocol_name(self) -> str:
        """Name of the protocol, also for rows that do not state it."""
        return self.protocol or self.task.partition("/")[0]

    @property
    def dataset_name(self) -> str:
        """Name of the dataset's card, also for rows that do not state it."""
        return self.dataset or self.task.partition("/")[2]


@dataclass(frozen=True, slots=True)
class RunScore:
    """The values of a result that lists of runs show; takes a tenth of the memory."""

    variant: str
    value: float
    ci_low: float
    ci_high: float
    duration_s: float
    origin: str = ""
    badges: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: Result) -> RunScore:
        origin = sys.intern(result.origin)  # the same string for every result of a bundle
        interval = (result.ci_low, result.ci_high)
        return cls(result.variant, result.value, *interval, result.duration_s, origin, result.badges)


class ImportOrigin(Record):
    """Bundle that a result was imported from."""

    bundle: str
    """Name of the file."""
    sha256: str
    """Digest of the whole bundle, as printed by `bundle`."""
    run_id: str
    """Run id in the original workspace."""
    made_by: str = ""
    """Version of the package that wrote the bundle."""
    imported: float
    """Seconds since the epoch."""


class Code(Record):
    """State of this package that computed a result. None where unknown: it was not run from a repository."""

    digest: str
    """SHA-256 over the package's own source files."""
    commit: str | None = None
    dirty: bool | None = None
    """Whether source files differed from the commit."""


class ResultRecord(Record):
    """`result.json`: the row, and everything that explains and reproduces it."""

    version: int = RESULT_VERSION
    result: Result
    metrics: dict[str, float]
    interval_method: str
    samples: dict[str, int]
    hyperparameters: dict[str, JsonValue] = Field(default_factory=dict)
    diagnostics: dict[str, JsonValue] = Field(default_factory=dict)
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    identity: dict[str, JsonValue] = Field(default_factory=dict)
    """The parts that `result.key` is the digest of."""
    earlier_identity: dict[str, JsonValue] = Field(default_factory=dict)
    """The parts of the key at the time of measurement, if files were identified by names and sizes then."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of this package, python, and the packages that scores may depend on."""
    code: Code | None = None
    machine: dict[str, str] = Field(default_factory=dict)
    """Device, driver, processor, system. None of them may change the score."""
    energy_j: float | None = None
    """Energy drawn by the device during the run, in joules, including other processes; None where unavailable."""
    badges: tuple[Badge, ...] = ()
    """Warnings that follow from the run itself."""
    warnings: tuple[str, ...] = ()
    attempt: int = 1
    host: str = ""
    origin: ImportOrigin | None = None
    """None for a result measured in this workspace."""


@dataclass(frozen=True)
class PartDifference:
    """One part in which two identities or records differ; None on the side without it."""

    name: str
    """Dotted name, as in the record."""
    first: Part
    second: Part


def differences(first: Identity, second: Identity, only: Iterable[str] | None = None) -> tuple[PartDifference, ...]:
    """All parts that differ, in the order of the first; `only` restricts them to these top-level parts."""
    named = tuple(only if only is not None else dict.fromkeys([*first, *second]))
    one, other = (flattened({name: whole[name] for name in named if name in whole}) for whole in (first, second))
    names = dict.fromkeys([*one, *other])
    return tuple(
        PartDifference(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)
    )


def what_changed(old: Identity, new: Identity, only: Iterable[str] | None = None) -> str:
    """Description of the parts in which two identities differ."""
    parts = sorted(change.name for change in differences(old, new, only))
    words = (next((text for prefix, text in CHANGES if _within(part, prefix)), f"{part} changed") for part in parts)
    return ", ".join(dict.fromkeys(words))


def _within(part: str, prefix: str) -> bool:
    return part == prefix or part.startswith((f"{prefix}.", f"{prefix}_"))
