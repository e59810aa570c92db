"""Loaded networks: architecture, weights, preprocessing, pooling, encoder."""
