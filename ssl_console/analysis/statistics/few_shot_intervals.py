"""Two intervals of a few-shot accuracy: over episodes, and over the images from which these are drawn.

Episodes drawn with replacement share images, so the interval over episodes does not apply to another set of images,
however many episodes are drawn. Runs store accuracies of halves of their pool, from which the interval over images
follows (`tasks.metrics.pool_splits`). For runs of earlier versions, the number of episodes is limited to those without
common images, which is conservative. Source: Lafargue et al.: Oops, I Sampled it Again, arXiv 2409.02850.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ssl_console.workspace.result import ResultRecord
from tasks.metrics.outcome import OVER_POOLS

FACTOR = 1.96


@dataclass(frozen=True)
class EpisodeIntervals:
    """Half-widths of both, in percentage points."""

    mean: float
    episodes: float
    """Half-width for the mean over all possible episodes on these images."""
    data: float | None
    """Half-width for the mean on other images of the same kind; None if the pool suffices for fewer than two
    episodes.
    """
    disjoint: int
    """Number of episodes without common images."""
    kept: bool = False
    """Whether the result's own interval is the one over other images."""

    @property
    def beside(self) -> tuple[str, str]:
        """Title and text of the interval that is not the result's own."""
        if self.kept:
            return "other episodes", f"±{self.episodes:.2f} on the same images, as for published scores"
        half = "unknown" if self.data is None else f"±{self.data:.2f}"
        return "other images", f"{half}, from the {self.disjoint} episodes that can be drawn without a common image"


def episode_intervals(
    mean: float, deviation: float, episodes: int, pool: int, *, ways: int, shots: int, queries: int
) -> EpisodeIntervals:
    """Both intervals of the `mean` of `episodes` accuracies of population standard `deviation`, all in percent.

    The episodes were drawn from `pool` images, each with `shots + queries` images of `ways` classes.
    """
    disjoint = min(pool // (ways * (shots + queries)), episodes)
    return EpisodeIntervals(
        mean=mean,
        episodes=FACTOR * deviation / math.sqrt(episodes),
        data=FACTOR * deviation / math.sqrt(disjoint) if disjoint > 1 else None,
        disjoint=disjoint,
    )


def of_record(record: ResultRecord) -> EpisodeIntervals | None:
    """Both intervals of a few-shot result; None for other protocols."""
    sizes = {name: record.parameters.get(name) for name in ("ways", "shots", "queries")}
    deviation = record.diagnostics.get("episode_deviation")
    episodes, pool = record.samples.get("episodes"), record.samples.get("pool")
    if not isinstance(deviation, int | float) or not episodes or not pool:
        return None
    ways, shots, queries = (size for size in sizes.values() if isinstance(size, int))
    found = episode_intervals(record.result.value, deviation, episodes, pool, ways=ways, shots=shots, queries=queries)
    if record.interval_method != OVER_POOLS:
        return found
    return replace(found, data=(record.result.ci_high - record.result.ci_low) / 2, kept=True)
