"""Watching a training run: checkpoints are evaluated as they are written, each exactly once."""
