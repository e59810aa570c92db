from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits, load_sample_images

from tasks.synthetic.digits import handwritten_digits, photographs


def test_the_digits_are_those_of_scikit_learn() -> None:
    theirs, ours = load_digits(), handwritten_digits()
    assert np.array_equal(ours.images, theirs.images)
    assert np.array_equal(ours.labels, theirs.target)
    assert [str(name) for name in theirs.target_names] == [str(digit) for digit in range(10)]


def test_the_photographs_are_those_of_scikit_learn() -> None:
    for ours, theirs in zip(photographs(), load_sample_images().images, strict=True):
        assert np.array_equal(np.asarray(ours), theirs)
