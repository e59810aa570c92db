"""Datasets of the user's own in the usual layouts: recognised, split, looked through, and stored as one index."""
