"""Evaluation of checkpoints as a training writes them."""
