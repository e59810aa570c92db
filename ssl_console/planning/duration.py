"""Expected durations of runs, estimated from finished ones. Pure functions."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ssl_console.workspace.result import Result
from tasks.catalog.protocols import is_trained


@dataclass(frozen=True)
class Work:
    """Properties of a run that its duration depends on."""

    backbone: str
    task: str
    variant: str
    protocol: str


@dataclass(frozen=True)
class History:
    """Durations of finished runs in seconds, grouped by lookup key."""

    exact: dict[tuple[str, str, str], float]
    """By backbone, task and variant: the newest."""
    tasks: dict[tuple[str, str], float]
    """By task and variant: the median over backbones."""
    variants: dict[tuple[str, str], float]
    """By protocol and variant: the median over all runs."""
    protocols: dict[str, float]
    """By protocol, without those that train: the median over all runs."""
    speeds: dict[str, float]
    """By backbone: the median of its durations relative to their tasks' medians; 2 is twice as slow as usual."""

    @classmethod
    def of(cls, results: Iterable[Result]) -> History:
        """Group the durations of results."""
        newest: dict[tuple[str, str, str], Result] = {}
        for result in results:
            place = (result.backbone, result.task, result.variant)
            if place not in newest or result.finished > newest[place].finished:
                newest[place] = result
        tasks, variants, protocols, speeds = (defaultdict[Any, list[float]](list) for _ in range(4))
        for result in newest.values():
            tasks[result.task, result.variant].append(result.duration_s)
            variants[result.protocol_name, result.variant].append(result.duration_s)
            if not is_trained(result.protocol_name):
                protocols[result.protocol_name].append(result.duration_s)
        usual = {place: median(durations) for place, durations in tasks.items()}
        for result in newest.values():
            if usual[result.task, result.variant] > 0:
                speeds[result.backbone].append(result.duration_s / usual[result.task, result.variant])
        return cls(
            exact={place: result.duration_s for place, result in newest.items()},
            tasks=usual,
            variants={place: median(durations) for place, durations in variants.items()},
            protocols={name: median(durations) for name, durations in protocols.items()},
            speeds={name: median(ratios) for name, ratios in speeds.items()},
        )

    def seconds(self, work: Work) -> float | None:
        """As `of_task`, else its protocol's duration scaled by the backbone's speed; None if that is unknown too.

        The duration of a training depends on its parameters, so those of another variant are not used for it.
        """
        known = self.of_task(work)
        usual = self.variants.get((work.protocol, work.variant), self.protocols.get(work.protocol))
        return known if known is not None or usual is None else usual * self.speeds.get(work.backbone, 1.0)

    def of_task(self, work: Work) -> float | None:
        """Duration of the same run, else its task's scaled by the backbone's speed; None for a task never measured."""
        same = self.exact.get((work.backbone, work.task, work.variant))
        usual = self.tasks.get((work.task, work.variant))
        return same if same is not None or usual is None else usual * self.speeds.get(work.backbone, 1.0)


def makespan(durations: Sequence[float | None], slots: int) -> float | None:
    """Seconds until all runs are done when `slots` execute them in order; None if one duration is unknown."""
    ends = [0.0] * max(1, slots)
    for duration in durations:
        if duration is None:
            return None
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def format_duration(seconds: float) -> str:
    """`40 s`, `12 min`, `1 h 52 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def megabytes(size: float) -> str:
    """A size in megabytes or gigabytes: `0.8 MB`, `97.8 MB`, `1.2 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
