"""Checkpoint files read as data, and the key mappings that turn them into an architecture's state dict."""
