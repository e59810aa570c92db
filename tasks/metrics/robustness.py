"""Accuracies of one classifier on test images, on corruptions of them and on other sets, and the drops.

Arrays: `label` and `predicted` [n] of test images, `predicted@console-...` [n] of their corruptions; for another set
`label@set` and `predicted@set` [m], and `clean@set` [n]: predictions of the test images among the classes of that set.
Only test images of these classes are used for it, so that its drop compares equal tasks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.datasets.shifts import PREFIX
from tasks.metrics.confidence_intervals import LEVEL
from tasks.metrics.outcome import NORMAL_95, Interval, wilson_reach
from tasks.metrics.rescore import Arrays, Rescorer

Right = npt.NDArray[np.float64]
"""100 for a right answer and 0 for a wrong one, or the mean of several answers to one image."""
HEADLINE = "shifted"
CORRUPTED = "corruptions"


def robustness_scores(arrays: Arrays) -> dict[str, float]:
    """`accuracy` of the test images, `accuracy@x` and `drop@x` of every shift, and their means `shifted` and `drop`.

    Each mean has one column for all corruptions together, and one for every other set.
    """
    scores = {"accuracy": float(_clean(arrays).mean())}
    for kind in kinds(arrays):
        accuracy = float(_corrupted(arrays, kind).mean())
        scores |= {f"accuracy@{PREFIX}{kind}": accuracy, f"drop@{PREFIX}{kind}": scores["accuracy"] - accuracy}
    drops = []
    columns = shift_columns(arrays)
    for name, right in columns.items():
        scores[f"accuracy@{name}"] = float(right.mean())
        drops.append(clean_accuracy(arrays, name) - scores[f"accuracy@{name}"])
        scores[f"drop@{name}"] = drops[-1]
    means = [scores[f"accuracy@{name}"] for name in columns]
    return {HEADLINE: float(np.mean(means)), "drop": float(np.mean(drops)), **scores}


def robustness_interval(arrays: Arrays, metric: str) -> Interval | None:
    """Interval of the mean over columns, whose images are drawn independently."""
    if metric != HEADLINE:
        return None
    columns = shift_columns(arrays)
    value = float(np.mean([right.mean() for right in columns.values()]))
    variance = sum(float(right.var(ddof=1)) / len(right) for right in columns.values() if len(right) > 1)
    images = sum(map(len, columns.values()))
    half = NORMAL_95 * np.sqrt(variance) / len(columns) or wilson_reach(images)
    low, high = float(max(0.0, value - half)), float(min(100.0, value + half))
    return Interval(low, high, LEVEL, "normal over images of every shift")


def shift_columns(arrays: Arrays) -> dict[str, Right]:
    """By column, correctness of its images; all corruptions of a test image count as one answer."""
    found = kinds(arrays)
    columns = {CORRUPTED: np.mean([_corrupted(arrays, kind) for kind in found], axis=0)} if found else {}
    others = [name.removeprefix("label@") for name in arrays if name.startswith("label@")]
    return {**columns, **{name: _right(arrays[f"predicted@{name}"], arrays[f"label@{name}"]) for name in others}}


def clean_accuracy(arrays: Arrays, column: str) -> float:
    """Accuracy of the test images, restricted to the classes of a column's set."""
    if f"clean@{column}" not in arrays:
        return float(_clean(arrays).mean())
    label = arrays["label"]
    counted = np.isin(label, np.unique(arrays[f"label@{column}"]))
    return float(_right(arrays[f"clean@{column}"], label)[counted].mean()) if counted.any() else float("nan")


def kinds(arrays: Arrays) -> list[str]:
    """The corruptions, in order."""
    begin = f"predicted@{PREFIX}"
    return list(dict.fromkeys(name.removeprefix(begin).rpartition("-")[0] for name in arrays if name.startswith(begin)))


def _corrupted(arrays: Arrays, kind: str) -> Right:
    """Mean over severities, per test image."""
    begin = f"predicted@{PREFIX}{kind}-"
    severities = [_right(arrays[name], arrays["label"]) for name in arrays if name.startswith(begin)]
    mean: Right = np.mean(severities, axis=0)
    return mean


def _clean(arrays: Arrays) -> Right:
    return _right(arrays["predicted"], arrays["label"])


def _right(predicted: npt.NDArray[np.generic], label: npt.NDArray[np.generic]) -> Right:
    right: Right = 100.0 * (predicted == label)
    return right


def rescorer(arrays: Arrays) -> Rescorer | None:
    """Scores of stored predictions; None without any."""
    needs = frozenset({"label", "predicted"})
    return Rescorer(needs, robustness_scores, robustness_interval) if needs <= set(arrays) else None
