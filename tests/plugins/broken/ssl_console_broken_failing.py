"""Fails on import."""

raise RuntimeError("made for another version")
