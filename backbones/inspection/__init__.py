"""Inspection of an unknown checkpoint: architecture candidates and how to load it."""
