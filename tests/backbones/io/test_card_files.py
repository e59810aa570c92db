"""Reading folders of cards, and finding cards by name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from backbones.catalog.card import BackboneCard
from backbones.catalog.catalog import BUILT_IN
from backbones.io.card_files import CardModel, UnknownName, match, read_cards, suggest


class Inner(CardModel):
    colour: Literal["red", "blue"] = "red"
    size: int = Field(3, ge=1)


class Sample(CardModel):
    name: str
    title: str
    inner: Inner = Inner()
    origin: str = "nowhere"


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_card_is_named_by_its_place(tmp_path: Path) -> None:
    put(tmp_path, "paper/moco-v2", 'title = "MoCo"')
    put(tmp_path, "plain", 'title = "Plain"')
    found = read_cards(tmp_path, Sample, origin="here")
    assert list(found.cards) == ["paper/moco-v2", "plain"]
    assert found.cards["paper/moco-v2"] == Sample(name="paper/moco-v2", title="MoCo", origin="here")
    assert found.paths["plain"] == tmp_path / "plain.toml"
    assert found.problems == ()


def test_a_missing_folder_holds_no_cards(tmp_path: Path) -> None:
    assert read_cards(tmp_path / "absent", Sample).cards == {}


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ('title = "x"\ninner = {colour = "green"}', "inner.colour", ["'red' or 'blue'", "'green'"]),
        ('title = "x"\n[inner]\nsise = 3', "inner.sise", ["unknown key", "did you mean 'size'"]),
        ('title = "x"\n[inner]\nsize = 0', "inner.size", ["greater than or equal to 1", "not 0"]),
        ("title = 3", "title", ["string", "3"]),
        ('[inner]\ncolour = "red"', "title", ["missing"]),
        ('title = "x"\ninner = \n', None, ["line 2"]),
        ("x = " + "[" * 5000 + "]" * 5000, None, ["nested"]),
        ('title = "x"\nname = "y"', None, ["name", "name is its path"]),
        ('title = "x"\n# ' + "x" * 300_000, None, ["bytes"]),
    ],
)
def test_a_broken_card_is_reported_with_file_key_and_value_and_the_others_load(
    tmp_path: Path, text: str, key: str | None, words: list[str]
) -> None:
    put(tmp_path, "good", 'title = "fine"')
    path = put(tmp_path, "bad", text)
    found = read_cards(tmp_path, Sample)
    assert list(found.cards) == ["good"]
    (problem,) = found.problems
    assert (problem.path, problem.key) == (path, key)
    assert str(path) in str(problem)
    for word in words:
        assert word in problem.message


def test_a_key_inside_a_choice_of_kinds_is_named_as_the_file_has_it(tmp_path: Path) -> None:
    put(
        tmp_path,
        "bad",
        'title="x"\narchitecture="resnet50"\n[weights]\nkind="url"\nurl="https://x/y"\nsha="z"\n[facts]\nmethod="m"',
    )
    (problem,) = read_cards(tmp_path, BackboneCard).problems
    assert problem.key == "weights.sha"


def test_names_with_control_characters_or_pattern_characters_are_refused(tmp_path: Path) -> None:
    for name in ("bell\a", "star*", "with space", "file:x"):
        put(tmp_path, name, 'title = "x"')
    found = read_cards(tmp_path, Sample)
    assert found.cards == {}
    assert len(found.problems) == 4


def test_an_unreadable_text_is_a_problem_of_that_card_only(tmp_path: Path) -> None:
    put(tmp_path, "good", 'title = "fine"')
    (tmp_path / "latin.toml").write_bytes('title = "é"'.encode("latin1"))
    (tmp_path / "dangling.toml").symlink_to(tmp_path / "nothing")
    found = read_cards(tmp_path, Sample)
    assert list(found.cards) == ["good"]
    assert [problem.path.name for problem in found.problems] == ["latin.toml"]


def test_patterns_choose_in_their_order_each_card_once_and_exact_names_before_globs() -> None:
    known = ["a/one", "a/two", "b/one", "odd[1]"]
    assert match(["b/one", "a/*", "*one"], known) == ["b/one", "a/one", "a/two"]
    assert match(["odd[1]"], known) == ["odd[1]"]


def test_a_name_that_nothing_has_is_an_error_that_suggests_one() -> None:
    known = ["paper/moco-v1", "paper/moco-v2", "paper/byol"]
    with pytest.raises(UnknownName, match="no backbone is named 'moco-v2'; did you mean 'paper/moco-v2'") as caught:
        match(["moco-v2"], known, "backbone")
    assert caught.value.suggestions[0] == "paper/moco-v2"
    with pytest.raises(UnknownName, match="no backbone matches 'papre/\\*'"):
        match(["papre/*"], known, "backbone")


def test_suggestions_forgive_case_and_slips() -> None:
    known = ["paper/moco-v2", "paper/byol", "demo/simclr"]
    assert suggest("BYOL", known) == ("paper/byol",)
    assert suggest("paper/mocov2", known)[0] == "paper/moco-v2"
    assert suggest("zzzzzz", known) == ()


def test_sixty_cards_are_read_in_sixty_milliseconds_of_cpu() -> None:
    def seconds() -> float:
        start = time.process_time()
        assert len(read_cards(BUILT_IN, BackboneCard).cards) >= 50
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.06
