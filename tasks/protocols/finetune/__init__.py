"""Finetuning of the whole network."""
