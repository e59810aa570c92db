"""Error of missing or unusable weights, and counts in messages."""


class WeightsError(RuntimeError):
    """Weights that are unavailable or must not be used: one sentence with the place and the fix."""


def counted(count: int, one: str, several: str = "") -> str:
    """A number and what it counts: `1 image`, or `2,000 classes` for `counted(2000, "class", "classes")`."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"
