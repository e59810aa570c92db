"""Fails while it is imported."""

raise RuntimeError("made for another version")
