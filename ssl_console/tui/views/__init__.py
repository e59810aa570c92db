"""Pure functions from state to rows and lines."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")
KEPT = 2
"""Number of cached results: two screens may alternate."""


def memoize_by_identity(work: Callable[Asked, Answer]) -> Callable[Asked, Answer]:
    """`work` with a cache for its last arguments. Unlike `functools.cache`, it never hashes, as hashing ten thousand
    results takes as long as much of the work; the usual case, the same tuple, is recognised by its identity.
    """
    cache: list[tuple[tuple[object, ...], Answer]] = []

    @wraps(work)
    def cached(*args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        arguments = (*args, *kwargs.values())
        for key, answer in cache:
            if len(key) == len(arguments) and all(a is b or a == b for a, b in zip(key, arguments, strict=True)):
                return answer
        answer = work(*args, **kwargs)
        cache.insert(0, (arguments, answer))
        del cache[KEPT:]
        return answer

    return cached
