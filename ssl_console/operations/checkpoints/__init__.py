"""Evaluation of checkpoints while a training writes them."""
