"""Checks of a backbone before it is evaluated."""
