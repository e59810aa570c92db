from __future__ import annotations

from ssl_console.analysis.ranking_cell import record_text, seeds_text, size_text
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.measured import measure


def test_a_few_shot_score_rests_on_the_images_of_its_pool(workspace: Workspace) -> None:
    record = measure(workspace, "demo/mae", "few-shot-5/digits", 0.5)
    assert record_text(record.result, record) == "n 240 images of the pool, in 30 episodes"
    assert record_text(record.result, None) == "n 30 episodes"


def test_other_scores_rest_on_test_images(workspace: Workspace) -> None:
    record = measure(workspace, "demo/mae", "knn/digits", 0.5)
    assert record_text(record.result, record) == "n 60 images"
    assert size_text(1000, "images") == "1,000 images"


def test_a_seed_that_trains_or_draws_is_the_runs() -> None:
    assert seeds_text("few-shot-5", [0]) == "the run's seed 0 of episodes"
    assert seeds_text("finetune", [0, 1]) == "the runs' 2 seeds of training"
    assert seeds_text("knn", [3]) == "seed 3"
