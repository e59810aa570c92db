"""What lies where in a bundle."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

INDEX, README = "bundle.json", "README.txt"
FORMAT = 1


class Listed(BaseModel):
    """One member."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sha256: str
    bytes: int


class Index(BaseModel):
    """`bundle.json`: which members there are, and how the tables were made from the records."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = FORMAT
    made_by: str
    """Version of this package."""
    created: float
    """Seconds since the epoch."""
    columns: tuple[tuple[str, str], ...] | None = None
    """The tables' columns as (task, variant); None for everything."""
    files: dict[str, Listed] = Field(default_factory=dict)
    """Every other member but the README."""


def record(run_id: str) -> str:
    """`result.json` of a run."""
    return f"records/{run_id}.json"


def spec(run_id: str) -> str:
    """`run.json` of a run."""
    return f"specs/{run_id}.json"


def predictions(run_id: str) -> str:
    """`predictions.npz` of a run."""
    return f"predictions/{run_id}.npz"


def manifest(digest: str) -> str:
    """What a dataset held, by the digest that results' keys are made of."""
    return f"manifests/{digest}.json"


def run_id(name: str) -> str:
    """Of a member that belongs to a run."""
    return name.partition("/")[2].rpartition(".")[0]
