"""The one kind of failure that using weights has."""


class WeightsError(RuntimeError):
    """Weights that cannot be had or must not be used: one sentence with the place and the way out."""
