"""Finetuning: the whole backbone and a linear classifier trained on a dataset's images."""
