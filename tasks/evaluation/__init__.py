"""Evaluation of a protocol: dataset and backbone, inputs, outcome and provenance."""
