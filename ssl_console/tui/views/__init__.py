"""Pure functions from state to rows and lines."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")
KEPT = 2
"""Answers kept: two screens may ask in turn."""


def memoize_by_identity(work: Callable[Asked, Answer]) -> Callable[Asked, Answer]:
    """`work`, which is not done again for the arguments of one of the last times.

    Unlike `functools.cache` it never hashes: hashing ten thousand results takes as long as much of the work, and the
    very same tuple, the usual case, is told by its identity.
    """
    cache: list[tuple[tuple[object, ...], Answer]] = []

    @wraps(work)
    def cached(*args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        arguments = (*args, *kwargs.values())
        for key, answer in cache:
            if _same(key, arguments):
                return answer
        answer = work(*args, **kwargs)
        cache.insert(0, (arguments, answer))
        del cache[KEPT:]
        return answer

    return cached


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return len(one) == len(other) and all(a is b or a == b for a, b in zip(one, other, strict=True))
