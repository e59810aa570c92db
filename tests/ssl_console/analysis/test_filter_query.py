from __future__ import annotations

import pytest

from ssl_console.analysis.filter_query import Filterable, parse, split

DINO = Filterable(
    "timm/dino-vit-s16 DINO vit_small",
    {"params": 21.7, "method": "DINO", "top1": 77.0, "year": None, "name": "timm/dino-vit-s16"},
    {"linear/dtd": 75.0},
)
MOCO = Filterable(
    "paper/moco-v2 MoCo resnet50",
    {"params": 23.5, "method": "MoCo v2", "top1": 71.1, "year": 2020.0, "name": "paper/moco-v2"},
    {"linear/dtd": 60.0, "knn/pets": 81.0},
)


@pytest.mark.parametrize(
    ("text", "dino", "moco"),
    [
        ("", True, True),
        ("dino", True, False),
        ("DINO vit", True, False),
        ("-dino", False, True),
        ("params:<22", True, False),
        ("params:<=23.5", True, True),
        ("params:>22", False, True),
        ("top1:=77", True, False),
        ("method:moco,dino", True, True),
        ("method:moco", False, True),
        ("-method:moco", True, False),
        ("year:>2000", False, True),
        ("-year:2020", False, False),
        ('"moco v2"', False, False),
        ('method:"moco v2"', False, True),
        ("params:", True, True),
        ("params:<", True, True),
        ("params:<x", False, False),
        ("nothing:1", False, False),
        ("dino or moco", True, True),
        ("dino and moco", False, False),
        ("dino vit or params:>30", True, False),
        ("not dino", False, True),
        ("not (dino or moco)", False, False),
        ("-(params:<22 vit)", False, True),
        ("(dino or moco) params:<22", True, False),
        ("params<22", True, False),
        ("top1>=71 and not method:moco", True, False),
        ("name:paper/*", False, True),
        ("name:*s16 or name:nothing", True, False),
        ("name:paper", False, True),
        ("(dino", True, False),
        ("dino or", True, False),
        ("or dino)", True, False),
        ("not", True, True),
        ("score:dtd>70", True, False),
        ("score:linear/*>70 or moco", True, True),
        ("-score:linear/dtd>70", False, True),
        ("score:knn", False, True),
        ("-score:knn", True, False),
        ("score:>80", False, True),
        ("score:linear/dtd>", True, True),
        ("not year:2020", False, False),
    ],
)
def test_a_filter_keeps_what_meets_every_term(text: str, dino: bool, moco: bool) -> None:
    found = parse(text)
    assert (found.matches(DINO), found.matches(MOCO)) == (dino, moco)


def test_fields_that_nothing_has_are_named() -> None:
    assert parse("parms:<30 dino").unknown_fields(DINO.fields) == ["parms"]


def test_each_term_narrows_the_side_of_a_grid_that_it_fits() -> None:
    linear, knn = Filterable("linear/cifar10", {"protocol": "linear"}), Filterable("knn/cifar10", {"protocol": "knn"})
    rows, columns = split(parse("dino params:<30 linear protocol:linear"), [DINO, MOCO], [linear, knn])
    assert [rows.matches(subject) for subject in (DINO, MOCO)] == [True, False]
    assert [columns.matches(subject) for subject in (linear, knn)] == [True, False]


def test_alternatives_narrow_the_columns_only_if_all_of_them_are_columns() -> None:
    linear, knn = Filterable("linear/cifar10", {"protocol": "linear"}), Filterable("knn/cifar10", {"protocol": "knn"})
    rows, columns = split(parse("(linear or knn) (dino or linear)"), [DINO, MOCO], [linear, knn])
    assert [rows.matches(subject) for subject in (DINO, MOCO)] == [True, False]
    assert columns.terms == parse("linear or knn").terms


def test_a_word_that_nothing_has_leaves_no_row() -> None:
    rows, columns = split(parse("zzz"), [DINO], [Filterable("linear/cifar10")])
    assert not rows.matches(DINO)
    assert columns.terms == ()
