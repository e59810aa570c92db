"""Roles derived from source splits."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset
from tasks.datasets.readers.make_splits import array_split
from tasks.datasets.splits import held_out, many_shot_indices, pool, published_validation, select_labels

CARD = DatasetCard(name="made", title="", reader="digits", protocols=("linear",))


def dataset(**sizes: int) -> Dataset:
    splits = {
        name: array_split(CARD, name, np.zeros((n, 2, 2, 3), np.uint8), [i % 3 for i in range(n)], 3)
        for name, n in sizes.items()
    }
    return Dataset("made", ("a", "b", "c"), multi_label=False, splits=splits)


@pytest.mark.parametrize("count", [1, 4, 5, 37, 3680, 50_000])
def test_the_validation_split_is_the_one_that_the_papers_code_draws(count: int) -> None:
    indices = list(range(count))
    np.random.seed(0)  # noqa: NPY002 - as ssl-transfer's linear.py does
    np.random.shuffle(indices)  # noqa: NPY002
    first = int(np.floor(0.2 * count))
    train, val = published_validation(count)
    assert train.tolist() == sorted(indices[first:])
    assert val.tolist() == sorted(indices[:first])


def test_another_seed_draws_another_validation_split_of_the_same_size() -> None:
    first, second = (published_validation(100, seed=seed)[1].tolist() for seed in (0, 1))
    assert len(first) == len(second) == 20
    assert first != second


def test_published_train_val_and_test_splits_are_used_as_they_are() -> None:
    split = many_shot_indices(dataset(train=5, val=4, test=3))
    roles = [(name, len(part)) for role in (split.train, split.val, split.test) for name, part in role]
    assert roles == [("train", 5), ("val", 4), ("test", 3)]
    assert [(name, len(part)) for name, part in split.train_and_val] == [("train", 5), ("val", 4)]


def test_without_a_validation_split_a_fifth_of_train_is_it_and_the_refit_uses_all_of_train() -> None:
    split = many_shot_indices(dataset(train=50, test=10))
    ((name, train),), ((_, val),) = split.train, split.val
    assert (name, len(train), len(val)) == ("train", 40, 10)
    assert not {*train.tolist()} & {*val.tolist()}
    ((_, refit),) = split.train_and_val
    assert refit.tolist() == list(range(50))


def test_one_split_alone_is_divided_into_three_roles_that_share_no_image() -> None:
    split = many_shot_indices(dataset(all=60))
    parts = [part.tolist() for role in (split.train, split.val, split.test) for _, part in role]
    assert [len(part) for part in parts] == [39, 9, 12]
    assert sorted(index for part in parts for index in part) == list(range(60))
    assert split.test[0][1].tolist() == many_shot_indices(dataset(all=60), seed=5).test[0][1].tolist()


def test_the_pool_is_every_image_of_every_split() -> None:
    made = dataset(train=5, val=4, test=3)
    assert [(name, part.tolist()) for name, part in pool(made)] == [
        ("train", [0, 1, 2, 3, 4]),
        ("val", [0, 1, 2, 3]),
        ("test", [0, 1, 2]),
    ]
    assert select_labels(made, pool(made)).tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 0, 0, 1, 2]


def test_too_few_images_for_a_validation_split_is_an_error() -> None:
    with pytest.raises(DataError, match="made has 5 images, too few to leave any for validation"):
        many_shot_indices(dataset(train=4, test=1))


def test_splits_of_unknown_names_are_an_error() -> None:
    with pytest.raises(DataError, match="made has the splits one, two"):
        many_shot_indices(dataset(one=9, two=9))


def test_the_held_out_part_is_stratified_and_never_takes_a_classs_last_image() -> None:
    labels = np.array([0] * 10 + [1] * 5 + [2])
    rest, part = held_out(labels, 0.2)
    assert np.bincount(labels[part], minlength=3).tolist() == [2, 1, 0]
    assert sorted([*rest.tolist(), *part.tolist()]) == list(range(16))


def test_multi_label_images_are_held_out_without_regard_to_labels() -> None:
    rest, part = held_out(np.ones((10, 4), np.int64), 0.3)
    assert (len(rest), len(part)) == (7, 3)
