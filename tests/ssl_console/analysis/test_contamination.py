from __future__ import annotations

from backbones.catalog.catalog import BackboneCatalog
from ssl_console.analysis.badged_results import BadgeSources, seen_badge
from ssl_console.analysis.ranking import rank
from tasks.catalog.catalog import TaskCatalog
from tests.ssl_console.analysis.test_ranking import result

SEEN_BY = {"a": frozenset({"pets"})}


def test_a_score_on_data_that_the_card_names_has_a_badge_of_its_own() -> None:
    found = BadgeSources(seen=SEEN_BY).badged([result("a", "linear/pets", 90), result("a", "linear/dtd", 80)])
    assert [one.badges for one in found] == [("seen in pre-training",), ()]
    assert [row.cells["linear/pets"].badges for row in rank(found).rows] == [("seen in pre-training",)]


def test_other_backbones_and_published_numbers_have_none() -> None:
    assert seen_badge(result("b", "linear/pets", 90), SEEN_BY) is None
    assert seen_badge(result("a", "linear/pets", 90, source="paper"), SEEN_BY) is None


def test_a_task_of_another_name_is_marked_by_its_dataset() -> None:
    own = result("a", "mine/fine-grained", 90, protocol="linear", dataset="pets")
    assert seen_badge(own, SEEN_BY) is not None
    assert seen_badge(result("a", "mine/pets", 90, protocol="linear", dataset="others"), SEEN_BY) is None


def test_every_dataset_that_a_built_in_card_names_exists() -> None:
    named = BadgeSources.of(BackboneCatalog.load([]).cards.values()).seen
    assert named["timm/dinov2-vit-s14"] > {"imagenet", "pets"}
    assert set().union(*named.values()) <= set(TaskCatalog.load([]).datasets)
