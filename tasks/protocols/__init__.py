"""Evaluation protocols: data in, steps in order, scores out."""
