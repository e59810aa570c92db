"""Evaluation of a protocol: from dataset and backbone to inputs, outcome and provenance."""
