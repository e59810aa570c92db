"""Test images scored in parts: a random sample at any time, an ordinary result at the end, nothing encoded twice."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tasks.datasets.splits import scoring_order
from tasks.evaluation import parts
from tasks.evaluation.features import evaluate_task
from tasks.evaluation.result import Evaluation, EvaluationPaths
from tasks.reporter import Reporter, SilentReporter
from tests.tasks.evaluation.test_one_pass import QUICK, VIT, CountingTokens
from tests.tasks.evaluation.test_sampled_splits import CATALOG, DATA


class EnoughError(Exception):
    """The reader of the parts has seen enough."""


@dataclass
class UntilPart(SilentReporter):
    """Ends the evaluation when a number of test images has been scored."""

    path: Path
    count: int
    seen: list[int] = field(default_factory=list)

    def advance(self, count: int = 1) -> None:
        """Look at the file of the parts."""
        del count
        if self.path.exists():
            self.seen.append(len(written(self.path)["predicted"]))
            if self.seen[-1] >= self.count:
                raise EnoughError


def written(path: Path) -> dict[str, npt.NDArray[np.int64]]:
    with np.load(path) as file:
        return dict(file)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluationPaths:
    monkeypatch.setattr(parts, "FEWEST_IMAGES", 4)
    return EvaluationPaths(tmp_path / "weights", tmp_path / "data", tmp_path / "features", part=tmp_path / "part.npz")


def evaluated(name: str, paths: EvaluationPaths, cache: CountingTokens, reporter: Reporter | None = None) -> Evaluation:
    changes = {"layers": {"neighbours": 5}, "linear": QUICK["linear"]}
    task = CATALOG.resolve(name, None, {family: one for family, one in changes.items() if name.startswith(family)})
    return evaluate_task(VIT, task, DATA, seed=0, paths=paths, device="cpu", batch_size=4,
                         reporter=reporter or SilentReporter(), encoder_cache=cache)  # fmt: skip


@pytest.mark.parametrize("protocol", ["knn", "linear", "layers"])
def test_after_all_parts_the_result_is_the_ordinary_one_and_nothing_was_encoded_twice(
    protocol: str, paths: EvaluationPaths, tmp_path: Path
) -> None:
    cache = CountingTokens()
    found = evaluated(f"{protocol}/shapes-hue", paths, cache)
    assert sum(cache.batches) == found.provenance.encoded == sum(found.outcome.samples.values())
    plain = evaluated(
        f"{protocol}/shapes-hue", replace(paths, part=None, features=tmp_path / "others"), CountingTokens()
    )
    assert found.provenance.manifest_digest == plain.provenance.manifest_digest
    assert np.array_equal(found.outcome.predictions["predicted"], plain.outcome.predictions["predicted"])
    assert paths.part is not None
    scored = written(paths.part)
    order = scoring_order(len(scored["index"]))
    assert np.array_equal(scored["index"], order)
    assert np.array_equal(scored["label"], plain.outcome.predictions["label"][order])
    assert np.array_equal(scored["predicted"], plain.outcome.predictions["predicted"][order])


def test_images_after_the_last_part_that_was_read_are_not_encoded(paths: EvaluationPaths) -> None:
    cache = CountingTokens()
    assert paths.part is not None
    reporter = UntilPart(paths.part, 4)
    with pytest.raises(EnoughError):
        evaluated("knn/shapes-hue", paths, cache, reporter)
    scored = written(paths.part)
    assert 4 <= len(scored["predicted"]) < len(scored["label"])
    whole = evaluated("knn/shapes-hue", replace(paths, part=None), CountingTokens())
    train = sum(whole.outcome.samples.values()) - len(scored["label"])
    assert sum(cache.batches) <= train + len(scored["predicted"]) + 4 * 3, "at most the batches prepared ahead"
    answers = whole.outcome.predictions["predicted"][scored["index"][: len(scored["predicted"])]]
    assert np.array_equal(scored["predicted"], answers)


def test_stored_features_are_scored_at_once_and_no_parts_are_written(paths: EvaluationPaths) -> None:
    evaluated("knn/shapes-hue", replace(paths, part=None), CountingTokens())
    cache = CountingTokens()
    evaluated("linear/shapes-hue", paths, cache)
    assert not cache.batches
    assert paths.part is not None
    assert not paths.part.exists()
