"""What can go wrong between images and stored features. Needs neither torch nor numpy."""

from __future__ import annotations


class FeatureError(Exception):
    """Features could not be made. The message names backbone, split and the way out."""


class NotFiniteError(FeatureError):
    """The backbone gave NaN or infinity."""


class OutOfMemoryError(FeatureError):
    """Not even a single image fits the device's memory."""


class DiskFullError(FeatureError):
    """No room for the features. What is finished stays, and the next attempt carries on from it."""
