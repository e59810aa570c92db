from __future__ import annotations

import numpy as np
import pytest

from ssl_console.analysis.statistics.paired_from_predictions import episode_intervals, of_record
from ssl_console.workspace.result import Result, ResultRecord

WAYS, SHOTS, QUERIES = 5, 1, 3
EPISODES = 200


def record(**given: object) -> ResultRecord:
    result = Result(
        run_id="r", key="k", backbone="b", task="few-shot-5/things", column="c", seed=0, metric="accuracy", value=70.0,
        ci_low=69.0, ci_high=71.0, n=600, finished=1.0, duration_s=1.0,
    )  # fmt: skip
    basic: dict[str, object] = {
        "result": result,
        "metrics": {"accuracy": 70.0},
        "interval_method": "normal over episodes",
        "samples": {"pool": 1797, "episodes": 600},
        "diagnostics": {"episode_deviation": 8.0},
        "parameters": {"ways": 5, "shots": 5, "queries": 15},
    }
    return ResultRecord.model_validate({**basic, **given})


def test_the_interval_over_episodes_is_the_one_of_the_paper() -> None:
    found = of_record(record())
    assert found is not None
    assert found.episodes == pytest.approx(1.96 * 8 / np.sqrt(600))


def test_the_interval_over_data_counts_episodes_that_share_no_image() -> None:
    found = of_record(record())
    assert found is not None
    assert found.disjoint == 17
    assert found.data == pytest.approx(1.96 * 8 / np.sqrt(17))


def test_a_pool_for_one_episode_says_nothing_about_other_images() -> None:
    found = of_record(record(samples={"pool": 150, "episodes": 600}))
    assert found is not None
    assert (found.disjoint, found.data) == (1, None)


def test_a_pool_larger_than_all_episodes_adds_nothing() -> None:
    found = episode_intervals(70.0, 8.0, 10, 10**6, ways=5, shots=5, queries=15)
    assert found.data == found.episodes


def test_other_protocols_have_no_episodes() -> None:
    assert of_record(record(samples={"train": 10, "test": 5}, diagnostics={})) is None


@pytest.mark.slow
def test_only_the_interval_over_data_covers_the_accuracy_on_other_images() -> None:
    """400 pools of the same kind: their mean is the true value that each interval should contain."""
    generator = np.random.default_rng(0)
    pools = [accuracies(generator, images=40) for _ in range(400)]
    truth = np.mean([pool.mean() for pool in pools])
    found = [
        episode_intervals(pool.mean(), pool.std(), EPISODES, 200, ways=WAYS, shots=SHOTS, queries=QUERIES)
        for pool in pools
    ]
    over_episodes = np.mean([abs(one.mean - truth) <= one.episodes for one in found])
    over_data = np.mean([abs(one.mean - truth) <= (one.data or 0.0) for one in found])
    assert over_episodes < 0.85
    assert over_data >= 0.93


def accuracies(generator: np.random.Generator, images: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Nearest-centroid episodes on a pool of `images` per class in two dimensions, in percent."""
    angle = 2 * np.pi * np.arange(WAYS) / WAYS
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    pool = centres[:, None] + generator.normal(size=(WAYS, images, 2))
    order = generator.random((EPISODES, WAYS, images)).argsort(axis=2)[..., : SHOTS + QUERIES]
    drawn = pool[np.arange(WAYS)[None, :, None], order]
    centroids, queries = drawn[:, :, :SHOTS].mean(axis=2), drawn[:, :, SHOTS:]
    distances = np.sum((queries[:, :, :, None] - centroids[:, None, None]) ** 2, axis=-1)
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = 100 * np.mean(
        distances.argmin(axis=3) == np.arange(WAYS)[None, :, None], axis=(1, 2)
    )
    return found
