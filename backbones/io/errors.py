"""Error of missing or unusable weights."""


class WeightsError(RuntimeError):
    """Weights that are unavailable or must not be used: one sentence with the place and the fix."""
