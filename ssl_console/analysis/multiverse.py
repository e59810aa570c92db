"""Verdicts over a multiverse of protocols: the fraction in which one backbone is ahead, and the choices that reverse
it. Pure; no numpy.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from statistics import fmean

from ssl_console.analysis.ranking import average_ranks
from tasks.features.requests import CHOICES, EvaluationChoice, MultiverseResult, PairwiseWins

HALF = 0.5
EVEN = 1e-9
"""Largest difference of two scores that counts as a tie."""
TIED_DIGITS = 9
"""Decimals to which scores are rounded for ranks, so that equal ones are tied."""
DENSITY = " .:*#"
"""Characters from no protocol with a value to all of them."""
ROWS = 9
"""Number of lines of the curve in a terminal."""


@dataclass(frozen=True)
class ChoiceShare:
    """Protocols with one value of one choice."""

    choice: str
    value: str
    share: float
    """Fraction in which the first backbone is ahead; a tie counts half."""
    protocols: int

    def __str__(self) -> str:
        return f"{self.choice} is {self.value}"


@dataclass(frozen=True)
class MultiversePair:
    """Two backbones over all protocols, the one that is ahead more often first."""

    first: str
    second: str
    share: float
    low: float
    high: float
    """95 % interval of `share` over other test images."""
    ties: int
    protocols: int
    by_value: tuple[ChoiceShare, ...]

    @property
    def reversed_by(self) -> tuple[ChoiceShare, ...]:
        """Values of choices with which the second backbone is ahead more often."""
        return tuple(one for one in self.by_value if one.share < HALF)

    @property
    def open(self) -> bool:
        """Whether the second backbone may be ahead more often on other test images."""
        return self.low <= HALF

    @property
    def sentence(self) -> str:
        """The verdict."""
        if self.share == HALF:
            return f"{self.first} and {self.second} are ahead equally often over {self.protocols} protocols"
        interval = f"[{100 * self.low:.0f}, {100 * self.high:.0f}]"
        if self.share == 1:
            ahead = f"{self.first} beats {self.second} in all {self.protocols} protocols {interval}"
        else:
            ahead = (
                f"{self.first} beats {self.second} in {percent(self.share)} {interval} of {self.protocols} protocols"
            )
        return f"{ahead}{self._where}{'; on other test images this may be the other way round' if self.open else ''}"

    @property
    def _where(self) -> str:
        if self.reversed_by:
            places = ", ".join(f"{one} ({percent(one.share)} of {one.protocols})" for one in self.reversed_by)
            return f"; it loses where {places}"
        if self.share == 1:
            return ""
        weakest = min(self.by_value, key=lambda one: one.share)
        return f"; least often where {weakest} ({percent(weakest.share)} of {weakest.protocols})"


@dataclass(frozen=True)
class BackboneSpread:
    """Scores of one backbone over all protocols."""

    backbone: str
    first: float
    """Fraction of protocols in which it has the best score; ties are shared."""
    mean: float
    lowest: float
    highest: float
    best_rank: float
    worst_rank: float


@dataclass(frozen=True)
class Specification:
    """One protocol in the curve of a pair."""

    choice: EvaluationChoice
    difference: float
    """Score of the first backbone minus that of the second, in points."""


def pairs_of(result: MultiverseResult) -> list[MultiversePair]:
    """Every pair, the largest share first."""
    scores = _scores(result)
    found = [_pair(result, scores, pair) for pair in result.pairs]
    return sorted(found, key=lambda one: (-one.share, one.first, one.second))


def pair_of(result: MultiverseResult, one: str, two: str) -> MultiversePair:
    """The pair of these two, in the order of the verdict."""
    return next(pair for pair in pairs_of(result) if {pair.first, pair.second} == {one, two})


def _scores(result: MultiverseResult) -> Mapping[str, tuple[float, ...]]:
    return {one.backbone: one.scores for one in result.backbones}


def _pair(result: MultiverseResult, scores: Mapping[str, tuple[float, ...]], pair: PairwiseWins) -> MultiversePair:
    ahead = pair.share >= HALF
    first, second = (pair.first, pair.second) if ahead else (pair.second, pair.first)
    share, low, high = (pair.share, pair.low, pair.high) if ahead else (1 - pair.share, 1 - pair.high, 1 - pair.low)
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for choice, one, two in zip(result.protocols, scores[first], scores[second], strict=True):
        win = HALF if abs(one - two) <= EVEN else float(one > two)
        for value in choice.values.items():
            groups[value].append(win)
    by_value = tuple(
        ChoiceShare(name, value, fmean(wins), len(wins)) for (name, value), wins in groups.items() if name != "seed"
    )
    return MultiversePair(first, second, share, low, high, pair.ties, len(result.protocols), by_value)


def percent(share: float) -> str:
    """A fraction in percent; never 0 % or 100 % of what is not."""
    shown = f"{100 * share:.0f} %"
    return {"0 %": "under 1 %", "100 %": "over 99 %"}.get(shown, shown) if 0 < share < 1 else shown


def spreads(result: MultiverseResult) -> list[BackboneSpread]:
    """Every backbone, the one that is first most often first."""
    names = [one.backbone for one in result.backbones]
    columns = list(zip(*(one.scores for one in result.backbones), strict=True))
    ranks = [average_ranks([round(value, TIED_DIGITS) for value in column]) for column in columns]
    firsts = [[float(value >= max(column) - EVEN) for value in column] for column in columns]
    found = []
    for place, name in enumerate(names):
        own = [column[place] for column in columns]
        first = fmean(one[place] / sum(one) for one in firsts)
        own_ranks = [one[place] for one in ranks]
        found.append(BackboneSpread(name, first, fmean(own), min(own), max(own), min(own_ranks), max(own_ranks)))
    return sorted(found, key=lambda one: (-one.first, -one.mean, one.backbone))


def specification_curve(result: MultiverseResult, first: str, second: str) -> list[Specification]:
    """All protocols by rising difference of two backbones."""
    scores = _scores(result)
    rows = zip(result.protocols, scores[first], scores[second], strict=True)
    return sorted((Specification(choice, one - two) for choice, one, two in rows), key=lambda one: one.difference)


def choice_values(curve: Sequence[Specification]) -> list[tuple[str, str]]:
    """Name and value of every choice that has alternatives, without seeds."""
    values = {pair: None for one in curve for pair in one.choice.values.items() if pair[0] != "seed"}
    counts = {name: sum(pair[0] == name for pair in values) for name in CHOICES}
    return [pair for name in CHOICES for pair in values if pair[0] == name and counts[name] > 1]


def curve_text(curve: Sequence[Specification], first: str, second: str, width: int) -> list[str]:
    """The specification curve in plain characters: differences in rising order; below, the density of each value."""
    columns = _columns(curve, max(20, width - 26))
    means = [fmean(one.difference for one in column) for column in columns]
    low, high = min(0.0, *means), max(0.0, *means)
    step = (high - low) / (ROWS - 1) or 1.0
    lines = [f"{first} minus {second}, {len(curve)} protocols by rising difference"]
    for row in range(ROWS):
        level = high - row * step
        zero = abs(level) <= step / 2
        marks = "".join("*" if abs(mean - level) <= step / 2 else "-" if zero else " " for mean in means)
        lines.append(f"{level:>+24.1f} {marks}".rstrip())
    for name, value in choice_values(curve):
        shares = (fmean(one.choice.values[name] == value for one in column) for column in columns)
        dense = "".join(DENSITY[math.ceil(share * (len(DENSITY) - 1) - EVEN)] for share in shares)
        lines.append(f"{f'{name} {value}':>24} {dense}".rstrip())
    return lines


def _columns(curve: Sequence[Specification], width: int) -> list[list[Specification]]:
    """At most `width` groups of neighbours in the curve."""
    count = min(width, len(curve))
    places = [(number * count // len(curve), one) for number, one in enumerate(curve)]
    return [[one for _, one in group] for _, group in groupby(places, key=lambda pair: pair[0])]


def multiverse_document(result: MultiverseResult) -> dict[str, object]:
    """Everything as JSON."""
    pairs = [
        {**asdict(one), "sentence": one.sentence, "open": one.open, "reversed_by": list(map(str, one.reversed_by))}
        for one in pairs_of(result)
    ]
    about = {"dataset": result.dataset, "metric": result.metric, "test_images": result.test_images}
    scores = [one.model_dump(mode="json") for one in result.backbones]
    protocols = [one.model_dump(mode="json") for one in result.protocols]
    summary = [asdict(one) for one in spreads(result)]
    return {
        **about,
        "notes": list(result.notes),
        "backbones": summary,
        "pairs": pairs,
        "protocols": protocols,
        "scores": scores,
    }
