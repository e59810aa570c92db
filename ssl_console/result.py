"""What a finished run leaves: the whole record in `result.json`, and the row of it that the database holds."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

RESULT_VERSION = 1

Source = Literal["mine", "paper"]


class Result(BaseModel):
    """One row of the database: what rankings, plans and listings need, and nothing that makes it large."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    run_id: str
    key: str
    backbone: str
    task: str
    variant: str = "default"
    """Preset, or preset and digest of what differs: another variant is another column."""
    column: str
    """Comparability key: digest of protocol, version, parameters and dataset manifest; only equal ones share."""
    made_of: str = ""
    """Short digest of the backbone's identity (weights, architecture, preprocessing), and of the precision."""
    seed: int
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    """Number of test samples (or episodes)."""
    higher_is_better: bool = True
    finished: float
    """Seconds since the epoch."""
    duration_s: float
    images_per_s: float | None = None
    memory_mb: float | None = None
    """Peak device memory, or resident memory on the CPU."""
    device: str = ""
    warnings: int = 0
    source: Source = "mine"


class ResultRecord(BaseModel):
    """`result.json`: the row, and everything that explains and repeats it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

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
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of this package, python, torch, torchvision, timm, scikit-learn."""
    warnings: tuple[str, ...] = ()
    attempt: int = 1
    host: str = ""
