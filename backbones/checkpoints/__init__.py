"""Checkpoint files read as data, and key mappings that convert them to an architecture's state dict."""
