"""Warnings of a result (badges), each with one sentence of advice. Pure functions; needs no numpy.

Badges that follow from a run alone are determined by its worker and stored in its record (`badges_of`). Whether a
result is better than an untrained backbone depends on other results, so that is determined when results are shown
(`ssl_console.analysis.badged_results`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

BadgeName = Literal[
    "doctor",
    "names only",
    "not finite",
    "collapsed",
    "train = test",
    "chance",
    "grid edge",
    "not converged",
    "random twin",
    "below random",
    "old interval",
    "seen in pre-training",
    "imported",
    "chosen on test",
]
CHOSEN_ON_TEST = "chosen on test"
"""Name of the badge of a published score whose setting was chosen on the reported images."""
LEAK_SHARE = 0.01
"""Fraction of test images seen in training above which a score is marked."""
MARK = "!"
"""Follows a score with a badge in tables."""
SEEN = "seen in pre-training"
"""Name of the badge of a score on data that the pre-training used or was curated around, according to the
backbone's card.
"""
SEEN_MARK = "§"
IMPORTED = "imported"
"""Name of the badge of a result from a bundle."""
IMPORTED_MARK = "‡"
LEGEND: Mapping[str, str] = {
    MARK: "reason to doubt the score",
    SEEN_MARK: "the pre-training saw these images, or was curated around them",
    IMPORTED_MARK: "measured elsewhere, imported from a bundle",
}
NO_DOUBT = frozenset({SEEN, IMPORTED})
"""Badges with a mark of their own, which state the origin of a score or its backbone."""


def marks(badges: Iterable[str]) -> str:
    """Marks after a score with these badges."""
    names = set(badges)
    doubts = MARK if names - NO_DOUBT else ""
    return doubts + (SEEN_MARK if SEEN in names else "") + (IMPORTED_MARK if IMPORTED in names else "")


def half_widths(value: float, low: float, high: float, plus_minus: str = "±") -> str:
    """Interval after its score: `±1.2`, or `-1.2+0.8` where the two sides are printed differently."""
    below, above = f"{value - low:.1f}", f"{high - value:.1f}"
    return f"{plus_minus}{below}" if below == above else f"-{below}+{above}"


ADVICE: Mapping[str, str] = {
    "names only": "its data were identified by file names and sizes and may have changed; `plan` compares them",
    "not finite": "features contain NaN or infinity; encode with float32",
    "collapsed": "the features hardly differ between images; check weights and normalisation",
    "train = test": "test images are among the training images; the score is too good",
    "chance": "not better than guessing; check labels, preprocessing and weights",
    "grid edge": "the best setting was the last one tried; widen the grid",
    "not converged": "it was stopped before it converged; raise the iterations or steps",
    "random twin": "no better than its untrained twin; check that the weights were loaded",
    "seen in pre-training": "the pre-training used these images or was curated around them; compare with care",
    "imported": "it was measured elsewhere and imported from a bundle; its record names the host",
    "old interval": "its interval was computed by a method that is too narrow; measure again with --force",
    "chosen on test": "its setting was chosen on the reported images, so the score is too high",
    "below random": "worse than its untrained twin; check the preprocessing",
}
"""Short advice, where the values in a result's own sentence are not available."""


class Badge(BaseModel):
    """A warning."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    """A `BadgeName`; newer versions may have more."""
    advice: str
    """One sentence: the observation and the fix."""


class BadgeInputs(BaseModel):
    """Values that badges are derived from."""

    model_config = ConfigDict(frozen=True)

    value: float
    ci_low: float
    ci_high: float
    higher_is_better: bool = True
    tested: int = 0
    """Number of test samples."""
    chance: float | None = None
    """Chance level on the scale of the value; None where unknown."""
    diagnostics: Mapping[str, JsonValue]


def badges_of(seen: BadgeInputs) -> tuple[Badge, ...]:
    """All badges that follow from one run, the most severe first."""
    return tuple(_found(seen))


def chance_level(
    metric: str, classes: int | None, test_labels: Sequence[int] = (), ways: int | None = None
) -> float | None:
    """Chance level in percent: always the most frequent class, or one of `ways`; None for other metrics."""
    if ways is not None and metric == "accuracy":
        return 100 / ways
    if metric == "accuracy" and test_labels:
        return 100 * max(Counter(test_labels).values()) / len(test_labels)
    return 100 / classes if metric in {"accuracy", "mean-per-class"} and classes else None


def _found(seen: BadgeInputs) -> Iterator[Badge]:
    if concerns := seen.diagnostics.get("doctor"):
        words = "; ".join(map(str, concerns)) if isinstance(concerns, list) else str(concerns)
        yield _badge("doctor", f"measured although the doctor refused ({words}): fix the backbone and measure again")
    yield from _of_features(seen.diagnostics.get("features"))
    yield from _leak(seen)
    yield from _at_chance(seen)
    if seen.diagnostics.get("on_edge") is True:
        yield _badge(
            "grid edge",
            "the setting chosen on validation data is the last one tried: widen the grid, a better one may exist",
        )
    if seen.diagnostics.get("converged") is False and seen.diagnostics.get("solver") != "published":
        yield _badge("not converged", "the fit had not converged when it was stopped: raise the number of iterations")
    if seen.diagnostics.get("loss_falling") is True:
        yield _badge("not converged", "the loss was still decreasing at the end of training: raise the number of steps")


def _of_features(checks: JsonValue) -> Iterator[Badge]:
    """Badges from the checks of every source split."""
    splits = {name: one for name, one in checks.items() if isinstance(one, dict)} if isinstance(checks, dict) else {}
    broken = {name: one["not_finite_rows"] for name, one in splits.items() if one.get("not_finite_rows")}
    if broken:
        words = ", ".join(f"{count} in {name}" for name, count in broken.items())
        yield _badge(
            "not finite", f"feature rows contain NaN or infinity ({words}): encode with float32, check the weights"
        )
    flat = {name: one for name, one in splits.items() if one.get("collapsed") is True}
    if flat:
        name, one = next(iter(flat.items()))
        yield _badge(
            "collapsed",
            f"the features of {name} have an effective rank of {_number(one.get('effective_rank')):.1f}, and "
            f"{_number(one.get('dead_share')):.0%} of their dimensions are constant: check weights and normalisation",
        )


def _leak(seen: BadgeInputs) -> Iterator[Badge]:
    shared = _number(seen.diagnostics.get("test_images_seen_in_training"))
    if seen.tested and shared > LEAK_SHARE * seen.tested:
        yield _badge(
            "train = test",
            f"{shared:.0f} of {seen.tested} test images are also training images, by their files or features: the "
            "splits overlap, so the score is too good; remove the repeated images",
        )


def _at_chance(seen: BadgeInputs) -> Iterator[Badge]:
    level, higher = seen.chance, seen.higher_is_better
    if level is not None and (seen.ci_low <= level if higher else seen.ci_high >= level):
        worse = seen.ci_high < level if higher else seen.ci_low > level
        words = ", and the score is significantly below it" if worse else ", which the interval does not exclude"
        yield _badge(
            "chance",
            f"the chance level is {level:.1f}{words}: check the labels, the preprocessing and the weights before "
            "trusting the score",
        )


def _badge(name: BadgeName, advice: str) -> Badge:
    return Badge(name=name, advice=advice)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
