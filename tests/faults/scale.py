"""Size of the suite: a part that every test run covers, or, by `make faults`, all of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

ENVIRONMENT_VARIABLE = "SSL_CONSOLE_FAULTS"


@dataclass(frozen=True)
class Scale:
    """Numbers of one size of the suite."""

    kills: int
    """Random moments at which a process of the tiny workload is killed."""
    real_kills: int
    """The same for workers that encode and train for real."""
    inputs: int
    """Generated inputs per fuzzed reader."""
    flips: int
    """Damages per kind of file."""
    together_s: float
    """Duration of several consoles and command lines working on the same runs."""
    queued: int
    """Runs in the queue of the load test."""
    slots: int
    """Workers of the load test."""
    racers: int
    """Rounds in which supervisors race for the lock."""
    life: int
    """Runs that one supervisor executes in sequence."""
    years: int
    """Ended runs in a workspace."""


SHARE = Scale(
    kills=8, real_kills=1, inputs=100, flips=40, together_s=5, queued=80, slots=8, racers=2, life=40, years=1_000
)
FULL = Scale(
    kills=300,
    real_kills=8,
    inputs=2_000,
    flips=2_000,
    together_s=60,
    queued=5_000,
    slots=64,
    racers=25,
    life=20_000,
    years=20_000,
)


def full() -> bool:
    """Whether the full suite is requested: `$SSL_CONSOLE_FAULTS=full`."""
    return os.environ.get(ENVIRONMENT_VARIABLE) == "full"


def chosen() -> Scale:
    """The requested size."""
    return FULL if full() else SHARE
